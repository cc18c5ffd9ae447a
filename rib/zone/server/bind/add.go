package bind

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"kaname.dev/kaname/rib/zone/control/rndc"
	"kaname.dev/kaname/rib/zone/control/rndc/named"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/server"
)

// work is one zone to be added, changed or removed.
type work struct {
	at    int // in what was asked for
	name  name.Name
	id    string // the new template's
	block string
	have  *held // nil when named has nothing of the name
}

// call is one Add or Remove.
type call struct {
	d    *driver
	c    *named.Config
	v    *named.View
	errs []error
	deaf error // named does not answer: the rest is not tried
}

// fail notes that all of them met the same error.
func (k *call) fail(list []work, err error) {
	for _, w := range list {
		k.errs[w.at] = err
	}
}

// same returns n times the error.
func same(n int, err error) []error {
	errs := make([]error, n)
	for i := range errs {
		errs[i] = err
	}
	return errs
}

func (d *driver) Add(ctx context.Context, zones []server.Addition) []error {
	c, v, err := d.files()
	if err != nil {
		return same(len(zones), err)
	}
	var all map[name.Name]*held // stays empty when none of the zones is there
	if !d.lacks(ctx, v, zones) {
		if all, err = d.survey(ctx); err != nil {
			return same(len(zones), err)
		}
	}
	k := &call{d: d, c: c, v: v, errs: make([]error, len(zones))}
	var fresh, changed []work
	first := map[name.Name]int{}
	for i, a := range zones {
		if _, again := first[a.Name]; again {
			continue
		}
		first[a.Name] = i
		w := work{at: i, name: a.Name, id: a.Template.ID(kind), have: all[a.Name]}
		if w.block, err = d.block(v, a.Name, a.Template); err != nil {
			k.errs[i] = err
			continue
		}
		switch todo, err := judge(w, v, a.Adopt); {
		case err != nil:
			k.errs[i] = err
		case todo == toAdd:
			fresh = append(fresh, w)
		case todo == toChange:
			changed = append(changed, w)
		}
	}
	k.folders(slices.Concat(fresh, changed))
	k.add(ctx, fresh, len(all))
	k.change(ctx, changed)
	for i, a := range zones {
		k.errs[i] = k.errs[first[a.Name]]
	}
	return k.errs
}

// handful is up to how many zones are asked for one by one before they are added:
// where very many zones are, a survey takes seconds.
const handful = 16

// lacks reports whether named surely has none of a few zones, running or configured.
func (d *driver) lacks(ctx context.Context, v *named.View, zones []server.Addition) bool {
	if len(zones) > handful {
		return false
	}
	asked := make(map[name.Name]bool, len(zones))
	for _, a := range zones {
		asked[a.Name] = true
		if z, err := d.state(ctx, d.control, a.Name); err != nil || z.Present {
			return false
		}
	}
	return !slices.ContainsFunc(v.Zones, func(z named.Zone) bool { return asked[z.Name] })
}

// what is to be done to a zone that is asked for.
const (
	toLeave = iota
	toAdd
	toChange
)

func judge(w work, v *named.View, adopt bool) (int, error) {
	h := w.have
	switch {
	case v.Catalogs[w.name]:
		return toLeave, fmt.Errorf("%w: it is a catalog that named consumes", server.ErrForeign)
	case h == nil:
		return toAdd, nil
	case h.zone.Owned && h.zone.Template == w.id && h.running:
		return toLeave, nil
	case h.zone.Owned && !h.running && h.where == inFile:
		return toAdd, nil
	case h.zone.Owned && h.where != inConfig:
		return toChange, nil
	case h.where == inConfig:
		return toLeave, fmt.Errorf("%w: it stands in named.conf or a file that it includes; take it out there and run rndc reconfig, then kaname adds it", server.ErrForeign)
	case h.where == inNothing && h.conf.File == "":
		return toLeave, fmt.Errorf("%w: named has it from a catalog, or keeps no file for it; take it out there", server.ErrForeign)
	case !adopt:
		return toLeave, fmt.Errorf("%w: somebody added it with rndc addzone; adopt it, or remove it with rndc delzone", server.ErrForeign)
	}
	return toChange, nil
}

// folders makes the folders of the templates.
func (k *call) folders(list []work) {
	made := map[string]error{}
	for _, w := range list {
		if _, ok := made[w.id]; !ok {
			below := folder + "/" + w.id
			if k.d.o.View != "" {
				below += "/" + k.d.o.View
			}
			made[w.id] = k.d.ensure(k.c, below)
		}
		k.errs[w.at] = made[w.id]
	}
}

// add adds zones that named has not: by commands, or many in the driver's file. Of
// each template the first goes by a command, so that what named refuses does not
// come into a file that it reads at its start.
func (k *call) add(ctx context.Context, list []work, present int) {
	if len(list) < worth(present) || !k.d.bulk(k.c, k.v) {
		k.addEach(ctx, list)
		return
	}
	tried := map[string]bool{}
	var probes, rest []work
	for _, w := range list {
		if !tried[w.id] && w.have == nil {
			tried[w.id] = true
			probes = append(probes, w)
		} else if k.errs[w.at] == nil {
			rest = append(rest, w)
		}
	}
	k.addEach(ctx, probes)
	accepted := map[string]bool{}
	for _, w := range probes {
		accepted[w.id] = k.errs[w.at] == nil
	}
	var bulk, single []work
	for _, w := range rest {
		if accepted[w.id] {
			bulk = append(bulk, w)
		} else {
			single = append(single, w)
		}
	}
	k.addEach(ctx, single)
	if err := k.addFile(ctx, bulk); err != nil {
		k.d.o.Log.Warn("zones are added one by one, for named does not take the included file", "server", k.d.o.Name, "error", err)
		k.addEach(ctx, bulk)
	}
}

