package pdns

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"kaname.dev/kaname/rib/zone/control/pdnsapi"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/server"
)

// List returns the zones of the database, with serials.
func (d *Driver) List(ctx context.Context) ([]server.Zone, error) {
	have, err := d.api.All(ctx)
	if err != nil {
		return nil, fail(err)
	}
	if err := d.note.keep(have); err != nil {
		return nil, fmt.Errorf("note of what is being added: %w", err)
	}
	zones := make([]server.Zone, 0, len(have))
	for _, z := range have {
		if z.Kind != pdnsapi.Producer && z.Kind != pdnsapi.Consumer {
			zones = append(zones, d.zone(z))
		}
	}
	return zones, nil
}

// Status asks for each zone, or for all when there are many.
func (d *Driver) Status(ctx context.Context, zones []name.Name) ([]server.Zone, error) {
	have, err := d.find(ctx, zones)
	if err != nil {
		return nil, fail(err)
	}
	out := make([]server.Zone, len(zones))
	for i, n := range zones {
		out[i].Name = n
		if z, is := have[n]; is {
			out[i] = d.zone(z)
		}
	}
	return out, nil
}

// find returns those of zones that are there.
func (d *Driver) find(ctx context.Context, zones []name.Name) (map[name.Name]pdnsapi.Zone, error) {
	have := make(map[name.Name]pdnsapi.Zone, len(zones))
	if len(zones) <= few {
		for _, n := range zones {
			z, err := d.api.Find(ctx, n)
			if errors.Is(err, pdnsapi.ErrMissing) {
				continue
			}
			if err != nil {
				return nil, err
			}
			have[n] = z
		}
		return have, nil
	}
	all, err := d.api.All(ctx)
	if err != nil {
		return nil, err
	}
	for _, z := range all {
		have[z.Name] = z
	}
	return have, nil
}

// zone says what a zone is to kaname.
func (d *Driver) zone(z pdnsapi.Zone) server.Zone {
	owned, template := ownership(z)
	if d.note.has(z.Name) {
		template = "" // perhaps not complete
	}
	s := server.Zone{
		Name: z.Name, Present: true, Owned: owned, Template: template, Serial: z.Serial,
		Loaded: z.Kind != pdnsapi.Slave || z.Serial != 0 || z.Checked != 0,
	}
	if !s.Loaded {
		s.Note = fmt.Sprintf("no contents have come from %s; the log of pdns_server says why", strings.Join(z.Masters, ", "))
	}
	return s
}

// ownership reads the tag.
func ownership(z pdnsapi.Zone) (owned bool, template string) {
	if template, owned = strings.CutPrefix(z.Account, tag); !owned {
		return false, ""
	}
	return true, template
}

// trim53 takes the default port off an address.
func trim53(master string) string {
	host, is := strings.CutSuffix(master, ":53")
	if !is {
		return master
	}
	return strings.Trim(host, "[]")
}

// Kick asks for a transfer of each zone.
func (d *Driver) Kick(ctx context.Context, zones []name.Name) error {
	errs := make([]error, len(zones))
	each(errs, func(i int) error {
		err := d.api.Retrieve(ctx, zones[i])
		if errors.Is(err, pdnsapi.ErrMissing) {
			return nil // nothing is to be transferred
		}
		if err != nil {
			return fmt.Errorf("transfer of %s: %w", zones[i], fail(err))
		}
		return nil
	})
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
