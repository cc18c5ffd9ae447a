// Package move moves the primary of a topology: failover when it is dead or cut off,
// switchover on purpose, and the way back as long as nothing was opened. A move is a row of
// steps that can each be done again, so that the next controller finishes what a dead one
// began: what must not be forgotten is saved in topology.Record.Move before anything
// follows from it.
//
// # What makes it safe
//
// Epochs part the phases. The first save raises the epoch before anything is ordered; the
// save of topology.Promote raises it again, and so does that of topology.Undo. An order of
// an earlier phase that is late in the network meets agents that have seen a higher epoch
// and refuse it. Between those two saves nobody is opened; the one with topology.Promote
// names the only server that may be opened from then on, and there is no way back after
// it: when that server does not open, the move goes on as a failover from it.
//
// A new primary is opened only when it has executed all that Choose found to be needed, and
// when the old one is closed for certain: its agent or the operator's command has fenced
// it, or the grants by which it stays open have run out. See closing.
//
// Time is read with package time only, and no instant of another process is used: a
// controller that resumes a move waits for a whole lease from its own start.
package move

import (
	"context"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/mysql/endpoint"
	"kaname.dev/kaname/rib/mysql/order"
	"kaname.dev/kaname/rib/mysql/topology"
)

// Hands is what a move works with. All methods end soon after ctx; those that return an
// error may still have had their effect. They are called from several goroutines.
type Hands interface {
	// Order has the agent of a member carry out an order.
	Order(ctx context.Context, m topology.Member, o order.Order) (order.Done, error)
	// Save stores the record by compare-and-set against the one that was loaded or saved
	// last. After an error the move stops: somebody else decides (fault.Conflict), or
	// it is unknown which record is stored, and the caller loads it anew. From the
	// moment at which a record with a Move is saved, the controller grants its
	// Move.From nothing (while Step is not Close), until the move has ended.
	Save(ctx context.Context, r *topology.Record) error
	// Withdraw and Publish do so at all endpoints of the topology.
	Withdraw(ctx context.Context, t endpoint.Target) error
	Publish(ctx context.Context, t endpoint.Target) error
	// FenceCommand runs the operator's command against the host of a member whose agent
	// cannot close it. errors.ErrUnsupported when none is configured.
	FenceCommand(ctx context.Context, m topology.Member) error
	// Known returns what is known of a member from its reports; the zero Fact if nothing.
	Known(member string) Fact
	// Tell shows a line of the story to people who watch.
	Tell(text string)
}

// Fact is what is known of a member besides what it answers to the orders of a move.
type Fact struct {
	// Self are its names in GTIDs: server_uuid, or server_id in decimal.
	Self []string
	// Executed is the GTID set that it had when it was last looked at. Of the old primary
	// it keeps what came from there from being taken for a replica's own.
	Executed string
	// Errant are transactions of its own that the primary did not have: a GTID set.
	Errant  string
	Delay   time.Duration // on purpose
	Version string        // as the server says it
	// Granted is the latest instant at which this controller, or one before it, can have
	// granted it that it may stay open: when this one last did, or began. Zero: unknown,
	// and taken for now. It is asked for when nothing is granted any more.
	Granted time.Time
}

// Cause is why a failover is made, and how it may go about it.
type Cause struct {
	Why    []string // the verdict's reasons
	By     string   // the person; empty: kaname
	Quiet  bool     // the verdict stands on silence: who still hears the primary calls it off
	Kill   bool     // the old primary may be killed
	Forced bool     // a person accepts that acknowledged writes may be missing
	Drill  bool
	Doubt  []string // why acknowledged writes may be on no replica: topology.Move.Doubt
}

// Who moves when no person does.
const kaname = "kaname"

// mover is a move under way, in one controller.
type mover struct {
	h     Hands
	r     *topology.Record
	begun time.Time // in this controller
	// since is when a controller can last have granted the old primary that it may stay open.
	since    time.Time
	answered map[string]time.Time // when a member's answer to Freeze came, on this clock
	told     string               // why it waits, as last told
	fencing  *fencing
}

