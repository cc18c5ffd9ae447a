package bind

import (
	"os"
	"path/filepath"
	"time"

	"kaname.dev/kaname/rib/zone/name"
)

// How often files are looked at that no zone has, and how old they must be: named
// writes one while it lets go of a zone.
const (
	sweepEvery = 10 * time.Minute
	sweepAge   = time.Minute
)

// sweep removes the files that named left in the driver's folders when it let go of
// zones.
func (d *driver) sweep(all map[name.Name]*held, now time.Time) {
	d.mu.Lock()
	c := d.config
	due := now.Sub(d.swept) >= sweepEvery
	if due {
		d.swept = now
	}
	d.mu.Unlock()
	if !due || c == nil {
		return
	}
	keep := map[string]bool{}
	for _, h := range all {
		if h.conf.File != "" {
			keep[c.Path(h.conf.File)] = true
			keep[c.Path(h.conf.File)+".jnl"] = true
		}
	}
	paths, err := filepath.Glob(filepath.Join(c.Path(folder), "*", d.o.View, "*"))
	if err != nil {
		return
	}
	for _, p := range paths {
		st, err := os.Lstat(p)
		if err == nil && st.Mode().IsRegular() && !keep[p] && now.Sub(st.ModTime()) >= sweepAge {
			_ = os.Remove(p)
		}
	}
}
