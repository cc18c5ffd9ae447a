package nsd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/server"
)

func (d *driver) Remove(ctx context.Context, zones []server.Removal) []error {
	asked := make([]name.Name, len(zones))
	for i, r := range zones {
		asked[i] = r.Name
	}
	have, err := d.states(ctx, asked)
	if err != nil {
		return same(len(zones), err)
	}
	errs := make([]error, len(zones))
	var lines []string
	var names []name.Name
	var patterns []string
	var at []int
	for i, r := range zones {
		switch {
		case !have[i].Present:
			d.erase(r.Name, prefix)
		case !have[i].Owned && !r.Adopt:
			errs[i] = fmt.Errorf("%w: nsd has it with a pattern of others, or in nsd.conf", server.ErrForeign)
		default:
			lines, names, at = append(lines, r.Name.String()+"\n"), append(names, r.Name), append(at, i)
			patterns = append(patterns, have[i].pattern)
		}
	}
	if len(lines) == 0 {
		return errs
	}
	reply, err := d.control.do(ctx, "delzones", lines)
	if err == nil {
		d.gone = time.Now()
		have, err = d.states(ctx, names)
	}
	why := complaints(reply)
	for k, i := range at {
		switch {
		case err != nil:
			errs[i] = err
		case have[k].Present && why[names[k]] != "":
			errs[i] = d.explain(why[names[k]])
		case have[k].Present:
			errs[i] = fmt.Errorf("nsd said that it removed zone %s and still has it; it is removed again", names[k])
		default:
			d.erase(names[k], patterns[k])
		}
	}
	return errs
}

// erase removes what nsd leaves of a removed zone. A zone that was added by hand may
// have been given without its final dot.
func (d *driver) erase(n name.Name, pattern string) {
	c, err := d.settings()
	if err != nil {
		return
	}
	for _, file := range []string{c.file(n, pattern), c.file(name.Name(n.Bare()), pattern)} {
		if file != "" {
			_ = os.Remove(file)
			_ = os.Remove(file + "~")
		}
	}
}

// lull is how long after a removal nsd may still write a zone's file.
const lull = 30 * time.Second

// persist makes nsd write zones of ours that have contents and no file, so that they
// are served after a crash while the primary is down, and removes files of zones
// that are there no more.
func (d *driver) persist(ctx context.Context, zones []server.Zone) error {
	c, err := d.settings()
	if err != nil {
		return nil //nolint:nilerr // Probe says so
	}
	files := map[string]bool{}
	entries, err := os.ReadDir(filepath.Join(c.zonesDir(), folder))
	if err != nil && !os.IsNotExist(err) {
		return nil
	}
	for _, e := range entries {
		files[e.Name()] = true
	}
	missing := false
	for _, z := range zones {
		file := z.Name.String() + ".zone"
		missing = missing || z.Owned && z.Loaded && !files[file] && len(file) < 255
		delete(files, file)
		delete(files, file+"~")
	}
	if d.swept.Before(d.gone.Add(lull)) {
		d.swept = time.Now()
		for file := range files {
			if strings.HasSuffix(file, ".zone") {
				_ = os.Remove(filepath.Join(c.zonesDir(), folder, file))
			}
		}
	}
	if missing {
		if _, err := d.control.do(ctx, "write", nil); err != nil {
			return err
		}
	}
	return nil
}
