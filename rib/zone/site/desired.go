package site

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"slices"
	"time"

	"kaname.dev/kaname/host"
	"kaname.dev/kaname/rib/office"
	"kaname.dev/kaname/rib/zone/exchange"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/plan"
	"kaname.dev/kaname/rib/zone/server"
)

// desired is what the server should serve, as the keeper said last.
type desired struct {
	Generation string                     `json:"generation"` // empty: nothing was ever heard
	Templates  map[string]server.Template `json:"templates"`  // by ID
	Zones      map[name.Name]plan.Want    `json:"zones"`
	Gone       map[name.Name]bool         `json:"gone"` // the keeper knows that they are desired no longer
	Policy     exchange.Policy            `json:"policy"`
	Resets     map[name.Name]string       `json:"resets"` // the last Want.Reset that was done
}

func newDesired() desired {
	return desired{
		Templates: map[string]server.Template{}, Zones: map[name.Name]plan.Want{}, Gone: map[name.Name]bool{}, Resets: map[name.Name]string{},
	}
}

const desiredFile = "desired.json"

// loadDesired reads what an earlier process was told. A file that cannot be read is
// put aside: the keeper tells all again, and until then nothing changes.
func loadDesired(root *os.Root) (desired, error) {
	d := newDesired()
	raw, err := root.ReadFile(desiredFile)
	if errors.Is(err, fs.ErrNotExist) {
		return d, nil
	}
	if err != nil {
		return d, err
	}
	if err := json.Unmarshal(raw, &d); err != nil {
		return newDesired(), root.Rename(desiredFile, desiredFile+".bad")
	}
	return d, nil
}

// take takes over an answer of the keeper, and returns the zones about which it says
// something new.
func (d *desired) take(f *exchange.Feed) map[name.Name]bool {
	touched := map[name.Name]bool{}
	for _, t := range f.Templates {
		for _, kind := range []string{"bind", "nsd", "knot", "pdns", "exec"} {
			d.Templates[t.ID(kind)] = t
		}
	}
	if f.Full {
		for n := range d.Zones {
			touched[n] = true
		}
		d.Zones, d.Gone = make(map[name.Name]plan.Want, len(f.Zones)), make(map[name.Name]bool, len(f.Gone))
	}
	for _, w := range f.Zones {
		d.Zones[w.Name] = w
		delete(d.Gone, w.Name)
		touched[w.Name] = true
	}
	for _, n := range f.Gone {
		delete(d.Zones, n)
		d.Gone[n] = true
		touched[n] = true
	}
	d.Generation, d.Policy = f.Generation, f.Policy
	if f.Full {
		d.tidy()
	}
	return touched
}

// tidy forgets templates and resets that no zone names.
func (d *desired) tidy() {
	used := map[string]bool{}
	for _, w := range d.Zones {
		used[w.Template] = true
	}
	for id := range d.Templates {
		if !used[id] {
			delete(d.Templates, id)
		}
	}
	for n := range d.Resets {
		if _, ok := d.Zones[n]; !ok {
			delete(d.Resets, n)
		}
	}
}

// follow asks the keeper for news until ctx ends.
func (s *Site) follow(ctx context.Context) {
	wait := time.Second
	for ctx.Err() == nil {
		s.mu.Lock()
		have := s.desired.Generation
		s.mu.Unlock()
		f, err := office.Do[exchange.Feed](ctx, s.o.Keeper, exchange.PathDesired, exchange.Ask{
			Server: s.o.Name, Kind: s.o.Kind, View: s.o.View, Groups: s.o.Groups, Self: s.o.Address.Addr(), Have: have,
		})
		if err != nil {
			if ctx.Err() == nil {
				s.o.Log.Debug("no news of the keeper", "why", err)
			}
			pause(ctx, wait)
			wait = min(2*wait, 15*time.Second)
			continue
		}
		wait = time.Second
		if f.Generation == have {
			continue
		}
		s.learn(&f)
	}
}

// learn takes over the keeper's answer and wakes the worker.
func (s *Site) learn(f *exchange.Feed) {
	s.mu.Lock()
	was := s.desired.Policy
	for n := range s.desired.take(f) {
		s.touched[n] = true
	}
	s.unsaved = true
	s.mu.Unlock()
	if !slices.Equal(was.Accepted, f.Policy.Accepted) || !slices.Equal(was.Forced, f.Policy.Forced) {
		select { // an operator's word may be about what only a look at everything finds
		case s.looks <- look{}:
		default:
		}
	}
	select {
	case s.dirty <- struct{}{}:
	default:
	}
}

// keep writes what is desired to disk, some seconds after it changed: it is only for
// the time when the keeper cannot be asked.
func (s *Site) keep(ctx context.Context) {
	for ctx.Err() == nil {
		pause(ctx, 5*time.Second)
		s.mu.Lock()
		raw, err := []byte(nil), error(nil)
		if s.unsaved {
			raw, err = json.Marshal(&s.desired)
		}
		s.unsaved = false
		s.mu.Unlock()
		if err == nil && raw != nil {
			err = host.WriteBytes(s.o.Root, desiredFile, 0o640, raw)
		}
		if err != nil {
			s.o.Log.Warn("what is desired is not on disk", "why", err)
		}
	}
}

// pause waits, but not beyond ctx.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
