// Package load is the client of a failover's test: writers that keep each acknowledgement,
// a watcher of who is open for writes, and a checker that finds what was lost, what two
// servers have acknowledged, and for how long nobody could write.
package load

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-sql-driver/mysql"

	lab "kaname.dev/kaname/lab/mysql"
)

// Options of a Client.
type Options struct {
	// Dial connects to the endpoint, as an application would: netns.Host.Dial makes it do
	// so from that host.
	Dial func(ctx context.Context) (net.Conn, error)

	Writers int           // 0: 8
	First   int64         // the first id; for a second client on the same servers
	Every   time.Duration // between the beginnings of a writer's writes; 0: 10 ms; negative: without a pause
	Retry   time.Duration // pause after an error; 0: 20 ms
	Connect time.Duration // a connection may take until its first answer; 0: 1 s
	Timeout time.Duration // a write may take; 0: 1 s
}

// Client writes rows to app.acks, one a transaction, until it is stopped.
type Client struct {
	o    Options
	db   *sql.DB
	wg   sync.WaitGroup
	stop context.CancelFunc
	acks atomic.Int64

	mu      sync.Mutex
	history History
}

// Start starts the writers. They end with Stop, or with ctx.
func Start(ctx context.Context, o Options) (*Client, error) {
	o.Writers = cmp.Or(o.Writers, 8)
	o.Every = cmp.Or(o.Every, 10*time.Millisecond)
	o.Retry = cmp.Or(o.Retry, 20*time.Millisecond)
	o.Connect = cmp.Or(o.Connect, time.Second)
	o.Timeout = cmp.Or(o.Timeout, time.Second)
	config := mysql.NewConfig()
	config.User, config.Passwd, config.DBName = lab.UserApp, lab.PasswordApp, "app"
	config.Net, config.Addr, config.Logger = "tcp", "endpoint:3306", &mysql.NopLogger{}
	config.InterpolateParams = true
	config.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) { return o.Dial(ctx) }
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return nil, fmt.Errorf("settings of the client: %w", err)
	}
	ctx, stop := context.WithCancel(ctx)
	c := &Client{o: o, db: sql.OpenDB(connector), stop: stop, history: History{Began: time.Now()}}
	c.db.SetMaxIdleConns(-1) // a connection that is given back is closed: each writer has its own
	for w := range o.Writers {
		c.wg.Go(func() { c.write(ctx, w) })
	}
	return c, nil
}

// Acks returns how many writes have been acknowledged so far.
func (c *Client) Acks() int64 { return c.acks.Load() }

// History returns what has happened so far.
func (c *Client) History() History {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.history.clone(time.Now())
}

// Elsewhere returns the first acknowledgement by another server than old of a write that
// began after an instant, if there is one yet.
func (c *Client) Elsewhere(after time.Time, old int) (Ack, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var first Ack
	for _, a := range slices.Backward(c.history.Acks) {
		if a.Ended.Before(after) {
			break
		}
		if a.Server != old && a.Started.After(after) {
			first = a
		}
	}
	return first, first.Server != 0
}

// Stop ends the writers, waits for them, and returns what has happened. A write that was
// under way counts as one of unknown outcome.
func (c *Client) Stop() History {
	c.stop()
	c.wg.Wait()
	_ = c.db.Close()
	return c.History()
}

// write is one writer. It goes on to the next id only when the last one is known to be there.
func (c *Client) write(ctx context.Context, writer int) {
	var s session
	defer func() { s.close() }()
	next := time.Now()
	for id := c.o.First + int64(writer); ; id += int64(c.o.Writers) {
		a := Ack{ID: id, Writer: writer, First: time.Now()}
		for !c.attempt(ctx, &s, &a) {
			if !pause(ctx, c.o.Retry) {
				return
			}
		}
		c.acks.Add(1)
		if next = next.Add(c.o.Every); next.Before(time.Now()) {
			next = time.Now() // what was missed is not made up for
		}
		if !pause(ctx, time.Until(next)) {
			return
		}
	}
}

// session is a writer's connection and the server that it leads to.
type session struct {
	conn   *sql.Conn
	server int
}

func (s *session) close() {
	if s.conn != nil {
		// Not back to the pool, whatever state it is in.
		_ = s.conn.Raw(func(any) error { return driver.ErrBadConn })
		_ = s.conn.Close()
		s.conn = nil
	}
}

// attempt tries to write a row once, and reports whether it is there now.
func (c *Client) attempt(ctx context.Context, s *session, a *Ack) bool {
	if s.conn == nil {
		if err := c.connect(ctx, s); err != nil {
			c.failed(ctx, Failure{ID: a.ID, Class: "connect: " + classify(err), Text: err.Error()})
			return false
		}
	}
	a.Attempts++
	a.Started = time.Now()
	within, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	// LAST_INSERT_ID(n) brings n back in the answer: who acknowledged, though a router has
	// moved the session meanwhile.
	done, err := s.conn.ExecContext(within, "INSERT INTO acks (id, writer) VALUES (?, ? + 0 * LAST_INSERT_ID(@@server_id))", a.ID, a.Writer)
	a.Ended = time.Now()
	if err == nil {
		n, _ := done.LastInsertId() // the driver never fails here
		s.server = int(n)
	}
	a.Server = s.server
	var refusal *mysql.MySQLError
	switch {
	case err == nil:
		c.mu.Lock()
		c.history.Acks = append(c.history.Acks, *a)
		c.mu.Unlock()
		return true
	case errors.As(err, &refusal) && refusal.Number == 1062 && a.Unknown:
		c.mu.Lock()
		c.history.Found = append(c.history.Found, *a)
		c.mu.Unlock()
		return true
	}
	f := Failure{ID: a.ID, Server: s.server, Class: classify(err), Text: err.Error()}
	f.Unknown = refusal == nil || killed[refusal.Number]
	f.Bad = refusal != nil && !killed[refusal.Number] && !closed[refusal.Number]
	a.Unknown = a.Unknown || f.Unknown
	s.close()
	c.failed(ctx, f)
	return false
}

// connect makes the writer's connection and asks who is at its other end.
func (c *Client) connect(ctx context.Context, s *session) error {
	ctx, cancel := context.WithTimeout(ctx, c.o.Connect)
	defer cancel()
	conn, err := c.db.Conn(ctx)
	if err != nil {
		return err
	}
	s.conn = conn
	if err := conn.QueryRowContext(ctx, "SELECT @@server_id").Scan(&s.server); err != nil {
		s.close()
		return err
	}
	return nil
}

func (c *Client) failed(ctx context.Context, f Failure) {
	if ctx.Err() != nil {
		return // our own end is no failure
	}
	f.At = time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.history.Failures = append(c.history.Failures, f)
}

// pause waits, and reports false when ctx has ended.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
