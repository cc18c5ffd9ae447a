package compare

import (
	"context"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/wire"
)

// question is one question, asked of both servers.
type question struct {
	name string
	kind uint16
	do   bool // EDNS with DO (RFC 3225)
	tcp  bool
}

// String writes the question as dig takes it.
func (q question) String() string {
	s := q.name + " " + dns.TypeToString[q.kind]
	if q.do {
		s += " +dnssec"
	}
	if q.tcp {
		s += " +tcp"
	}
	return s
}

// Labels that no zone has.
const (
	labelNone = "kaname-no-such-name"
	labelWild = "kaname-any-name"
)

// Types that are asked for.
var (
	apexTypes   = []uint16{dns.TypeSOA, dns.TypeNS, dns.TypeA, dns.TypeAAAA, dns.TypeMX, dns.TypeTXT, dns.TypeCAA, dns.TypeDNSKEY, dns.TypeDS}
	commonTypes = []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeTXT}
	// allTypes are asked for at every name when no transfers can be compared.
	allTypes = []uint16{
		dns.TypeA, dns.TypeAAAA, dns.TypeTXT, dns.TypeMX, dns.TypeNS, dns.TypeCNAME, dns.TypeSRV, dns.TypePTR, dns.TypeCAA,
		dns.TypeTLSA, dns.TypeNAPTR, dns.TypeSSHFP, dns.TypeSVCB, dns.TypeHTTPS, dns.TypeDS, dns.TypeLOC, dns.TypeHINFO, dns.TypeDNAME,
	}
)

// guessed are names that many zones have.
var guessed = []string{"www", "mail", "ns1", "ns2", "ftp", "_dmarc", "autodiscover", "*"}

// questions makes the questions for a zone of the names that are known of it.
func questions(zone name.Name, k known, o Options) iter.Seq[question] {
	return func(yield func(question) bool) {
		all := k.pick[classAny].k < 0
		if o.Sample == 0 && !all {
			return
		}
		asked := map[question]bool{}
		ask := func(q question) bool {
			if asked[q] || o.IgnoreDNSSEC && ofDNSSEC(q.kind) {
				return true
			}
			if len(asked) < 10000 { // so that it is bounded; asking twice does no harm
				asked[q] = true
			}
			return yield(q)
		}
		if !atApex(text(zone), all, ask) {
			return
		}
		list := k.entries()
		if len(list) == 0 {
			for _, label := range guessed {
				list = append(list, &entry{name: below(label, text(zone)), types: []uint16{dns.TypeA}})
			}
		}
		for i, e := range list {
			if !atName(e, text(zone), all, i == 0, ask) {
				return
			}
		}
	}
}

// text writes a name with the escapes that the library writes too, so that its names
// can be compared as texts.
func text(n name.Name) string {
	s, _, err := dns.UnpackDomainName(n.Wire(), 0)
	if err != nil {
		return n.String() // the zero Name
	}
	return s
}

// normal does so for a name in any form; one that is none stays as it is.
func normal(s string) string {
	if n, err := name.Parse(s); err == nil {
		return text(n)
	}
	return s
}

func below(label, parent string) string {
	if parent == "." {
		return label + "."
	}
	return label + "." + parent
}

// atApex asks for the zone itself, and for what it does not have.
func atApex(zone string, all bool, ask func(question) bool) bool {
	types := apexTypes
	if all {
		types = union(apexTypes, allTypes)
	}
	for _, t := range types {
		if !ask(question{name: zone, kind: t}) {
			return false
		}
	}
	no := below(labelNone, zone)
	for _, q := range []question{
		{name: zone, kind: dns.TypeSOA, do: true},
		{name: zone, kind: dns.TypeDNSKEY, do: true, tcp: true},
		{name: zone, kind: dns.TypeNS, tcp: true},
		{name: zone, kind: dns.TypeANY, tcp: true},
		{name: zone, kind: dns.TypeNSEC3PARAM},
		{name: zone, kind: dns.TypePTR, do: true},
		{name: strings.ToUpper(zone), kind: dns.TypeSOA},
		{name: no, kind: dns.TypeA},
		{name: no, kind: dns.TypeMX, do: true},
		{name: below(labelNone, no), kind: dns.TypeA, tcp: true},
	} {
		if !ask(q) {
			return false
		}
	}
	return true
}

