package access

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
)

// Filter selects records; empty fields select all.
type Filter struct {
	Who    string
	Action string    // the action itself, or its first words
	Run    string    // the run's id, or its last characters
	Since  time.Time // records at or after
	Last   int       // the newest so many; 0 means all
}

func (f Filter) takes(r Record) bool {
	return (f.Who == "" || r.Who == f.Who) &&
		(f.Action == "" || r.Action == f.Action || strings.HasPrefix(r.Action, f.Action+" ")) &&
		(f.Run == "" || r.Run != "" && strings.HasSuffix(r.Run, strings.ToUpper(f.Run))) &&
		!r.Time.Before(f.Since)
}

// Records returns the selected records of the trail, oldest first.
func (a *Access) Records(ctx context.Context, f Filter) ([]Record, error) {
	s, err := a.store()
	if err != nil {
		return nil, err
	}
	var list []Record
	err = s.audit.read(ctx, func(r Record) {
		if f.takes(r) {
			list = append(list, r)
		}
	})
	if f.Last > 0 && len(list) > f.Last {
		list = list[len(list)-f.Last:]
	}
	return list, err
}

// readPatience is how long a reader waits for a record that the head document
// promises and that this core's copy of the log does not have yet.
const readPatience = 2 * time.Second

// read gives every record that is kept, oldest first and each once.
func (t *trail) read(ctx context.Context, give func(Record)) error {
	doc, err := t.heads.Get(ctx, headKey)
	if err != nil && !fault.Is(err, fault.KindNotFound) {
		return err
	}
	end := doc.Value
	from, seen := uint64(1), uint64(0)
	look := func() error {
		for e, err := range t.plane.Kept(ctx, AuditTopic, from) {
			if err != nil {
				return err
			}
			from = e.Seq + 1
			r, ok := recordOf(e)
			if !ok || r.N != 0 && r.N <= seen {
				continue
			}
			seen = max(seen, r.N)
			give(r)
		}
		return ctx.Err()
	}
	deadline := time.NewTimer(readPatience)
	defer deadline.Stop()
	for {
		if err := look(); err != nil {
			return fault.Unavailable("audit trail cannot be read to its end").Because(err)
		}
		if seen >= end.N {
			return nil
		}
		select {
		case <-deadline.C: // its writer died before it was in the log
			give(end.Last)
			return nil
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// recordOf reads an event of the audit; what is of a newer kaname is passed over.
func recordOf(e plane.Event) (Record, bool) {
	if e.Topic != AuditTopic { // noted by the plane itself
		return trustRecord(e), true
	}
	var r Record
	ok := json.Unmarshal(e.Data, &r) == nil && r.N > 0
	return r, ok
}

// trustRecord is what the plane noted about hosts and join tokens, as a record
// outside the chain.
func trustRecord(e plane.Event) Record {
	r := Record{Time: e.Time, Host: e.Host, Door: "plane", Outcome: OutcomeDone, Inputs: map[string]json.RawMessage{}}
	var t plane.TrustRecord
	if json.Unmarshal(e.Data, &t) != nil { // of a newer kaname: then as it is
		r.Who, r.Action, r.Inputs["data"] = "unknown", e.Topic, e.Data
		return r
	}
	r.Who, r.From, r.Action = cmp.Or(t.By, onlyIf(t.Host, "host "), "unknown"), t.Remote, "plane "+t.What
	if e.Topic == AuditTopic+".refused" {
		text := t.What + ": " + t.Text
		if t.Count > 1 {
			text += " (" + strconv.Itoa(t.Count) + " times)"
		}
		return r.Refused(fault.Denied(text))
	}
	for k, v := range map[string]string{"host": t.Host, "token": t.Token, "text": t.Text} {
		if v != "" {
			r.Inputs[k], _ = json.Marshal(v) // a string always can be
		}
	}
	return r
}

// onlyIf puts a prefix before a text that is not empty.
func onlyIf(s, prefix string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}

// Verdict is what Verify found.
type Verdict struct {
	Records int      `json:"records"` // in the chain
	First   uint64   `json:"first"`   // number of the oldest record kept
	Last    uint64   `json:"last"`    // number of the newest
	Head    string   `json:"head"`    // hash of the newest; write it down elsewhere to compare later
	Faults  []string `json:"faults,omitempty"`
}

// Verify walks the chain of the trail and says where a record is missing or is
// not what the next one saw. It finds what was altered or removed in the log; an
// intruder who also rewrites all that follows and the head is found only by
// comparing Head with one that was written down elsewhere.
func (a *Access) Verify(ctx context.Context) (Verdict, error) {
	s, err := a.store()
	if err != nil {
		return Verdict{}, err
	}
	var v Verdict
	var last string
	err = s.audit.read(ctx, func(r Record) {
		if r.N == 0 {
			return
		}
		switch {
		case v.Records == 0:
			v.First = r.N
		case r.N != v.Last+1:
			v.Faults = append(v.Faults, fmt.Sprintf("records %d to %d are missing", v.Last+1, r.N-1))
		case r.Prev != last:
			v.Faults = append(v.Faults, fmt.Sprintf("record %d is not what record %d was written after: one of them was altered", v.Last, r.N))
		}
		v.Records, v.Last, last = v.Records+1, r.N, r.hash()
	})
	if err != nil {
		return v, err
	}
	v.Head = last
	doc, err := s.audit.heads.Get(ctx, headKey)
	if err == nil && doc.Value.N == v.Last && doc.Value.Hash != last {
		v.Faults = append(v.Faults, fmt.Sprintf("record %d is not the one that the head names: it was altered", v.Last))
	}
	slices.Sort(v.Faults)
	return v, nil
}
