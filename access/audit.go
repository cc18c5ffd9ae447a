package access

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"sync"
	"time"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
)

// AuditTopic is the topic of the plane's events that hold the audit trail.
const AuditTopic = "audit"

// Outcome is how a call ended, as the audit trail keeps it.
type Outcome string

// The outcomes. A call that changes something leaves two records with its run id:
// OutcomeStarted before it begins and one of the others when it has ended, so
// that a call during which the core died is seen as started and never ended.
const (
	OutcomeStarted  Outcome = "started"
	OutcomeDone     Outcome = "done"
	OutcomeFailed   Outcome = "failed"
	OutcomeCanceled Outcome = "canceled"
	OutcomeRefused  Outcome = "refused" // nothing was done
)

// Record is one entry of the audit trail.
type Record struct {
	N        uint64                     `json:"n,omitempty"` // place in the chain; 0 for what the plane itself noted
	Time     time.Time                  `json:"time"`
	Host     string                     `json:"host,omitempty"` // the core that wrote it
	Who      string                     `json:"who"`
	Role     string                     `json:"role,omitempty"`
	Door     string                     `json:"door,omitempty"`
	From     string                     `json:"from,omitempty"` // address, or "pid 4711" at the unix socket
	Action   string                     `json:"action"`
	Inputs   map[string]json.RawMessage `json:"inputs,omitempty"` // secrets starred, long values cut
	Outcome  Outcome                    `json:"outcome"`
	Fault    *fault.Fault               `json:"fault,omitempty"`
	Duration string                     `json:"duration,omitempty"` // "1.204s"; of an ended call
	Run      string                     `json:"run,omitempty"`
	Prev     string                     `json:"prev,omitempty"` // SHA-256 of the record before, in hex
}

// hash is what the next record carries as Prev.
func (r Record) hash() string {
	b, err := json.Marshal(r)
	if err != nil { // a record holds nothing that cannot be marshalled
		b = []byte(err.Error())
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// head is the one document of the bucket "audit": the last record, written by
// compare-and-set before the event, so that all cores write one line of history.
type head struct {
	N    uint64 `json:"n"`
	Hash string `json:"hash"`
	Last Record `json:"last"`
}

const headKey = "head"

// trail writes the audit trail of this core.
type trail struct {
	plane *plane.Plane
	heads plane.Docs[head]

	mu      sync.Mutex // guards emitted, and orders this core's records
	emitted uint64     // the newest record that is known to be in the log
}

func newTrail(p *plane.Plane) *trail {
	return &trail{plane: p, heads: plane.Documents[head](p, "audit")}
}

// append writes a record behind the last one. The order is fixed by the head
// document; the event follows. Whoever finds a head that it did not write itself
// emits that record once more, for its writer may have died in between: readers
// drop what they have seen.
func (t *trail) append(ctx context.Context, r Record) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var before head
	doc, err := t.heads.Update(ctx, headKey, func(h *head) error {
		before = *h
		r.N, r.Prev, r.Host = h.N+1, h.Hash, t.plane.Host()
		*h = head{N: r.N, Hash: r.hash(), Last: r}
		return nil
	})
	if err != nil {
		return err
	}
	if before.N > t.emitted {
		if err := t.plane.Emit(ctx, AuditTopic, before.Last); err != nil {
			return err
		}
	}
	if err := t.plane.Emit(ctx, AuditTopic, doc.Value.Last); err != nil {
		return err
	}
	t.emitted = r.N
	return nil
}

// auditTimeout bounds the writing of one record.
const auditTimeout = 10 * time.Second

// longestValue is how many bytes of an input the trail keeps.
const longestValue = 1024

// Write adds a record to the trail. It does not stop when ctx is cancelled: what
// was done must be written down even if the asker has gone.
func (a *Access) Write(ctx context.Context, r Record) error {
	s, err := a.store()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), auditTimeout)
	defer cancel()
	if r.Time.IsZero() {
		r.Time = time.Now()
	}
	r.Time = r.Time.UTC().Round(0)
	for k, v := range r.Inputs {
		if len(v) > longestValue {
			r.Inputs[k], _ = json.Marshal(string(v[:longestValue]) + "…")
		}
	}
	// What is written must be what is hashed: once through JSON.
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	var clean Record
	if err := json.Unmarshal(b, &clean); err != nil {
		return err
	}
	if err := s.audit.append(ctx, clean); err != nil {
		return fault.Unavailable("audit trail cannot be written").Because(err)
	}
	return nil
}

// NewRecord begins a record of a call.
func NewRecord(id Identity, door, from string, a action.Action, in action.Inputs) Record {
	return Record{Who: id.Name, Role: string(id.Role), Door: door, From: from, Action: a.Name, Inputs: in.Redacted(a.Fields)}
}

// Ended returns the record with the outcome that err means.
func (r Record) Ended(err error, took time.Duration) Record {
	r.Time = time.Time{}
	r.Duration = took.Round(time.Millisecond).String()
	r.Outcome, r.Fault = OutcomeDone, fault.Of(err)
	switch {
	case err == nil:
	case r.Fault.Kind == fault.KindCanceled:
		r.Outcome = OutcomeCanceled
	default:
		r.Outcome = OutcomeFailed
	}
	return r
}

// Refused returns the record of a call that was not done.
func (r Record) Refused(err error) Record {
	r.Outcome, r.Fault = OutcomeRefused, fault.Of(err)
	return r
}
