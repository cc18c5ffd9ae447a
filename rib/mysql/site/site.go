// Package site is the agent of one server. It runs on the server's host and works it over
// the local socket: it reports what it sees to the controller, carries out orders, grants
// the primary of its topology to stay open when it is a replica's agent, and when it is
// the primary's, keeps the server open exactly as long as enough others grant that.
//
// What must not be forgotten is on disk before anything follows from it: the highest epoch
// and what was promised in it, the record, and whether the server was closed on purpose.
package site

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/mysql/lease"
	"kaname.dev/kaname/rib/mysql/server"
	"kaname.dev/kaname/rib/mysql/topology"
	"kaname.dev/kaname/rib/mysql/watch"
)

// Answer is what the controller answers to a report.
type Answer struct {
	Record   *topology.Record // when the agent has another revision
	Revision uint64
	// Granted: the controller holds the member for the primary of the report's epoch.
	Granted bool
}

// Options say which server a site works, and with what.
type Options struct {
	Member string // the server's name in its topology
	// Server reaches it over its unix socket, Socket is that one's path; PIDFile may be
	// empty.
	Server  *server.Server
	Socket  string
	PIDFile string
	// Remote makes the connection to another member's server, without I/O.
	Remote func(m topology.Member) (*server.Server, error)
	// Controller sends a report to the controller; Ask a question to the agent of a
	// member. Both end soon after ctx.
	Controller func(ctx context.Context, r topology.Report) (Answer, error)
	Ask        func(ctx context.Context, m topology.Member, a lease.Ask) (lease.Answer, error)
	// Rescue returns the transactions that the binary logs of a member, whose server is
	// down, have beyond the GTID set have, as package binlog writes them.
	Rescue func(ctx context.Context, from topology.Member, have string) (io.ReadCloser, error)
	// Copy returns a copy of a member's data, as mariadb-backup streams it; see Donate.
	Copy func(ctx context.Context, from topology.Member, want Want) (io.ReadCloser, error)
	// Account returns the account by which Server and Remote connect.
	Account func() (user, password string, err error)
	// Replication returns the account that replicas use; it is asked each time.
	Replication func() (user, password string, err error)
	// Closed is told when the site closes the server, Opened when it has opened it again
	// without an order: what leads clients to this host follows. Both may be nil, must not
	// change the record, and end soon.
	Closed, Opened func(ctx context.Context, rec *topology.Record)
	// CA is the path of the CA of the servers' certificates; with it replicas connect by
	// TLS.
	CA    string
	Start []string // the command that starts the server's process; empty: others do
	Root  *os.Root // the site's own state
	// Clock is lease.SystemClock when nil.
	Clock   lease.Clock
	Log     *slog.Logger
	Metrics *Metrics // may be nil
}

// Site is the agent of one server.
type Site struct {
	o       Options
	process *watch.Process
	local   *watch.Local
	sights  *watch.Sights
	holder  *lease.Holder
	desk    desk
	short   short
	began   time.Time
	mended  time.Time // of catchUp alone

	// Held while the disk is written, never while mu is.
	taking  sync.Mutex // by the one that takes a record over
	keeping sync.Mutex // by the one that changes kept
	closing sync.Mutex // by the one that closes the server

	cloning  sync.Mutex // by the one that replaces the server's data, or removes the old ones
	donating sync.Mutex // by the one that copies them

	mu        sync.Mutex // guards the fields below
	topology  string     // to which the server belongs
	record    *topology.Record
	revision  uint64
	unsaved   bool         // the record is not on disk
	voter     *lease.Voter // nil without a topology
	kept      kept
	fencing   string    // why it is being closed, while it is
	opened    time.Time // since when it may be open: it was opened, or found so with its lease held
	closed    time.Time // when it was last closed, and how
	closedHow string

	dirty chan struct{} // the record is to be written
	news  chan struct{} // something is to be reported at once
	stir  chan struct{} // something is to be judged
}

