package plane

import (
	"context"
	"encoding/json"
	"iter"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"kaname.dev/kaname/fault"
)

// Member is a host as the cores know it.
type Member struct {
	Host     string            `json:"host"`
	Labels   map[string]string `json:"labels,omitempty"`
	Version  string            `json:"version"`            // of kaname on that host
	Address  string            `json:"address,omitempty"`  // host:port of its peer listener (mTLS)
	Core     bool              `json:"core,omitempty"`     // whether it is a core
	Commands map[string]int    `json:"commands,omitempty"` // commands served there, with their newest version
	Alive    bool              `json:"alive"`              // heard of within the last three heartbeats
	Seen     time.Time         `json:"seen"`               // of the last heartbeat, by the core's clock
	Started  time.Time         `json:"started"`            // of the process there
}

// bucketMembers holds each host as it was last known, so that dead ones are
// known after a restart of the cores.
const bucketMembers = "plane.members"

// missed is the number of heartbeats after which a host counts as silent.
const missed = 3

// roll is the table of members on a core: heartbeats in memory, and what changes
// rarely in documents.
type roll struct {
	p *Plane

	mu       sync.Mutex // guards the fields below
	members  map[string]Member
	heard    map[string]time.Time // monotonic, of the last heartbeat
	watchers map[chan struct{}]struct{}
}

// openRoll reads the known members and listens to heartbeats.
func (p *Plane) openRoll(ctx context.Context) (*roll, error) {
	r := &roll{p: p, members: map[string]Member{}, heard: map[string]time.Time{}, watchers: map[chan struct{}]struct{}{}}
	known, err := Documents[Member](p, bucketMembers).List(ctx, "")
	if err != nil {
		return nil, err
	}
	for _, d := range known {
		d.Value.Alive = false
		r.members[d.Key] = d.Value
	}
	_, err = p.link.nc.Subscribe(subjectHeartbeat+"*", func(m *nats.Msg) {
		r.hear(hostOfToken(lastToken(m.Subject)), m.Data)
	})
	if err != nil {
		return nil, err
	}
	p.wg.Go(func() { r.watchSilence(p.life) })
	return r, nil
}

// hear takes a heartbeat of a host.
func (r *roll) hear(host string, data []byte) {
	var m Member
	if err := json.Unmarshal(data, &m); err != nil {
		r.p.log.Warn("heartbeat cannot be read", "from", host, "err", err)
		return
	}
	m.Host, m.Alive, m.Seen = host, true, time.Now().Round(0)
	m.Core = r.p.enrolledCore(host, m.Core)
	r.mu.Lock()
	old, known := r.members[host]
	r.members[host], r.heard[host] = m, time.Now()
	changed := !known || !sameMember(old, m)
	if changed || !old.Alive {
		r.wake()
	}
	r.mu.Unlock()
	if changed {
		r.p.wg.Go(func() { r.keep(m) })
	}
}

// keep stores what is known of a member. All cores do it; equal ones write once.
func (r *roll) keep(m Member) {
	ctx, cancel := context.WithTimeout(r.p.life, giveUpIn)
	defer cancel()
	_, err := Documents[Member](r.p, bucketMembers).Update(ctx, m.Host, func(v *Member) error {
		if v.Host != "" && sameMember(*v, m) {
			return errUnchanged
		}
		*v = m
		return nil
	})
	if err != nil && err != errUnchanged && ctx.Err() == nil { //nolint:errorlint // Update returns it bare
		r.p.log.Warn("member is not stored", "member", m.Host, "err", err)
	}
}

var errUnchanged = fault.Conflict("unchanged")

// sameMember compares what is worth a write: everything but liveness and times.
func sameMember(a, b Member) bool {
	a.Alive, a.Seen, b.Alive, b.Seen = false, time.Time{}, false, time.Time{}
	ok := a.Started.Equal(b.Started)
	a.Started, b.Started = time.Time{}, time.Time{}
	return ok && reflect.DeepEqual(a, b)
}

// watchSilence marks the members that have not been heard of.
func (r *roll) watchSilence(ctx context.Context) {
	t := time.NewTicker(r.p.o.Beat / 2)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		r.mu.Lock()
		woke := false
		for host, m := range r.members {
			if m.Alive && time.Since(r.heard[host]) > missed*r.p.o.Beat {
				m.Alive, woke = false, true
				r.members[host] = m
			}
		}
		if woke {
			r.wake()
		}
		r.mu.Unlock()
	}
}

// wake tells the watchers to look; r.mu is held.
func (r *roll) wake() {
	for w := range r.watchers {
		select {
		case w <- struct{}{}:
		default:
		}
	}
}

// alive reports whether the host has been heard of lately.
func (r *roll) get(host string) (Member, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m, ok := r.members[host]
	return m, ok
}

func (r *roll) snapshot() map[string]Member {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.members)
}

// Members returns all known hosts, sorted by name, dead ones included.
func (p *Plane) Members(ctx context.Context) ([]Member, error) {
	if err := p.needCore("the list of members"); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return slices.SortedFunc(maps.Values(p.roll.snapshot()), func(a, b Member) int { return strings.Compare(a.Host, b.Host) }), nil
}

// Forget removes a host from the members; it comes back if it is heard of again.
func (p *Plane) Forget(ctx context.Context, host string) error {
	docs := Documents[Member](p, bucketMembers)
	doc, err := docs.Get(ctx, host)
	if err == nil {
		err = docs.Delete(ctx, doc)
	}
	if err != nil {
		return err
	}
	p.roll.mu.Lock()
	defer p.roll.mu.Unlock()
	delete(p.roll.members, host)
	p.roll.wake()
	return nil
}

// WatchMembers yields a member whenever one joins, changes, goes silent or comes
// back, beginning with all that are known. It ends with ctx.
func (p *Plane) WatchMembers(ctx context.Context) iter.Seq[Member] {
	return func(yield func(Member) bool) {
		if !p.IsCore() {
			return
		}
		woken := make(chan struct{}, 1)
		woken <- struct{}{}
		r := p.roll
		r.mu.Lock()
		r.watchers[woken] = struct{}{}
		r.mu.Unlock()
		defer func() {
			r.mu.Lock()
			delete(r.watchers, woken)
			r.mu.Unlock()
		}()
		given := map[string]Member{}
		for {
			select {
			case <-ctx.Done():
				return
			case <-p.life.Done():
				return
			case <-woken:
			}
			now := r.snapshot()
			for _, host := range slices.Sorted(maps.Keys(now)) {
				m := now[host]
				if old, ok := given[host]; ok && sameMember(old, m) && old.Alive == m.Alive {
					continue
				}
				given[host] = m
				if !yield(m) {
					return
				}
			}
		}
	}
}

// beat announces this host until ctx ends, and at once when what it serves changes.
func (p *Plane) beat(ctx context.Context) {
	t := time.NewTicker(p.o.Beat)
	defer t.Stop()
	for {
		data, _ := json.Marshal(Member{
			Host: p.o.Host, Labels: p.Labels(), Version: p.o.Version, Address: p.o.Address,
			Core: p.IsCore(), Commands: p.served.commands(), Started: p.start.Round(0),
		})
		_ = p.link.nc.Publish(subjectHeartbeat+hostToken(p.o.Host), data) // the next one follows
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-p.served.changed:
		}
	}
}
