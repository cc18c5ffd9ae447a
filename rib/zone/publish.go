package zone

import (
	"context"
	"slices"
	"time"

	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/rib/zone/catalog"
	"kaname.dev/kaname/rib/zone/keeper"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/serve"
	"kaname.dev/kaname/rib/zone/wire"
)

// catalogDoc is how far a published catalog has come; its key is the catalog's name. The
// serial is stored before it is served, so that it never goes back.
type catalogDoc struct {
	Serial uint32 `json:"serial"`
}

func (r *service) catalogs() plane.Docs[catalogDoc] {
	return plane.Documents[catalogDoc](r.node.Plane, "zone.catalogs")
}

// publish serves what is desired as catalog zones (RFC 9432), on the core that is the
// keeper, until ctx ends.
func (r *service) publish(ctx context.Context) error {
	last := make([]map[name.Name]catalog.Member, len(r.config.Catalog)) // by catalog, as published
	for {
		select {
		case <-ctx.Done():
			return nil
		case d := <-r.desired:
			for i := range r.config.Catalog {
				if err := r.publishOne(ctx, &r.config.Catalog[i], &d, &last[i]); err != nil && ctx.Err() == nil {
					r.node.Log.Error("catalog is not published", "catalog", r.config.Catalog[i].Name, "why", err)
				}
			}
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(100 * time.Millisecond): // many small changes are one version
			}
		}
	}
}

// publishOne serves one catalog anew if its members changed.
func (r *service) publishOne(ctx context.Context, c *Catalog, d *keeper.Desired, last *map[name.Name]catalog.Member) error {
	zone, err := name.Parse(c.Name)
	if err != nil {
		return err
	}
	members := membersOf(c, zone, d)
	if *last != nil && sameMembers(*last, members) {
		return nil
	}
	doc, err := r.catalogs().Update(ctx, string(zone), func(doc *catalogDoc) error {
		doc.Serial = next(doc.Serial)
		return nil
	})
	if err != nil {
		return err
	}
	z := serve.Zone{Name: zone}
	if c.Key != "" {
		z.Keys = []string{c.Key}
	}
	if z.AllowFrom, err = prefixes(c.Allow); err != nil {
		return err
	}
	for _, at := range c.Notify {
		// Unsigned, as primaries send it unless told otherwise: Knot refuses a signed one
		// where it allows the address alone.
		z.Notify = append(z.Notify, wire.Peer{Address: addr(at)})
	}
	z.Records = catalog.Build(&catalog.Catalog{
		Zone: zone, Serial: doc.Value.Serial, Times: catalog.DefaultTimes(), Version: 2, Members: members,
	}, catalog.For(c.For))
	if err := r.listen.Publish(z); err != nil {
		return err
	}
	*last = members
	return nil
}

// next returns the serial after one; zero is left out, for some servers take it for none.
func next(serial uint32) uint32 {
	if serial++; serial == 0 {
		return 1
	}
	return serial
}

// membersOf returns what is in a catalog: the zones of its view and groups, never the
// catalog itself or a name at which it lives.
func membersOf(c *Catalog, zone name.Name, d *keeper.Desired) map[name.Name]catalog.Member {
	members := map[name.Name]catalog.Member{}
	for k, z := range d.Zones {
		if k.View != c.View || len(c.Groups) > 0 && !slices.Contains(c.Groups, z.Group) || zone.Under(k.Name) {
			continue
		}
		m := catalog.Member{Label: catalog.Label(k.Name, "")}
		if z.Group != "" {
			m.Groups = []string{z.Group}
		}
		if c.For == string(catalog.ForBIND) {
			for _, p := range z.Template.Primaries {
				if p.Address.Port() == 53 { // BIND's property has no port
					m.Primaries = append(m.Primaries, catalog.Primary{Address: p.Address.Addr(), Key: p.Key})
				}
			}
		}
		members[k.Name] = m
	}
	return members
}

func sameMembers(a, b map[name.Name]catalog.Member) bool {
	if len(a) != len(b) {
		return false
	}
	for n, m := range a {
		x, ok := b[n]
		if !ok || x.Label != m.Label || !slices.Equal(x.Groups, m.Groups) || !slices.Equal(x.Primaries, m.Primaries) {
			return false
		}
	}
	return true
}
