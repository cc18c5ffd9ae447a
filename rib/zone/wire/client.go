package wire

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Client asks other servers. The zero Client is ready and waits as RFC 1035 section
// 4.2.1 suggests. It is safe for concurrent use: each request has a socket of its own.
type Client struct {
	Timeout time.Duration // for one answer, or the next message of a transfer; 2 s, and 30 s, when zero
	Tries   int           // by UDP; 3 when zero
}

// Ask asks by UDP, again when nothing comes, and by TCP when the answer is truncated.
// The message is not changed; a peer's key signs it. The reply is verified, belongs to
// the question and has the code NOERROR; otherwise an error that wraps one of this
// package's comes, together with the reply if there is one.
func (c *Client) Ask(ctx context.Context, p Peer, m *dns.Msg) (*dns.Msg, error) {
	r, err := c.ask(ctx, p, m)
	if err != nil {
		return r, p.failure(questionOf(m), err)
	}
	return r, nil
}

func questionOf(m *dns.Msg) string {
	if len(m.Question) != 1 {
		return "a question"
	}
	what := dns.TypeToString[m.Question[0].Qtype]
	if m.Opcode == dns.OpcodeNotify {
		what = "NOTIFY"
	}
	return what + " of " + m.Question[0].Name
}

func (c *Client) ask(ctx context.Context, p Peer, m *dns.Msg) (*dns.Msg, error) {
	var last error
	for range c.tries() {
		r, err := c.once(ctx, "udp", p, m)
		switch {
		case err == nil && r.Truncated:
			return c.once(ctx, "tcp", p, m)
		case err == nil || !errors.Is(err, ErrUnreachable) || ctx.Err() != nil:
			return r, err
		}
		last = err
	}
	return nil, last
}

// once asks once.
func (c *Client) once(ctx context.Context, network string, p Peer, m *dns.Msg) (*dns.Msg, error) {
	x, err := c.open(ctx, network, p, m)
	if err != nil {
		return nil, err
	}
	defer x.close()
	for {
		r, err := x.read(ctx)
		if x.datagram && errors.Is(err, errStray) {
			continue // another's, or a late one of before; the deadline stands
		}
		return r, err
	}
}

// errStray is of a message that does not answer the question.
var errStray = errors.New("the answer is to another question")

// exchange is a request under way.
type exchange struct {
	conn     net.Conn
	datagram bool
	request  *dns.Msg
	key      *Key
	signer   *Signer // nil when unsigned
	wait     time.Duration
	started  bool // something came
	stop     func() bool
}

// open connects and sends the request.
func (c *Client) open(ctx context.Context, network string, p Peer, m *dns.Msg) (*exchange, error) {
	d := net.Dialer{Timeout: c.timeout(2 * time.Second)}
	if p.Source.IsValid() {
		if d.LocalAddr = net.Addr(&net.TCPAddr{IP: p.Source.AsSlice()}); network == "udp" {
			d.LocalAddr = &net.UDPAddr{IP: p.Source.AsSlice()}
		}
	}
	conn, err := d.DialContext(ctx, network, p.Address.String())
	if err != nil {
		return nil, netError(ctx, err, ErrUnreachable)
	}
	x := &exchange{conn: conn, datagram: network == "udp", request: m.Copy(), key: p.Key, wait: c.timeout(2 * time.Second)}
	x.request.Id = dns.Id()
	x.stop = context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	if err := x.send(ctx, p.Key); err != nil {
		x.close()
		return nil, err
	}
	return x, nil
}

func (x *exchange) send(ctx context.Context, key *Key) error {
	raw, err := x.pack(key)
	if err != nil {
		return err
	}
	if !x.datagram {
		raw = append(binary.BigEndian.AppendUint16(nil, uint16(len(raw))), raw...) //nolint:gosec // a message is shorter
	}
	if x.datagram {
		x.deadline(ctx)
	}
	if _, err := x.conn.Write(raw); err != nil {
		return netError(ctx, err, ErrUnreachable)
	}
	return nil
}

func (x *exchange) pack(key *Key) (raw []byte, err error) {
	if key == nil {
		return x.request.Pack()
	}
	if x.signer, err = NewSigner(*key); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return x.signer.Sign(x.request)
}

// deadline gives the peer time for the next message; the context's end comes before it.
func (x *exchange) deadline(ctx context.Context) {
	t := time.Now().Add(x.wait)
	if d, ok := ctx.Deadline(); ok && d.Before(t) {
		t = d
	}
	_ = x.conn.SetDeadline(t)
	if ctx.Err() != nil {
		_ = x.conn.SetDeadline(time.Unix(1, 0))
	}
}

func (x *exchange) close() {
	x.stop()
	_ = x.conn.Close()
}

// read returns the next reply, verified.
func (x *exchange) read(ctx context.Context) (*dns.Msg, error) {
	class := ErrUnreachable
	if x.started {
		class = ErrCut
	}
	raw, err := x.next(ctx)
	if err != nil {
		return nil, netError(ctx, err, class)
	}
	r := new(dns.Msg)
	if err := r.Unpack(raw); err != nil {
		return nil, x.stray(fmt.Errorf("%w: %w", ErrAnswer, err))
	}
	if r.Id != x.request.Id || !r.Response || r.Opcode != x.request.Opcode || !x.answers(r) {
		return nil, x.stray(fmt.Errorf("%w: %w", ErrAnswer, errStray))
	}
	if err := replyError(r, x.key); err != nil {
		return r, err // an error may come unsigned: believing it does no harm
	}
	if x.signer != nil {
		if err := x.signer.Verify(raw, r); err != nil {
			return r, err
		}
		x.signer.Follow()
	}
	x.started = true
	return r, nil
}

// stray marks an error of a datagram that anybody may have sent.
func (x *exchange) stray(err error) error {
	if x.datagram {
		return errStray
	}
	return err
}

// answers reports whether the reply repeats the question; a transfer's further messages
// need not (RFC 5936 section 2.2.1), nor does an error.
func (x *exchange) answers(r *dns.Msg) bool {
	if len(r.Question) == 0 {
		return x.started || r.Rcode != dns.RcodeSuccess || !x.datagram
	}
	q, want := r.Question[0], x.request.Question[0]
	return q.Qtype == want.Qtype && q.Qclass == want.Qclass && sameName(q.Name, want.Name)
}

// sameName compares names whatever their case and escapes.
func sameName(a, b string) bool {
	if strings.EqualFold(a, b) {
		return true
	}
	x, errX := parse(a)
	y, errY := parse(b)
	return errX == nil && errY == nil && x == y
}

func (x *exchange) next(ctx context.Context) ([]byte, error) {
	if x.datagram {
		b := make([]byte, dns.MaxMsgSize)
		n, err := x.conn.Read(b) // the deadline stands since the question was sent
		return b[:n], err
	}
	x.deadline(ctx)
	var size [2]byte
	if _, err := io.ReadFull(x.conn, size[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(x.conn, b)
	return b, err
}

func (c *Client) timeout(def time.Duration) time.Duration {
	if c.Timeout > 0 {
		return c.Timeout
	}
	return def
}

func (c *Client) tries() int {
	if c.Tries > 0 {
		return c.Tries
	}
	return 3
}
