package site

import (
	"context"
	"errors"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/host"
	"kaname.dev/kaname/rib/mysql/order"
	"kaname.dev/kaname/rib/mysql/topology"
)

// comesBack is how long a server may take to restart by itself after a clone.
const comesBack = 5 * time.Second

// reclone destroys the server's data, takes a copy of the source, and follows that. The
// account for replication needs BACKUP_ADMIN at the source.
func (s *Site) reclone(ctx context.Context, o order.Order) (order.Done, error) {
	src, err := s.source(o.Source)
	if err != nil {
		return order.Done{}, err
	}
	rec, _ := s.Record()
	if rec != nil && rec.Primary == s.o.Member {
		return order.Done{}, fault.Conflict("server " + s.o.Member + " is the primary: its data are not destroyed")
	}
	donor, err := s.o.Remote(*o.Source)
	if err != nil {
		return order.Done{}, err
	}
	defer donor.Close() //nolint:errcheck // only asked
	if err := donor.ClonePlugin(ctx); err != nil {
		return order.Done{}, uncloneable(s.o.Member, err)
	}
	before := s.process.State().Starts
	if err := s.o.Server.Clone(ctx, src); err != nil {
		return order.Done{}, uncloneable(s.o.Member, err)
	}
	if err := s.back(ctx, before); err != nil {
		return order.Done{}, err
	}
	done, err := s.follow(ctx, o)
	done.How = "has a copy of " + o.Source.Name + ", and " + done.How
	return done, err
}

func uncloneable(member string, err error) error {
	if errors.Is(err, errors.ErrUnsupported) {
		return fault.Unsupported("server " + member + " cannot take a copy by itself").Because(err).
			Try("take one with mariadb-backup of a replica, put it in place, start the server; it follows by itself then")
	}
	return err
}

// back waits until another process of the server answers, and starts one if none does by
// itself.
func (s *Site) back(ctx context.Context, before int) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	began, started := time.Now(), false
	for {
		p := s.process.State()
		if p.Starts > before && s.o.Server.Ping(ctx) == nil {
			return nil
		}
		if !started && p.Process == topology.Gone && len(s.o.Start) > 0 && time.Since(began) > comesBack {
			started = true
			if _, err := host.Run(ctx, host.Command{Args: s.o.Start, Timeout: time.Minute, Background: true}); err != nil {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fault.Timeout("server " + s.o.Member + " has its copy, and has not come back").Because(ctx.Err()).
				Try("start the server; it follows by itself then")
		}
	}
}
