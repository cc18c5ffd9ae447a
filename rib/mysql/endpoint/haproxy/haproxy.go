// Package haproxy leads clients by HAProxy's runtime API. A backend has one server, a slot
// whose address is set: so members come and go without a change of HAProxy's
// configuration, and there is no instant with two servers. After a restart or reload the
// slot is disabled until kaname sets it again. Setup is the configuration it needs.
//
// HAProxy closes new connections while the slot is in maintenance. It could hold them with
// "set maxconn frontend 0", but HAProxy 2.6.12 aborts when that is taken back with
// connections waiting (seen), so this is not done.
//
// Source: HAProxy 2.6 Management Guide, section 9.3 "Unix Socket commands".
package haproxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"kaname.dev/kaname/rib/mysql/endpoint"
	"kaname.dev/kaname/rib/mysql/topology"
)

// The settings.
const (
	sockets  = "sockets"  // paths of sockets and host:port, separated by commas; all of them are set
	backend  = "backend"  // of the primary; empty: the topology's name
	server   = "server"   // the slot's name; empty: primary
	replicas = "replicas" // a backend for reads, whose servers are as many slots; empty: none
)

var known = map[string]bool{sockets: true, backend: true, server: true, replicas: true}

// name is what a backend or server may be called; it cannot end a command.
var name = regexp.MustCompile(`^[A-Za-z0-9_.:-]+$`)

type driver struct {
	topology, backend, server, replicas string
	proxies                             []proxy
	log                                 *slog.Logger

	mu   sync.Mutex
	last endpoint.Target // the newest that was asked for
}

// New makes the driver; it connects to nothing yet.
func New(o endpoint.Options) (endpoint.Driver, error) {
	for k := range o.Settings {
		if !known[k] {
			return nil, fmt.Errorf("endpoint haproxy of topology %s: setting %q is unknown; known are %s",
				o.Topology, k, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		}
	}
	d := &driver{topology: o.Topology, backend: o.Settings[backend], server: o.Settings[server], replicas: o.Settings[replicas], log: o.Log}
	if d.backend == "" {
		d.backend = o.Topology
	}
	if d.server == "" {
		d.server = "primary"
	}
	for _, n := range []string{d.backend, d.server, d.replicas} {
		if n != "" && !name.MatchString(n) {
			return nil, fmt.Errorf("endpoint haproxy of topology %s: %q cannot be the name of a backend or server", o.Topology, n)
		}
	}
	for s := range strings.SplitSeq(o.Settings[sockets], ",") {
		if s = strings.TrimSpace(s); s != "" {
			d.proxies = append(d.proxies, proxy{at: s, variable: "proc.kaname_" + strings.NewReplacer("-", "_", ":", "_", ".", "_").Replace(d.backend)})
		}
	}
	if len(d.proxies) == 0 {
		return nil, fmt.Errorf("endpoint haproxy of topology %s: no socket is set; set %s=/run/haproxy/admin.sock, or host:port", o.Topology, sockets)
	}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	return d, nil
}

// Setup returns what HAProxy's configuration must have for the topology: listen is where
// clients connect, slots the number of servers for reads (0: none).
func Setup(topology, socket, listen string, slots int) string {
	var b strings.Builder
	fmt.Fprintf(&b, `# in section global: the socket that kaname uses
    stats socket %s mode 600 level admin

frontend %[2]s
    mode tcp
    bind %[3]s
    timeout client 24h
    default_backend %[2]s

# One slot; kaname sets its address and opens it. No checks: kaname knows which is the primary.
backend %[2]s
    mode tcp
    timeout connect 2s
    timeout server 24h
    server primary 127.0.0.1:3306 disabled
`, socket, topology, listen)
	if slots > 0 {
		fmt.Fprintf(&b, "\nbackend %s-read\n    mode tcp\n    balance leastconn\n    timeout connect 2s\n    timeout server 24h\n", topology)
		for i := range slots {
			fmt.Fprintf(&b, "    server replica%d 127.0.0.1:3306 disabled\n", i+1)
		}
	}
	return b.String()
}

// Publish sets the slot in each HAProxy, and cuts what leads elsewhere.
func (d *driver) Publish(ctx context.Context, t endpoint.Target) error {
	if t.Primary == nil {
		return fmt.Errorf("endpoint haproxy of topology %s: no primary is named; Withdraw leads nowhere", d.topology)
	}
	if err := d.fresh(t); err != nil {
		return err
	}
	return d.each(ctx, t, func(ctx context.Context, p *proxy) error {
		if err := p.open(ctx, d.backend, d.server, t.Primary.Address); err != nil {
			return err
		}
		return d.reads(ctx, p, t)
	})
}

// Withdraw puts the slot into maintenance and cuts all its connections.
func (d *driver) Withdraw(ctx context.Context, t endpoint.Target) error {
	if err := d.fresh(t); err != nil {
		return err
	}
	return d.each(ctx, t, func(ctx context.Context, p *proxy) error { return p.shut(ctx, d.backend, d.server) })
}

// fresh keeps the newest target, or refuses an older one.
func (d *driver) fresh(t endpoint.Target) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if t.Epoch < d.last.Epoch {
		return fmt.Errorf("endpoint haproxy of topology %s: epoch %d, known is %d: %w", d.topology, t.Epoch, d.last.Epoch, endpoint.ErrOld)
	}
	d.last = t
	return nil
}

