package watch

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"kaname.dev/kaname/rib/mysql/server"
	"kaname.dev/kaname/rib/mysql/topology"
)

// Other is what is asked of the server of another member.
type Other interface {
	io.Closer
	Ping(ctx context.Context) error
}

// Times of the questions to other members' servers.
const (
	sightEvery  = 500 * time.Millisecond
	sightWithin = 750 * time.Millisecond
	// agentWithin is the time after its last sign of life for which an agent counts as there.
	agentWithin = 2 * topology.Beat
)

// Sights sees the other members' servers over the network, and keeps when their agents
// last were heard.
type Sights struct {
	open func(topology.Member) (Other, error)
	log  *slog.Logger

	mu     sync.Mutex
	others []*other
}

type other struct {
	member  topology.Member
	server  Other
	asking  bool
	answers bool
	since   time.Time // of the last change of answers
	trouble string
	refused bool
	agent   time.Time // the last sign of life of its agent, or the start of watching
	heard   bool      // there was one
}

// NewSights returns what looks at other members; open makes the connection to one, without
// I/O.
func NewSights(open func(topology.Member) (Other, error), log *slog.Logger) *Sights {
	return &Sights{open: open, log: log}
}

// Set says which members to look at. What is known of those that stay is kept.
func (s *Sights) Set(members []topology.Member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var next []*other
	for _, m := range members {
		if i := slices.IndexFunc(s.others, func(o *other) bool { return o.member.Name == m.Name && o.member.Address == m.Address }); i >= 0 {
			s.others[i].member = m
			next = append(next, s.others[i])
			continue
		}
		now := time.Now()
		o := &other{member: m, since: now, agent: now}
		var err error
		if o.server, err = s.open(m); err != nil {
			o.trouble = err.Error()
		}
		next = append(next, o)
	}
	for _, o := range s.others {
		if !slices.Contains(next, o) && o.server != nil && !o.asking {
			_ = o.server.Close() // nothing is asked of it any more
		}
	}
	s.others = next
}

// Heard notes a sign of life of a member's agent.
func (s *Sights) Heard(member string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.others {
		if o.member.Name == member {
			o.agent, o.heard = time.Now(), true
		}
	}
}

// Run looks until ctx ends.
func (s *Sights) Run(ctx context.Context) {
	defer s.Set(nil)
	var asks sync.WaitGroup
	defer asks.Wait()
	tick := time.NewTicker(sightEvery)
	defer tick.Stop()
	for {
		s.mu.Lock()
		for _, o := range s.others {
			if o.server != nil && !o.asking {
				o.asking = true
				asks.Go(func() { s.ask(ctx, o) })
			}
		}
		s.mu.Unlock()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (s *Sights) ask(ctx context.Context, o *other) {
	ctx, cancel := context.WithTimeout(ctx, sightWithin)
	defer cancel()
	start := time.Now()
	err := o.server.Ping(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	o.asking = false
	if !slices.Contains(s.others, o) {
		_ = o.server.Close() // it was let go while it was asked
		return
	}
	answers := err == nil || server.Refuses(err)
	if answers != o.answers {
		o.answers, o.since = answers, start // of the question from which on it is so
	}
	o.trouble, o.refused = "", false
	if err != nil {
		o.trouble, o.refused = err.Error(), server.Refused(err)
	}
}

// See returns what is seen now.
func (s *Sights) See() []topology.Sight {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]topology.Sight, 0, len(s.others))
	for _, o := range s.others {
		silent := time.Since(o.agent)
		t := topology.Sight{
			Of: o.member.Name, Answers: o.answers, For: time.Since(o.since), Trouble: o.trouble, Refused: o.refused,
			Agent: o.heard && silent < agentWithin,
		}
		if !t.Agent {
			t.Silent = silent
		}
		list = append(list, t)
	}
	return list
}
