// Package nsd is the driver of NSD: zones are added in bulk by the protocol of
// nsd-control, with patterns of the driver's own.
package nsd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/server"
)

// kind is the server's kind, and the key of its words in Template.Options.
const kind = "nsd"

const (
	batch   = 1000 // zones of one addzones
	pending = 0    // see docs of Probe
	few     = 50   // zones up to which nsd is asked for each
)

type driver struct {
	o       server.Options
	control control

	// Of Add, Remove and List, which are called one at a time.
	loaded map[string]bool // IDs of templates whose patterns nsd has read
	swept  time.Time
	gone   time.Time // the last removal

	mu   sync.Mutex
	conf *settings
	read time.Time // of conf
}

// New returns the driver. Control is the path of nsd's control-interface, or
// host:port, for which CertDir has what nsd-control-setup makes (/etc/nsd when empty).
// Config is the path of nsd.conf; without it patterns have to be there already and
// files of removed zones stay.
func New(o server.Options) (server.Driver, error) {
	if o.Control == "" {
		return nil, fmt.Errorf("server %s of kind nsd has no control; give the control-interface of nsd.conf", o.Name)
	}
	c, err := newControl(o.Control, o.CertDir)
	if err != nil {
		return nil, fmt.Errorf("server %s: %w", o.Name, err)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &driver{o: o, control: c, loaded: map[string]bool{}}, nil
}

func (d *driver) Close() error { return nil }

// settings returns nsd.conf, read again after some seconds.
func (d *driver) settings() (*settings, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conf != nil && time.Since(d.read) < 5*time.Second {
		return d.conf, nil
	}
	if d.o.Config == "" {
		return nil, fmt.Errorf("server %s has no config; give the path of nsd.conf", d.o.Name)
	}
	c, err := readSettings(d.o.Config)
	if err == nil {
		d.conf, d.read = c, time.Now()
	}
	return c, err
}

// Probe asks nsd for its status and looks at its configuration.
func (d *driver) Probe(ctx context.Context) (server.Info, error) {
	info := server.Info{Kind: kind, Batch: batch, Pending: pending}
	reply, err := d.control.do(ctx, "status", nil)
	if err != nil {
		return info, err
	}
	for line := range strings.Lines(reply) {
		if v, ok := strings.CutPrefix(line, "version: "); ok {
			info.Version = strings.TrimSpace(v)
		}
	}
	c, err := d.settings()
	if err != nil {
		info.Problems = append(info.Problems, err.Error())
		return info, nil
	}
	info.Boot = bootOf(c.server["pidfile"])
	setup := "; run kaname zone setup " + d.o.Name
	if path := c.patternFile(); path == "" {
		info.Problems = append(info.Problems, "nsd.conf includes no "+ownFile+" for the patterns of kaname"+setup)
	}
	if db, ok := c.server["database"]; ok && db != "" {
		info.Problems = append(info.Problems, "nsd.conf has a database, which makes bulk additions slow; set database: \"\"")
	}
	if _, err := os.Stat(c.zonesDir()); err != nil {
		info.Problems = append(info.Problems, "zonesdir: "+err.Error()+setup)
	}
	return info, nil
}

// bootOf tells starts of nsd apart by its file of process number.
func bootOf(path string) string {
	if path == "" {
		path = "/run/nsd/nsd.pid"
	}
	text, err := os.ReadFile(path) //nolint:gosec // the configured file
	if err != nil {
		return ""
	}
	st, err := os.Stat(path)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%s@%d", strings.TrimSpace(string(text)), st.ModTime().UnixMilli())
}

func (d *driver) List(ctx context.Context) ([]server.Zone, error) {
	all, err := d.all(ctx)
	if err != nil {
		return nil, err
	}
	zones := make([]server.Zone, len(all))
	for i, h := range all {
		zones[i] = h.Zone
	}
	return zones, d.persist(ctx, zones)
}

// held is a zone as nsd has it.
type held struct {
	server.Zone
	pattern string // none for a zone of nsd.conf
}

// all asks for all zones. The reply has no end but that of the connection, so nsd
// has to be there afterwards: one that died has not told all.
func (d *driver) all(ctx context.Context) ([]held, error) {
	reply, err := d.control.do(ctx, zoneStatus, nil)
	if err != nil {
		return nil, err
	}
	if text := refusal(reply); text != "" {
		return nil, fmt.Errorf("nsd does not list its zones: %s", text)
	}
	if _, err := d.control.do(ctx, "status", nil); err != nil {
		return nil, err
	}
	return parseStatus(reply), nil
}

func (d *driver) Status(ctx context.Context, zones []name.Name) ([]server.Zone, error) {
	have, err := d.states(ctx, zones)
	if err != nil {
		return nil, err
	}
	out := make([]server.Zone, len(have))
	for i, h := range have {
		out[i] = h.Zone
	}
	return out, nil
}

// states asks for zones, in the order of the names.
func (d *driver) states(ctx context.Context, zones []name.Name) ([]held, error) {
	out := make([]held, len(zones))
	if len(zones) > few {
		all, err := d.all(ctx)
		if err != nil {
			return nil, err
		}
		have := make(map[name.Name]held, len(all))
		for _, h := range all {
			have[h.Name] = h
		}
		for i, n := range zones {
			out[i] = have[n]
			out[i].Name = n
		}
		return out, nil
	}
	for i, n := range zones {
		out[i].Name = n
		reply, err := d.control.do(ctx, zoneStatus+" "+n.String(), nil)
		if err != nil {
			return nil, err
		}
		for _, h := range parseStatus(reply) {
			if h.Name == n {
				out[i] = h
			}
		}
	}
	return out, nil
}

// parseStatus reads what zonestatus prints, nsd-control(8).
func parseStatus(reply string) []held {
	var list []held
	known, state := false, "" // of the last zone
	for line := range strings.Lines(reply) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		value = strings.TrimSpace(value)
		if key == "zone" {
			n, err := name.Parse(value)
			if known = err == nil; known {
				list = append(list, held{Zone: server.Zone{Name: n, Present: true}})
			}
		} else if known {
			z := &list[len(list)-1]
			if key == "state" {
				state = value
			}
			z.note(key, value, state)
		}
	}
	for i := range list {
		if !list[i].Loaded && list[i].Note == "" {
			list[i].Note = "not loaded: a transfer is under way, or none has succeeded"
		}
	}
	return list
}

