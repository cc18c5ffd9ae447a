package rollout

import "fmt"

// Order is what to do next.
type Order struct {
	Do    Do       // NothingYet when the deploy is over
	Wave  int      // of the hosts, from 0; for Stages and TakesBack the present one
	Hosts []string // sorted by wave and name, never empty unless the deploy is over
}

// Evidence is what became of an order on one host.
type Evidence struct {
	Host   string
	Do     Do
	OK     bool
	Silent bool // not OK because nothing was heard: it may have been done
	// Flipped says, for Activates that failed, that current names the new release
	// all the same.
	Flipped bool
	Why     string // for people
}

// Next moves the deploy on as far as it goes without a host, and returns the order
// for which evidence is needed then. The state is to be stored before the order is
// given, so that whoever goes on from it knows of every host that may be live.
func (s *State) Next() Order {
	for {
		var do Do
		var hosts []string
		switch s.Phase {
		case Staging:
			do, hosts = Stages, s.those(func(h *Host) bool { return h.Stage == Pending })
		case Activating:
			do, hosts = Activates, s.activate()
		case Checking:
			do, hosts = s.check()
		case RollingBack:
			do, hosts = TakesBack, s.those(s.inScope)
		default:
			return Order{Wave: s.Wave}
		}
		if len(hosts) > 0 {
			return Order{Do: do, Wave: s.Wave, Hosts: hosts}
		}
		s.advance()
	}
}

// activate returns the hosts of the wave that are not live yet; none when too many
// have failed already. They count as flipped from now on, since whoever reads this
// state next cannot know whether the order reached them.
func (s *State) activate() []string {
	if s.Failures() > s.MaxFailures {
		return nil
	}
	var hosts []string
	for i := range s.Hosts {
		if h := &s.Hosts[i]; h.Wave == s.Wave && h.Stage == Staged {
			h.Flipped = true
			hosts = append(hosts, h.Name)
		}
	}
	return hosts
}

// check returns what the gate after a wave needs: health of those that are live,
// then back with those that are not well.
func (s *State) check() (Do, []string) {
	unproven := func(h *Host) bool { return h.Wave == s.Wave && h.Stage == Live }
	if s.Gate {
		if hosts := s.those(unproven); len(hosts) > 0 {
			return Checks, hosts
		}
	}
	for i := range s.Hosts {
		if h := &s.Hosts[i]; unproven(h) {
			h.Stage = Healthy
		}
	}
	return TakesBack, s.those(func(h *Host) bool { return h.Stage == Failed && h.Flipped })
}

// inScope reports whether a host is to be taken back as the deploy fails.
func (s *State) inScope(h *Host) bool {
	switch {
	case !h.Flipped || h.Stage == Lost:
		return false
	case h.Stage == Failed, h.Stage == Staged: // Staged: its answer never came
		return true
	case s.Scope == Wave:
		return h.Wave == s.Wave
	default:
		return s.Scope == All
	}
}

// advance leaves a phase in which no host has anything left to do.
func (s *State) advance() {
	tooMany := s.Failures() > s.MaxFailures
	switch s.Phase {
	case Staging:
		switch {
		case tooMany:
			s.halt(s.tooMany("staging"))
		case s.Count(Staged) == 0:
			s.halt("no host has staged the release")
		default:
			s.Phase, s.Wave = Activating, 0
		}
	case Activating:
		s.Phase = Checking
	case Checking:
		switch {
		case tooMany:
			s.Phase, s.Reason = RollingBack, s.tooMany(fmt.Sprintf("wave %d of %d", s.Wave+1, s.Waves))
		case s.Wave+1 < s.Waves:
			s.Phase, s.Wave = Activating, s.Wave+1
		case s.Count(Healthy) == 0:
			s.halt("no host is live")
		default:
			s.Phase = Done
		}
	case RollingBack:
		s.halt(s.Reason)
	default: // it is over
	}
}

func (s *State) halt(why string) { s.Phase, s.Reason = Halted, why }

func (s *State) tooMany(where string) string {
	return fmt.Sprintf("%d of %d hosts failed by the end of %s, at most %d may", s.Failures(), len(s.Hosts)-s.Count(Absent), where, s.MaxFailures)
}

// Abort makes the deploy fail, for a reason told to people; after its end it does
// nothing. Flipped hosts are taken back as in any failure, whatever is under way.
func (s *State) Abort(why string) {
	if s.Over() || s.Phase == RollingBack {
		return
	}
	s.Phase, s.Reason = RollingBack, why
}

// Observe takes evidence. What does not fit the host's stage (an old or repeated
// answer, an unknown host) changes nothing.
func (s *State) Observe(e Evidence) {
	h := s.Host(e.Host)
	if h == nil || s.Over() {
		return
	}
	switch {
	case e.Do == Stages && h.Stage == Pending:
		h.settle(e, Staged)
	case e.Do == Activates && h.Stage == Staged:
		h.Flipped = e.OK || e.Silent || e.Flipped
		h.settle(e, Live)
	case e.Do == Checks && h.Stage == Live:
		h.settle(e, Healthy)
	case e.Do == TakesBack && h.Flipped && h.Stage != Lost:
		switch {
		case e.OK:
			h.Stage, h.Flipped = RolledBack, false
		default:
			h.Stage, h.Why = Lost, e.Why
		}
	}
}

// settle moves the host to the stage if the evidence is good, to Failed otherwise.
func (h *Host) settle(e Evidence, good Stage) {
	if e.OK {
		h.Stage = good
		return
	}
	h.Stage, h.Failure, h.Why = Failed, e.Do, e.Why
}
