package watch_test

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"kaname.dev/kaname/rib/mysql/topology"
	"kaname.dev/kaname/rib/mysql/watch"
)

// other is a server of another member that answers or is silent.
type other struct{ silent, closed atomic.Bool }

func (o *other) Close() error { o.closed.Store(true); return nil }

func (o *other) Ping(ctx context.Context) error {
	if !o.silent.Load() {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

func TestSights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &other{}
		s := watch.NewSights(func(topology.Member) (watch.Other, error) { return o, nil }, slog.New(slog.DiscardHandler))
		s.Set([]topology.Member{{Name: "db2"}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); s.Run(ctx) }()
		<-time.After(10 * time.Second)
		if got := s.See()[0]; !got.Answers || got.For < 9*time.Second || got.Agent {
			t.Errorf("one that answers: %+v", got)
		}
		s.Heard("db2")
		if got := s.See()[0]; !got.Agent || got.Silent != 0 {
			t.Errorf("its agent was just heard: %+v", got)
		}
		o.silent.Store(true)
		<-time.After(3 * time.Second)
		if got := s.See()[0]; got.Answers || got.For < 2400*time.Millisecond || got.For > 3*time.Second || got.Agent || got.Silent != 3*time.Second || got.Trouble == "" {
			t.Errorf("one that has been silent for 3 s: %+v", got)
		}
		s.Set(nil)
		<-time.After(time.Second)
		if !o.closed.Load() || len(s.See()) != 0 {
			t.Error("a member that is gone is looked at still")
		}
		cancel()
		<-done
	})
}
