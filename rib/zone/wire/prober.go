package wire

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/miekg/dns"

	"kaname.dev/kaname/rib/zone/name"
)

// Prober asks a server for the SOA records of many zones, from one socket, many
// questions at a time. The zero Prober is ready.
type Prober struct {
	Rate    int           // questions a second at most; 10,000 when zero
	Window  int           // questions under way at most; 256 when zero
	Timeout time.Duration // for one answer; 1 s when zero
	Tries   int           // 3 when zero
	Source  netip.Addr    // local address; the zero Addr leaves it to the system
}

// giveUp is how many zones may go without an answer, after each other, before the server
// is taken to be unreachable and the other zones are not asked.
const giveUp = 64

// SOAs asks addr for the SOA record of each zone, unsigned, and calls each once a zone, in
// the order of the answers, never two at a time. Errors are as of Client.SOA. It returns
// an error when it cannot ask at all or ctx ends; the zones that were not asked have
// then not been given to each.
func (p *Prober) SOAs(ctx context.Context, addr netip.AddrPort, zones []name.Name, each func(zone name.Name, s SOA, err error)) error {
	d := net.Dialer{}
	if p.Source.IsValid() {
		d.LocalAddr = &net.UDPAddr{IP: p.Source.AsSlice()}
	}
	conn, err := d.DialContext(ctx, "udp", addr.String())
	if err != nil {
		return Peer{Address: addr}.failure("probe", netError(ctx, err, ErrUnreachable))
	}
	defer conn.Close() //nolint:errcheck // nothing is written
	if u, ok := conn.(*net.UDPConn); ok {
		_ = u.SetReadBuffer(4 << 20) // the system may give less
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	s := sweep{
		conn: conn, peer: Peer{Address: addr}, each: each, todo: zones, open: map[uint16]*probe{}, begun: time.Now(),
		rate: or(p.Rate, 10_000), window: min(or(p.Window, 256), 1<<15), tries: or(p.Tries, 3), wait: or(p.Timeout, time.Second),
	}
	return s.run(ctx)
}

func or[T int | time.Duration](v, def T) T {
	if v > 0 {
		return v
	}
	return def
}

// probe is a question under way.
type probe struct {
	id    uint16
	zone  name.Name
	tries int
	until time.Time
	dead  bool // answered
}

// sweep is one call of SOAs.
type sweep struct {
	conn   net.Conn
	peer   Peer
	each   func(name.Name, SOA, error)
	todo   []name.Name
	again  []*probe
	open   map[uint16]*probe
	queue  []*probe // open ones, and dead ones, in the order of their ends
	begun  time.Time
	sent   int
	silent int // zones without an answer since the last answer

	rate, window, tries int
	wait                time.Duration
}

func (s *sweep) run(ctx context.Context) error {
	b := make([]byte, dns.MaxMsgSize)
	for len(s.todo)+len(s.again)+len(s.open) > 0 {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		now := time.Now()
		s.expire(now)
		_ = s.conn.SetReadDeadline(s.fill(now))
		if ctx.Err() != nil {
			return context.Cause(ctx) // its deadline may have been overwritten
		}
		n, err := s.conn.Read(b)
		switch {
		case err == nil:
			s.take(b[:n])
		case errors.Is(err, os.ErrDeadlineExceeded):
		default:
			s.pause(ctx) // ICMP said that nothing listens: the questions' own ends count
		}
	}
	return nil
}

// pause waits a little, at most until the first question ends.
func (s *sweep) pause(ctx context.Context) {
	t := time.NewTimer(min(s.wait/10, 50*time.Millisecond))
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// fill sends what window and rate allow and returns until when to read.
func (s *sweep) fill(now time.Time) time.Time {
	allowed := int(now.Sub(s.begun).Seconds()*float64(s.rate)) + 1
	for len(s.open) < s.window && s.sent < allowed {
		var p *probe
		switch {
		case len(s.again) > 0:
			p, s.again = s.again[0], s.again[1:]
		case len(s.todo) > 0:
			p, s.todo = &probe{zone: s.todo[0]}, s.todo[1:]
		default:
			return s.until(now)
		}
		s.send(p, now)
	}
	if len(s.open) < s.window && len(s.again)+len(s.todo) > 0 {
		return now.Add(time.Millisecond) // the rate holds it back
	}
	return s.until(now)
}

func (s *sweep) until(now time.Time) time.Time {
	for len(s.queue) > 0 && s.queue[0].dead {
		s.queue = s.queue[1:]
	}
	if len(s.queue) == 0 {
		return now.Add(time.Millisecond)
	}
	return s.queue[0].until
}

// optRecord is an OPT record (RFC 6891) that allows answers of 1232 octets: the SOA
// record of a zone with a long name, which PowerDNS writes out three times, is longer
// than the 512 octets that are allowed without it.
const optRecord = "\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"

func (s *sweep) send(p *probe, now time.Time) {
	id := dns.Id()
	for s.open[id] != nil {
		id = dns.Id()
	}
	p.id, p.until, p.tries = id, now.Add(s.wait), p.tries+1
	s.open[id] = p
	s.queue = append(s.queue, p)
	s.sent++
	m := make([]byte, 12, 12+256+4+len(optRecord))
	binary.BigEndian.PutUint16(m, id)
	m[5], m[11] = 1, 1 // one question, one additional record
	m = append(m, p.zone.Wire()...)
	m = append(m, 0, byte(dns.TypeSOA), 0, dns.ClassINET)
	m = append(m, optRecord...)
	_, _ = s.conn.Write(m) // an error is as good as a lost question
}

// expire asks again what was not answered in time, or gives up on it.
func (s *sweep) expire(now time.Time) {
	for len(s.queue) > 0 && (s.queue[0].dead || !s.queue[0].until.After(now)) {
		p := s.queue[0]
		s.queue = s.queue[1:]
		if p.dead {
			continue
		}
		delete(s.open, p.id)
		if p.tries < s.tries {
			s.again = append(s.again, &probe{zone: p.zone, tries: p.tries})
			continue
		}
		s.silent++
		s.fail(p.zone)
	}
	if s.silent < giveUp {
		return
	}
	for _, p := range s.open {
		s.fail(p.zone)
	}
	for _, p := range s.again {
		s.fail(p.zone)
	}
	for _, z := range s.todo {
		s.fail(z)
	}
	s.open, s.again, s.todo, s.queue = nil, nil, nil, nil
}

func (s *sweep) fail(zone name.Name) {
	s.each(zone, SOA{RCode: -1}, s.peer.failure("SOA of "+zone.String(), fmt.Errorf("%w: nothing came in time", ErrUnreachable)))
}

// take takes an answer.
func (s *sweep) take(raw []byte) {
	if len(raw) < 12 {
		return
	}
	p := s.open[binary.BigEndian.Uint16(raw)]
	if p == nil {
		return // late, or another's
	}
	r := new(dns.Msg)
	if err := r.Unpack(raw); err != nil || !r.Response || len(r.Question) != 1 ||
		r.Question[0].Qtype != dns.TypeSOA || !sameName(r.Question[0].Name, p.zone.String()) {
		return // not an answer to this question: the right one may yet come
	}
	delete(s.open, p.id)
	p.dead, s.silent = true, 0
	soa := SOA{RCode: r.Rcode, Authoritative: r.Authoritative}
	err := replyError(r, nil)
	if err == nil {
		soa, err = soaOf(r, p.zone)
	}
	if err != nil {
		err = s.peer.failure("SOA of "+p.zone.String(), err)
	}
	s.each(p.zone, soa, err)
}
