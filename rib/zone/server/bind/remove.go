package bind

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"kaname.dev/kaname/rib/zone/control/rndc"
	"kaname.dev/kaname/rib/zone/control/rndc/named"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/server"
)

func (d *driver) Remove(ctx context.Context, zones []server.Removal) []error {
	c, v, err := d.files()
	if err != nil {
		return same(len(zones), err)
	}
	all, err := d.surveyOf(ctx, zones)
	if err != nil {
		return same(len(zones), err)
	}
	k := &call{d: d, c: c, v: v, errs: make([]error, len(zones))}
	var file, each []work
	for i, r := range zones {
		h := all[r.Name]
		w := work{at: i, name: r.Name, have: h}
		switch {
		case h == nil:
		case h.zone.Owned && h.where == inFile:
			file = append(file, w)
		case h.zone.Owned && h.where != inConfig:
			each = append(each, w)
		case h.where == inConfig:
			k.errs[i] = fmt.Errorf("%w: it stands in named.conf or a file that it includes; take it out there and run rndc reconfig", server.ErrForeign)
		case h.where == inNothing && h.conf.File == "":
			k.errs[i] = fmt.Errorf("%w: named has it from a catalog, or keeps no file for it; take it out there", server.ErrForeign)
		case !r.Adopt:
			k.errs[i] = fmt.Errorf("%w: somebody added it with rndc addzone; remove it with rndc delzone", server.ErrForeign)
		default:
			each = append(each, w)
		}
	}
	bulk := len(file) >= worth(len(all))
	if !bulk {
		each = append(each, file...)
	}
	for _, w := range each {
		if err := k.do(ctx, rndc.DelZone(w.name, d.view)); !is(err, "not found") {
			k.errs[w.at] = err
		}
	}
	k.settle(ctx, each) // a reconfig before named has let them go would keep them
	k.unwritten(ctx, each)
	k.eraseAll(each) // -clean leaves some
	k.forget(ctx, file, bulk)
	if bulk {
		k.settle(ctx, file)
	}
	return k.errs
}

// surveyOf is survey, again while one of the zones runs without a configuration: another
// driver may be removing it just now. A zone of a catalog stays so.
func (d *driver) surveyOf(ctx context.Context, zones []server.Removal) (map[name.Name]*held, error) {
	for try := 1; ; try++ {
		all, err := d.survey(ctx)
		if err != nil || try == 5 {
			return all, err
		}
		if !slices.ContainsFunc(zones, func(r server.Removal) bool {
			h := all[r.Name]
			return h != nil && h.where == inNothing && h.conf.File == ""
		}) {
			return all, nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// settleTime is how long named may take to let go of zones that it was told to
// remove: it answers before it has.
const settleTime = 5 * time.Second

// settle waits until named has none of the removed zones.
func (k *call) settle(ctx context.Context, list []work) {
	until := time.Now().Add(settleTime)
	for {
		var names []name.Name
		var left []work
		for _, w := range list {
			if k.errs[w.at] == nil {
				names, left = append(names, w.name), append(left, w)
			}
		}
		zones, err := k.d.states(ctx, k.d.control, names)
		if err != nil {
			k.fail(left, err)
			return
		}
		list = nil
		for i, z := range zones {
			if z.Present {
				list = append(list, left[i])
			}
		}
		if len(list) == 0 {
			return
		}
		if time.Now().After(until) {
			k.fail(list, errors.New("named said that it removes the zone and still has it; it is removed again"))
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// unwritten waits until named's file of added zones has none of the removed ones. named
// has the zone no more some time before: in between, a reconfig or a restart brings it
// back.
func (k *call) unwritten(ctx context.Context, list []work) {
	for until := time.Now().Add(settleTime); ; {
		zones, err := k.d.readAdded(ctx, k.v)
		if errors.Is(err, named.ErrUnread) {
			return
		}
		written := map[name.Name]bool{}
		for _, z := range zones {
			written[z.Name] = true
		}
		var left []work
		for _, w := range list {
			if k.errs[w.at] == nil && w.have.where == inAdded && (err != nil || written[w.name]) {
				left = append(left, w)
			}
		}
		switch {
		case len(left) == 0:
			return
		case err != nil:
			k.fail(left, err)
			return
		case time.Now().After(until):
			k.fail(left, errors.New("named has removed the zone and not written that down; it is removed again"))
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// forget takes zones out of the driver's file. By commands they are gone already:
// should this be the end, they are back after named's next start and removed again.
func (k *call) forget(ctx context.Context, list []work, reconfig bool) {
	if len(list) == 0 {
		return
	}
	err := k.d.rewrite(ctx, k.c, k.v, reconfig, func(lines map[name.Name]string) {
		for _, w := range list {
			if k.errs[w.at] == nil {
				delete(lines, w.name)
			}
		}
	})
	if err != nil {
		k.fail(list, err)
		return
	}
	k.eraseAll(list)
	if reconfig {
		select { // named may still write files of zones that it lets go of
		case <-ctx.Done():
		case <-time.After(lateDump):
		}
		k.eraseAll(list)
	}
}

// lateDump is how long after a reconfig named usually has written what it had begun
// to; what comes later is swept.
const lateDump = 300 * time.Millisecond

func (k *call) eraseAll(list []work) {
	for _, w := range list {
		if k.errs[w.at] == nil && w.have.conf.Secondary() {
			k.erase(w.have.conf.File)
		}
	}
}

// Kick transfers the zones again.
func (d *driver) Kick(ctx context.Context, zones []name.Name) error {
	k := &call{d: d}
	var errs []error
	for _, n := range zones {
		if err := k.do(ctx, rndc.Retransfer(n, d.view)); err != nil {
			errs = append(errs, fmt.Errorf("zone %s: %w", n, err))
		}
		if k.deaf != nil {
			break
		}
	}
	return errors.Join(errs...)
}