// each does something to all HAProxys at once; what fails at one does not keep it from the
// others.
func (d *driver) each(ctx context.Context, t endpoint.Target, do func(context.Context, *proxy) error) error {
	errs := make([]error, len(d.proxies))
	var g errgroup.Group
	for i := range d.proxies {
		g.Go(func() error {
			p := &d.proxies[i]
			err := p.guard(ctx, t.Epoch)
			if err == nil {
				err = do(ctx, p)
			}
			if err != nil {
				errs[i] = fmt.Errorf("endpoint haproxy of topology %s at %s: %w", d.topology, p.at, err)
			}
			return nil
		})
	}
	_ = g.Wait()
	return errors.Join(errs...)
}

// reads gives the servers for reads the replicas' addresses, as far as there are slots.
func (d *driver) reads(ctx context.Context, p *proxy, t endpoint.Target) error {
	if d.replicas == "" {
		return nil
	}
	slots, err := p.slots(ctx, d.replicas)
	if err != nil {
		return err
	}
	list := slices.Clone(t.Replicas)
	slices.SortFunc(list, func(a, b topology.Member) int { return strings.Compare(a.Name, b.Name) })
	if len(list) == 0 {
		list = []topology.Member{*t.Primary} // reads are better served by the primary than by nobody
	}
	if len(list) > len(slots) {
		d.log.Warn("more replicas than servers for reads", "topology", d.topology, "haproxy", p.at, "backend", d.replicas, "servers", len(slots), "replicas", len(list))
	}
	for i, s := range slots {
		if i < len(list) {
			err = p.open(ctx, d.replicas, s.name, list[i].Address)
		} else {
			err = p.shut(ctx, d.replicas, s.name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Current asks each HAProxy. They agree, or the error says who leads where.
func (d *driver) Current(ctx context.Context) (endpoint.Target, error) {
	var said []string
	var to string
	var epoch uint64
	for i := range d.proxies {
		p := &d.proxies[i]
		s, err := p.slot(ctx, d.backend, d.server)
		if err == nil {
			var e uint64
			if e, err = p.epoch(ctx); e > epoch {
				epoch = e
			}
		}
		if err != nil {
			return endpoint.Target{}, fmt.Errorf("endpoint haproxy of topology %s at %s: %w", d.topology, p.at, err)
		}
		at := ""
		if s.open {
			at = s.address
		}
		said = append(said, fmt.Sprintf("%s to %q", p.at, at))
		if i > 0 && at != to {
			return endpoint.Target{}, fmt.Errorf("endpoint haproxy of topology %s: they do not agree: %s; publish again", d.topology, strings.Join(said, ", "))
		}
		to = at
	}
	if to == "" {
		return endpoint.Target{}, nil
	}
	t := endpoint.Target{Topology: d.topology, Epoch: epoch, Primary: &topology.Member{Address: to}}
	d.mu.Lock()
	defer d.mu.Unlock()
	if p := d.last.Primary; p != nil && p.Address == to {
		*t.Primary = *p
	}
	return t, nil
}

// Close does nothing: no connection is kept.
func (d *driver) Close() error { return nil }

// split parts an address that a command can carry.
func split(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	if net.ParseIP(host) == nil {
		return "", 0, fmt.Errorf("%q is no IP address; HAProxy's runtime API takes no names", host)
	}
	port, err = strconv.Atoi(text)
	if err != nil || port < 1 || port > 65535 {
		return "", 0, fmt.Errorf("%q is no port", text)
	}
	return host, port, nil
}
