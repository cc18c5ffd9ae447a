package server

import (
	"context"
	"fmt"
	"time"

	"kaname.dev/kaname/rib/mysql/gtid"
	"kaname.dev/kaname/rib/mysql/topology"
)

// poll is the time between two looks at something that is waited for.
const poll = 10 * time.Millisecond

// Freeze stops receiving and goes on applying. It returns what was received until then,
// which no longer grows: the source can get no acknowledgement of this server any more.
//
// The applier is started while the receiver still runs, for MariaDB deletes what was
// received when one of them is started while both are stopped. When both are, nothing is
// started: Trouble says so, and the relay log is left as it is.
func (s *Server) Freeze(ctx context.Context) (topology.Frozen, error) {
	var out topology.Frozen
	err := s.with(ctx, "stop receiving", func(x *session) error {
		c, err := x.main(ctx)
		if err != nil {
			return err
		}
		var lag time.Duration
		if c != nil {
			lag = max(c.lag, 0)
			if err := s.startApplier(ctx, x, c); err != nil {
				out.Trouble = err.Error()
			}
			if err := s.stopReceiver(ctx, x, c); err != nil {
				return err
			}
		}
		out.Behind = lag
		return s.frozen(ctx, x, &out)
	})
	return out, err
}

// frozen reads the state of a server that receives no more.
func (s *Server) frozen(ctx context.Context, x *session, out *topology.Frozen) error {
	executed, received, err := positions(ctx, x)
	if err != nil {
		return err
	}
	c, err := x.main(ctx)
	if err != nil {
		return err
	}
	if out.Version, err = x.value(ctx, "SELECT VERSION()"); err != nil {
		return err
	}
	out.Executed, out.Received = executed.String(), received.String()
	out.Applies = executed.Contains(received) || c != nil && c.applying
	switch {
	case out.Applies:
		out.Trouble = ""
	case c != nil && c.applyErr != "":
		out.Trouble = c.applyErr
	case out.Trouble == "":
		out.Trouble = "its applier is stopped"
	}
	return nil
}

// main reads the state of the channel that counts; nil when there is none. A receiver that is
// being stopped counts as stopped: nothing that is started before it has ended finds it
// running.
func (x *session) main(ctx context.Context) (*channel, error) {
	all, err := x.d.channels(ctx, x)
	c := chief(all)
	if err != nil || c == nil || c.receiver == "No" || !x.d.slowStop {
		return c, err
	}
	rows, err := x.rows(ctx, "SHOW PROCESSLIST")
	for _, r := range rows {
		if r["info"] == x.d.replication("STOP", c.name, "IO_THREAD") {
			c.receiver, c.stopping = "No", true
		}
	}
	return c, err
}

// StopReceiver stops receiving from the source. See Freeze for what must be so before.
func (s *Server) StopReceiver(ctx context.Context) error {
	return s.with(ctx, "stop the receiver", func(x *session) error {
		c, err := x.main(ctx)
		if err != nil || c == nil {
			return err
		}
		return s.stopReceiver(ctx, x, c)
	})
}

// stopReceiver stops it within a fraction of a second, also when the source is silent.
func (s *Server) stopReceiver(ctx context.Context, x *session, c *channel) error {
	if c.receiver == "No" {
		return nil
	}
	stop := x.d.replication("STOP", c.name, "IO_THREAD")
	if !x.d.slowStop {
		return x.do(ctx, stop)
	}
	short, cancel := context.WithTimeout(ctx, stopAtOnce)
	defer cancel()
	err := s.with(short, "stop the receiver", func(y *session) error { return y.do(short, stop) })
	if err == nil || short.Err() == nil || ctx.Err() != nil {
		return err
	}
	return awaitStop(ctx, x, c.name)
}

const (
	stopAtOnce = 150 * time.Millisecond // a receiver takes when its source answers
	stable     = 100 * time.Millisecond // that a receiver which is told to stop has queued nothing
)

