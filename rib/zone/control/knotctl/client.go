package knotctl

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
)

// Errors of knotd and of the way to it; other refusals are Refused alone.
var (
	ErrUnreachable = errors.New("knotd's control socket does not answer")
	ErrDenied      = errors.New("knotd's control socket may not be used")
	ErrBusy        = errors.New("another configuration transaction is open")
	ErrNoTxn       = errors.New("no configuration transaction is open")
	ErrExists      = errors.New("is there already")
	ErrMissing     = errors.New("is not there")
	ErrNoItem      = errors.New("is there without this item, or names something that is not there")
	ErrNoZone      = errors.New("the zone is not served")
	ErrFull        = errors.New("knotd has no space left")
)

// refusals are texts of libknot's error.c by what they mean.
var refusals = map[string]error{
	"too many transactions":             ErrBusy,
	"no active transaction":             ErrNoTxn,
	"already exists":                    ErrExists,
	"duplicate identifier":              ErrExists,
	"not exists":                        ErrNoItem,
	"invalid identifier":                ErrMissing,
	"no such zone found":                ErrNoZone,
	"no space left on device":           ErrFull,
	"not enough space provided":         ErrFull,
	"operation not permitted":           ErrDenied,
	"Environment mapsize limit reached": ErrFull,
	"MDB_MAP_FULL":                      ErrFull,
}

// Refused is what knotd answered instead of doing it.
type Refused struct {
	Command string
	Text    string // knotd's
}

func (e *Refused) Error() string { return "knotd refuses " + e.Command + ": " + e.Text }

// Unwrap returns what the text means, one of this package's errors.
func (e *Refused) Unwrap() error { return refusals[e.Text] }

// Conn is one conversation. knotd 3.2 serves one at a time, so it is to be short:
// while it is open nobody else can command the server, nor be in the middle of
// anything. It is not safe for concurrent use.
type Conn struct {
	conn net.Conn
	r    *bufio.Reader
	w    []byte
	stop func() bool
	ctx  func() error
	wait time.Duration
}

// Wait is how long one reply may take: a commit over 100,000 zones takes a minute.
const Wait = 2 * time.Minute

// Dial begins a conversation on the socket at a path. Every exchange of it ends when
// ctx does.
func Dial(ctx context.Context, path string) (*Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	if errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf("%w: %w; let this process into the group that owns the socket", ErrDenied, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w; look whether knotd runs and its control.listen is this socket", ErrUnreachable, err)
	}
	k := &Conn{conn: c, r: bufio.NewReaderSize(c, 64<<10), ctx: ctx.Err, wait: Wait}
	k.stop = context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	return k, nil
}

// Close ends the conversation.
func (c *Conn) Close() error {
	if c.stop() {
		_ = c.conn.SetDeadline(time.Now().Add(time.Second))
		_, _ = c.conn.Write([]byte{unitEnd}) // as a courtesy: knotd would see the end anyway
	}
	return c.conn.Close()
}

// Do sends one request and returns the units of its reply. A refusal of knotd's is a
// *Refused, and the conversation goes on; after any other error it is over.
func (c *Conn) Do(request Data) ([]Data, error) {
	var all []Data
	err := c.Each(request, func(d Data) { all = append(all, d) })
	return all, err
}

// Each is Do for long replies: it gives units to take as they come. Units with an error
// are given too: beside a zone they concern that zone alone.
func (c *Conn) Each(request Data, take func(Data)) error {
	errs := c.Pipe([]Data{request}, func(_ int, d Data) { take(d) })
	return errs[0]
}

// ahead is how many requests Pipe sends before it reads: their replies, a few octets
// each, and they themselves fit the socket's buffers.
const ahead = 64

// Pipe sends requests without waiting for each reply, and returns their errors in their
// order. take may be nil.
func (c *Conn) Pipe(requests []Data, take func(int, Data)) []error {
	errs := make([]error, len(requests))
	for begin := 0; begin < len(requests); begin += ahead {
		end := min(begin+ahead, len(requests))
		if err := c.some(requests[begin:end], errs[begin:end], func(i int, d Data) {
			if take != nil {
				take(begin+i, d)
			}
		}); err != nil {
			for i := begin; i < len(errs); i++ {
				if i >= end || errs[i] == nil {
					errs[i] = err
				}
			}
			break
		}
	}
	return errs
}

// some exchanges a few requests. Its error ends the conversation, and is put into errs
// where no reply came.
func (c *Conn) some(requests []Data, errs []error, take func(int, Data)) (err error) {
	c.w = c.w[:0]
	for i := range requests {
		if c.w, err = requests[i].encode(c.w); err != nil {
			return err
		}
	}
	if err := c.deadline(); err != nil {
		return err
	}
	if _, err := c.conn.Write(c.w); err != nil {
		return c.broken(err)
	}
	for i := range requests {
		if err := c.deadline(); err != nil {
			return err
		}
		var refused error
		err := decode(c.r, func(d Data) {
			if d.Error != "" && d.Zone == "" && refused == nil {
				refused = &Refused{requests[i].Command, d.Error}
			}
			take(i, d)
		})
		if err != nil {
			for j := i; j < len(errs); j++ {
				errs[j] = c.broken(err)
			}
			return c.broken(err)
		}
		errs[i] = refused
	}
	return nil
}

// deadline gives knotd time; the context's end comes before it.
func (c *Conn) deadline() error {
	_ = c.conn.SetDeadline(time.Now().Add(c.wait))
	if err := c.ctx(); err != nil {
		_ = c.conn.SetDeadline(time.Unix(1, 0))
		return c.broken(err)
	}
	return nil
}

// broken says why the conversation is over.
func (c *Conn) broken(err error) error {
	if e := c.ctx(); e != nil {
		err = e
	}
	return fmt.Errorf("%w: %w; look into knotd's log", ErrUnreachable, err)
}

// PID returns the process at the other end of the socket, 0 when it is not known
// (unix(7), SO_PEERCRED).
func (c *Conn) PID() int {
	u, ok := c.conn.(*net.UnixConn)
	if !ok {
		return 0
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return 0
	}
	pid := 0
	_ = raw.Control(func(fd uintptr) {
		if cred, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED); err == nil { //nolint:gosec // a descriptor fits
			pid = int(cred.Pid)
		}
	})
	return pid
}
