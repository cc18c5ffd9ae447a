package site

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/mysql/order"
	"kaname.dev/kaname/rib/mysql/server"
	"kaname.dev/kaname/rib/mysql/topology"
)

func (s *Site) drain(ctx context.Context, o order.Order) (order.Done, error) {
	need, err := s.need(ctx, o.Need)
	if err != nil {
		return order.Done{}, err
	}
	if err := s.applyAll(ctx, need); err != nil {
		return order.Done{}, err
	}
	f, err := s.positions(ctx)
	return order.Done{Frozen: f, How: "applied"}, err
}

// level replicates from another until the need is applied, and then receives no more.
func (s *Site) level(ctx context.Context, o order.Order) (order.Done, error) {
	need, err := s.need(ctx, o.Need)
	if err != nil {
		return order.Done{}, err
	}
	src, err := s.source(o.Source)
	if err != nil {
		return order.Done{}, err
	}
	if err := s.land(ctx); err != nil {
		return order.Done{}, err
	}
	if err := s.o.Server.Follow(ctx, src, false); err != nil {
		return order.Done{}, err
	}
	if err := s.applyAll(ctx, need); err != nil {
		return order.Done{}, err
	}
	f, err := s.o.Server.Freeze(ctx)
	return order.Done{Frozen: &f, How: "has what " + o.Source.Name + " had"}, err
}

func (s *Site) follow(ctx context.Context, o order.Order) (order.Done, error) {
	src, err := s.source(o.Source)
	if err != nil {
		return order.Done{}, err
	}
	// What the source had when it was opened need not be applied before the relay log goes.
	has := o.Need
	if r := o.Record; has == "" && r != nil && r.Move != nil && r.Primary == o.Source.Name {
		has = r.Move.Need
	}
	if src.Has, err = s.need(ctx, has); err != nil {
		return order.Done{}, err
	}
	// From here on it is a replica, whatever becomes of the rest.
	s.local.Commits(false)
	s.mu.Lock()
	s.opened = time.Time{}
	s.mu.Unlock()
	if err := s.keep(func(k *kept) { k.Closed, k.Ordered, k.Opened = "", 0, "" }); err != nil {
		return order.Done{}, err
	}
	if err := errors.Join(s.calm(ctx), s.land(ctx)); err != nil {
		return order.Done{}, err
	}
	if err := s.o.Server.Follow(ctx, src, o.Acker); err != nil {
		return order.Done{}, err
	}
	return order.Done{How: "follows " + o.Source.Name}, s.votes(o.Topology).Thaw(o.Epoch)
}

// source is a member to replicate from, with the account for it.
func (s *Site) source(m *topology.Member) (server.Source, error) {
	if m == nil {
		return server.Source{}, fault.Invalid("the order names no source")
	}
	ip, text, err := net.SplitHostPort(m.Address)
	if err != nil {
		return server.Source{}, fault.Invalid("the address of " + m.Name).Because(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return server.Source{}, fault.Invalid("the address of " + m.Name).Because(err)
	}
	if s.o.Replication == nil {
		return server.Source{}, fault.Invalid("no account for replication is configured").Try("set mysql.servers.replication on this host")
	}
	user, password, err := s.o.Replication()
	if err != nil {
		return server.Source{}, fmt.Errorf("read the account for replication: %w", err)
	}
	return server.Source{Host: ip, Port: port, User: user, Password: password, TLS: s.o.CA != "", CA: s.o.CA}, nil
}

// promote opens the server, once it has all that is needed and the lease.
func (s *Site) promote(ctx context.Context, o order.Order) (order.Done, error) {
	rec, _ := s.Record()
	if rec == nil || rec.Primary != s.o.Member || rec.Epoch != o.Epoch {
		return order.Done{}, fault.Conflict("server " + s.o.Member + " is not the primary of epoch " + words(o.Epoch))
	}
	need, err := s.need(ctx, o.Need)
	if err != nil {
		return order.Done{}, err
	}
	executed, _, err := s.o.Server.Positions(ctx)
	if err != nil {
		return order.Done{}, err
	}
	if !executed.Contains(need) {
		return order.Done{}, fault.Conflict("server " + s.o.Member + " lacks " + need.Minus(executed).String()).Try("order it to drain first")
	}
	row := order.Row{Epoch: o.Epoch, Primary: s.o.Member}
	if o.Row != nil {
		row = *o.Row
	}
	row.Position = executed.String()
	if err := errors.Join(s.calm(ctx), s.leased(ctx)); err != nil {
		return order.Done{}, err
	}
	if err := s.setOpened(); err != nil {
		return order.Done{}, err
	}
	if err := s.o.Server.Promote(ctx, row, o.Acks); err != nil {
		return order.Done{}, err
	}
	if err := s.nowOpen(ctx); err != nil {
		return order.Done{}, err
	}
	text := executed.String()
	return order.Done{How: "open", Frozen: &topology.Frozen{Executed: text, Received: text, Applies: true}}, nil
}

// leased waits until the lease is held.
func (s *Site) leased(ctx context.Context) error {
	poke(s.news) // the controller's word may be what it takes
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		state := s.holder.State()
		switch {
		case state.Held:
			return nil
		case state.Primary == "":
			return fault.Conflict("server " + s.o.Member + " is not the primary of the topology's epoch")
		case state.Over:
			return fault.Conflict("server " + s.o.Member + " cannot have the lease of epoch " + words(state.Epoch)).Because(errors.New(state.Why))
		}
		select {
		case <-ctx.Done():
			return fault.Unavailable("server " + s.o.Member + " is not opened: neither the controller nor enough other members' agents grant it" + because(state)).
				Because(context.Cause(ctx))
		case <-tick.C:
		}
	}
}
