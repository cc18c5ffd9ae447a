package move

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"kaname.dev/kaname/rib/mysql/gtid"
	"kaname.dev/kaname/rib/mysql/order"
	"kaname.dev/kaname/rib/mysql/topology"
)

// complete has the chosen member apply what it has received and get what it lacks, until
// it has executed all of c.Need. What cannot be proved it completes from the old primary's
// binary logs, where those can be had: then it is proven.
func (m *mover) complete(ctx context.Context, c *Choice) error {
	mv := m.r.Move
	need, err := gtid.Parse(m.r.Flavour, c.Need)
	if err != nil {
		return err
	}
	has, err := m.drain(ctx, c, need)
	if err != nil {
		return err
	}
	if len(c.From) > 0 && !has.Contains(need) {
		mv.Step = topology.Level
		if err := m.save(ctx); err != nil {
			return err
		}
		if has, err = m.level(ctx, c, has); err != nil {
			return err
		}
	}
	if !has.Contains(need) {
		return fmt.Errorf("%s has applied %s, and %s is needed", c.To, has, need)
	}
	if c.Proven {
		return m.salvage(ctx, c)
	}
	return m.rescue(ctx, c)
}

// salvageFor bounds what is done for the sake of the old primary alone.
const salvageFor = time.Second

// salvage gives the candidate what a killed MySQL has in its binary logs and nobody had
// received. No client was told that it is done; but a MySQL commits it when it starts, and
// could not follow the new primary then. A MariaDB with init_rpl_role=SLAVE drops it.
func (m *mover) salvage(ctx context.Context, c *Choice) error {
	from := m.r.Member(m.r.Move.From)
	if m.r.Flavour != gtid.MySQL || from == nil || m.r.Move.Kind != topology.Failover {
		return nil
	}
	if err := m.close(ctx); err != nil || !m.fencing.surely() { // only its agent knows that it is gone
		return err
	}
	within, cancel := context.WithTimeout(ctx, salvageFor)
	defer cancel()
	done, err := m.send(within, m.letter(from, lookFor, order.Order{Verb: order.Look}))
	if err != nil || done.Details == nil || done.Details.Self.Process != topology.Gone {
		return ctx.Err()
	}
	f, err := m.positions(within, m.letter(m.r.Member(c.To), salvageFor, order.Order{Verb: order.Rescue, Source: from, Within: salvageFor}))
	if err != nil {
		m.log("what only " + from.Name + " had could not be had: " + err.Error())
		return ctx.Err()
	}
	if has, err := gtid.Parse(m.r.Flavour, f.Executed); err == nil {
		c.Need = has.String()
	}
	return ctx.Err()
}

// drain has the candidate, and those it is levelled from, apply what they have received.
func (m *mover) drain(ctx context.Context, c *Choice, need gtid.Set) (gtid.Set, error) {
	frozen := m.r.Move.Frozen
	within := m.r.Policy.Drain
	g, ctx := errgroup.WithContext(ctx)
	got := make([]gtid.Set, 1+len(c.From))
	for i, name := range append([]string{c.To}, c.From...) {
		f := frozen[name]
		has, err := gtid.Parse(m.r.Flavour, f.Executed)
		if err != nil {
			return has, err
		}
		all, err := parseBoth(m.r.Flavour, f.Received, f.Executed)
		if err != nil {
			return all, err
		}
		if got[i] = has; has.Contains(all) || has.Contains(need) {
			continue
		}
		l := m.letter(m.r.Member(name), within+margin, order.Order{Verb: order.Drain, Need: all.String(), Within: within})
		g.Go(func() error {
			f, err := m.positions(ctx, l)
			if err == nil {
				got[i], err = gtid.Parse(m.r.Flavour, f.Executed)
			}
			return err
		})
	}
	err := g.Wait()
	return got[0], err
}

// level has the candidate replicate from others what it lacks.
func (m *mover) level(ctx context.Context, c *Choice, has gtid.Set) (gtid.Set, error) {
	to := m.r.Member(c.To)
	for _, name := range c.From {
		from := m.r.Member(name)
		f := m.r.Move.Frozen[name]
		all, err := parseBoth(m.r.Flavour, f.Received, f.Executed)
		if err != nil {
			return has, err
		}
		m.log(c.To + " gets what it lacks from " + name)
		if has, err = m.levelFrom(ctx, to, from, all); err != nil {
			return has, err
		}
	}
	return has, nil
}

func (m *mover) levelFrom(ctx context.Context, to, from *topology.Member, all gtid.Set) (gtid.Set, error) {
	within := m.r.Policy.Drain
	f, err := m.positions(ctx, m.letter(to, within+margin, order.Order{Verb: order.Level, Source: from, Need: all.String(), Within: within}))
	if err != nil {
		return gtid.Set{}, err
	}
	has, err := gtid.Parse(m.r.Flavour, f.Executed)
	if err != nil {
		return has, err
	}
	// Positions of MariaDB compare by number only; here both must be the same transaction.
	if !has.Contains(all) || m.r.Flavour == gtid.MariaDB && !all.Contains(has) {
		return has, fmt.Errorf("%s is at %s after it was levelled from %s, which is at %s", to.Name, has, from.Name, all)
	}
	return has, nil
}

// rescue completes the candidate from the old primary, if that is closed and its agent
// answers: from its server where that runs, from its binary logs where it is gone. They
// have every write that it acknowledged, so that the choice is proven then.
func (m *mover) rescue(ctx context.Context, c *Choice) error {
	from, to := m.r.Member(m.r.Move.From), m.r.Member(c.To)
	if from == nil || m.settle(ctx) != nil || m.r.Move.Fenced == "" {
		return ctx.Err()
	}
	done, err := m.send(ctx, m.letter(from, lookFor, order.Order{Verb: order.Look}))
	if err != nil || done.Details == nil {
		m.log("the binary logs of " + from.Name + " cannot be had: its agent does not answer")
		return ctx.Err()
	}
	d := done.Details
	var has gtid.Set
	switch {
	case d.Self.Process == topology.Gone:
		within := m.r.Policy.Drain
		var f topology.Frozen
		f, err = m.positions(ctx, m.letter(to, within+margin, order.Order{Verb: order.Rescue, Source: from, Within: within}))
		if err == nil {
			has, err = gtid.Parse(m.r.Flavour, f.Executed)
		}
	case d.Self.Answers && d.Self.ReadOnly && !d.Partial:
		if has, err = gtid.Parse(m.r.Flavour, d.Executed); err == nil {
			has, err = m.levelFrom(ctx, to, from, has)
		}
	default:
		return nil
	}
	if err != nil {
		m.log("what " + from.Name + " had could not be had: " + err.Error())
		return ctx.Err()
	}
	m.log(c.To + " got from " + from.Name + " what only that had")
	c.Need, c.Missing, c.Proven = has.String(), nil, true
	return nil
}
