package wire

import (
	"context"
	"fmt"

	"github.com/miekg/dns"

	"kaname.dev/kaname/rib/zone/name"
)

// SOA is what a server answers to the question for a zone's SOA record. The times are in
// seconds.
type SOA struct {
	Serial, Refresh, Retry, Expire, Minimum uint32

	Primary       string // MNAME
	Mailbox       string // RNAME
	TTL           uint32
	Authoritative bool
	RCode         int // of the answer; set with an error too, -1 when nothing came
}

// SOA asks for a zone's SOA record. RCode is set with an error too; an answer that
// is not authoritative is ErrNotAuth.
func (c *Client) SOA(ctx context.Context, p Peer, zone name.Name) (SOA, error) {
	r, err := c.Ask(ctx, p, question(zone, dns.TypeSOA))
	if err != nil {
		s := SOA{RCode: -1}
		if r != nil {
			s.RCode = r.Rcode
		}
		return s, err
	}
	s, err := soaOf(r, zone)
	if err != nil {
		return s, p.failure("SOA of "+zone.String(), err)
	}
	return s, nil
}

// soaOf takes the SOA record out of an answer with the code NOERROR.
func soaOf(r *dns.Msg, zone name.Name) (SOA, error) {
	s := SOA{Authoritative: r.Authoritative, RCode: r.Rcode}
	for _, rr := range r.Answer {
		if soa, ok := rr.(*dns.SOA); ok && sameName(rr.Header().Name, zone.String()) {
			s.Serial, s.Refresh, s.Retry, s.Expire, s.Minimum = soa.Serial, soa.Refresh, soa.Retry, soa.Expire, soa.Minttl
			s.Primary, s.Mailbox, s.TTL = soa.Ns, soa.Mbox, soa.Hdr.Ttl
			if !r.Authoritative {
				return s, fmt.Errorf("%w: the answer is from a cache, or the zone has expired there", ErrNotAuth)
			}
			return s, nil
		}
	}
	if !r.Authoritative {
		return s, fmt.Errorf("%w: it refers to others", ErrNotAuth)
	}
	return s, fmt.Errorf("%w: it is authoritative for another zone, for the answer has no SOA record", ErrNotAuth)
}

// NS asks for a zone's own NS records and returns the names of its servers.
func (c *Client) NS(ctx context.Context, p Peer, zone name.Name) ([]name.Name, error) {
	r, err := c.Ask(ctx, p, question(zone, dns.TypeNS))
	if err != nil {
		return nil, err
	}
	var all []name.Name
	for _, rr := range append(r.Answer, r.Ns...) { // a parent refers, in the authority section
		ns, ok := rr.(*dns.NS)
		if !ok || !sameName(ns.Hdr.Name, zone.String()) {
			continue
		}
		n, err := parse(ns.Ns)
		if err != nil {
			return nil, p.failure("NS of "+zone.String(), fmt.Errorf("%w: a name %w", ErrAnswer, err))
		}
		all = append(all, n)
	}
	return all, nil
}

// Notify tells a server that the zone has the serial (RFC 1996), and returns nil when it
// has acknowledged that.
func (c *Client) Notify(ctx context.Context, p Peer, zone name.Name, serial uint32) error {
	m := new(dns.Msg)
	m.SetNotify(zone.String())
	m.Answer = []dns.RR{&dns.SOA{
		Hdr: dns.RR_Header{Name: zone.String(), Rrtype: dns.TypeSOA, Class: dns.ClassINET},
		Ns:  ".", Mbox: ".", Serial: serial,
	}}
	_, err := c.Ask(ctx, p, m)
	return err
}

// question is a query for one type, without recursion.
func question(zone name.Name, kind uint16) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(zone.String(), kind)
	m.RecursionDesired = false
	return m
}

// parse reads a name as the library writes it, never as people do.
func parse(s string) (name.Name, error) { return name.Parse(dns.Fqdn(s)) }
