package compare

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"kaname.dev/kaname/rib/zone/name"
)

// finding is one way in which two answers differ.
type finding struct{ kind, what string }

// section are records by their canonical octets.
type section map[string]dns.RR

// said is what an answer says, without what servers are free to add: NS records
// beside answers, addresses beside names, other zones' records behind a CNAME.
type said struct {
	rcode    int
	aa       bool
	answer   section
	sets     map[string]bool // RRsets of the answer: name and type
	owners   map[string]bool // names of the chain of CNAMEs
	some     bool            // the answer has records, also such as are not compared
	leaves   bool            // the chain goes on elsewhere
	negative section
	referral section
	serial   *dns.SOA
}

// answers compares two answers to a question in the zone. It is pure.
func answers(zone name.Name, q question, old, other *dns.Msg, o Options) []finding {
	h := hearer{zone: text(zone), q: q, o: o, canon: newCanonizer(o)}
	a, b := h.hear(old), h.hear(other)
	var list []finding
	if a.serial != nil && b.serial != nil && strings.EqualFold(q.name, h.zone) && q.kind == dns.TypeSOA {
		if why := serials(o.Serial, a.serial.Serial, b.serial.Serial); why != "" {
			list = append(list, finding{KindSerial, why})
		}
	}
	cut := a.leaves || b.leaves
	if a.rcode != b.rcode && !cut {
		list = append(list, finding{KindRcode, fmt.Sprintf("%s from the old server, %s from the new", rcode(a.rcode), rcode(b.rcode))})
	}
	if a.aa != b.aa && a.rcode == b.rcode {
		list = append(list, finding{KindFlags, fmt.Sprintf("authoritative: %t from the old server, %t from the new", a.aa, b.aa)})
	}
	if what := h.answerOf(a, b); what != "" {
		list = append(list, finding{KindAnswer, what})
	}
	if cut || a.rcode != b.rcode || len(list) > 0 {
		return list // the rest follows from it
	}
	if what := unlike(a.negative, b.negative); what != "" {
		list = append(list, finding{KindNegative, what})
	}
	if what := unlike(a.referral, b.referral); what != "" {
		list = append(list, finding{KindReferral, what})
	}
	return list
}

func rcode(n int) string {
	if s, ok := dns.RcodeToString[n]; ok {
		return s
	}
	return fmt.Sprintf("code %d", n)
}

// hearer reads answers to one question.
type hearer struct {
	zone  string
	q     question
	o     Options
	canon *canonizer
}

func (h *hearer) hear(m *dns.Msg) said {
	s := said{
		rcode: m.Rcode, aa: m.Authoritative,
		answer: section{}, sets: map[string]bool{}, negative: section{}, referral: section{},
	}
	final := h.chain(m, &s)
	for _, rr := range m.Answer {
		if soa, ok := rr.(*dns.SOA); ok {
			s.serial = soa
		}
		owner := strings.ToLower(rr.Header().Name)
		s.some = s.some || s.owners[owner]
		if s.owners[owner] && !h.made(m, rr) && !h.ignored(rr) {
			s.answer[h.key(rr)] = rr
			s.sets[owner+" "+dns.TypeToString[rr.Header().Rrtype]] = true
		}
	}
	if s.leaves {
		return s
	}
	h.authority(m, &s, final)
	return s
}

// chain follows the CNAMEs of an answer as long as they stay in the zone, and reports
// whether the question's type is there at the end.
func (h *hearer) chain(m *dns.Msg, s *said) (final bool) {
	at := strings.ToLower(h.q.name)
	s.owners = map[string]bool{at: true}
	for range 32 { // longer than any server follows; also for loops
		next := ""
		for _, rr := range m.Answer {
			owner := strings.ToLower(rr.Header().Name)
			switch r := rr.(type) {
			case *dns.CNAME:
				if owner == at {
					next = strings.ToLower(r.Target)
				}
			case *dns.DNAME:
				if owner != at && dns.IsSubDomain(owner, at) {
					s.owners[owner] = true
				}
			}
			if owner == at && (rr.Header().Rrtype == h.q.kind || h.q.kind == dns.TypeANY) {
				return true
			}
		}
		if next == "" {
			break
		}
		at = next
		if !dns.IsSubDomain(h.zone, at) {
			s.leaves = true
			return false
		}
		s.owners[at] = true
	}
	// A chain that ends with neither data nor a proof that there is none is one that
	// the server does not follow further, as into a zone below.
	s.leaves = len(s.owners) > 1 && !hasSOA(m)
	return false
}

func hasSOA(m *dns.Msg) bool {
	return slices.ContainsFunc(m.Ns, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeSOA })
}