// Failover replaces the primary of r and returns the record with which the move ended. With
// a move in r that has not got as far as topology.Promote it resumes that one; one that has
// is closed as failed, and the failover is from the server that did not open.
//
// While nobody can be opened safely it goes on trying, until ctx ends: freezing who comes
// back, letting the old primary go on if that comes back. An error says at which step the
// move stands; the record in the store is the one to resume from.
func Failover(ctx context.Context, h Hands, r *topology.Record, c Cause) (*topology.Record, error) {
	if r.Move != nil && r.Move.Step != topology.Promote {
		return Resume(ctx, h, r)
	}
	if r.Member(r.Primary) == nil {
		return nil, fault.NotFound("primary " + r.Primary + " of topology " + r.Name + " is not a member")
	}
	m := newMover(h, r)
	if r.Move != nil {
		m.r.Last = m.outcome(false, r.Move.To+" did not open")
	}
	if err := m.begin(ctx, c); err != nil {
		return nil, m.stands(err)
	}
	return m.end(m.failover(ctx))
}

// Resume goes on with the move in r, which another controller began. A switchover that had
// not yet opened the new primary is called off. Without a move it returns r.
func Resume(ctx context.Context, h Hands, r *topology.Record) (*topology.Record, error) {
	if r.Move == nil {
		return r.Clone(), nil
	}
	m := newMover(h, r)
	m.granted()
	m.log("another controller goes on, at step " + string(r.Move.Step))
	switch r.Move.Step {
	case topology.Promote, topology.Lead, topology.Follow, topology.Done:
		return m.end(m.open(ctx))
	case topology.Undo:
		return m.end(m.goBack(ctx))
	case topology.Close:
		return m.end(m.undo(ctx, "the controller changed before "+r.Move.To+" was opened"))
	default:
		return m.end(m.failover(ctx))
	}
}

func newMover(h Hands, r *topology.Record) *mover {
	now := time.Now()
	return &mover{h: h, r: r.Clone(), begun: now, since: now, answered: map[string]time.Time{}}
}

// begin saves the new epoch, before anybody is frozen.
func (m *mover) begin(ctx context.Context, c Cause) error {
	if c.By == "" {
		c.By = kaname
	}
	r := m.r
	r.Move = &topology.Move{
		Kind: topology.Failover, From: r.Primary, Step: topology.Freeze, Started: time.Now(), By: c.By, Why: c.Why, Need: floor(r.Last, r.Primary),
		Forced: c.Forced, Drill: c.Drill, Quiet: c.Quiet, Kill: c.Kill, Doubt: c.Doubt,
	}
	r.Epoch++
	r.Primary = ""
	m.log("failover from " + r.Move.From)
	if err := m.save(ctx); err != nil {
		return err
	}
	m.since = time.Now()
	m.granted()
	return nil
}

// granted finds out when a controller last granted the old primary anything.
func (m *mover) granted() {
	if at := m.h.Known(m.r.Move.From).Granted; !at.IsZero() && at.Before(m.since) {
		m.since = at
	}
}

// floor is what a primary is known to have had when it was opened: a GTID set, empty when
// that is not known. Its replicas may have it no more, for following deletes what was
// received and not applied; so it stays needed until the next one has been opened.
func floor(l *topology.Outcome, primary string) string {
	if l == nil {
		return ""
	}
	opened := l.Move.To == primary && l.Move.Step != topology.Undo
	kept := l.Move.From == primary && l.Move.Step == topology.Undo
	if opened || kept {
		return l.Move.Need
	}
	return ""
}

// end is what a move returns.
func (m *mover) end(err error) (*topology.Record, error) {
	if err != nil {
		return nil, m.stands(err)
	}
	return m.r, nil
}
