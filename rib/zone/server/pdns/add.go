package pdns

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"kaname.dev/kaname/rib/zone/control/pdnsapi"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/server"
)

// Add makes zones, and asks for the first transfer of each when they are few; the
// server's cycle does it otherwise.
func (d *Driver) Add(ctx context.Context, zones []server.Addition) []error {
	errs := make([]error, len(zones))
	shapes, err := d.shapes(ctx, zones)
	if err != nil {
		return all(errs, fail(err))
	}
	names := make([]name.Name, len(zones))
	for i, z := range zones {
		names[i] = z.Name
	}
	if err := d.note.put(names, true); err != nil {
		return all(errs, fmt.Errorf("note of what is to be added: %w", err))
	}
	pull := d.pulls(len(zones))
	each(errs, func(i int) error {
		s := shapes[zones[i].Template.ID("pdns")]
		if s.err != nil {
			return s.err
		}
		done, err := d.add(ctx, zones[i], s.shape)
		if err == nil && done && pull {
			err = d.api.Retrieve(ctx, zones[i].Name)
		}
		return fail(err)
	})
	var settled []name.Name
	for i, err := range errs {
		if err == nil || !unsure(err) {
			settled = append(settled, zones[i].Name)
		}
	}
	if err := d.note.put(settled, false); err != nil {
		return all(errs, fmt.Errorf("note of what was added: %w", err))
	}
	return errs
}

// unsure reports whether an error of an addition leaves it open what the server did.
func unsure(err error) bool {
	return !errors.Is(err, server.ErrForeign) && !errors.Is(err, server.ErrTemplate) &&
		!errors.Is(err, server.ErrName) && !errors.Is(err, server.ErrDenied)
}

// pulls reports whether a transfer is to be asked for each of n new zones.
func (d *Driver) pulls(n int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return n <= few || d.cycle > longestCycle
}

// rendered is a template, or why it cannot be.
type rendered struct {
	shape shape
	err   error
}

// shapes renders the templates of additions, by ID.
func (d *Driver) shapes(ctx context.Context, zones []server.Addition) (map[string]rendered, error) {
	shapes := map[string]rendered{}
	var keys []string
	asked := false
	for _, z := range zones {
		id := z.Template.ID("pdns")
		if _, done := shapes[id]; done {
			continue
		}
		if !asked {
			var err error
			if keys, err = d.api.Keys(ctx); err != nil {
				return nil, err
			}
			asked = true
		}
		s, err := shapeOf(z.Template, keys)
		shapes[id] = rendered{s, err}
	}
	return shapes, nil
}

// add makes one zone be as asked, and reports whether it was not so before.
func (d *Driver) add(ctx context.Context, z server.Addition, s shape) (bool, error) {
	if _, err := pdnsapi.Spell(z.Name); err != nil {
		return false, fmt.Errorf("%w: %w", server.ErrName, err)
	}
	err := d.api.Create(ctx, z.Name, s.settings)
	if err == nil && s.plain() {
		return true, nil
	}
	if err == nil {
		return true, d.dress(ctx, z.Name, s, false)
	}
	if !errors.Is(err, pdnsapi.ErrExists) {
		return false, err
	}
	// It was there, or a busy server made it and said that it had not.
	have, err := d.api.One(ctx, z.Name)
	if err != nil {
		return false, err
	}
	if owned, _ := ownership(have); !owned && !z.Adopt {
		return false, fmt.Errorf("%w: it is of kind %s with account %q", server.ErrForeign, have.Kind, have.Account)
	}
	if have.Kind == pdnsapi.Producer || have.Kind == pdnsapi.Consumer || have.Catalog != "" && have.Kind == pdnsapi.Slave {
		return false, fmt.Errorf("%w: it is a catalog or a member of one; take it out there", server.ErrForeign)
	}
	if s.same(have) && s.plain() {
		return have.Serial == 0, nil
	}
	// The account comes last, so that a change that was cut is seen as not done.
	settings := s.settings
	settings.Account = have.Account
	if err := d.api.Change(ctx, z.Name, settings); err != nil {
		return false, err
	}
	if err := d.dress(ctx, z.Name, s, true); err != nil {
		return false, err
	}
	return true, d.api.Label(ctx, z.Name, s.settings.Account)
}

// same reports whether a zone is as the template says, metadata apart.
func (s shape) same(have pdnsapi.Zone) bool {
	pull := have.Pull
	return have.Kind == pdnsapi.Slave && have.Account == s.settings.Account && equal(have.Masters, s.settings.Masters) &&
		(len(pull) == 0 && s.settings.Pull == "" || len(pull) == 1 && pull[0] == s.settings.Pull) && equal(have.Give, s.settings.Give)
}

// equal reports whether two lists hold the same texts, in any order; masters at port
// 53 are listed without it.
func equal(have, want []string) bool {
	if len(have) != len(want) {
		return false
	}
	seen := map[string]bool{}
	for _, h := range have {
		seen[h] = true
	}
	for _, w := range want {
		if !seen[w] && !seen[trim53(w)] {
			return false
		}
	}
	return true
}

// dress sets a zone's metadata; when it was there before, also that it is to have
// none.
func (d *Driver) dress(ctx context.Context, n name.Name, s shape, before bool) error {
	if len(s.allow) > 0 || before {
		if err := d.api.Allow(ctx, n, s.allow); err != nil {
			return err
		}
	}
	for _, kind := range kinds {
		if len(s.meta[kind]) == 0 && !before {
			continue
		}
		if err := d.api.SetMeta(ctx, n, kind, s.meta[kind]); err != nil {
			return err
		}
	}
	return nil
}

// each calls do for each index of errs, by several workers, and keeps its error.
// After one that concerns the whole server no more are begun, and the rest have it.
func each(errs []error, do func(i int) error) {
	var next atomic.Int64
	var whole atomic.Pointer[error]
	var wg sync.WaitGroup
	for range min(workers, len(errs)) {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(errs) {
					return
				}
				if e := whole.Load(); e != nil {
					errs[i] = *e
					continue
				}
				if errs[i] = do(i); errs[i] != nil && (errors.Is(errs[i], server.ErrUnreachable) || errors.Is(errs[i], server.ErrDenied)) {
					whole.Store(&errs[i])
				}
			}
		})
	}
	wg.Wait()
}

// all gives every zone the same error.
func all(errs []error, err error) []error {
	for i := range errs {
		errs[i] = err
	}
	return errs
}
