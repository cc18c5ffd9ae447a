package watch

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/miekg/dns"

	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/wire"
)

// World is where delegations are looked up, and what they should be.
type World struct {
	Resolver netip.AddrPort   // a recursive resolver; used unless Roots are given
	Roots    []netip.AddrPort // servers from which to walk down instead
	// At has addresses of servers that are known, ours above all; those of others are
	// looked up.
	At    map[name.Name][]netip.AddrPort
	Names []name.Name // names of our servers, which the parent should have; empty: not compared
	Wire  wire.Client
}

// Report is what the parent says of a zone.
type Report struct {
	Parent    name.Name   `json:"parent"`            // the zone that delegates
	Delegated bool        `json:"delegated"`         // the parent has NS records of the zone
	Servers   []name.Name `json:"servers,omitempty"` // those NS records
	Strange   []name.Name `json:"strange,omitempty"` // servers at the parent that are not ours
	Absent    []name.Name `json:"absent,omitempty"`  // ours that are not at the parent
	Lame      []LameNS    `json:"lame,omitempty"`
	// Signed is set when the parent has a DS record: without our answers the zone is
	// bogus to validating resolvers, not only absent.
	Signed bool `json:"signed"`
}

// LameNS is a server of the parent's that does not answer for the zone with authority.
type LameNS struct {
	Server  name.Name      `json:"server"`
	Address netip.AddrPort `json:"address,omitzero"`
	Why     string         `json:"why"`
}

// errLost is of a walk that does not arrive.
var errLost = errors.New("the delegation cannot be followed")

// maxCuts bounds a walk down from the root.
const maxCuts = 20

// Delegation asks the parent of a zone for its NS and DS records, and each server named
// there for the zone. An error means that nothing is known: no removal should rely on it.
func Delegation(ctx context.Context, w World, zone name.Name) (Report, error) {
	if zone == name.Root {
		return Report{}, errors.New("the root has no parent")
	}
	cut, servers, err := w.start(ctx, zone)
	for range maxCuts {
		if err != nil {
			return Report{}, fmt.Errorf("delegation of %s: %w", zone.Bare(), err)
		}
		var m *dns.Msg
		if m, err = w.first(ctx, servers, zone, dns.TypeNS); err != nil {
			continue
		}
		owner, ns := referral(m, zone)
		if owner == "" || owner == zone {
			return w.report(ctx, cut, servers, zone, m, ns)
		}
		if owner == cut || !owner.Under(cut) {
			err = fmt.Errorf("%w: %s refers to %s", errLost, cut, owner)
			continue
		}
		cut = owner
		servers, err = w.addresses(ctx, m, ns)
	}
	if err == nil {
		err = fmt.Errorf("%w: more than %d cuts", errLost, maxCuts)
	}
	return Report{}, fmt.Errorf("delegation of %s: %w", zone.Bare(), err)
}

// start returns where to walk from.
func (w *World) start(ctx context.Context, zone name.Name) (name.Name, []netip.AddrPort, error) {
	if len(w.Roots) > 0 {
		return name.Root, w.Roots, nil
	}
	if !w.Resolver.IsValid() {
		return "", nil, errors.New("no resolver is configured; set zone.resolver")
	}
	for n := zone.Parent(); ; n = n.Parent() {
		m, err := w.recurse(ctx, n, dns.TypeNS)
		if err != nil && (m == nil || m.Rcode != dns.RcodeNameError) {
			return "", nil, err
		}
		var ns []name.Name
		for _, rr := range m.Answer {
			if r, ok := rr.(*dns.NS); ok {
				ns = append(ns, parsed(r.Ns))
			}
		}
		if len(ns) > 0 {
			servers, err := w.addresses(ctx, m, ns)
			return n, servers, err
		}
		if n == name.Root {
			return "", nil, fmt.Errorf("%w: the resolver knows no zone above it", errLost)
		}
	}
}

