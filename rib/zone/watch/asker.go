package watch

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"

	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/wire"
)

// asker asks one server for SOA records.
type asker interface {
	// ask sends a question. done is called once, from another goroutine.
	ask(zone name.Name, done func(Answer))
	// run receives answers until ctx ends.
	run(ctx context.Context)
}

// patience is how long an answer may take.
const patience = time.Second

// datagrams asks over one UDP socket, thousands of zones a second: an answer is found by
// its ID and question. What comes truncated (a server that limits rates does that) is
// asked again over TCP, a few at a time.
type datagrams struct {
	peer wire.Peer
	tcp  chan struct{} // slots

	mu     sync.Mutex // guards the fields below
	conn   *net.UDPConn
	flight map[uint16]*sent
	order  []*sent // by time; those answered have no done
	again  sync.WaitGroup
	ctx    func() context.Context
}

// sent is a question under way.
type sent struct {
	zone   name.Name
	id     uint16
	at     time.Time
	signer *wire.Signer
	done   func(Answer)
}

func newDatagrams(p wire.Peer) asker {
	return &datagrams{peer: p, tcp: make(chan struct{}, 8), flight: map[uint16]*sent{}}
}

func (d *datagrams) ask(zone name.Name, done func(Answer)) {
	q := &sent{zone: zone, at: time.Now(), done: done}
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		q.id = uint16(rand.Uint32()) //nolint:gosec // with the port, as hard to guess as a resolver's
		if _, taken := d.flight[q.id]; !taken {
			break
		}
	}
	d.flight[q.id] = q
	d.order = append(d.order, q)
	if d.conn == nil {
		return // it is answered with silence, in time
	}
	raw, err := q.pack(d.peer.Key)
	if err == nil {
		_, err = d.conn.Write(raw)
	}
	if err != nil {
		q.at = time.Time{} // the next look ends it
	}
}

func (q *sent) pack(key *wire.Key) (raw []byte, err error) {
	m := question(q.id, q.zone)
	if key == nil {
		return m.Pack()
	}
	if q.signer, err = wire.NewSigner(*key); err != nil {
		return nil, err
	}
	return q.signer.Sign(m)
}

func (d *datagrams) run(ctx context.Context) {
	d.mu.Lock()
	d.ctx = func() context.Context { return ctx }
	d.mu.Unlock()
	defer d.again.Wait()
	for ctx.Err() == nil {
		conn, err := d.open()
		if err == nil {
			stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
			d.receive(ctx, conn)
			stop()
			d.close()
		}
		d.expire(ctx.Err() != nil)
		if err != nil {
			select {
			case <-ctx.Done():
			case <-time.After(patience / 2):
			}
		}
	}
	d.expire(true)
}

func (d *datagrams) open() (*net.UDPConn, error) {
	var local *net.UDPAddr
	if d.peer.Source.IsValid() {
		local = &net.UDPAddr{IP: d.peer.Source.AsSlice()}
	}
	conn, err := net.DialUDP("udp", local, net.UDPAddrFromAddrPort(d.peer.Address))
	if err != nil {
		return nil, err
	}
	_ = conn.SetReadBuffer(1 << 20) // bursts of answers
	d.mu.Lock()
	defer d.mu.Unlock()
	d.conn = conn
	return conn, nil
}

func (d *datagrams) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	_ = d.conn.Close()
	d.conn = nil
}

// receive reads answers until ctx ends or the socket breaks.
func (d *datagrams) receive(ctx context.Context, conn *net.UDPConn) {
	buf := make([]byte, 4096)
	for ctx.Err() == nil {
		_ = conn.SetReadDeadline(time.Now().Add(patience / 4))
		if ctx.Err() != nil {
			return // the deadline may have come after that of the end
		}
		n, err := conn.Read(buf)
		switch {
		case err == nil:
			d.take(buf[:n])
		case errors.Is(err, os.ErrDeadlineExceeded):
			d.expire(false)
		case errors.Is(err, syscall.ECONNREFUSED):
			d.expire(true) // nothing listens there: all that is under way is lost
		default:
			return
		}
		d.late()
	}
}

// take finds the question of an answer.
func (d *datagrams) take(raw []byte) {
	m := new(dns.Msg)
	if err := m.Unpack(raw); err != nil || !m.Response || len(m.Question) != 1 || m.Question[0].Qtype != dns.TypeSOA {
		return
	}
	d.mu.Lock()
	q := d.flight[m.Id]
	d.mu.Unlock()
	if q == nil {
		return
	}
	if n, err := name.Parse(dns.Fqdn(m.Question[0].Name)); err != nil || n != q.zone {
		return
	}
	a := read(m, q.zone)
	if a.Kind == Authoritative && q.signer != nil && q.signer.Verify(raw, m) != nil {
		a = Answer{Kind: NotAuth}
	}
	if a.Kind == truncated {
		d.overTCP(q)
		return
	}
	d.finish(q, a)
}

// overTCP asks again, if not too many do.
func (d *datagrams) overTCP(q *sent) {
	select {
	case d.tcp <- struct{}{}:
	default:
		return // the question ends in silence, and is asked again
	}
	d.again.Go(func() {
		defer func() { <-d.tcp }()
		ctx, cancel := context.WithTimeout(d.ctx(), patience)
		defer cancel()
		c := wire.Client{Timeout: patience, Tries: 1}
		r, err := c.Ask(ctx, d.peer, question(q.id, q.zone))
		switch {
		case r != nil && !r.Truncated:
			d.finish(q, read(r, q.zone))
		case err != nil:
			d.finish(q, Answer{Kind: NoAnswer})
		}
	})
}

// finish hands an answer over, once.
func (d *datagrams) finish(q *sent, a Answer) {
	d.mu.Lock()
	done := q.done
	q.done = nil
	if d.flight[q.id] == q {
		delete(d.flight, q.id)
	}
	d.mu.Unlock()
	if done != nil {
		done(a)
	}
}

// late ends the questions that wait too long, when the oldest does.
func (d *datagrams) late() {
	d.mu.Lock()
	due := len(d.order) > 0 && (d.order[0].done == nil || time.Since(d.order[0].at) > patience)
	d.mu.Unlock()
	if due {
		d.expire(false)
	}
}

// expire ends the questions that wait too long, or all.
func (d *datagrams) expire(all bool) {
	var over []*sent
	d.mu.Lock()
	keep := 0
	for keep < len(d.order) {
		q := d.order[keep]
		if q.done != nil && !all && time.Since(q.at) <= patience {
			break
		}
		if q.done != nil {
			over = append(over, q)
		}
		d.order[keep] = nil
		keep++
	}
	d.order = d.order[keep:]
	d.mu.Unlock()
	for _, q := range over {
		d.finish(q, Answer{Kind: NoAnswer})
	}
}
