package wire

import (
	"context"
	"errors"
	"time"

	"github.com/miekg/dns"

	"kaname.dev/kaname/rib/zone/name"
)

// transferWait is how long the next message of a transfer may take.
const transferWait = 30 * time.Second

// Transfer takes the whole zone (AXFR, RFC 5936) and gives each record to fn as it
// arrives, the SOA record first and not again at the end. It returns nil only when the
// transfer was whole: after an error, what fn was given is worth nothing. At
// most one message is in memory. An error of fn ends the transfer and is returned.
func (c *Client) Transfer(ctx context.Context, p Peer, zone name.Name, fn func(dns.RR) error) error {
	if err := c.transfer(ctx, p, zone, fn); err != nil {
		if own, ok := errors.AsType[callbackError](err); ok {
			return own.error
		}
		return p.failure("transfer of "+zone.String(), err)
	}
	return nil
}

// callbackError is an error of the caller's own function.
type callbackError struct{ error }

func (c *Client) transfer(ctx context.Context, p Peer, zone name.Name, fn func(dns.RR) error) error {
	x, err := c.open(ctx, "tcp", p, question(zone, dns.TypeAXFR))
	if err != nil {
		return err
	}
	defer x.close()
	x.wait = c.timeout(transferWait)
	s := stream{zone: zone, whole: fn, full: true}
	return s.run(ctx, x)
}

// Increment is what an incremental transfer brought.
type Increment struct {
	Serial uint32 // of the zone at the peer
	Full   bool   // the whole zone came instead, and went to the function that was given
	Steps  []Step // the differences, from older to newer; none when there are no newer ones
}

// Step is one difference between two versions of a zone. The SOA records are not
// among Removed and Added.
type Step struct {
	From, To       *dns.SOA
	Removed, Added []dns.RR
}

// maxSteps bounds the records of differences that are held; a server sends the zone
// whole before it comes to that.
const maxSteps = 2_000_000

// Incremental asks for what changed since the serial (IXFR, RFC 1995). When the peer sends
// the zone whole, because its history does not reach back or it knows no IXFR, the
// records go to whole as with Transfer. When the peer's zone is not newer, there are
// no steps and Serial is the peer's. Differences are returned only when all came.
func (c *Client) Incremental(ctx context.Context, p Peer, zone name.Name, serial uint32, whole func(dns.RR) error) (Increment, error) {
	s := stream{zone: zone, whole: whole, since: serial}
	err := c.incremental(ctx, p, &s)
	if errors.Is(err, errNoIncremental) {
		s = stream{full: true}
		err = c.transfer(ctx, p, zone, func(rr dns.RR) error {
			if soa, ok := rr.(*dns.SOA); ok {
				s.first = soa
			}
			return whole(rr)
		})
	}
	if err != nil {
		if own, ok := errors.AsType[callbackError](err); ok {
			return Increment{}, own.error
		}
		return Increment{}, p.failure("incremental transfer of "+zone.String(), err)
	}
	return Increment{Serial: s.first.Serial, Full: s.full, Steps: s.steps}, nil
}

// errNoIncremental is of a server that does not know IXFR.
var errNoIncremental = errors.New("it knows no incremental transfer")

func (c *Client) incremental(ctx context.Context, p Peer, s *stream) error {
	m := question(s.zone, dns.TypeIXFR)
	m.Ns = []dns.RR{&dns.SOA{
		Hdr: dns.RR_Header{Name: s.zone.String(), Rrtype: dns.TypeSOA, Class: dns.ClassINET},
		Ns:  ".", Mbox: ".", Serial: s.since,
	}}
	x, err := c.open(ctx, "tcp", p, m)
	if err != nil {
		return err
	}
	defer x.close()
	x.wait = c.timeout(transferWait)
	return s.run(ctx, x)
}
