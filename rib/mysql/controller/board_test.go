package controller

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"kaname.dev/kaname/rib/mysql/endpoint"
	"kaname.dev/kaname/rib/mysql/exchange"
	"kaname.dev/kaname/rib/mysql/topology"
)

// follow plays a router that follows until ctx ends, each step taking some time.
func follow(ctx context.Context, b *board, host string, takes time.Duration, led chan<- exchange.Led) {
	var have uint64
	for ctx.Err() == nil {
		l, err := b.route(ctx, host, exchange.Route{Topology: "shop", Router: "r", Have: have})
		if err != nil || l.Turn == have {
			continue
		}
		pause := time.NewTimer(takes)
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		have = l.Turn
		led <- l
	}
}

func target(epoch uint64, primary string) endpoint.Target {
	t := endpoint.Target{Topology: "shop", Epoch: epoch}
	if primary != "" {
		t.Primary = &topology.Member{Name: primary, Address: "192.0.2.1:3306"}
	}
	return t
}

func TestRoutersFollowTheBoard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		b := newBoard(3)
		quick, slow := make(chan exchange.Led, 10), make(chan exchange.Led, 10)
		done := make(chan struct{}, 2)
		go func() { follow(ctx, b, "web1", 0, quick); done <- struct{}{} }()
		go func() { follow(ctx, b, "web2", time.Second, slow); done <- struct{}{} }()
		d := onBoard{board: b, topology: "shop"}
		synctest.Wait()

		began := time.Now()
		if err := d.Publish(ctx, target(1, "db1")); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != confirm {
			t.Errorf("a publication with a slow router took %v, not %v", took, confirm)
		}
		if l := <-quick; l.Primary.Name != "db1" {
			t.Errorf("web1 was led to %v", l.Primary)
		}
		<-slow
		synctest.Wait()
		for _, f := range b.followers("shop") {
			if !f.Follows || f.Lost {
				t.Errorf("follower %+v", f)
			}
		}
		if err := d.Publish(ctx, target(0, "db9")); !errors.Is(err, endpoint.ErrOld) {
			t.Errorf("an older epoch: %v", err)
		}
		before := b.turn
		if err := d.Publish(ctx, target(1, "db1")); err != nil || b.turn != before {
			t.Errorf("the same again: %v, turn %d after %d", err, b.turn, before)
		}
		if err := d.Withdraw(ctx, target(2, "db1")); err != nil {
			t.Fatal(err)
		}
		if l := <-quick; l.Primary != nil || l.Epoch != 2 {
			t.Errorf("withdrawn, web1 was led to %+v", l)
		}
		<-slow

		cancel()
		<-done
		<-done
	})
}

// A router that asks with the turn of an earlier controller is told at once.
func TestAnotherControllersTurnIsNoConfirmation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard(4)
		turn, err := b.post(target(7, "db2"))
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		l, err := b.route(t.Context(), "web1", exchange.Route{Topology: "shop", Router: "r", Have: newBoard(3).turn + 5})
		if err != nil || l.Turn != turn || time.Since(began) != 0 {
			t.Errorf("told %+v (%v) after %v", l, err, time.Since(began))
		}
		began = time.Now()
		l, err = b.route(t.Context(), "web1", exchange.Route{Topology: "shop", Router: "r", Have: turn})
		if err != nil || l.Turn != turn || time.Since(began) != exchange.Wait {
			t.Errorf("with nothing new: %+v (%v) after %v", l, err, time.Since(began))
		}
	})
}
