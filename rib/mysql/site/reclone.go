package site

import (
	"context"
	"errors"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/host"
	"kaname.dev/kaname/rib/mysql/gtid"
	"kaname.dev/kaname/rib/mysql/order"
	"kaname.dev/kaname/rib/mysql/server"
	"kaname.dev/kaname/rib/mysql/topology"
)

// comesBack is how long a server may take to restart by itself after a clone.
const comesBack = 5 * time.Second

// reclone destroys the server's data, takes a copy of another, and follows the source. It
// waits for its turn at the desk only when there is something to be done to the server.
func (s *Site) reclone(ctx context.Context, o order.Order) (order.Done, error) {
	if !s.cloning.TryLock() {
		return order.Done{}, fault.Conflict("server " + s.o.Member + " is becoming a copy already").Try("wait until that has ended")
	}
	defer s.cloning.Unlock()
	donor := o.Donor
	if donor == nil {
		donor = o.Source
	}
	if donor == nil || o.Source == nil {
		return order.Done{}, fault.Invalid("the order names no source")
	}
	rec, _ := s.Record()
	if err := s.replica(); err != nil {
		return order.Done{}, err
	}
	if rec.Flavour == gtid.MariaDB {
		return s.copyOf(ctx, o, *donor)
	}
	return s.cloneOf(ctx, o, *donor)
}

// replica refuses to destroy the data of a primary, or of who may become it just now.
func (s *Site) replica() error {
	switch rec, _ := s.Record(); {
	case rec == nil:
		return fault.Conflict("server " + s.o.Member + " belongs to no topology")
	case rec.Primary == s.o.Member:
		return fault.Conflict("server " + s.o.Member + " is the primary: its data are not destroyed")
	}
	return nil
}

// cloneOf is reclone of a MySQL.
func (s *Site) cloneOf(ctx context.Context, o order.Order, from topology.Member) (order.Done, error) {
	src, err := s.source(&from)
	if err != nil {
		return order.Done{}, err
	}
	if src.User, src.Password, err = s.o.Account(); err != nil {
		return order.Done{}, err
	}
	donor, err := s.o.Remote(from)
	if err != nil {
		return order.Done{}, err
	}
	defer donor.Close() //nolint:errcheck // only asked
	if err := donor.CanDonate(ctx); err != nil {
		return order.Done{}, noDonor(from.Name, src.User, err)
	}
	within, done, err := s.desk.take(ctx, false)
	if err != nil {
		return order.Done{}, err
	}
	defer done()
	if err := errors.Join(s.replica(), s.keep(func(k *kept) { k.Complete = "" })); err != nil {
		return order.Done{}, err
	}
	if err := s.o.Server.Abandon(within); err != nil { // it must not acknowledge what it is about to lose
		return order.Done{}, err
	}
	before := s.process.State().Starts
	if err := s.o.Server.Clone(within, src); err != nil {
		return order.Done{}, err
	}
	if err := s.back(within, before, comesBack); err != nil {
		return order.Done{}, err
	}
	return s.behind(within, o, from.Name)
}

// noDonor says what an account lacks.
func noDonor(donor, user string, err error) error {
	if errors.Is(err, server.ErrNoBackupAdmin) {
		return fault.Denied("server " + donor + " lets no copy be taken").Because(err).
			Try("on the primary: GRANT BACKUP_ADMIN ON *.* TO the account that is named (" + user + "); or GRANT ALL ON *.*")
	}
	return fault.Unavailable("server " + donor + " cannot be copied").Because(err)
}

// behind has a copy follow the source of today.
func (s *Site) behind(ctx context.Context, o order.Order, from string) (order.Done, error) {
	if err := s.settled(ctx); err != nil {
		return order.Done{}, err
	}
	done, err := s.follow(ctx, s.today(o))
	if err != nil {
		return order.Done{}, fault.Of(err).Try("its data are a copy already: kaname makes it follow when that can be")
	}
	done.How = "has a copy of " + from + ", and " + done.How
	return done, nil
}

// settled waits until no primary moves.
func (s *Site) settled(ctx context.Context) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if rec, _ := s.Record(); rec != nil && rec.Move == nil {
			return s.replica()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// today returns an order to follow as the newest record has it: since it was given, which
// may be hours ago, the primary may have moved.
func (s *Site) today(o order.Order) order.Order {
	rec, _ := s.Record()
	if rec == nil || rec.Epoch <= o.Epoch {
		return o
	}
	o.Epoch, o.Record, o.Need = rec.Epoch, rec, ""
	source := rec.Member(rec.Primary)
	if m := rec.Member(s.o.Member); m != nil {
		o.Acker = rec.Policy.Durability == topology.Lossless && m.Acker()
		if at := rec.Member(m.Source); at != nil {
			source = at
		}
	}
	o.Source = source
	return o
}

// back waits until another process of the server answers, and starts one if none does by
// itself within a time.
func (s *Site) back(ctx context.Context, before int, alone time.Duration) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	began, started := time.Now(), false
	var refused error
	for {
		p := s.process.State()
		if p.Starts > before {
			err := s.o.Server.Ping(ctx)
			if err == nil {
				return nil
			}
			if refused = nil; server.Refuses(err) && p.For > refusesFor {
				return err
			}
			if p.Process == topology.Gone && started {
				return errors.New("its process ended at its start")
			}
		}
		if !started && p.Process != topology.Running && len(s.o.Start) > 0 && time.Since(began) > alone {
			started = true
			if _, err := host.Run(ctx, host.Command{Args: s.o.Start, Timeout: time.Minute, Background: true}); err != nil {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fault.Timeout("server " + s.o.Member + " has its copy, and has not come back").Because(errors.Join(context.Cause(ctx), refused)).
				Try("start the server; it follows by itself then")
		}
	}
}

// refusesFor is how long a server that was started may let nobody in.
const refusesFor = 5 * time.Second
