package site

import (
	"time"

	"kaname.dev/kaname/rib/mysql/lease"
	"kaname.dev/kaname/rib/mysql/topology"
)

// what is to be done to the server, without anybody's order.
type what int

const (
	nothing what = iota
	fence        // close it, whatever it takes
	shut         // close it without cutting more than need be: a replica
	open         // as the primary that it is
	tune         // it is open, and must wait for acknowledgements before anything else
)

// scene is what is known when something is to be decided.
type scene struct {
	member  string
	record  *topology.Record // nil without a topology
	epoch   uint64           // the highest that is known
	self    topology.Self
	start   string // which process it is; empty when unknown
	lease   lease.State
	kept    kept
	age     time.Duration // of the agent
	working bool          // an order is being carried out
	fresh   bool          // self was asked for after the last order ended
}

// grace is the time after its start within which an agent that finds its primary open waits
// for the lease, so that an agent that is updated closes nothing. The grants that its
// predecessor had end within topology.Policy.Lease.
const grace = 600 * time.Millisecond

// decide says what is to be done, and why.
func decide(c scene) (what, string) {
	switch {
	case c.record == nil || !known(c):
		return nothing, "" // a lost lease is the guard's: it does not wait for answers
	case !c.self.ReadOnly:
		return decideOpen(c)
	case c.working || !mayOpen(c):
		return nothing, ""
	}
	return open, "its lease is held, and it is the primary of epoch " + words(c.record.Epoch)
}

// decideOpen is for a server that takes writes.
func decideOpen(c scene) (what, string) {
	primary := c.record.Primary == c.member && c.epoch == c.record.Epoch
	switch {
	case c.working && primary:
		return nothing, "" // it is being opened or closed just now
	case !primary && c.self.Replica != nil:
		return shut, "it replicates and takes writes; set read_only=ON in its configuration file"
	case !primary:
		return fence, "it takes writes and is not the primary of epoch " + words(c.epoch) + "; set read_only=ON in its configuration file"
	case !c.lease.Held && c.kept.Armed && c.age > grace:
		return fence, "it takes writes without a lease" + because(c.lease) + "; set read_only=ON in its configuration file"
	case c.lease.Held && c.kept.Opened != "" && c.start != c.kept.Opened:
		return tune, "another process of the server takes writes; set read_only=ON in its configuration file"
	}
	return nothing, ""
}

// mayOpen reports whether a server that is closed is to be opened: it is the primary and
// holds the lease, and it was the site that closed it, or it was started again. What a
// person closed, or an order, stays closed.
func mayOpen(c scene) bool {
	r, k := c.record, c.kept
	if r.Primary != c.member || c.epoch != r.Epoch || !c.lease.Held || c.lease.Epoch != r.Epoch || c.self.Replica != nil {
		return false
	}
	if m := r.Move; m != nil && m.Step != topology.Undo && k.Epoch != r.Epoch {
		return false // to be opened by the order that knows what it must have
	}
	started := k.Opened != "" && c.start != "" && c.start != k.Opened
	return (k.Closed != "" || started) && (k.Ordered == 0 || r.Epoch > k.Ordered)
}

func because(s lease.State) string {
	if s.Why == "" {
		return ""
	}
	return ": " + s.Why
}

// known reports whether what self says of the server is how it is.
func known(c scene) bool {
	return c.fresh && c.self.Answers && !c.self.Refuses && !c.self.Seen.IsZero()
}

// serves reports whether the server is the open primary with its lease.
func serves(c scene) bool {
	return c.record != nil && c.record.Primary == c.member && c.lease.Held && known(c) && !c.self.ReadOnly
}
