package mysql

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/host"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/rib/mysql/controller"
	"kaname.dev/kaname/rib/mysql/endpoint"
	"kaname.dev/kaname/rib/mysql/endpoint/consul"
	"kaname.dev/kaname/rib/mysql/endpoint/haproxy"
	"kaname.dev/kaname/rib/mysql/endpoint/hook"
	"kaname.dev/kaname/rib/mysql/endpoint/proxysql"
	"kaname.dev/kaname/rib/mysql/endpoint/vip"
	"kaname.dev/kaname/rib/mysql/exchange"
	"kaname.dev/kaname/rib/mysql/topology"
	"kaname.dev/kaname/rib/office"
)

// openEndpoint opens the driver of an endpoint.
func (r *service) openEndpoint(name string, e topology.Endpoint) (endpoint.Driver, error) {
	o := endpoint.Options{Topology: name, Settings: e.Settings, Log: r.node.Log.With("topology", name, "endpoint", e.Kind)}
	switch e.Kind {
	case "vip":
		return vip.New(o, remote{r: r, topology: name})
	case "proxysql":
		return proxysql.New(o)
	case "haproxy":
		return haproxy.New(o)
	case "hook":
		return hook.New(o)
	case "consul":
		return consul.New(o)
	default:
		return nil, fault.Invalid(fmt.Sprintf("endpoint kind %q is not known", e.Kind)).Try("say one of vip, haproxy, proxysql, consul, hook; the router needs no endpoint")
	}
}

// checkEndpoints refuses endpoints whose settings do not do. Nobody is asked.
func (r *service) checkEndpoints(name string, p *topology.Policy) error {
	for _, e := range p.Endpoints {
		d, err := r.openEndpoint(name, e)
		if err != nil {
			return fault.Of(err).At("endpoint " + e.Kind)
		}
		_ = d.Close() // it has done nothing
	}
	return nil
}

// remote reaches hosts for virtual addresses.
type remote struct {
	r        *service
	topology string
}

// Members implements vip.Remote.
func (m remote) Members(ctx context.Context) ([]topology.Member, error) {
	v, err := office.Do[controller.View](ctx, m.r.patient, exchange.PathView, controller.Query{Topology: m.topology})
	if err != nil {
		return nil, err
	}
	return v.Topologies[0].Record.Members, nil
}

// addressIn is the command exchange.CommandVIP.
type addressIn struct {
	Want       bool           `json:"want"`
	Assignment vip.Assignment `json:"assignment"`
}

// VIP implements vip.Remote.
func (m remote) VIP(ctx context.Context, to topology.Member, want bool, a vip.Assignment) (string, error) {
	return plane.CallOne[string](ctx, m.r.node.Plane, to.Host, plane.CallSpec{
		Command: exchange.CommandVIP, In: addressIn{Want: want, Assignment: a}, Timeout: 2 * time.Second,
	}, nil)
}

// drop gives up the virtual addresses of a topology on this host, for its server here is
// closed, or is not the primary. Whoever has ordered this host since to hold one knows better.
func (r *service) drop(ctx context.Context, rec *topology.Record) { r.hold(ctx, rec, false) }

// regain takes the virtual addresses of a topology again, for its agent has opened the primary
// here again.
func (r *service) regain(ctx context.Context, rec *topology.Record) { r.hold(ctx, rec, true) }

func (r *service) hold(ctx context.Context, rec *topology.Record, want bool) {
	for _, e := range rec.Policy.Endpoints {
		if e.Kind != "vip" {
			continue
		}
		a, err := vip.Assigned(endpoint.Options{Topology: rec.Name, Settings: e.Settings})
		if err == nil {
			a.Epoch = rec.Epoch
			_, err = r.addresses.Do(ctx, want, a)
		}
		if err != nil {
			r.node.Log.Warn("a virtual address does not follow the server", "topology", rec.Name, "address", a.Address, "here", want, "why", err)
		}
	}
}

// fenceWithin is how long the operator's fence command may take.
const fenceWithin = 30 * time.Second

// fence runs the operator's command that cuts off a server whose agent does not answer.
// Arguments may contain {name}, {host}, {ip} and {port} of the server.
func (r *service) fence(ctx context.Context, command []string, m topology.Member) error {
	at, err := netip.ParseAddrPort(m.Address)
	if err != nil {
		return err
	}
	fill := strings.NewReplacer("{name}", m.Name, "{host}", m.Host, "{ip}", at.Addr().String(), "{port}", strconv.Itoa(int(at.Port())))
	args := make([]string, len(command))
	for i, a := range command {
		args[i] = fill.Replace(a)
	}
	_, err = host.Run(ctx, host.Command{Args: args, Timeout: fenceWithin})
	return err
}
