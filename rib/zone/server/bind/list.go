package bind

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"kaname.dev/kaname/rib/zone/control/rndc"
	"kaname.dev/kaname/rib/zone/control/rndc/conf"
	"kaname.dev/kaname/rib/zone/control/rndc/named"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/server"
)

// where a zone's configuration stands.
type where int

const (
	inNothing where = iota // only named knows it: of a catalog, or taken out of a file
	inConfig               // named.conf, or a file of others that it includes
	inFile                 // the driver's own included file
	inAdded                // rndc addzone
)

// held is a zone as named has it, with what is configured.
type held struct {
	zone    server.Zone
	conf    named.Zone
	where   where
	running bool
}

func (d *driver) List(ctx context.Context) ([]server.Zone, error) {
	all, err := d.survey(ctx)
	if err != nil {
		return nil, err
	}
	d.sweep(all, time.Now())
	zones := make([]server.Zone, 0, len(all))
	for _, h := range all {
		if h.running {
			zones = append(zones, h.zone)
		}
	}
	slices.SortFunc(zones, func(a, b server.Zone) int { return strings.Compare(string(a.Name), string(b.Name)) })
	return zones, nil
}

// survey returns every zone that runs or stands in a file. That a zone runs comes
// from named, whose it is from the files, which it is read from again after each
// change of theirs: so nothing has to be remembered.
func (d *driver) survey(ctx context.Context) (map[name.Name]*held, error) {
	// The files would tell of a named that does not listen to us, too.
	if _, err := d.control.Do(ctx, rndc.Status); err != nil {
		return nil, explain(err)
	}
	c, v, err := d.files()
	if err != nil {
		return nil, err
	}
	all := map[name.Name]*held{}
	d.configured(c, v, all)
	added, err := d.readAdded(ctx, v)
	unread := errors.Is(err, named.ErrUnread)
	if err != nil && !unread {
		return nil, err
	}
	for _, z := range added {
		all[z.Name] = &held{conf: z, where: inAdded}
	}
	if err := d.running(ctx, c, v, all); err != nil {
		return nil, err
	}
	for n, h := range all {
		if v.Catalogs[n] || h.conf.Type == "hint" || h.conf.Type == "forward" || h.conf.Type == "builtin" {
			delete(all, n)
			continue
		}
		if h.running && h.where == inNothing {
			if h.conf, err = d.show(ctx, n); err != nil {
				return nil, err
			}
			if h.conf.File != "" && unread {
				h.where = inAdded
			}
		}
		h.zone.Name, h.zone.Present = n, h.running
		h.zone.Template = d.tagOf(h.conf)
		h.zone.Owned = h.zone.Template != ""
	}
	return all, nil
}

// configured notes the zones of the configuration files.
func (d *driver) configured(c *named.Config, v *named.View, all map[name.Name]*held) {
	for _, z := range v.Zones {
		h := &held{conf: z, where: inConfig}
		if d.tagOf(z) != "" && v.Includes[d.filePath(c, v)] {
			h.where = inFile
		}
		all[z.Name] = h
	}
}

// readAdded returns the zones of rndc addzone, read again when named wrote them.
func (d *driver) readAdded(ctx context.Context, v *named.View) ([]named.Zone, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	stamp := named.StampOf(v.AddedPath())
	if stamp == d.added.stamp && d.added.zones != nil {
		return d.added.zones, nil
	}
	zones, stamp, err := v.Added(ctx)
	if err != nil {
		return nil, err
	}
	d.added.stamp, d.added.zones = stamp, zones
	clear(d.shown)
	return zones, nil
}