// note takes one line of zonestatus.
func (h *held) note(key, value, state string) {
	switch key {
	case "pattern":
		h.pattern = value
		if h.Template, h.Owned = strings.CutPrefix(value, prefix); !h.Owned {
			h.Template = ""
		}
	case "state":
		h.Loaded = value == "primary" || value == "master"
	case "served-serial":
		if _, err := fmt.Sscanf(value, "\"%d ", &h.Serial); err == nil && state != "expired" {
			h.Loaded = true
		}
	case "wait":
		if !h.Loaded {
			h.Note = fmt.Sprintf("not loaded, %s, %s; nsd's log says why, at \"xfrd: zone %s\"", state, strings.Trim(value, `"`), h.Name)
		}
	}
}

// Kick makes nsd ask the primaries of the zones now.
func (d *driver) Kick(ctx context.Context, zones []name.Name) error {
	var errs []error
	for _, n := range zones {
		reply, err := d.control.do(ctx, "transfer "+n.String(), nil)
		switch {
		case errors.Is(err, server.ErrUnreachable) || errors.Is(err, server.ErrDenied):
			return errors.Join(append(errs, err)...)
		case err != nil:
			errs = append(errs, err)
		case refusal(reply) != "":
			errs = append(errs, fmt.Errorf("zone %s: nsd does not transfer it: %s", n, refusal(reply)))
		}
	}
	return errors.Join(errs...)
}