// made reports whether the record is the CNAME that a DNAME of the answer makes, whose
// TTL is the server's choice (RFC 6672 section 3.1), or its signature, of which there is none.
func (h *hearer) made(m *dns.Msg, rr dns.RR) bool {
	if _, ok := rr.(*dns.CNAME); !ok {
		return false
	}
	return slices.ContainsFunc(m.Answer, func(d dns.RR) bool {
		_, ok := d.(*dns.DNAME)
		return ok && !strings.EqualFold(d.Header().Name, rr.Header().Name) && dns.IsSubDomain(d.Header().Name, rr.Header().Name)
	})
}

// ignored reports whether the record is not compared.
func (h *hearer) ignored(rr dns.RR) bool {
	kind := rr.Header().Rrtype
	if kind == dns.TypeOPT || h.o.IgnoreDNSSEC && ofDNSSEC(kind) {
		return true
	}
	sig, ok := rr.(*dns.RRSIG)
	return ok && (!h.q.do || h.o.Serial != SerialEqual && sig.TypeCovered == dns.TypeSOA)
}

// key is the canonical form, without the serial, which has its own policy.
func (h *hearer) key(rr dns.RR) string {
	if soa, ok := rr.(*dns.SOA); ok {
		rr = unserial(soa)
	}
	return h.canon.key(rr)
}

// authority reads the authority section as far as it means something: the SOA and the
// proofs of a negative answer, the NS and DS of a referral with the glue below it.
func (h *hearer) authority(m *dns.Msg, s *said, final bool) {
	glue := map[string]bool{}
	for _, rr := range m.Ns {
		owner := strings.ToLower(rr.Header().Name)
		kind := rr.Header().Rrtype
		if sig, ok := rr.(*dns.RRSIG); ok {
			kind = sig.TypeCovered
		}
		if h.ignored(rr) || !dns.IsSubDomain(h.zone, owner) {
			continue
		}
		switch kind {
		case dns.TypeSOA:
			if !final {
				s.negative[h.key(rr)] = rr
			}
		case dns.TypeNSEC, dns.TypeNSEC3:
			// Behind a CNAME or DNAME NSD leaves proofs out; they are asked for directly too.
			if len(s.owners) == 1 {
				s.negative[h.key(rr)] = rr
			}
		case dns.TypeNS, dns.TypeDS:
			if owner == h.zone || m.Authoritative || final || kind == dns.TypeDS && !h.q.do {
				continue // PowerDNS gives DS unasked
			}
			s.referral[h.key(rr)] = rr
			if ns, ok := rr.(*dns.NS); ok && dns.IsSubDomain(owner, ns.Ns) {
				glue[strings.ToLower(ns.Ns)] = true
			}
		}
	}
	h.glue(m, s, glue)
}

// glue reads the addresses of the names.
func (h *hearer) glue(m *dns.Msg, s *said, glue map[string]bool) {
	for _, rr := range m.Extra {
		kind := rr.Header().Rrtype
		if glue[strings.ToLower(rr.Header().Name)] && (kind == dns.TypeA || kind == dns.TypeAAAA) {
			s.referral[h.key(rr)] = rr
		}
	}
}

// answerOf compares the answer sections: of ANY only the RRsets that both give, for a
// server may choose (RFC 8482); of a chain that one does not follow, what both have.
func (h *hearer) answerOf(a, b said) string {
	switch {
	case h.q.kind == dns.TypeANY:
		if a.some != b.some {
			return unlike(a.answer, b.answer)
		}
		common := maps.Clone(a.sets)
		maps.DeleteFunc(common, func(set string, _ bool) bool { return !b.sets[set] })
		return unlike(limit(a.answer, common, true), limit(b.answer, common, true))
	case a.leaves || b.leaves:
		common := maps.Clone(a.owners)
		maps.DeleteFunc(common, func(n string, _ bool) bool { return !b.owners[n] })
		if a.leaves != b.leaves { // the last name may have its data in one answer only
			maps.DeleteFunc(common, func(n string, _ bool) bool {
				return !a.sets[n+" CNAME"] && !b.sets[n+" CNAME"] && !a.sets[n+" DNAME"] && !b.sets[n+" DNAME"]
			})
		}
		return unlike(limit(a.answer, common, false), limit(b.answer, common, false))
	}
	return unlike(a.answer, b.answer)
}

// limit keeps the records of some names, or of some RRsets.
func limit(all section, keep map[string]bool, sets bool) section {
	out := section{}
	for k, rr := range all {
		of := strings.ToLower(rr.Header().Name)
		if sets {
			of += " " + dns.TypeToString[rr.Header().Rrtype]
		}
		if keep[of] {
			out[k] = rr
		}
	}
	return out
}

// unlike says what one has and the other has not, "" when they are the same.
func unlike(a, b section) string {
	var list []string
	for _, side := range []struct {
		which      string
		have, lack section
	}{{"only old: ", a, b}, {"only new: ", b, a}} {
		for _, k := range slices.Sorted(maps.Keys(side.have)) {
			if _, ok := side.lack[k]; !ok {
				list = append(list, side.which+strings.Join(strings.Fields(side.have[k].String()), " "))
			}
		}
	}
	return strings.Join(list, "; ")
}
