package mysql

import (
	"cmp"
	"context"
	"crypto/tls"
	"io"
	"os"
	"path/filepath"
	"slices"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/rib/mysql/exchange"
	"kaname.dev/kaname/rib/mysql/lease"
	"kaname.dev/kaname/rib/mysql/order"
	"kaname.dev/kaname/rib/mysql/server"
	"kaname.dev/kaname/rib/mysql/site"
	"kaname.dev/kaname/rib/mysql/topology"
	"kaname.dev/kaname/rib/office"
)

// openSites starts a site for each database server of this host.
func (r *service) openSites(loop func(func(context.Context) error)) error {
	if len(r.config.Servers) == 0 {
		return nil
	}
	meters, err := site.NewMetrics(r.node.Metrics)
	if err != nil {
		return err
	}
	for i := range r.config.Servers {
		c := &r.config.Servers[i]
		s, done, err := r.openSite(c, meters)
		if err != nil {
			return fault.Of(err).At("mysql.servers: " + c.Name)
		}
		r.mu.Lock()
		r.sites[c.Name] = s
		r.mu.Unlock()
		loop(func(ctx context.Context) error {
			defer done()
			if rec, _ := s.Record(); rec != nil && rec.Primary != "" && rec.Primary != c.Name {
				r.drop(ctx, rec) // left by an agent that ended before it could
			}
			return s.Run(ctx)
		})
	}
	return nil
}

// openSite makes the site of a server, and what closes it.
func (r *service) openSite(c *Server, meters *site.Metrics) (*site.Site, func(), error) {
	ca, err := readCA(c.CA)
	if err != nil {
		return nil, nil, fault.Invalid("the CA cannot be used").Because(err)
	}
	account := func() (string, string, error) { return readAccount(c.Credentials) }
	if _, _, err := account(); err != nil {
		return nil, nil, fault.Invalid("the account cannot be read").Because(err).Try("write the file that mysql.servers.credentials names, owned by kaname's user, mode 0600")
	}
	local, err := server.Open(server.Options{Name: c.Name, Socket: c.Socket, Credentials: account, Log: r.node.Log})
	if err != nil {
		return nil, nil, err
	}
	dir := filepath.Join(r.node.Dir, "servers", c.Name)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, nil, err
	}
	reports := exchange.NewReports(r.quick)
	s, err := site.New(site.Options{
		Member: c.Name, Server: local, Socket: c.Socket, PIDFile: c.PIDFile, CA: c.CA, Start: c.Start, Root: root, Metrics: meters,
		Remote:      func(m topology.Member) (*server.Server, error) { return remoteServer(m, account, ca, r) },
		Controller:  func(ctx context.Context, in topology.Report) (site.Answer, error) { return reportTo(ctx, reports, in) },
		Ask:         r.askFor,
		Rescue:      r.fetchTail,
		Copy:        r.fetchCopy,
		Account:     account,
		Closed:      r.drop,
		Opened:      r.regain,
		Replication: func() (string, string, error) { return readAccount(c.Replication) },
		Log:         r.node.Log.With("server", c.Name),
	})
	if err != nil {
		return nil, nil, err
	}
	return s, func() {
		reports.Close()
		_ = local.Close()
		_ = root.Close()
	}, nil
}

// remoteServer is another member's server, seen over the network with this one's account.
func remoteServer(m topology.Member, account func() (string, string, error), ca *tls.Config, r *service) (*server.Server, error) {
	return server.Open(server.Options{Name: m.Name, Address: m.Address, Credentials: account, TLS: ca, Log: r.node.Log})
}

// site returns the site of a server of this host.
func (r *service) site(name string) (*site.Site, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sites[name]
	if s == nil {
		return nil, fault.NotFound("host " + r.node.Host + " has no database server " + name).Try("see mysql.servers in its configuration: kaname config show")
	}
	return s, nil
}

// reportTo sends a report to the controller.
func reportTo(ctx context.Context, reports *exchange.Reports, in topology.Report) (site.Answer, error) {
	h, err := reports.Say(ctx, in)
	return site.Answer{Record: h.Record, Revision: h.Revision, Granted: h.Granted}, err
}

// voteIn is a question for a grant, to one member of those on a host.
type voteIn struct {
	Voter string    `json:"voter"`
	Ask   lease.Ask `json:"ask"`
}

// askFor asks the agent of a member for a grant.
func (r *service) askFor(ctx context.Context, m topology.Member, a lease.Ask) (lease.Answer, error) {
	return office.Send[lease.Answer](ctx, r.node.PeerClient, reportWithin, office.Seat{Host: m.Host, Address: m.Peer}, exchange.PathGrant, voteIn{Voter: m.Name, Ask: a})
}

// vote answers the agent of a primary: only that of the member's own host may ask.
func (r *service) vote(_ context.Context, host string, in voteIn) (lease.Answer, error) {
	s, err := r.site(in.Voter)
	if err != nil {
		return lease.Answer{}, err
	}
	if err := mayAsk(s, host, in.Ask.Topology, in.Ask.Primary); err != nil {
		return lease.Answer{}, err
	}
	return s.Vote(in.Ask), nil
}

