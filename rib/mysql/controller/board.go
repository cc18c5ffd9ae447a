package controller

import (
	"context"
	"slices"
	"sync"
	"time"

	"kaname.dev/kaname/rib/mysql/endpoint"
	"kaname.dev/kaname/rib/mysql/exchange"
)

// confirm is how long a publication waits for routers that it has not heard of yet. One
// that is cut off follows when it is back; nobody waits for it.
const confirm = 250 * time.Millisecond

// lost is how long a router counts after its last question.
const lost = 2 * exchange.Wait

// board tells routers where to lead clients. They ask, and hold the question until there
// is something new; a question that names a turn confirms it.
type board struct {
	mu      sync.Mutex // guards the fields below
	turn    uint64
	signs   map[string]*sign // by topology
	routers map[routerKey]*routerSeen
}

// sign is what the board says of one topology.
type sign struct {
	led  exchange.Led
	news chan struct{} // closed when led, or what routers have confirmed, changes
}

type routerKey struct{ topology, host, router string }

type routerSeen struct {
	have    uint64
	clients int
	asks    int // questions that are open
	seen    time.Time
}

// newBoard makes a board whose turns are above those of earlier controllers.
func newBoard(epoch uint64) *board {
	return &board{turn: epoch << 24, signs: map[string]*sign{}, routers: map[routerKey]*routerSeen{}}
}

// at returns the sign of a topology; with the lock held.
func (b *board) at(topology string) *sign {
	s := b.signs[topology]
	if s == nil {
		s = &sign{news: make(chan struct{})}
		b.signs[topology] = s
	}
	return s
}

func (s *sign) stir() {
	close(s.news)
	s.news = make(chan struct{})
}

// post puts up where clients of a topology are led, and returns the turn.
func (b *board) post(t endpoint.Target) (uint64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.at(t.Topology)
	if t.Epoch < s.led.Epoch {
		return 0, endpoint.ErrOld
	}
	led := exchange.Led{Turn: s.led.Turn, Epoch: t.Epoch, Primary: t.Primary, Replicas: t.Replicas}
	if s.led.Turn != 0 && sameLed(led, s.led) {
		return s.led.Turn, nil
	}
	b.turn++
	led.Turn = b.turn
	s.led = led
	s.stir()
	return b.turn, nil
}

func sameLed(a, b exchange.Led) bool {
	if (a.Primary == nil) != (b.Primary == nil) || a.Primary != nil && *a.Primary != *b.Primary {
		return false
	}
	return a.Epoch == b.Epoch && slices.Equal(a.Replicas, b.Replicas)
}

// forget takes the sign of a topology down.
func (b *board) forget(topology string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.signs[topology]; s != nil {
		b.turn++
		s.led = exchange.Led{Turn: b.turn}
		s.stir()
	}
}

// route answers a router's question.
func (b *board) route(ctx context.Context, host string, q exchange.Route) (exchange.Led, error) {
	b.mu.Lock()
	k := routerKey{q.Topology, host, q.Router}
	r := b.routers[k]
	if r == nil {
		r = &routerSeen{}
		b.routers[k] = r
	}
	r.have, r.clients, r.seen = q.Have, q.Clients, time.Now()
	r.asks++
	b.at(q.Topology).stir() // somebody may wait for its confirmation
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		r.asks--
	}()
	deadline := time.NewTimer(exchange.Wait)
	defer deadline.Stop()
	for {
		b.mu.Lock()
		s := b.at(q.Topology)
		led, news := s.led, s.news
		b.mu.Unlock()
		if led.Turn != 0 && led.Turn != q.Have {
			return led, nil
		}
		select {
		case <-news:
		case <-deadline.C:
			return led, nil
		case <-ctx.Done():
			return led, ctx.Err()
		}
	}
}

// confirmed waits until all routers of a topology that hold a question have followed the
// turn, or some time has passed; it returns the hosts that have not.
func (b *board) confirmed(ctx context.Context, topology string, turn uint64) []string {
	deadline := time.NewTimer(confirm)
	defer deadline.Stop()
	for {
		b.mu.Lock()
		var behind []string
		for k, r := range b.routers {
			if k.topology == topology && r.have != turn && time.Since(r.seen) < lost {
				behind = append(behind, k.host)
			}
		}
		news := b.at(topology).news
		b.mu.Unlock()
		if len(behind) == 0 {
			return nil
		}
		slices.Sort(behind)
		select {
		case <-news:
		case <-deadline.C:
			return behind
		case <-ctx.Done():
			return behind
		}
	}
}

// followers returns the routers of a topology.
func (b *board) followers(topology string) []exchange.RouterView {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []exchange.RouterView
	for k, r := range b.routers {
		if k.topology != topology || time.Since(r.seen) > 2*lost {
			continue
		}
		out = append(out, exchange.RouterView{
			Host: k.host, Router: k.router, Clients: r.clients, Follows: r.have == b.at(topology).led.Turn, Lost: r.asks == 0 && time.Since(r.seen) > 2*time.Second,
		})
	}
	slices.SortFunc(out, func(a, b exchange.RouterView) int {
		return slices.Compare([]string{a.Host, a.Router}, []string{b.Host, b.Router})
	})
	return out
}

// onBoard is the board as an endpoint of one topology: each topology has it.
type onBoard struct {
	board    *board
	topology string
}

func (o onBoard) Publish(ctx context.Context, t endpoint.Target) error {
	turn, err := o.board.post(t)
	if err != nil {
		return err
	}
	o.board.confirmed(ctx, o.topology, turn) // who is cut off follows later
	return nil
}

func (o onBoard) Withdraw(ctx context.Context, t endpoint.Target) error {
	t.Primary = nil
	return o.Publish(ctx, t)
}

func (o onBoard) Current(context.Context) (endpoint.Target, error) {
	o.board.mu.Lock()
	defer o.board.mu.Unlock()
	led := o.board.at(o.topology).led
	return endpoint.Target{Topology: o.topology, Epoch: led.Epoch, Primary: led.Primary, Replicas: led.Replicas}, nil
}

func (onBoard) Close() error { return nil }
