package site

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"

	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/plan"
	"kaname.dev/kaname/rib/zone/wire"
)

// saveAtOnce is how many zones are read from the server at a time.
const saveAtOnce = 4

// save keeps the contents of zones that are about to be removed, and returns those
// that may go: their contents are kept, or there are none, or an operator said so, or
// nothing is to be kept.
func (s *Site) save(ctx context.Context, ops []plan.Op) []plan.Op {
	s.mu.Lock()
	policy := s.desired.Policy
	s.mu.Unlock()
	if policy.Quarantine <= 0 || s.o.Kept == nil {
		return ops
	}
	var mu sync.Mutex
	var may []plan.Op
	g, within := errgroup.WithContext(ctx)
	g.SetLimit(saveAtOnce)
	for _, op := range ops {
		g.Go(func() error {
			err := s.saveOne(within, op.Name)
			if err != nil && !slices.Contains(policy.Forced, op.Name) {
				s.fail(op.Name, fmt.Errorf("it is not removed, for its contents cannot be kept: %w; let %s transfer from this host's server, or: kaname zone remove %s --force", err, s.o.Address.Addr(), op.Name.Bare()))
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			may = append(may, op)
			return nil
		})
	}
	_ = g.Wait() // no function returns an error
	slices.SortFunc(may, func(a, b plan.Op) int { return cmp.Compare(a.Name, b.Name) })
	return may
}

// saveOne keeps one zone's contents; one that is not answered has none.
func (s *Site) saveOne(ctx context.Context, n name.Name) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	c := s.o.Wire
	peer := wire.Peer{Address: s.o.Address}
	soa, err := c.SOA(ctx, peer, n)
	if err != nil && !errors.Is(err, wire.ErrUnreachable) || err == nil && !soa.Authoritative {
		return nil // it is not served, so nothing is lost
	}
	return s.o.Kept.Save(ctx, n, func(ctx context.Context, record func(dns.RR) error) error {
		return c.Transfer(ctx, peer, n, record)
	})
}