// mayAsk refuses a host that does not look after the member for which it speaks.
func mayAsk(s *site.Site, host, name, member string) error {
	rec, _ := s.Record()
	if rec == nil || rec.Name != name {
		return fault.Denied("this server does not belong to topology " + name)
	}
	if m := rec.Member(member); m == nil || m.Host != host {
		return fault.Denied("host " + host + " does not look after member " + member + " of topology " + name)
	}
	return nil
}

// serveOnce serves the commands, once in the life of the process.
func (r *service) serveOnce() error {
	r.mu.Lock()
	was := r.served
	r.served = true
	n := len(r.sites)
	r.mu.Unlock()
	if was || n == 0 {
		return nil
	}
	p := r.node.Plane
	return cmp.Or(
		plane.Serve(p, exchange.CommandOrder, 1, func(ctx context.Context, _ *plane.Call, in order.Order) (order.Done, error) {
			s, err := r.site(in.Member)
			if err != nil {
				return order.Done{}, err
			}
			return s.Order(ctx, in)
		}),
		plane.ServeQuery(p, exchange.CommandServers, 1, func(context.Context, *plane.Call, struct{}) ([]exchange.Server, error) {
			return r.listServers(), nil
		}),
		plane.Serve(p, exchange.CommandVIP, 1, func(ctx context.Context, _ *plane.Call, in addressIn) (string, error) {
			return r.addresses.Do(ctx, in.Want, in.Assignment)
		}),
	)
}

// listServers lists the servers of this host.
func (r *service) listServers() []exchange.Server {
	out := []exchange.Server{}
	for i := range r.config.Servers {
		c := &r.config.Servers[i]
		s := exchange.Server{Name: c.Name, Address: c.Address}
		if at, err := r.site(c.Name); err == nil {
			if rec, _ := at.Record(); rec != nil {
				s.Topology = rec.Name
			}
			s.Trouble = at.Report().Self.Trouble
		}
		out = append(out, s)
	}
	return out
}

// fetchTail asks the agent of a dead primary for what its binary logs have beyond a set.
func (r *service) fetchTail(ctx context.Context, from topology.Member, have string) (io.ReadCloser, error) {
	rec := r.recordOf(from.Name)
	if rec == nil {
		return nil, fault.NotFound("no server of this host shares a topology with " + from.Name)
	}
	return office.Fetch(ctx, r.node.PeerClient, office.Seat{Host: from.Host, Address: from.Peer}, exchange.PathTail,
		exchange.Tail{Topology: rec.Name, Member: from.Name, Have: have})
}

// recordOf returns the record, of a site of this host, that has the member.
func (r *service) recordOf(member string) *topology.Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.sites {
		if rec, _ := s.Record(); rec != nil && rec.Member(member) != nil {
			return rec
		}
	}
	return nil
}

// tail gives the agent of another member of the topology what the binary logs of a server
// of this host have that it lacks.
func (r *service) tail(ctx context.Context, host string, in exchange.Tail, w io.Writer) error {
	s, err := r.site(in.Member)
	if err != nil {
		return err
	}
	if err := shares(s, host, in.Topology, in.Member); err != nil {
		return err
	}
	n, err := s.Tail(ctx, in.Have, w)
	if err == nil {
		r.node.Log.Info("gave what a dead server had", "server", in.Member, "to", host, "transactions", n)
	}
	return err
}

// shares refuses a host that has no member of the topology of a server of this one.
func shares(s *site.Site, host, name, member string) error {
	rec, _ := s.Record()
	if rec == nil || rec.Name != name || !slices.ContainsFunc(rec.Members, func(m topology.Member) bool { return m.Host == host }) {
		return fault.Denied("host " + host + " has no member of the topology of " + member)
	}
	return nil
}

// fetchCopy asks the agent of a member for a copy of its data.
func (r *service) fetchCopy(ctx context.Context, from topology.Member, want site.Want) (io.ReadCloser, error) {
	rec := r.recordOf(from.Name)
	if rec == nil {
		return nil, fault.NotFound("no server of this host shares a topology with " + from.Name)
	}
	return office.Fetch(ctx, r.node.PeerClient, office.Seat{Host: from.Host, Address: from.Peer}, exchange.PathCopy,
		exchange.Copy{Topology: rec.Name, Member: from.Name, Version: want.Version, Room: want.Room})
}

// copyOf gives the agent of another member of the topology a copy of a server of this host.
func (r *service) copyOf(ctx context.Context, host string, in exchange.Copy, w io.Writer) error {
	s, err := r.site(in.Member)
	if err != nil {
		return err
	}
	if err := shares(s, host, in.Topology, in.Member); err != nil {
		return err
	}
	return s.Donate(ctx, site.Want{Version: in.Version, Room: in.Room}, w)
}
