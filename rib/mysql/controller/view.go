package controller

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/mysql/exchange"
	"kaname.dev/kaname/rib/mysql/judge"
	"kaname.dev/kaname/rib/mysql/order"
	"kaname.dev/kaname/rib/mysql/topology"
)

// Query asks the controller what it knows.
type Query struct {
	Topology string `json:"topology,omitempty"` // only this one
	Details  bool   `json:"details,omitempty"`  // and what its servers say now
	Word     string `json:"word,omitempty"`     // what became of this word
}

// View is what it knows.
type View struct {
	Controller string         `json:"controller"` // its host
	Topologies []TopologyView `json:"topologies,omitempty"`
	Word       *WordView      `json:"word,omitempty"`
}

// TopologyView is a topology as the controller knows it.
type TopologyView struct {
	Record  topology.Record          `json:"record"`
	Verdict judge.Verdict            `json:"verdict"`
	Members map[string]judge.Known   `json:"members"`
	Details map[string]order.Details `json:"details,omitempty"`
	Routers []exchange.RouterView    `json:"routers,omitempty"`
	Doing   string                   `json:"doing,omitempty"`
}

// WordView says what became of a word.
type WordView struct {
	Said  []string     `json:"said,omitempty"`
	Done  bool         `json:"done"`
	Fault *fault.Fault `json:"fault,omitempty"`
}

// route answers a router.
func (c *Controller) route(ctx context.Context, host string, q exchange.Route) (exchange.Led, error) {
	r, err := c.current()
	if err != nil {
		return exchange.Led{}, err
	}
	return r.board.route(ctx, host, q)
}

// view answers a core.
func (c *Controller) view(ctx context.Context, _ string, q Query) (View, error) {
	r, err := c.current()
	if err != nil {
		return View{}, err
	}
	v := View{Controller: c.o.Plane.Host()}
	if q.Word != "" {
		v.Word = r.wordView(q.Word)
		return v, nil
	}
	for _, t := range r.all() {
		if q.Topology != "" && t.name != q.Topology {
			continue
		}
		view := t.view()
		if q.Details {
			view.Details = t.ask(ctx)
		}
		v.Topologies = append(v.Topologies, view)
	}
	if q.Topology != "" && len(v.Topologies) == 0 {
		_, err := r.charge(q.Topology)
		return v, err
	}
	slices.SortFunc(v.Topologies, func(a, b TopologyView) int { return strings.Compare(a.Record.Name, b.Record.Name) })
	return v, nil
}

func (r *reign) wordView(key string) *WordView {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.answers[key]
	if a == nil {
		return nil
	}
	return &WordView{Said: slices.Clone(a.said), Done: a.done, Fault: a.fault}
}

func (t *charge) view() TopologyView {
	known := t.know(time.Now()).Members
	t.mu.Lock()
	defer t.mu.Unlock()
	return TopologyView{
		Record: *t.doc.Value.Clone(), Verdict: t.verdict, Members: known, Routers: t.r.board.followers(t.name), Doing: t.doing,
	}
}

// Told is the data of an event about databases.
type Told struct {
	Topology string            `json:"topology"`
	Verdict  *judge.Verdict    `json:"verdict,omitempty"`
	Word     *Word             `json:"word,omitempty"`
	Outcome  *topology.Outcome `json:"outcome,omitempty"`
	Text     string            `json:"text,omitempty"`
	Trouble  string            `json:"trouble,omitempty"`
}

// emit appends an event, in a goroutine of the reign: nobody waits for the store.
func (r *reign) emit(topic string, data Told) {
	r.work.Go(func() {
		if err := r.c.o.Plane.Emit(r.life, topic, data); err != nil && r.life.Err() == nil {
			text, _ := json.Marshal(data) // it was made of values that can be
			r.c.o.Log.Warn("an event about databases was not stored", "topic", topic, "data", string(text), "why", err)
		}
	})
}
