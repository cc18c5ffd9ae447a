package move

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"kaname.dev/kaname/rib/mysql/endpoint"
	"kaname.dev/kaname/rib/mysql/gtid"
	"kaname.dev/kaname/rib/mysql/order"
	"kaname.dev/kaname/rib/mysql/topology"
)

const (
	promoteFor = 10 * time.Second // until the chosen one counts as unable to open
	promoteTry = 5 * time.Second
	publishFor = 5 * time.Second
	followFor  = 5 * time.Second
	freezeLate = 3 * time.Second        // of those who were not frozen in time
	soon       = 100 * time.Millisecond // between attempts
)

// open opens the chosen member, leads clients to it and has the others follow it. From its
// first save on there is no way back.
func (m *mover) open(ctx context.Context) error {
	mv := m.r.Move
	if mv.Step != topology.Promote {
		m.r.Epoch++
		m.r.Primary, mv.Step = mv.To, topology.Promote
		if err := m.save(ctx); err != nil {
			return err
		}
	}
	has, err := m.promote(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if m.fencing != nil {
		m.fencing.leave()
	}
	if err != nil {
		return m.next(ctx, err)
	}
	m.log(mv.To + " is open")
	var wg sync.WaitGroup
	var published error
	var took time.Duration
	there := m.target(mv.To)
	wg.Go(func() {
		published = m.publish(ctx, there)
		took = max(time.Since(mv.Started), 0)
	})
	problems := m.follow(ctx, has)
	wg.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if published != nil {
		problems = append(problems, "clients are not led to "+mv.To+" everywhere: "+published.Error())
	}
	mv.Step = topology.Done
	m.r.Last = m.outcome(true, problems...)
	m.r.Last.Took = took
	m.r.Move = nil
	if err := m.save(ctx); err != nil {
		m.r.Move = mv
		return err
	}
	m.h.Tell(fmt.Sprintf("%s is primary in epoch %d", m.r.Primary, m.r.Epoch))
	return nil
}

// promote gives the order to open, again and again while the outcome is unknown; it
// returns what the new primary had.
func (m *mover) promote(ctx context.Context) (gtid.Set, error) {
	mv := m.r.Move
	need, err := gtid.Parse(m.r.Flavour, mv.Need)
	if err != nil {
		return need, err
	}
	o := order.Order{Verb: order.Promote, Need: mv.Need, Row: &order.Row{
		Epoch: m.r.Epoch, Primary: mv.To, From: mv.From, Position: mv.Need, Proven: mv.Proven,
		Frozen: fmt.Sprintf("%s of %d", strings.Join(names(mv.Frozen), " "), m.r.ToFreeze(mv.From)),
	}}
	if m.r.Policy.Durability == topology.Lossless {
		o.Acks, o.Waits = m.r.Policy.Acks, true
	}
	l := m.letter(m.r.Member(mv.To), promoteTry, o)
	for until := time.Now().Add(promoteFor); ; {
		done, err := m.send(ctx, l)
		if err == nil {
			if done.Frozen != nil {
				if has, err := gtid.Parse(m.r.Flavour, done.Frozen.Executed); err == nil {
					return has.Union(need), nil
				}
			}
			return need, nil
		}
		if !time.Now().Before(until) || !pause(ctx, soon) {
			return need, err
		}
	}
}

func names(frozen map[string]topology.Frozen) []string {
	var list []string
	for n := range frozen {
		list = append(list, n)
	}
	slices.Sort(list)
	return list
}

// next goes on as a failover from the member that did not open. It may have, unseen: so
// its ackers are frozen and it is closed as any primary; the one before it is among its
// replicas now.
func (m *mover) next(ctx context.Context, why error) error {
	mv := m.r.Move
	text := mv.To + " did not open: " + why.Error()
	m.log(text)
	m.r.Last = m.outcome(false, text)
	c := Cause{Why: []string{text}, By: mv.By, Kill: m.r.Policy.Kill, Forced: mv.Forced, Drill: mv.Drill}
	if err := m.begin(ctx, c); err != nil {
		return err
	}
	return m.failover(ctx)
}

// publish leads clients to a member, trying again for a while.
func (m *mover) publish(ctx context.Context, t endpoint.Target) error {
	ctx, cancel := context.WithTimeout(ctx, publishFor)
	defer cancel()
	for {
		err := m.h.Publish(ctx, t)
		if err == nil || !pause(ctx, soon) {
			return err
		}
	}
}

// follow has all other members replicate from the new primary, which had that when it
// opened; it returns what is left to do. Who has something that the new primary lacks is
// left alone: replicating would delete it, or mix it in.
func (m *mover) follow(ctx context.Context, had gtid.Set) []string {
	members := m.r.Replicas(m.r.Primary)
	problems := make([]string, len(members))
	var wg sync.WaitGroup
	for i := range members {
		f := m.followed(&members[i], had)
		wg.Go(func() {
			if err := f.follow(ctx, m); err != nil {
				problems[i] = f.member.Name + " does not follow yet: " + err.Error()
			}
		})
	}
	wg.Wait()
	return slices.DeleteFunc(problems, func(p string) bool { return p == "" })
}

// follower is a member that is to replicate from the primary, with all that it takes.
type follower struct {
	member   topology.Member
	flavour  string
	self     []string
	had      gtid.Set // by the primary, at least
	received *topology.Frozen
	ask      letter // for what it has
	look     letter // for what the primary has by now
	order    letter
}

// followed makes the letters; the record is the move's own, and not the goroutines'.
func (m *mover) followed(x *topology.Member, had gtid.Set) *follower {
	primary := m.r.Member(m.r.Primary)
	f := &follower{member: *x, flavour: m.r.Flavour, self: m.h.Known(x.Name).Self, had: had}
	if mv := m.r.Move; mv != nil {
		_, said := m.answered[x.Name]
		if z, ok := mv.Frozen[x.Name]; ok && said {
			f.received = &z
		}
	}
	f.ask = m.letter(x, freezeLate, order.Order{Verb: order.Freeze})
	if m.r.Move == nil || m.r.Move.From == x.Name {
		// It need not stop receiving: in peace, or as a primary that was closed.
		f.ask = m.letter(x, lookFor, order.Order{Verb: order.Look})
	}
	f.look = m.letter(primary, lookFor, order.Order{Verb: order.Look})
	// What the primary had when it was opened may be dropped from relay logs unapplied: the
	// next move needs it all the same. Anything later is applied first, for its
	// acknowledgement may be the only one.
	need := floor(m.r.Last, m.r.Primary)
	if mv := m.r.Move; mv != nil {
		need = mv.Need
	}
	f.order = m.letter(x, followFor, order.Order{
		Verb: order.Follow, Source: primary, Need: need, Acker: x.Acker() && m.r.Policy.Durability == topology.Lossless,
	})
	if x.Source != "" {
		f.order = m.letter(x, followFor, order.Order{Verb: order.Thaw})
	}
	return f
}

// follow orders it, once it is certain that nothing is lost by it.
func (f *follower) follow(ctx context.Context, m *mover) error {
	if f.order.order.Verb == order.Follow {
		if err := f.covered(ctx, m); err != nil {
			return err
		}
	}
	_, err := m.send(ctx, f.order)
	return err
}

// covered returns an error unless the primary has all that the member has.
func (f *follower) covered(ctx context.Context, m *mover) error {
	if f.received == nil {
		done, err := m.send(ctx, f.ask)
		switch {
		case err != nil:
			return err
		case done.Frozen != nil:
			f.received = done.Frozen
		case done.Details != nil && !done.Details.Partial:
			f.received = &topology.Frozen{Received: done.Details.Received, Executed: done.Details.Executed}
		default:
			return fmt.Errorf("%s was answered without positions", f.ask.order.Verb)
		}
	}
	all, err := parseBoth(f.flavour, f.received.Received, f.received.Executed)
	if err != nil {
		return err
	}
	if f.flavour == gtid.MariaDB {
		// A former primary's last position may be below the new one's and still be nowhere else.
		need, err := gtid.Parse(f.flavour, f.order.order.Need)
		if err != nil {
			return err
		}
		if own := gtid.Errant(all, need, f.self...).Own; !need.Empty() && !own.Empty() {
			return fmt.Errorf("it has transactions that %s lacks: %s", f.look.to.Name, own)
		}
	}
	if f.had.Contains(all) {
		return nil
	}
	done, err := m.send(ctx, f.look)
	if err != nil {
		return err
	}
	if done.Details == nil || done.Details.Partial {
		return fmt.Errorf("%s was answered without details", f.look.order.Verb)
	}
	has, err := done.Details.Has(f.flavour)
	if err != nil {
		return err
	}
	if extra := gtid.Errant(all, has, f.self...); !extra.All.Empty() {
		return fmt.Errorf("it has transactions that %s lacks: %s", f.look.to.Name, extra.All)
	}
	return nil
}
