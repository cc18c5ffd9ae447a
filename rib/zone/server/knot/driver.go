// Package knot drives Knot DNS over its control socket: each batch of zones is one
// transaction of the configuration database. A zone of ours has a template of ours,
// named kaname- and the ID of the template that it was added with; that is the tag.
package knot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"kaname.dev/kaname/rib/zone/control/knotctl"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/server"
)

const (
	// Socket is where Debian's knotd listens for commands.
	Socket = "/run/knot/knot.sock"
	// tag begins the names of everything that the driver makes.
	tag = "kaname-"
	// batch is the number of additions of one transaction: its commit looks at all
	// zones of the server, so few large ones are best.
	batch = 5000
	// patience is how long another's open transaction is waited for.
	patience = 5 * time.Second
)

// driver drives one server.
type driver struct {
	o server.Options
}

// New returns the driver of a knotd: Control is the path of its control socket.
func New(o server.Options) (server.Driver, error) {
	if o.Control == "" {
		o.Control = Socket
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &driver{o}, nil
}

// Close has nothing to end: conversations are as long as one call.
func (d *driver) Close() error { return nil }

// wrap gives an error of the protocol its meaning for a driver.
func (d *driver) wrap(err error) error {
	if err == nil {
		return nil
	}
	for from, to := range map[error]error{
		knotctl.ErrUnreachable: server.ErrUnreachable, knotctl.ErrDenied: server.ErrDenied, knotctl.ErrFull: server.ErrFull,
	} {
		if errors.Is(err, from) {
			return fmt.Errorf("%s: %w: %w", d.o.Name, to, err)
		}
	}
	return fmt.Errorf("%s: %w", d.o.Name, err)
}

// fill gives an error to all that have no result yet.
func fill(errs []error, open []int, err error) {
	for _, i := range open {
		errs[i] = err
	}
}

// List returns the zones of the configuration; members of catalogs that the server
// consumes itself are not in it.
func (d *driver) List(ctx context.Context) ([]server.Zone, error) {
	c, err := knotctl.Dial(ctx, d.o.Control)
	if err != nil {
		return nil, d.wrap(err)
	}
	defer c.Close() //nolint:errcheck // nothing is lost
	templates, catalogs := map[string]string{}, map[string]bool{}
	if err := c.Each(read("zone", "template", ""), func(u knotctl.Data) { templates[u.ID] = u.Value }); err != nil {
		return nil, d.wrap(err)
	}
	if err := c.Each(read("zone", "catalog-role", ""), func(u knotctl.Data) {
		catalogs[u.ID] = u.Value == "interpret" || u.Value == "generate"
	}); err != nil {
		return nil, d.wrap(err)
	}
	var zones []server.Zone
	var bad error
	err = c.Each(read("zone", "domain", ""), func(u knotctl.Data) {
		if catalogs[u.Value] {
			return
		}
		n, err := name.Parse(u.Value)
		if err != nil {
			bad = fmt.Errorf("knotd lists a zone whose name %q %w", u.Value, err)
			return
		}
		id, owned := strings.CutPrefix(templates[u.Value], tag)
		z := server.Zone{Name: n, Present: true, Owned: owned}
		if owned {
			z.Template = id
		}
		zones = append(zones, z)
	})
	if err = errors.Join(err, bad); err != nil {
		return nil, d.wrap(err)
	}
	return zones, nil
}

// read asks for a part of the configuration.
func read(section, item, id string) knotctl.Data {
	return knotctl.Data{Command: "conf-read", Section: section, Item: item, ID: id}
}

// Status asks for the zones one by one, on one conversation.
func (d *driver) Status(ctx context.Context, names []name.Name) ([]server.Zone, error) {
	c, err := knotctl.Dial(ctx, d.o.Control)
	if err != nil {
		return nil, d.wrap(err)
	}
	defer c.Close() //nolint:errcheck // nothing is lost
	zones, err := d.find(c, names)
	if err != nil {
		return nil, err
	}
	requests := make([]knotctl.Data, len(names))
	for i, n := range names {
		requests[i] = knotctl.Data{Command: "zone-status", Zone: n.String()}
	}
	next := make([]string, len(names))
	errs := c.Pipe(requests, func(i int, u knotctl.Data) {
		switch {
		case u.Error != "":
		case u.Type == "serial":
			if serial, err := strconv.ParseUint(u.Value, 10, 32); err == nil {
				zones[i].Loaded, zones[i].Serial = true, uint32(serial)
			}
			zones[i].Present = true
		case u.Type == "refresh":
			next[i] = u.Value
		}
	})
	for i := range zones {
		if errors.Is(errs[i], knotctl.ErrUnreachable) {
			return nil, d.wrap(errs[i])
		}
		if zones[i].Present && !zones[i].Loaded {
			zones[i].Note = "no transfer has succeeded; the next: " + next[i]
		}
	}
	return zones, nil
}

// find looks which of the zones are in the configuration, and with which template.
func (d *driver) find(c *knotctl.Conn, names []name.Name) ([]server.Zone, error) {
	zones, templates := make([]server.Zone, len(names)), make([]string, len(names))
	requests := make([]knotctl.Data, len(names))
	for i, n := range names {
		zones[i].Name = n
		requests[i] = read("zone", "template", n.String())
	}
	errs := c.Pipe(requests, func(i int, u knotctl.Data) {
		if u.Error == "" {
			templates[i] = u.Value
		}
	})
	for i, err := range errs {
		switch {
		case errors.Is(err, knotctl.ErrUnreachable):
			return nil, d.wrap(err)
		case errors.Is(err, knotctl.ErrNoItem), err == nil:
			zones[i].Present = true
			if id, ok := strings.CutPrefix(templates[i], tag); ok {
				zones[i].Owned, zones[i].Template = true, id
			}
		}
	}
	return zones, nil
}

// Kick transfers the zones again, whatever their serial.
func (d *driver) Kick(ctx context.Context, names []name.Name) error {
	c, err := knotctl.Dial(ctx, d.o.Control)
	if err != nil {
		return d.wrap(err)
	}
	defer c.Close() //nolint:errcheck // nothing is lost
	requests := make([]knotctl.Data, len(names))
	for i, n := range names {
		requests[i] = knotctl.Data{Command: "zone-retransfer", Zone: n.String()}
	}
	for _, err := range c.Pipe(requests, nil) {
		if errors.Is(err, knotctl.ErrUnreachable) {
			return d.wrap(err)
		}
	}
	return nil
}
