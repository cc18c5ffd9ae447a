package site

import (
	"context"
	"fmt"
	"sync"
	"time"

	"kaname.dev/kaname/rib/mysql/gtid"
	"kaname.dev/kaname/rib/mysql/topology"
)

// short keeps whether a replica may lack something that it has acknowledged. A server that
// is started again drops what it had received and not applied (MariaDB always, MySQL with
// relay_log_recovery=ON), and gets it again from the primary. Until it has all that the
// primary had executed at some moment after the start, its word that it has received
// something is not as good as its acknowledgement was.
type short struct {
	mu    sync.Mutex
	start string    // the process that target is for
	goal  *gtid.Set // what the primary had; nil: not asked yet
}

// catchUpEvery is the time between two looks whether a replica has caught up.
const catchUpEvery = 500 * time.Millisecond

// catchUp finds out, until ctx ends, when the server has caught up after each start.
func (s *Site) catchUp(ctx context.Context) {
	tick := time.NewTicker(catchUpEvery)
	defer tick.Stop()
	var tidying sync.WaitGroup // large files take their time
	defer tidying.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if s.untidy() {
			tidying.Go(s.tidy)
		}
		if working, _ := s.desk.busy(); !working { // an agent that was started again finds it hurried
			if err := s.calm(ctx); err != nil {
				s.o.Log.Warn("the server still commits without waiting for its disk", "error", err)
			}
		}
		if err := s.catch(ctx); err != nil {
			s.o.Log.Debug("whether the replica has caught up since its start is not known", "error", err)
		}
		if err := s.mend(ctx); err != nil {
			s.o.Log.Warn("the receiver cannot be started", "error", err)
		}
		if err := s.learn(ctx); err != nil {
			s.o.Log.Debug("where the binary logs are is not known", "error", err)
		}
	}
}

// catch asks the primary once for each start what it has, and then compares.
func (s *Site) catch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	start := s.process.State().Start
	rec, _ := s.Record()
	self := s.local.Self()
	s.mu.Lock()
	complete := s.kept.Complete
	s.mu.Unlock()
	if start == "" || start == complete || rec == nil || !self.Answers {
		return nil
	}
	if rec.Primary == s.o.Member {
		return nil
	}
	s.short.mu.Lock()
	defer s.short.mu.Unlock()
	if s.short.start != start {
		s.short.start, s.short.goal = start, nil
	}
	primary := rec.Member(rec.Primary)
	if primary == nil || self.Replica == nil || self.Replica.Source != primary.Address || !self.Replica.Receiving {
		return nil
	}
	if s.short.goal == nil {
		r, err := s.o.Remote(*primary)
		if err != nil {
			return err
		}
		defer r.Close() //nolint:errcheck // only asked
		executed, _, err := r.Positions(ctx)
		if err != nil {
			return err
		}
		s.short.goal = &executed
	}
	_, received, err := s.o.Server.Positions(ctx)
	if err != nil || !received.Contains(*s.short.goal) {
		return err
	}
	return s.keep(func(k *kept) { k.Complete = start })
}

// shortOf says why the server may lack something that it has acknowledged; empty if not.
func (s *Site) shortOf() string {
	p := s.process.State()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case p.Process != topology.Running || p.Start == "":
		return "it is not known whether the server was started again"
	case s.kept.Complete == p.Start:
		return ""
	}
	return fmt.Sprintf("the server was started again and has not caught up with the primary since (process %d)", p.PID)
}