// report looks at the parent's answer.
func (w *World) report(ctx context.Context, cut name.Name, servers []netip.AddrPort, zone name.Name, m *dns.Msg, ns []name.Name) (Report, error) {
	slices.Sort(ns)
	r := Report{Parent: cut, Delegated: len(ns) > 0, Servers: slices.Compact(ns)}
	ds, err := w.first(ctx, servers, zone, dns.TypeDS)
	if err != nil && (ds == nil || ds.Rcode != dns.RcodeNameError) {
		return Report{}, fmt.Errorf("delegation of %s: %w", zone.Bare(), err)
	}
	r.Signed = slices.ContainsFunc(ds.Answer, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeDS })
	if len(w.Names) > 0 {
		for _, n := range r.Servers {
			if !slices.Contains(w.Names, n) {
				r.Strange = append(r.Strange, n)
			}
		}
		for _, n := range w.Names {
			if !slices.Contains(r.Servers, n) {
				r.Absent = append(r.Absent, n)
			}
		}
	}
	for _, n := range r.Servers {
		if ctx.Err() != nil {
			return r, ctx.Err()
		}
		r.Lame = append(r.Lame, w.lame(ctx, m, n, zone)...)
	}
	return r, nil
}

// lame asks one server of the parent's for the zone, at each of its addresses.
func (w *World) lame(ctx context.Context, m *dns.Msg, n, zone name.Name) []LameNS {
	at, err := w.addresses(ctx, m, []name.Name{n})
	if err != nil {
		return []LameNS{{Server: n, Why: "its address cannot be found: " + err.Error()}}
	}
	var all []LameNS
	for _, a := range at {
		if _, err := w.Wire.SOA(ctx, wire.Peer{Address: a}, zone); err != nil {
			all = append(all, LameNS{Server: n, Address: a, Why: err.Error()})
		}
	}
	return all
}

// referral returns the NS records of an answer and whose they are; nothing when the
// server says with authority that there are none.
func referral(m *dns.Msg, zone name.Name) (owner name.Name, ns []name.Name) {
	for _, rr := range slices.Concat(m.Answer, m.Ns) {
		r, ok := rr.(*dns.NS)
		if !ok {
			continue
		}
		n := parsed(r.Hdr.Name)
		if !zone.Under(n) || owner != "" && n != owner {
			continue
		}
		owner = n
		ns = append(ns, parsed(r.Ns))
	}
	return owner, ns
}

// first asks servers until one answers; NXDOMAIN is an answer.
func (w *World) first(ctx context.Context, servers []netip.AddrPort, n name.Name, kind uint16) (*dns.Msg, error) {
	last := fmt.Errorf("%w: no server is known", errLost)
	for _, a := range servers {
		q := new(dns.Msg)
		q.SetQuestion(string(n), kind)
		q.RecursionDesired = false
		m, err := w.Wire.Ask(ctx, wire.Peer{Address: a}, q)
		if err == nil || m != nil && m.Rcode == dns.RcodeNameError {
			return m, nil
		}
		last = err
	}
	return nil, last
}

func (w *World) recurse(ctx context.Context, n name.Name, kind uint16) (*dns.Msg, error) {
	q := new(dns.Msg)
	q.SetQuestion(string(n), kind)
	return w.Wire.Ask(ctx, wire.Peer{Address: w.Resolver}, q)
}

// addresses returns those of servers: known ones, those that the message has, or those
// that the resolver knows.
func (w *World) addresses(ctx context.Context, m *dns.Msg, servers []name.Name) ([]netip.AddrPort, error) {
	var all []netip.AddrPort
	var last error
	for _, n := range servers {
		at := w.At[n]
		if len(at) == 0 {
			at = glue(m.Extra, n)
		}
		for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
			if len(at) > 0 || !w.Resolver.IsValid() {
				break
			}
			r, err := w.recurse(ctx, n, kind)
			if err != nil {
				last = err
				continue
			}
			at = glue(r.Answer, "")
		}
		all = append(all, at...)
	}
	if len(all) == 0 && last == nil {
		last = fmt.Errorf("%w: no address is known of %s", errLost, servers)
	}
	if len(all) > 0 {
		last = nil
	}
	return all, last
}

// glue returns the addresses of a server, or all of them, at port 53.
func glue(rrs []dns.RR, n name.Name) []netip.AddrPort {
	var all []netip.AddrPort
	for _, rr := range rrs {
		if n != "" && parsed(rr.Header().Name) != n {
			continue
		}
		var ip netip.Addr
		switch r := rr.(type) {
		case *dns.A:
			ip, _ = netip.AddrFromSlice(r.A.To4())
		case *dns.AAAA:
			ip, _ = netip.AddrFromSlice(r.AAAA.To16())
		}
		if ip.IsValid() {
			all = append(all, netip.AddrPortFrom(ip, 53))
		}
	}
	return all
}

// parsed is a name as the library writes it; one that is none is empty.
func parsed(text string) name.Name {
	n, err := name.Parse(dns.Fqdn(text))
	if err != nil {
		return ""
	}
	return n
}
