// Package rollout decides a deploy: which hosts are told to do what next, and when
// it is over. It does no I/O and has no clock.
//
// A deploy has two phases. First every host stages the release: it fetches,
// verifies and unpacks, and nothing changes for anybody. Then the hosts go live
// wave by wave; after each wave its health is asked, and the next wave starts only
// when no more than MaxFailures hosts have failed so far.
//
// When more have failed, the deploy is taken back: by default on every host that it
// made live, of this wave and of those before, because a fleet of two versions is
// what nobody asked for; Scope narrows that to the failed wave or to the failed
// hosts. A host that fails while the deploy goes on is taken back alone.
//
// The phases, and what leads from one to the next:
//
//	staging       no host is pending                 → activating, or halted if too many failed
//	activating    no host of the wave is staged      → checking
//	checking      no host of the wave is unproven,
//	              no failed one is live              → activating the next wave, done, or rolling back
//	rolling back  no host in Scope is live           → halted
//	done, halted  the end
//
// State holds everything, and Next repeats an order until the evidence for it is
// there. Orders are idempotent on the hosts, so another core that finds the state in
// a document goes on in the middle.
package rollout

import "slices"

// Phase is how far a deploy is.
type Phase string

// The phases.
const (
	Staging     Phase = "staging"
	Activating  Phase = "activating"
	Checking    Phase = "checking"
	RollingBack Phase = "rolling_back"
	Done        Phase = "done"
	Halted      Phase = "halted"
)

// Stage is how far one host is.
type Stage string

// The stages of a host.
const (
	Pending    Stage = "pending"
	Staged     Stage = "staged"      // fetched, verified, unpacked
	Live       Stage = "live"        // current names the release, its health is not proven
	Healthy    Stage = "healthy"     // live and well
	Failed     Stage = "failed"      // see Host.Failure
	RolledBack Stage = "rolled_back" // it was live and is not any more
	Absent     Stage = "absent"      // off when the deploy began; it catches up when it returns
	Lost       Stage = "lost"        // silent when it should have been taken back; it is set right when it returns
)

// Scope says which hosts are taken back when a deploy fails.
type Scope string

// The scopes.
const (
	All  Scope = "all"  // every host that this deploy made live
	Wave Scope = "wave" // those of the failed wave
	None Scope = "none" // only the hosts that failed
)

// Do is what hosts are told to do.
type Do string

// The orders.
const (
	Stages     Do = "stage"
	Activates  Do = "activate"
	Checks     Do = "health"
	TakesBack  Do = "rollback"
	NothingYet Do = "" // the deploy is over
)

// Host is one host of a deploy.
type Host struct {
	Name    string `json:"host"`
	Wave    int    `json:"wave"` // from 0
	Stage   Stage  `json:"stage"`
	Flipped bool   `json:"flipped,omitempty"` // current names the release there, or may do so
	Failure Do     `json:"failure,omitempty"` // what it failed at; such a host counts against MaxFailures
	Why     string `json:"why,omitempty"`     // the last bad news, for people
}

// State is a deploy.
type State struct {
	Phase       Phase  `json:"phase"`
	Wave        int    `json:"wave"`  // being activated or checked, from 0
	Waves       int    `json:"waves"` // how many there are
	MaxFailures int    `json:"max_failures"`
	Scope       Scope  `json:"scope"`
	Gate        bool   `json:"gate,omitempty"` // whether health is asked
	Hosts       []Host `json:"hosts"`          // by wave, then by name
	Reason      string `json:"reason,omitempty"`
}

// Options are the settings of a deploy.
type Options struct {
	MaxFailures int
	Scope       Scope // All when empty
	Gate        bool  // whether there is a health check
}

// New returns the state at the beginning: the waves of hosts that are there, and
// those that are off.
func New(waves [][]string, absent []string, o Options) State {
	s := State{Phase: Staging, Waves: len(waves), MaxFailures: o.MaxFailures, Scope: o.Scope, Gate: o.Gate}
	if s.Scope == "" {
		s.Scope = All
	}
	for w, hosts := range waves {
		for _, h := range slices.Sorted(slices.Values(hosts)) {
			s.Hosts = append(s.Hosts, Host{Name: h, Wave: w, Stage: Pending})
		}
	}
	for _, h := range slices.Sorted(slices.Values(absent)) {
		s.Hosts = append(s.Hosts, Host{Name: h, Wave: len(waves), Stage: Absent})
	}
	return s
}

// Over reports whether nothing more is to be done.
func (s *State) Over() bool { return s.Phase == Done || s.Phase == Halted }

// Failures returns how many hosts have failed.
func (s *State) Failures() int {
	return s.count(func(h *Host) bool { return h.Failure != "" })
}

// Count returns how many hosts are at the stage.
func (s *State) Count(stage Stage) int {
	return s.count(func(h *Host) bool { return h.Stage == stage })
}

// Host returns the host with the name, nil if the deploy has none.
func (s *State) Host(name string) *Host {
	i := slices.IndexFunc(s.Hosts, func(h Host) bool { return h.Name == name })
	if i < 0 {
		return nil
	}
	return &s.Hosts[i]
}

func (s *State) count(is func(*Host) bool) (n int) {
	for i := range s.Hosts {
		if is(&s.Hosts[i]) {
			n++
		}
	}
	return n
}

// those returns the names of the hosts for which is holds.
func (s *State) those(is func(*Host) bool) (names []string) {
	for i := range s.Hosts {
		if is(&s.Hosts[i]) {
			names = append(names, s.Hosts[i].Name)
		}
	}
	return names
}
