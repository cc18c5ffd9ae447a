// Package topology says what a topology is: one primary, its replicas, and how they are
// to be treated. It has the record that the controller keeps, what hosts report of their
// servers, and nothing that does I/O.
package topology

import (
	"slices"
	"time"
)

// Record is what is decided about a topology. The controller alone writes it, and only by
// compare-and-set; hosts keep a copy.
type Record struct {
	Name    string   `json:"name"`
	Flavour string   `json:"flavour"` // gtid.MySQL or gtid.MariaDB
	Epoch   uint64   `json:"epoch"`   // rises before each move of the primary; who has seen a higher one refuses
	Primary string   `json:"primary"` // the member that may be open for writes in Epoch; empty while that is not decided
	Members []Member `json:"members"`
	Policy  Policy   `json:"policy"`
	Move    *Move    `json:"move,omitempty"` // in progress
	// Paused keeps the controller from acting; it still looks and tells.
	Paused *Pause `json:"paused,omitempty"`
	// Last is the last move that has ended. An automatic failover that nobody has
	// acknowledged keeps the next one from happening within Policy.Cooldown.
	Last *Outcome `json:"last,omitempty"`
}

// Role says whether a member may become primary.
type Role string

// The roles.
const (
	Candidate Role = "candidate" // may become primary
	Preferred Role = "preferred" // before the other candidates that are as complete
	Never     Role = "never"     // never becomes primary, but acknowledges
	Observer  Role = "observer"  // never becomes primary and never acknowledges: delayed, or of another data centre
)

// Member is one server.
type Member struct {
	Name    string `json:"name"`           // unique in the plane; by default the host's
	Host    string `json:"host"`           // whose agent looks after it
	Address string `json:"address"`        // IP:port at which replicas and clients reach it
	Peer    string `json:"peer,omitempty"` // host:port of the agent's peer listener
	Role    Role   `json:"role"`
	Source  string `json:"source,omitempty"` // the member it replicates from; empty: the primary
	Zone    string `json:"zone,omitempty"`   // data centre or rack; one like the primary's is preferred
}

// Acker reports whether the member's acknowledgement counts for durability: an observer's
// does not, nor that of a replica below another replica.
func (m *Member) Acker() bool { return m.Role != Observer && m.Source == "" }

// Durability says when a write counts as done.
type Durability string

// The durability policies.
const (
	// Lossless: a commit returns to the client only after Policy.Acks replicas have the
	// transaction in their relay logs (semi-synchronous replication, wait point after
	// sync, no timeout). Writes stall while fewer replicas are connected.
	Lossless Durability = "lossless-semisync"
	// Async: a commit returns at once; what no replica has received when the primary
	// dies is lost, unless its binary log can still be read.
	Async Durability = "async"
)

// Unprovable says what happens when it cannot be proved that a candidate has every
// acknowledged write.
const (
	Wait         = "wait"          // for an operator, or for the missing server
	PromoteAfter = "promote-after" // Policy.PromoteAfter has passed
)

// Policy says how a topology is to be treated.
type Policy struct {
	Durability   Durability    `json:"durability"`
	Acks         int           `json:"acks"`                    // replicas that must have a write, under Lossless; at least 1
	Unprovable   string        `json:"unprovable"`              // Wait or PromoteAfter
	PromoteAfter time.Duration `json:"promote_after,omitempty"` //
	Manual       bool          `json:"manual,omitempty"`        // no failover without an operator
	Cooldown     time.Duration `json:"cooldown"`                // after a failover, until the next by itself
	Lease        time.Duration `json:"lease"`                   // how long the primary stays open without a word from its voters
	Silence      time.Duration `json:"silence"`                 // of a server before it counts as dead, hung or cut off
	Stuck        time.Duration `json:"stuck"`                   // of a commit before the primary counts as unable to commit
	Drain        time.Duration `json:"drain"`                   // a candidate may take to apply what it has received
	MaxLag       time.Duration `json:"max_lag"`                 // of a replica before a switchover to it is refused
	Kill         bool          `json:"kill"`                    // an agent may kill a server that cannot be closed otherwise
	FenceCommand []string      `json:"fence_command,omitempty"` // run on the controller where no agent answers: power off, close a port
	Endpoints    []Endpoint    `json:"endpoints,omitempty"`
}

// Endpoint is a way by which clients find the primary; Kind selects the driver.
type Endpoint struct {
	Kind string `json:"kind"` // router, vip, haproxy, proxysql, consul, hook
	// Settings are the driver's: see the packages below endpoint.
	Settings map[string]string `json:"settings,omitempty"`
}

// DefaultPolicy returns what holds unless told otherwise.
func DefaultPolicy() Policy {
	return Policy{
		Durability: Lossless, Acks: 1, Unprovable: Wait, Cooldown: time.Hour,
		Lease: 2 * time.Second, Silence: 1500 * time.Millisecond, Stuck: 2500 * time.Millisecond,
		Drain: 30 * time.Second, MaxLag: 10 * time.Second, Kill: true,
	}
}

// FenceBound is how long after the end of its lease a primary can still be open for
// writes: its agent closes it, or kills it, within this time.
const FenceBound = time.Second

// Pause is an operator's word that nothing is to be done.
type Pause struct {
	By    string    `json:"by"`
	Why   string    `json:"why"`
	Until time.Time `json:"until"`
}

// Member returns the member of a name, or nil.
func (r *Record) Member(name string) *Member {
	i := slices.IndexFunc(r.Members, func(m Member) bool { return m.Name == name })
	if i < 0 {
		return nil
	}
	return &r.Members[i]
}

// Replicas returns the members other than the given one.
func (r *Record) Replicas(primary string) []Member {
	return slices.DeleteFunc(slices.Clone(r.Members), func(m Member) bool { return m.Name == primary })
}

// Ackers returns the replicas of the given primary whose acknowledgements count.
func (r *Record) Ackers(primary string) []Member {
	return slices.DeleteFunc(r.Replicas(primary), func(m Member) bool { return !m.Acker() })
}

// ToFreeze returns how many ackers of the given primary must have stopped receiving until
// it can never acknowledge a write again: n-k+1 of n. 0 under Async, where nothing of
// the kind can be had.
func (r *Record) ToFreeze(primary string) int {
	if r.Policy.Durability != Lossless {
		return 0
	}
	return max(len(r.Ackers(primary))-r.Policy.Acks+1, 1)
}

// Clone returns a copy that shares nothing.
func (r *Record) Clone() *Record {
	c := *r
	c.Members = slices.Clone(r.Members)
	c.Policy.FenceCommand = slices.Clone(r.Policy.FenceCommand)
	c.Policy.Endpoints = slices.Clone(r.Policy.Endpoints)
	if r.Move != nil {
		m := r.Move.clone()
		c.Move = &m
	}
	if r.Paused != nil {
		p := *r.Paused
		c.Paused = &p
	}
	if r.Last != nil {
		l := *r.Last
		l.Move = r.Last.Move.clone()
		c.Last = &l
	}
	return &c
}
