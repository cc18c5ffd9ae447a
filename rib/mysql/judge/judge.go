// Package judge says what is the matter with a topology, and whether its primary must be
// replaced now. Judge is a function from what is known (View) to a verdict with its
// reasons; it reads no clock, does no I/O and keeps nothing between two calls, so that a
// verdict can be repeated from what was recorded.
//
// # What counts as evidence
//
// A report of the primary's own agent tells most: that the process has ended, that the
// local socket is silent, that the disk is full. Where the agent is silent, three kinds of
// observers remain: the controller (no report, and its own probe if it has one), the agents
// of the replicas (their probes), and the replicas themselves (no event and no heartbeat
// comes). A primary counts as silent only when all that can still be asked agree, for
// Policy.Silence, and when they are enough: see Judge.
//
// Whatever shows life wins over whatever shows death: one replica that still receives, one
// probe that was answered, a refusal ("too many connections"). Only the kernel's word that
// the process has ended needs no second witness.
//
// # How sure is sure enough
//
// Policy.Silence is checked against a stated budget of false failovers: see Budget.
package judge

import "time"

// State is what is the matter with a topology.
type State string

// The states.
const (
	Fine State = "fine"
	// Dead: the primary's own agent saw its process end.
	Dead State = "dead"
	// Hung: the process is there, but answers nobody: neither the local socket nor the
	// replicas' agents, and the replicas receive nothing.
	Hung State = "hung"
	// CutOff: silent to a majority of the replicas' agents, no events arriving; and
	// silent to the controller, or unable to commit for it.
	CutOff State = "cut-off"
	// Unreachable: silent to the controller alone; replicas hear or see it.
	Unreachable State = "unreachable-by-us"
	// CannotCommit: a commit does not end, or ends with an error, for a cause of the
	// server's own: its disk, its file system.
	CannotCommit State = "cannot-commit"
	// Stalled: commits wait for acknowledgements of replicas that are missing.
	Stalled State = "stalled-for-acks"
	// ReadOnly: the primary lives, but takes no writes, and its agent did not close it.
	ReadOnly State = "read-only-primary"
	// Fenced: the primary's agent closed it because its lease ended.
	Fenced State = "fenced-itself"
	// AllDown: no agent of the topology speaks; perhaps the controller itself is cut off.
	AllDown State = "all-down"
	// Split: two members take writes, or two hold the primary's lease.
	Split State = "split"
	// DeadIntermediate: the primary is fine, a replica that others replicate from is not.
	DeadIntermediate State = "dead-intermediate"
	// Unknown: not enough is known, or it contradicts itself.
	Unknown State = "unknown-yet"
)

// Verdict is what Judge says.
type Verdict struct {
	State   State  `json:"state"`
	Primary string `json:"primary"` // the member that it is about
	// Act: a failover is justified, and nothing stands against it. When it is justified
	// but something does, Blocked says what.
	Act     bool   `json:"act"`
	Blocked string `json:"blocked,omitempty"`
	// Wait is how long this verdict holds if nothing is heard meanwhile: Judge again
	// then at the latest. 0: time alone changes nothing.
	Wait time.Duration `json:"wait,omitempty"`
	// Quiet: the verdict stands on silence, so that freeze orders must carry
	// order.Order.Quiet: a replica that receives again refuses.
	Quiet bool `json:"quiet,omitempty"`
	// Kill: the agent of the old primary may kill it.
	Kill bool `json:"kill,omitempty"`
	// Doubt is what the function Doubt says, with a failover that is justified: for
	// topology.Move.Doubt.
	Doubt []string `json:"doubt,omitempty"`
	// Reasons say why, with the figures; the weightiest first.
	Reasons []string `json:"reasons,omitempty"`
	// Findings are what does not fit at single members, in the record's order.
	Findings []Finding `json:"findings,omitempty"`
}

// Judge returns what is the matter with the topology of v.
//
// A failover is justified in these cases only:
//
//   - Dead: at once; no replica may have received anything later.
//   - Hung: the local socket, and enough witnesses, silent for Policy.Silence.
//   - CutOff: the controller and enough witnesses, for Policy.Silence; or the primary's own
//     commits wait for acknowledgements longer than Policy.Stuck while so many ackers are
//     well but cannot reach it that it can never get them. Where the policy is
//     topology.PromoteAfter, one witness is enough after that time.
//   - CannotCommit: for Policy.Stuck, with a known cause; for four times as long, when the
//     server's own word for what the commit waits for is neither the acknowledgement of
//     replicas nor a lock, which a client may hold. Also when the primary's disk has been
//     full for Policy.Stuck, and a candidate's is not.
//   - Fenced: it is closed, and enough witnesses say that it is cut off from them.
//
// A witness is the agent of a replica whose report is no older than two beats. Enough are
// a majority of the replicas under topology.Lossless; under topology.Async so many that
// they are, with the controller, a majority of the primary's voters, which the primary
// then cannot have. No witness, and not the controller either, may have seen or heard the
// primary within Policy.Silence.
func Judge(v View) Verdict {
	j := newCase(&v)
	out := Verdict{Primary: v.Record.Primary}
	r := j.primary()
	out.State, out.Reasons = r.state, r.reasons
	if r.justified {
		out.Blocked = j.blocked(r.state)
		out.Act = out.Blocked == ""
		out.Quiet = r.quiet
		out.Kill = v.Record.Policy.Kill
		out.Doubt = j.doubt()
	}
	out.Findings = j.findings()
	out.Wait = j.next
	return out
}
