package site

import (
	"context"
	"sync"
	"time"

	"kaname.dev/kaname/rib/mysql/topology"
)

// Report returns what the site sees now.
func (s *Site) Report() topology.Report {
	r := topology.Report{Member: s.o.Member, Self: s.local.Self(), Sights: s.sights.See()}
	r.Self.CanStart = len(s.o.Start) > 0
	held := s.holder.State()
	r.Lease = topology.Lease{Held: held.Held, Left: held.Left, Voters: held.Voters}
	s.mu.Lock()
	defer s.mu.Unlock()
	r.Have = s.revision
	if s.voter != nil {
		p := s.voter.Promise()
		r.Epoch = p.Epoch
		r.Lease.Granted, _ = s.voter.Granted()
	}
	r.Topology = s.topology
	r.Lease.Fenced = s.kept.Closed
	if s.fencing != "" {
		r.Lease.Fenced = s.fencing + " (being closed)"
	}
	return r
}

// reportWithin bounds one report. Two may be under way, so that one that hangs keeps no
// change back.
const (
	reportWithin   = time.Second
	reportsAtATime = 2
)

// report tells the controller what is seen: each Beat, and what matters at once.
func (s *Site) report(ctx context.Context) {
	var sending sync.WaitGroup
	defer sending.Wait()
	slots := make(chan struct{}, reportsAtATime)
	tick := time.NewTicker(topology.Beat)
	defer tick.Stop()
	var told face
	for {
		beat := false
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			beat = true
		case <-s.news:
		}
		r := s.Report()
		if r.Topology == "" {
			continue
		}
		now := faceOf(&r)
		if !beat && now == told {
			continue
		}
		select {
		case slots <- struct{}{}:
		default:
			continue // the next beat tells
		}
		told = now
		sending.Go(func() {
			defer func() { <-slots }()
			s.send(ctx, r)
		})
	}
}

// send sends a report and takes what is answered.
func (s *Site) send(ctx context.Context, r topology.Report) {
	ctx, cancel := context.WithTimeout(ctx, reportWithin)
	defer cancel()
	at := s.o.Clock()
	answer, err := s.o.Controller(ctx, r)
	if err != nil {
		s.o.Log.Debug("the controller does not hear", "error", err)
		return
	}
	if answer.Granted {
		s.holder.Controller(r.Epoch, at)
	}
	if answer.Record == nil {
		return
	}
	s.mu.Lock()
	old := s.record != nil && (answer.Record.Epoch < s.record.Epoch || answer.Record.Epoch == s.record.Epoch && answer.Revision <= s.revision)
	s.mu.Unlock()
	if old {
		return
	}
	if err := s.install(answer.Record, answer.Revision); err != nil {
		s.o.Log.Warn("the record of the controller is not taken over", "epoch", answer.Record.Epoch, "error", err)
	}
}

// face is what of a report is told at once when it changes.
type face struct {
	process                                topology.Process
	answers, refuses, readOnly             bool
	source, receiver, receiveErr, applyErr string
	receiving, applying                    bool
	waits, active, replies                 bool
	clients                                int
	stuck, failing                         bool
	full, diskReadOnly                     bool
	held                                   bool
	fenced                                 string
	epoch, have                            uint64
}

func faceOf(r *topology.Report) face {
	f := face{
		process: r.Self.Process, answers: r.Self.Answers, refuses: r.Self.Refuses, readOnly: r.Self.ReadOnly,
		waits: r.Self.SemiSync.Waits, active: r.Self.SemiSync.Active, replies: r.Self.SemiSync.Replies, clients: r.Self.SemiSync.Clients,
		full: r.Self.Disk.Full, diskReadOnly: r.Self.Disk.ReadOnly,
		held: r.Lease.Held, fenced: r.Lease.Fenced, epoch: r.Epoch, have: r.Have,
	}
	if p := r.Self.Replica; p != nil {
		f.source, f.receiver, f.receiveErr, f.applyErr = p.Source, p.Receiver, p.ReceiveErr, p.ApplyErr
		f.receiving, f.applying = p.Receiving, p.Applying
	}
	if c := r.Self.Commit; c != nil {
		f.stuck, f.failing = c.Stuck > time.Second, c.Failing > 0
	}
	return f
}