// addFile adds zones in the driver's file.
func (k *call) addFile(ctx context.Context, list []work) error {
	if len(list) == 0 {
		return nil
	}
	return k.d.rewrite(ctx, k.c, k.v, true, func(lines map[name.Name]string) {
		for _, w := range list {
			lines[w.name] = lineOf(w.name, w.block)
		}
	})
}

func (k *call) addEach(ctx context.Context, list []work) {
	for _, w := range list {
		if k.errs[w.at] != nil {
			continue
		}
		if w.have != nil { // in the file, from a run that did not end
			k.errs[w.at] = k.addFile(ctx, []work{w})
			continue
		}
		cmd, err := rndc.AddZone(w.name, k.d.view, w.block)
		if err == nil {
			err = k.do(ctx, cmd)
		}
		if is(err, "already exists") {
			err = k.confirm(ctx, w)
		}
		k.errs[w.at] = err
	}
}

// confirm looks at a zone that came into being since the survey: by a command of
// ours that was done though its answer was lost, or by others.
func (k *call) confirm(ctx context.Context, w work) error {
	z, err := k.d.show(ctx, w.name)
	if err == nil && k.d.tagOf(z) != w.id {
		return fmt.Errorf("%w: somebody added it just now", server.ErrForeign)
	}
	return err
}

// change gives zones that named has another configuration: each is dropped and added
// again with the file that it had, a matter of milliseconds. rndc modzone would keep
// them answering, but BIND 9.18 goes on to transfer from the old primaries until its
// next rndc reconfig; and that answers SERVFAIL while it loads what was changed.
func (k *call) change(ctx context.Context, list []work) {
	k.takeOut(ctx, list)
	for _, w := range list {
		if k.errs[w.at] != nil {
			continue
		}
		carried := k.carry(w)
		if k.errs[w.at] = k.replace(ctx, w); k.errs[w.at] != nil || !w.have.conf.Secondary() {
			continue
		}
		if carried && w.have.zone.Template != w.id {
			k.erase(w.have.conf.File)
		}
	}
}

// takeOut takes zones that are to be changed out of the driver's file: from now on
// they are zones of rndc addzone. Until each is replaced it runs on without being
// configured, which the next survey sees should this be the end.
func (k *call) takeOut(ctx context.Context, list []work) {
	var filed []work
	for _, w := range list {
		if k.errs[w.at] == nil && w.have.where == inFile {
			filed = append(filed, w)
		}
	}
	if len(filed) == 0 {
		return
	}
	err := k.d.rewrite(ctx, k.c, k.v, false, func(lines map[name.Name]string) {
		for _, w := range filed {
			delete(lines, w.name)
		}
	})
	if err != nil {
		k.fail(filed, err)
	}
}

// replace drops a zone and adds it again, when named has written down that it is gone:
// else it may write that after the addition, and the zone is lost at its next start.
func (k *call) replace(ctx context.Context, w work) error {
	add, err := rndc.AddZone(w.name, k.d.view, w.block)
	if err != nil {
		return err
	}
	before := named.StampOf(k.v.AddedPath())
	err = k.do(ctx, rndc.DropZone(w.name, k.d.view))
	if err != nil && !is(err, "not found") {
		return err
	}
	if err == nil && w.have.where == inAdded && !k.written(ctx, before) {
		if k.unwritten(ctx, []work{w}); k.errs[w.at] != nil {
			return k.errs[w.at]
		}
	}
	until := time.Now().Add(settleTime)
	for {
		err := k.do(ctx, add)
		if !is(err, "already exists") || time.Now().After(until) || ctx.Err() != nil {
			return err
		}
		select { // named has said that it drops the zone, and has not yet
		case <-ctx.Done():
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// written waits a moment until named's file of added zones is another than it was, and
// reports whether it is.
func (k *call) written(ctx context.Context, before named.Stamp) bool {
	for range 25 {
		if named.StampOf(k.v.AddedPath()) != before {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(2 * time.Millisecond):
		}
	}
	return false
}

// carry gives the new file of a zone the contents of the old one, so that named
// answers on while it changes the zone, and after a restart. It reports whether it
// could: named writes the file some time after the transfer.
func (k *call) carry(w work) bool {
	from, to := k.c.Path(w.have.conf.File), k.c.Path(k.d.fileOf(w.name, w.id))
	if w.have.conf.File == "" || !w.have.conf.Secondary() {
		return false
	}
	if from == to {
		return true
	}
	for _, end := range []string{".jnl", ""} {
		_ = os.Remove(to + end)
		if err := os.Link(from+end, to+end); err != nil && end == "" {
			return false
		}
	}
	return true
}

// erase removes the files of a zone.
func (k *call) erase(file string) {
	if file == "" {
		return
	}
	for _, end := range []string{"", ".jnl"} {
		_ = os.Remove(k.c.Path(file) + end)
	}
}

// do sends a command, unless named was found not to answer.
func (k *call) do(ctx context.Context, cmd rndc.Command) error {
	if k.deaf != nil {
		return k.deaf
	}
	_, err := k.d.control.Do(ctx, cmd)
	err = explain(err)
	if ctx.Err() != nil || errors.Is(err, server.ErrUnreachable) || errors.Is(err, server.ErrDenied) {
		k.deaf = err
	}
	return err
}

// is reports whether named answered with such a result.
func is(err error, result string) bool {
	var refused *rndc.Refusal
	return errors.As(err, &refused) && strings.Contains(refused.Result, result)
}