// New returns a site with the state that is on disk. State that cannot be read is an
// error that names the file: without it nobody could tell what was promised.
func New(o Options) (*Site, error) {
	if o.Clock == nil {
		o.Clock = lease.SystemClock
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Site{o: o, began: time.Now(), dirty: make(chan struct{}, 1), news: make(chan struct{}, 1), stir: make(chan struct{}, 1)}
	if err := s.load(); err != nil {
		return nil, err
	}
	s.desk.turn = make(chan struct{}, 1)
	s.process = watch.NewProcess(o.Socket, o.PIDFile, o.Log)
	s.local = watch.NewLocal(o.Server, s.process, o.Log)
	s.sights = watch.NewSights(s.remote, o.Log)
	s.holder = lease.NewHolder(s.ask, o.Clock)
	s.apply()
	return s, nil
}

// remote opens the connection to another member's server.
func (s *Site) remote(m topology.Member) (watch.Other, error) {
	if s.o.Remote == nil {
		return nil, errors.New("other members' servers are not looked at")
	}
	r, err := s.o.Remote(m)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// ask asks a voter's agent for a grant.
func (s *Site) ask(ctx context.Context, voter string, a lease.Ask) (lease.Answer, error) {
	s.mu.Lock()
	var m *topology.Member
	if s.record != nil {
		m = s.record.Member(voter)
	}
	s.mu.Unlock()
	if m == nil {
		return lease.Answer{}, fmt.Errorf("topology %s has no member %s", a.Topology, voter)
	}
	answer, err := s.o.Ask(ctx, *m, a)
	if err == nil {
		s.sights.Heard(voter)
	}
	return answer, err
}

// Run works the server until ctx ends. The server stays as it is then.
func (s *Site) Run(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() { s.process.Run(ctx) })
	all.Go(func() { s.local.Run(ctx) })
	all.Go(func() { s.sights.Run(ctx) })
	all.Go(func() { s.holder.Run(ctx) })
	all.Go(func() { s.guard(ctx) })
	all.Go(func() { s.report(ctx) })
	all.Go(func() { s.write(ctx) })
	s.catchUp(ctx)
	return nil
}

// Vote answers the agent of a primary.
func (s *Site) Vote(a lease.Ask) lease.Answer {
	s.mu.Lock()
	v := s.voter
	s.mu.Unlock()
	if v == nil {
		return lease.Answer{Why: s.o.Member + " belongs to no topology"}
	}
	s.sights.Heard(a.Primary)
	before := v.Promise().Epoch
	answer := v.Vote(a)
	if answer.Epoch != before {
		s.apply() // a lease of its own in an epoch that is over is none
	}
	return answer
}

// Record returns the record that the site has, and its revision; nil without a topology.
// It must not be changed.
func (s *Site) Record() (*topology.Record, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.record, s.revision
}

// install takes a record over. Its epoch is on disk before it counts; the record itself is
// soon after, for one that is older than the epoch makes nobody primary. One of an epoch that is over is an OldError, with nothing changed.
func (s *Site) install(rec *topology.Record, revision uint64) error {
	if rec.Member(s.o.Member) == nil {
		return fault.Invalid("topology " + rec.Name + " has no member " + s.o.Member)
	}
	s.taking.Lock()
	defer s.taking.Unlock()
	v := s.votes(rec.Name)
	if err := v.Adopt(rec.Epoch, rec.Primary); err != nil {
		return err
	}
	if before, _ := s.Record(); rec.Move == nil && v.Promise().Frozen && before != nil && before.Move != nil {
		if err := v.Thaw(rec.Epoch); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.record, s.revision, s.unsaved = rec.Clone(), revision, true
	s.applyLocked()
	return nil
}

// votes returns the voter, a new one in a new topology.
func (s *Site) votes(topology string) *lease.Voter {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.voter == nil {
		s.topology, s.voter = topology, s.newVoter(topology, lease.Promise{})
	}
	return s.voter
}

// apply makes the parts of the site follow the record and the epoch.
func (s *Site) apply() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.applyLocked()
}

func (s *Site) applyLocked() {
	rec := s.record
	var claim lease.Claim
	var others []topology.Member
	if rec != nil {
		others = rec.Replicas(s.o.Member)
		if rec.Primary == s.o.Member && s.voter.Promise().Epoch == rec.Epoch {
			claim = lease.Claim{
				Ask:  lease.Ask{Topology: rec.Name, Epoch: rec.Epoch, Primary: rec.Primary},
				Rule: lease.Of(rec, rec.Primary), Counts: rec.Policy.Lease,
			}
		}
	}
	s.holder.Set(claim)
	s.sights.Set(others)
	poke(s.dirty)
	poke(s.stir)
	poke(s.news)
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