// atName asks for a name: what it has, what it has not, above it and below it.
func atName(e *entry, zone string, all, first bool, ask func(question) bool) bool {
	types := union(e.types, commonTypes)
	if all {
		types = union(e.types, allTypes)
	}
	if slices.Contains(e.types, dns.TypeNS) {
		types = union(types, []uint16{dns.TypeDS})
	}
	owner := e.name
	var list []question
	if rest, ok := strings.CutPrefix(owner, "*."); ok {
		list = append(list, question{name: owner, kind: e.types[0]}, question{name: below(labelWild, below(labelWild, rest)), kind: e.types[0], do: true})
		owner = below(labelWild, rest)
	}
	for _, t := range types {
		list = append(list, question{name: owner, kind: t})
	}
	for _, t := range e.types {
		list = append(list, question{name: owner, kind: t, do: true})
	}
	list = append(list,
		question{name: owner, kind: dns.TypeHINFO, do: true}, // mostly no data
		question{name: below(labelNone, owner), kind: dns.TypeA, do: true},
		question{name: owner, kind: dns.TypeANY, tcp: true},
	)
	if first {
		list = append(list, question{name: strings.ToUpper(owner), kind: e.types[0]}, question{name: owner, kind: e.types[0], do: true, tcp: true})
	}
	for up := parent(e.name); up != zone && dns.IsSubDomain(zone, up); up = parent(up) {
		list = append(list, question{name: up, kind: dns.TypeA}) // maybe an empty non-terminal
	}
	for _, q := range list {
		if len(q.name) > 300 { // with escapes; the exact limit is the library's to check
			continue
		}
		if _, ok := dns.IsDomainName(q.name); ok && !ask(q) {
			return false
		}
	}
	return true
}

func parent(n string) string {
	i, end := dns.NextLabel(n, 0)
	if end {
		return "."
	}
	return n[i:]
}

func union(a, b []uint16) []uint16 {
	out := slices.Clone(a)
	for _, t := range b {
		if !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	return out
}

// ask asks one server. The message is nil only when none came; its code may be any.
func (w *work) ask(ctx context.Context, p wire.Peer, q question) (*dns.Msg, error) {
	m := new(dns.Msg)
	m.SetQuestion(q.name, q.kind)
	m.RecursionDesired = false
	if q.do {
		m.SetEdns0(1232, true)
	}
	if !w.o.Sign {
		p.Key = nil
	}
	if !q.tcp {
		r, err := w.client.Ask(ctx, p, m)
		if r != nil {
			return r, nil // what its code says is compared
		}
		return nil, err
	}
	return w.askTCP(ctx, p, m)
}

// askTCP asks by TCP.
func (w *work) askTCP(ctx context.Context, p wire.Peer, m *dns.Msg) (*dns.Msg, error) {
	c := dns.Client{Net: "tcp", Timeout: w.o.Timeout}
	if p.Key != nil {
		key := dns.CanonicalName(p.Key.Name)
		c.TsigSecret = map[string]string{key: p.Key.Secret}
	}
	var last error
	for range 3 {
		request := m.Copy()
		if p.Key != nil {
			request.SetTsig(dns.CanonicalName(p.Key.Name), dns.Fqdn(p.Key.Algorithm), 300, time.Now().Unix())
		}
		r, _, err := c.ExchangeContext(ctx, request, p.Address.String())
		if err == nil {
			return r, nil
		}
		last = err
		if ctx.Err() != nil {
			break
		}
	}
	return nil, last
}