// awaitStop waits until a receiver that was told to stop has received its last event. The
// thread itself may live on for a second: a MariaDB that acknowledges dials its source when
// it stops, to end its dump thread there, and a silent one does not answer within
// rpl_semi_sync_slave_kill_conn_timeout, of which 1 s is the least. It looks whether it is
// to stop before each event that it queues, and its status is not to be had while it
// queues one. So what it has received is final when a status after the order to stop, and
// all in the time of stable after it, say the same.
func awaitStop(ctx context.Context, x *session, name string) error {
	tick := time.NewTicker(2 * poll)
	defer tick.Stop()
	var mark string
	var since time.Time
	for {
		c, err := x.main(ctx)
		if err != nil {
			return err
		}
		switch {
		case c == nil || c.name != name || c.receiver == "No" && !c.stopping:
			return nil
		case c.stopping && c.marks == mark && time.Since(since) >= stable:
			return nil
		case !c.stopping || c.marks != mark:
			mark, since = c.marks, time.Now()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// StartReceiver receives again, and applies: what Freeze stopped.
func (s *Server) StartReceiver(ctx context.Context) error {
	return s.with(ctx, "start the receiver", func(x *session) error {
		c, err := x.main(ctx)
		if err != nil || c == nil {
			return err
		}
		if c.receiver != "No" {
			return s.startApplier(ctx, x, c)
		}
		if err := s.keepsRelayLog(ctx, x, c); err != nil {
			return err
		}
		if c.stopping { // started now it would be found running, and end all the same
			if err := x.do(ctx, x.d.replication("STOP", c.name, "IO_THREAD")); err != nil {
				return err
			}
		}
		what := "IO_THREAD"
		if !c.applying {
			what = ""
		}
		return x.do(ctx, x.d.replication("START", c.name, what))
	})
}

// StartApplier applies what was received. It refuses, with ErrUndrained, when starting it
// would delete that.
func (s *Server) StartApplier(ctx context.Context) error {
	return s.with(ctx, "start the applier", func(x *session) error {
		c, err := x.main(ctx)
		if err != nil || c == nil {
			return err
		}
		return s.startApplier(ctx, x, c)
	})
}

func (s *Server) startApplier(ctx context.Context, x *session, c *channel) error {
	if c.applying {
		return nil
	}
	if err := s.keepsRelayLog(ctx, x, c); err != nil {
		return err
	}
	return x.do(ctx, x.d.replication("START", c.name, "SQL_THREAD"))
}

// keepsRelayLog refuses when starting a thread would delete transactions that are only in
// the relay log.
func (s *Server) keepsRelayLog(ctx context.Context, x *session, c *channel) error {
	if !x.d.restartLoses || c.applying || c.receiver != "No" {
		return nil
	}
	executed, received, err := positions(ctx, x)
	if err != nil || executed.Contains(received) {
		return err
	}
	return fmt.Errorf("receiver and applier are both stopped, and starting one would delete the relay log, where alone %s is: %w; keep a copy of the relay log",
		received.Minus(executed), ErrUndrained)
}

// Drain waits until the set is executed: the empty one means all that was received. It
// starts the applier if that loses nothing, and ends with an error as soon as the set
// cannot be reached: the applier has stopped, or nothing is received that is not there yet.
func (s *Server) Drain(ctx context.Context, need gtid.Set) error {
	return s.with(ctx, "apply what was received", func(x *session) error { return s.drain(ctx, x, need) })
}

func (s *Server) drain(ctx context.Context, x *session, need gtid.Set) error {
	executed, received, err := positions(ctx, x)
	if err != nil {
		return err
	}
	if need.Empty() {
		need = received
	}
	if executed.Contains(need) {
		return nil
	}
	c, err := x.main(ctx)
	if err != nil {
		return err
	}
	if c != nil {
		if err := s.startApplier(ctx, x, c); err != nil {
			return err
		}
	}
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for i := 0; ; i++ {
		// The state of the threads is read rarely, and before the position: what it says of
		// an applier that has ended is then said of all that it applied.
		if i%10 == 0 {
			if err := canReach(ctx, x, need); err != nil {
				return err
			}
		}
		if executed, err = x.d.executed(ctx, x); err != nil || executed.Contains(need) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is still to come: %w", need.Minus(executed), ctx.Err())
		case <-tick.C:
		}
	}
}

// canReach refuses when a set will never be executed as things are.
func canReach(ctx context.Context, x *session, need gtid.Set) error {
	c, err := x.main(ctx)
	if err != nil {
		return err
	}
	executed, received, err := positions(ctx, x)
	switch {
	case err != nil || executed.Contains(need):
		return err
	case c == nil:
		return fmt.Errorf("it replicates from nobody and lacks %s", need.Minus(executed))
	case !c.applying && c.applyErr != "":
		return fmt.Errorf("its applier has stopped: %s", c.applyErr)
	case !c.applying:
		return fmt.Errorf("its applier is stopped, and %s is not applied: %w", need.Minus(executed), ErrUndrained)
	case c.receiver == "No" && !received.Contains(need):
		return fmt.Errorf("it receives no more and has never received %s", need.Minus(received))
	}
	return nil
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
