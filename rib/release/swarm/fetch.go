package swarm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/release/swarm/schedule"
)

// patience is how long a host goes without anything before it asks more peers and lets
// the origin repeat itself.
const patience = time.Second

// fetch is a pack on its way to this host.
type fetch struct {
	pack  Pack
	spec  FetchSpec
	start time.Time

	mu        sync.Mutex // guards the fields below
	requester *schedule.Requester
	takers    map[schedule.Peer]*taker
	next      schedule.Peer
	starving  bool
	bytes     int64
	why       map[string]error // by host: why it does not give, now
	done      chan struct{}    // closed when complete
	failed    error            // why this host cannot go on: its own disk

	limited atomic.Int64 // Unix nanoseconds of when this host's own limit last held bytes back
}

// limited is how long a piece waits for this host's own limit before that counts as
// what slows the transfer, and calm how long it counts. Meanwhile no supplier is
// called slow: all are, and the last of them would be dropped.
const (
	limited = 5 * time.Millisecond
	calm    = 2 * time.Second
)

// Fetch brings the missing chunks of the pack here, and returns when it is complete or
// ctx ends. It asks some of the peers, more when they give nothing, and waits for those
// that are away; the error says why nothing came.
func Fetch(ctx context.Context, p Pack, spec FetchSpec) error {
	if n := p.Chunks(); n < 1 || n > MaxChunks {
		return fault.Invalid(fmt.Sprintf("pack %s has %d chunks; 1 to %d can be fetched", short(p.ID()), n, MaxChunks))
	}
	if spec.Log == nil {
		spec.Log = slog.New(slog.DiscardHandler)
	}
	if spec.Retry <= 0 {
		spec.Retry = 5 * time.Second
	}
	f := &fetch{
		pack: p, spec: spec, start: time.Now(), takers: map[schedule.Peer]*taker{},
		why: map[string]error{}, done: make(chan struct{}),
		requester: schedule.NewRequester(spec.Policy, p.Have(), 0),
	}
	return f.run(ctx)
}

func (f *fetch) now() time.Duration { return time.Since(f.start) }

func (f *fetch) run(ctx context.Context) error {
	if f.requester.Complete() {
		f.progress()
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	first, rest := f.choose()
	ask := func(peers []Peer) {
		for _, p := range peers {
			asking.Go(func() { f.ask(ctx, p) })
		}
	}
	ask(first)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	widen := f.now()
	for {
		select {
		case <-f.done:
			f.progress()
			return f.failed
		case <-ctx.Done():
			return f.gaveUp(context.Cause(ctx))
		case <-tick.C:
		}
		if f.tick() && f.now()-widen > patience && len(rest) > 0 {
			n := min(4, len(rest))
			ask(rest[:n])
			rest, widen = rest[n:], f.now()
		}
		f.progress()
	}
}

// choose returns the peers to ask at first, and the others: origins, then in an order
// that differs from host to host.
func (f *fetch) choose() (first, rest []Peer) {
	nodes := []schedule.Node{{Host: f.spec.Self, Place: f.spec.Place}}
	for _, p := range f.spec.Peers {
		nodes = append(nodes, schedule.Node{Host: p.Host, Place: p.Place})
	}
	neighbours := schedule.NewGraph(f.pack.ID(), nodes).Neighbours(f.spec.Self)
	seen := map[string]bool{f.spec.Self: true}
	for _, p := range f.spec.Peers {
		switch {
		case seen[p.Host]:
		case slices.Contains(neighbours, p.Host):
			first = append(first, p)
		default:
			rest = append(rest, p)
		}
		seen[p.Host] = true
	}
	rand.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
	slices.SortStableFunc(rest, func(a, b Peer) int {
		switch {
		case a.Origin == b.Origin:
			return 0
		case a.Origin:
			return -1
		}
		return 1
	})
	return first, rest
}

// tick looks at the clock: overdue chunks, slow peers, hunger. It reports whether the
// host starves.
func (f *fetch) tick() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	var lost []schedule.Flight
	var drop []schedule.Peer
	if time.Since(time.Unix(0, f.limited.Load())) > calm {
		lost, drop = f.requester.Overdue(now)
	}
	for _, l := range lost {
		f.takers[l.Peer].cancelChunk(l.Chunk)
		f.tell(l.Peer, frameWanted, l.Chunk)
	}
	for _, p := range drop {
		t := f.takers[p]
		t.close(errSlow)
	}
	for _, t := range f.takers {
		if time.Since(t.heard()) > silence {
			t.close(errSilent)
		}
	}
	s := f.requester.Starving(now, patience)
	if s != f.starving {
		f.starving = s
		for _, t := range f.takers {
			t.out.add(frameStarving, number(s))
		}
	}
	f.room()
	return s
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

// room invites those that were told to hold; mu is held.
func (f *fetch) room() {
	for _, p := range f.requester.Room() {
		if t := f.takers[p]; t != nil {
			t.out.add(frameRoom)
		}
	}
}

// tell sends a frame to all suppliers but one; mu is held.
func (f *fetch) tell(except schedule.Peer, kind byte, chunk int) {
	for p, t := range f.takers {
		if p != except {
			t.out.add(kind, chunk)
		}
	}
}

func (f *fetch) progress() {
	if f.spec.Progress == nil {
		return
	}
	f.mu.Lock()
	p := Progress{
		Chunks: f.pack.Chunks(), Have: f.pack.Chunks() - f.requester.Missing(), Bytes: f.bytes, Peers: len(f.takers),
	}
	if f.starving {
		p.Waiting = f.reasons()
	}
	f.mu.Unlock()
	f.spec.Progress(p)
}

// reasons says per host why nothing comes from it; mu is held.
func (f *fetch) reasons() string {
	var hosts []string
	for h := range f.why {
		hosts = append(hosts, h)
	}
	slices.Sort(hosts)
	var parts []string
	for i, h := range hosts {
		if i == 4 {
			parts = append(parts, fmt.Sprintf("and %d more", len(hosts)-i))
			break
		}
		parts = append(parts, h+": "+f.why[h].Error())
	}
	if len(parts) == 0 {
		return "no peer has given a missing chunk"
	}
	return strings.Join(parts, "; ")
}

func (f *fetch) gaveUp(cause error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	what := fmt.Sprintf("pack %s lacks %d of %d chunks (%s)", short(f.pack.ID()), f.requester.Missing(), f.pack.Chunks(), f.reasons())
	kind := fault.KindTimeout
	if errors.Is(cause, context.Canceled) {
		kind = fault.KindCanceled
	}
	return &fault.Fault{Kind: kind, What: what, Where: f.spec.Self, Err: cause}
}
