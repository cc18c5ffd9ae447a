package netpath

import (
	"context"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/rib/netpath/bundle"
	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/intent"
	"kaname.dev/kaname/rib/netpath/intent/neutron"
	"kaname.dev/kaname/rib/office"
)

// Bounds of gathering.
const (
	lookWithin = 20 * time.Second // for one host
	atOnce     = 16               // hosts that are asked at once
	fresh      = 10 * time.Second // how long what Neutron said is taken for what it says
	maxFacts   = 256 << 20        // bytes of one host, compressed
)

// live asks the plane's hosts and Neutron.
type live struct {
	*service
	actor action.Actor
}

func (l live) cloud(ctx context.Context) (*intent.Cloud, error) {
	l.asking.Lock()
	defer l.asking.Unlock()
	if l.said != nil && time.Since(l.saidAt) < fresh {
		return l.said, nil
	}
	c, err := neutron.Load(ctx, l.config.Neutron.options())
	if err != nil {
		return nil, err
	}
	l.said, l.saidAt = c, time.Now()
	return c, nil
}

func (l live) all(ctx context.Context) ([]string, error) {
	at, err := l.lookers(ctx)
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(at)), nil
}

// lookers returns the members that can be looked at, by the name that Neutron has for them.
func (l live) lookers(ctx context.Context) (map[string]plane.Member, error) {
	members, err := l.node.Plane.Members(ctx)
	if err != nil {
		return nil, err
	}
	at := map[string]plane.Member{}
	var unknown []plane.Member
	l.naming.Lock()
	for _, m := range members {
		if m.Commands[commandLook] == 0 || !m.Alive {
			continue
		}
		if n, is := l.names[m.Host+" "+m.Started.String()]; is {
			at[n] = m
			continue
		}
		unknown = append(unknown, m)
	}
	l.naming.Unlock()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for _, m := range unknown {
		g.Go(func() error {
			w, err := plane.CallOne[who](ctx, l.node.Plane, m.Host, plane.CallSpec{Command: commandWho, Timeout: 3 * time.Second, Actor: l.actor}, nil)
			if err != nil {
				return nil //nolint:nilerr // who does not answer cannot be looked at either, and is named when it is needed
			}
			l.naming.Lock()
			defer l.naming.Unlock()
			l.names[m.Host+" "+m.Started.String()] = w.Host
			at[w.Host] = m
			return nil
		})
	}
	return at, g.Wait()
}

func (l live) hosts(ctx context.Context, names []string) (map[string]*facts.Host, map[string]error) {
	found, failed := map[string]*facts.Host{}, map[string]error{}
	at, err := l.lookers(ctx)
	if err != nil {
		for _, n := range names {
			failed[n] = err
		}
		return found, failed
	}
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(atOnce)
	for _, n := range names {
		m, is := at[n]
		if !is {
			mu.Lock()
			failed[n] = fault.NotFound("no agent of kaname looks after host " + n).Try("let it join the plane, with \"netpath: {host: " + n + "}\" where the names differ")
			mu.Unlock()
			continue
		}
		g.Go(func() error {
			h, err := l.fetch(ctx, m)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed[n] = err
			} else {
				found[n] = h
			}
			return nil
		})
	}
	_ = g.Wait() // never fails
	return found, failed
}

// fetch has a host collect its facts, and gets them.
func (l live) fetch(ctx context.Context, m plane.Member) (*facts.Host, error) {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	s, err := plane.CallOne[seen](ctx, l.node.Plane, m.Host, plane.CallSpec{Command: commandLook, Timeout: lookWithin, Actor: l.actor}, nil)
	if err != nil {
		return nil, err
	}
	body, err := office.Fetch(ctx, l.node.PeerClient, office.Seat{Host: m.Host, Address: m.Address}, pathFacts, ticketIn{s.Ticket})
	if err != nil {
		return nil, err
	}
	defer body.Close() //nolint:errcheck // only read
	b, err := io.ReadAll(io.LimitReader(body, maxFacts))
	if err != nil {
		return nil, fault.Unavailable("facts of host " + m.Host + " broke off").Because(err)
	}
	return bundle.UnpackHost(b)
}
