package server

import (
	"context"
	"net"
	"slices"
	"strconv"
	"strings"

	"kaname.dev/kaname/rib/mysql/order"
)

// Details returns all that the server can say of itself.
func (s *Server) Details(ctx context.Context) (order.Details, error) {
	var out order.Details
	err := s.with(ctx, "ask for all", func(x *session) error {
		self, vars, err := s.look(ctx, x)
		if err != nil {
			return err
		}
		out.Self, out.Settings = self, vars
		executed, received, err := positions(ctx, x)
		if err != nil {
			return err
		}
		out.Executed, out.Received = executed.String(), received.String()
		if on(vars["log_bin"]) {
			if out.Purged, err = x.d.purged(ctx, x); err != nil {
				return err
			}
		}
		if out.Own, err = x.d.own(ctx, x); err != nil {
			return err
		}
		if x.d.state != nil {
			if out.State, out.Slave, err = x.d.state(ctx, x); err != nil {
				return err
			}
		}
		if out.Epochs, err = epochs(ctx, x); err != nil {
			return err
		}
		channels, err := x.d.channels(ctx, x)
		if err != nil {
			return err
		}
		for _, c := range channels {
			out.Sources = append(out.Sources, c.source)
		}
		if out.Below, err = below(ctx, x); err != nil {
			return err
		}
		out.Findings, err = check(ctx, x, vars)
		return err
	})
	return out, err
}

// epochs reads the newest ten lines of the topology's story; none before Prepare.
func epochs(ctx context.Context, x *session) ([]order.Row, error) {
	rows, err := x.rows(ctx, "SELECT epoch, `primary`, `from`, position, frozen, proven FROM kaname.epoch ORDER BY epoch DESC, at DESC LIMIT 10")
	if n := code(err); n == errNoSuchTable || n == errNoSuchDatabase {
		return nil, nil
	}
	var out []order.Row
	for _, r := range rows {
		epoch, _ := strconv.ParseUint(r["epoch"], 10, 64)
		out = append(out, order.Row{Epoch: epoch, Primary: r["primary"], From: r["from"], Position: r["position"], Frozen: r["frozen"], Proven: on(r["proven"])})
	}
	return out, err
}

// below lists the replicas that are connected, as host:port. Those that report a host say
// it themselves; of others the connection shows the address, and the port is that of a
// replica which has reported only that.
func below(ctx context.Context, x *session) ([]string, error) {
	hosts, err := x.rows(ctx, x.d.hosts)
	if err != nil {
		return nil, err
	}
	all, err := x.threads(ctx)
	if err != nil {
		return nil, err
	}
	var out, silent []string
	named := map[string]int{}
	for _, h := range hosts {
		if h["host"] == "" {
			silent = append(silent, h["port"])
			continue
		}
		out = append(out, net.JoinHostPort(h["host"], h["port"]))
		named[h["host"]]++
	}
	for _, t := range all {
		host, _, _ := strings.Cut(t.host, ":")
		switch {
		case !t.dump:
		case named[host] > 0:
			named[host]--
		case len(silent) > 0:
			out, silent = append(out, net.JoinHostPort(host, silent[0])), silent[1:]
		}
	}
	slices.Sort(out)
	return out, nil
}
