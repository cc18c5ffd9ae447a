package controller

import (
	"context"
	"time"

	"github.com/oklog/ulid/v2"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/rib/mysql/topology"
)

// Word is what a person wants of the controller: a document, so that it reaches whichever
// core that is, and only cores can write one. The controller deletes it when it is done.
type Word struct {
	Topology string    `json:"topology"`
	Verb     Verb      `json:"verb"`
	By       string    `json:"by"`
	At       time.Time `json:"at"`
	Until    time.Time `json:"until"` // a word that was not begun by then is void
	Why      string    `json:"why,omitempty"`

	Members []topology.Member `json:"members,omitempty"` // Adopt: the primary first; Add: the new ones
	Policy  *topology.Policy  `json:"policy,omitempty"`  // Adopt, Policy
	Member  string            `json:"member,omitempty"`  // Switchover: where to; Remove, Role, Reclone: whom
	Role    topology.Role     `json:"role,omitempty"`
	Force   bool              `json:"force,omitempty"` // Failover, Switchover: accept that acknowledged writes may be missing
	For     time.Duration     `json:"for,omitempty"`   // Pause
}

// Verb is what a word asks for.
type Verb string

// The verbs.
const (
	Adopt       Verb = "adopt"
	Forget      Verb = "forget"
	Add         Verb = "add"
	Remove      Verb = "remove"
	Role        Verb = "role"
	Policy      Verb = "policy"
	Pause       Verb = "pause"
	Resume      Verb = "resume"
	Acknowledge Verb = "acknowledge"
	Switchover  Verb = "switchover"
	Failover    Verb = "failover"
	Drill       Verb = "drill"
	Reclone     Verb = "reclone"
)

// words are the documents; a key is the topology, '/', and an ULID.
func words(p *plane.Plane) plane.Docs[Word] { return plane.Documents[Word](p, "mysql.words") }

// records are the topologies; a key is the name.
func records(p *plane.Plane) plane.Docs[topology.Record] {
	return plane.Documents[topology.Record](p, "mysql.topologies")
}

// Say stores a word and returns its key. The view tells what becomes of it.
func Say(ctx context.Context, p *plane.Plane, w Word) (string, error) {
	w.At = time.Now()
	w.Until = w.At.Add(time.Minute)
	doc, err := words(p).Create(ctx, w.Topology+"/"+ulid.Make().String(), w)
	return doc.Key, err
}

// answer is what has become of a word; kept in memory for those who ask.
type answer struct {
	void  time.Time // when the word is void if it was not begun
	said  []string
	done  bool
	fault *fault.Fault
	ended time.Time
}

// void is when a word is void that is heard now. Clocks of cores may be an hour apart: only a
// word that was there before this controller listened is as old as its writer's clock says.
func (w *Word) void(now time.Time, listening bool) time.Time {
	if !listening {
		return w.Until
	}
	return now.Add(w.Until.Sub(w.At))
}

// kept is how long answers can be asked for.
const kept = 10 * time.Minute