// running notes which zones run: from the statistics channel, else by asking for
// each that is configured.
func (d *driver) running(ctx context.Context, c *named.Config, v *named.View, all map[name.Name]*held) error {
	if c.Stats == "" {
		for n, h := range all {
			st, err := d.state(ctx, d.control, n)
			if err != nil {
				return err
			}
			h.running, h.zone = st.Present, st
		}
		return nil
	}
	s, err := named.Stats(ctx, c.Stats)
	if err != nil {
		return fmt.Errorf("%w: %w", server.ErrUnreachable, err)
	}
	d.mu.Lock()
	if d.boot != s.Boot {
		d.boot = s.Boot
		clear(d.shown)
	}
	d.mu.Unlock()
	list, ok := s.Views[v.Name]
	if !ok {
		return fmt.Errorf("named has no view %q; run rndc reconfig, or correct view of server %s", v.Name, d.o.Name)
	}
	for _, z := range list {
		if z.Type == "builtin" {
			continue
		}
		h := all[z.Name]
		if h == nil {
			h = &held{conf: named.Zone{Name: z.Name, Type: z.Type}}
			all[z.Name] = h
		}
		h.running = true
		h.zone.Loaded, h.zone.Serial = z.Loaded, z.Serial
	}
	return nil
}

// show asks for the configuration of a zone that stands in no file. A zone of a
// catalog has none.
func (d *driver) show(ctx context.Context, n name.Name) (named.Zone, error) {
	d.mu.Lock()
	z, ok := d.shown[n]
	d.mu.Unlock()
	if ok {
		return z, nil
	}
	text, err := d.control.Do(ctx, rndc.ShowZone(n, d.view))
	var refused *rndc.Refusal
	if err != nil && !errors.As(err, &refused) {
		return z, explain(err)
	}
	z = named.Zone{Name: n}
	if err == nil {
		if list, err := conf.Parse(text); err == nil && len(list) == 1 {
			z, _ = named.ZoneOf(list[0])
			z.Name = n
		}
	}
	d.mu.Lock()
	d.shown[n] = z
	d.mu.Unlock()
	return z, nil
}

// few is up to how many zones are asked for one by one.
const few = 200

func (d *driver) Status(ctx context.Context, zones []name.Name) ([]server.Zone, error) {
	return d.states(ctx, d.watch, zones)
}

func (d *driver) states(ctx context.Context, client *rndc.Client, zones []name.Name) ([]server.Zone, error) {
	out := make([]server.Zone, len(zones))
	c, v, err := d.files()
	if len(zones) <= few || err != nil || c.Stats == "" {
		for i, n := range zones {
			if out[i], err = d.state(ctx, client, n); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	s, err := named.Stats(ctx, c.Stats)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", server.ErrUnreachable, err)
	}
	have := make(map[name.Name]named.Running, len(s.Views[v.Name]))
	for _, z := range s.Views[v.Name] {
		have[z.Name] = z
	}
	for i, n := range zones {
		z, ok := have[n]
		out[i] = server.Zone{Name: n, Present: ok, Loaded: z.Loaded, Serial: z.Serial}
		if ok && !z.Loaded {
			out[i].Note = notLoaded
		}
	}
	return out, nil
}

const notLoaded = "not loaded: no transfer has succeeded; named's log says why, at \"transfer of\" and \"refresh\""

// state asks for one zone.
func (d *driver) state(ctx context.Context, c *rndc.Client, n name.Name) (server.Zone, error) {
	z := server.Zone{Name: n}
	text, err := c.Do(ctx, rndc.ZoneStatus(n, d.view))
	var refused *rndc.Refusal
	switch {
	case errors.As(err, &refused) && strings.Contains(refused.Result, "not loaded"):
		z.Present, z.Note = true, notLoaded
		return z, nil
	case errors.As(err, &refused) && strings.Contains(refused.Result, "not found"):
		return z, nil
	case err != nil:
		return z, explain(err)
	}
	z.Present = true
	for line := range strings.Lines(text) {
		if s, ok := strings.CutPrefix(strings.TrimSpace(line), "serial: "); ok {
			if n, err := strconv.ParseUint(s, 10, 32); err == nil {
				z.Loaded, z.Serial = true, uint32(n)
			}
		}
	}
	return z, nil
}
