package zone

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/office"
	"kaname.dev/kaname/rib/zone/exchange"
	"kaname.dev/kaname/rib/zone/guard"
	"kaname.dev/kaname/rib/zone/keeper"
	"kaname.dev/kaname/rib/zone/server"
	"kaname.dev/kaname/rib/zone/site"
	"kaname.dev/kaname/rib/zone/source"
	"kaname.dev/kaname/rib/zone/wire"
)

// openSites starts a site for each server of this host.
func (r *service) openSites(loop func(func(context.Context) error)) error {
	for i := range r.config.Servers {
		c := &r.config.Servers[i]
		kind, err := kindOf(c.Kind)
		if err != nil {
			return err
		}
		dir := filepath.Join(r.node.Dir, "servers", c.Name)
		if err := os.MkdirAll(filepath.Join(dir, "driver"), 0o750); err != nil {
			return err
		}
		root, err := os.OpenRoot(dir)
		if err != nil {
			return err
		}
		driver, err := kind.open(r.driverOptions(c))
		if err != nil {
			_ = root.Close()
			return fault.Of(err).At("zone.servers: " + c.Name)
		}
		s, err := site.New(site.Options{
			Name: c.Name, Kind: c.Kind, View: c.View, Groups: c.Groups, Address: addr(c.Address), Manual: c.Manual,
			Driver: driver, Keeper: r.client, Root: root, Kept: r.kept, Rescue: r.rescue(), Wire: &wire.Client{}, Keys: r.keys,
			Metrics: r.meters, Log: r.node.Log.With("server", c.Name),
		})
		if err != nil {
			return err
		}
		r.mu.Lock()
		r.sites[c.Name] = s
		r.mu.Unlock()
		loop(func(ctx context.Context) error {
			defer root.Close()
			defer func() {
				if err := driver.Close(); err != nil {
					r.node.Log.Warn("driver of a server did not close", "server", c.Name, "why", err)
				}
			}()
			return s.Run(ctx)
		})
	}
	return nil
}

// driverOptions says how a server is worked.
func (r *service) driverOptions(c *Server) server.Options {
	return server.Options{
		Name: c.Name, Kind: c.Kind, Control: c.Control, KeyFile: c.KeyFile, CertDir: c.CertDir, Config: c.Config, Stats: c.Stats, View: c.View, Exec: c.Exec,
		Dir: filepath.Join(r.node.Dir, "servers", c.Name, "driver"), Log: r.node.Log.With("server", c.Name),
	}
}

// openSources starts the sources of this host.
func (r *service) openSources(loop func(func(context.Context) error)) error {
	for i := range r.config.Sources {
		c := &r.config.Sources[i]
		o, err := r.sourceOptions(c)
		if err != nil {
			return fault.Of(err).At("zone.sources: " + c.Name)
		}
		s, err := openSource(o)
		if err != nil {
			return fault.Of(err).At("zone.sources: " + c.Name)
		}
		r.mu.Lock()
		r.sources[c.Name] = s
		r.mu.Unlock()
		loop(func(ctx context.Context) error { return r.runSource(ctx, c, o, s) })
	}
	return nil
}

// runSource runs a source until ctx ends; when it breaks, its set is unknown and it is
// started again.
func (r *service) runSource(ctx context.Context, c *Source, o source.Options, s source.Source) error {
	tell := func(ctx context.Context, rep source.Report) error { return r.tell(ctx, c, &o, rep) }
	for {
		err := s.Run(ctx, tell)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it was told to end
		}
		why := "the source ended"
		if err != nil {
			why = err.Error()
		}
		r.node.Log.Error("source broke and is started again", "source", c.Name, "why", why)
		_ = tell(ctx, source.Report{Trouble: why}) // it tells of itself soon
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(5 * time.Second):
		}
	}
}

// tell sends a source's report to the keeper.
func (r *service) tell(ctx context.Context, c *Source, o *source.Options, rep source.Report) error {
	primary := server.Primary{Address: o.Peer.Address}
	if c.Primary != "" {
		primary.Address = addr(c.Primary)
	}
	if o.Peer.Key != nil {
		primary.Key = o.Peer.Key.Name
	}
	_, err := office.Do[struct{}](ctx, r.client, exchange.PathReport, exchange.Reported{
		Source: c.Name, Kind: c.Kind, View: c.View, Group: c.Group, Catalog: o.Catalog, Primary: []server.Primary{primary}, Report: rep,
	})
	if err != nil && ctx.Err() == nil && !fault.Is(err, fault.KindUnavailable) { // the keeper's absence says itself
		r.node.Log.Warn("report of a source was not taken", "source", c.Name, "why", err)
	}
	return err
}

// sourceOptions says how a source is reached.
func (r *service) sourceOptions(c *Source) (source.Options, error) {
	dir := filepath.Join(r.node.Dir, "sources", c.Name)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return source.Options{}, err
	}
	o := source.Options{
		Name: c.Name, Kind: c.Kind, Peer: wire.Peer{Address: addr(c.Address)}, Control: c.Control, KeyFile: c.KeyFile, Config: c.Config,
		Stats: c.Stats, View: c.View, Native: c.Native, Dir: dir, Log: r.node.Log.With("source", c.Name),
	}
	var err error
	if c.From != "" {
		o.Peer.Source = netip.MustParseAddr(c.From)
	}
	if c.Key != "" {
		key, err := wire.ReadKey(c.Key)
		if err != nil {
			return o, err
		}
		o.Peer.Key = &key
	}
	if c.Catalog != "" {
		if o.Catalog, err = keeper.ParseZone(c.Catalog); err != nil {
			return o, err
		}
	}
	if o.Allow, err = names(c.Allow); err != nil {
		return o, err
	}
	if o.Names, err = names(c.Names); err != nil {
		return o, err
	}
	o.Froms, err = prefixes(c.AllowFrom)
	return o, err
}

// keeperSettings are what the keeper goes by.
func (r *service) keeperSettings() keeper.Settings {
	c := r.settings()
	s := keeper.Settings{Quarantine: c.Quarantine, Groups: map[string]server.Template{}, Guard: guard.Default()}
	s.Guard.Share, s.Guard.Least, s.Guard.Window = float64(c.Guard.Share)/100, c.Guard.Least, c.Guard.Window
	for group, g := range c.Groups {
		t, err := g.template(group)
		if err != nil {
			continue // Check has refused it
		}
		s.Groups[group] = t
	}
	return s
}
