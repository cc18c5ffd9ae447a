package controller

import (
	"context"
	"errors"
	"fmt"

	"kaname.dev/kaname/rib/mysql/endpoint"
	"kaname.dev/kaname/rib/mysql/move"
	"kaname.dev/kaname/rib/mysql/order"
	"kaname.dev/kaname/rib/mysql/topology"
)

// hands are the controller's, as package move uses them for one topology.
type hands struct {
	t   *charge
	key string // of the word that asked for the move; empty for none
}

// Order implements move.Hands.
func (h hands) Order(ctx context.Context, m topology.Member, o order.Order) (order.Done, error) {
	return h.t.r.order(ctx, m, o)
}

// Save implements move.Hands.
func (h hands) Save(ctx context.Context, rec *topology.Record) error {
	h.t.mu.Lock()
	doc := h.t.doc
	h.t.mu.Unlock()
	doc.Value = *rec.Clone()
	return h.t.swap(ctx, doc)
}

// Withdraw implements move.Hands.
func (h hands) Withdraw(ctx context.Context, t endpoint.Target) error {
	return h.t.ways.withdraw(ctx, t)
}

// Publish implements move.Hands.
func (h hands) Publish(ctx context.Context, t endpoint.Target) error {
	return h.t.ways.publish(ctx, t)
}

// FenceCommand implements move.Hands.
func (h hands) FenceCommand(ctx context.Context, m topology.Member) error {
	command := h.t.record().Policy.FenceCommand
	if len(command) == 0 {
		return fmt.Errorf("topology %s has no fence command: %w", h.t.name, errors.ErrUnsupported)
	}
	return h.t.r.c.o.Fence(ctx, command, m)
}

// Known implements move.Hands.
func (h hands) Known(member string) move.Fact {
	h.t.mu.Lock()
	defer h.t.mu.Unlock()
	f := move.Fact{Granted: h.t.r.began} // the controller before this one granted until then at the latest
	if at, ok := h.t.granted[member]; ok {
		f.Granted = at
	}
	if r, ok := h.t.heard[member]; ok {
		self := r.report.Self
		f.Version = self.Version
		if self.Replica != nil {
			f.Delay = self.Replica.Delay
		}
		f.Self = self.Origins(h.t.doc.Value.Flavour)
	}
	if l, ok := h.t.looked[member]; ok {
		f.Executed, f.Errant = l.details.Executed, l.errant
	}
	return f
}

// Tell implements move.Hands.
func (h hands) Tell(text string) {
	h.t.mu.Lock()
	h.t.doing = text
	h.t.mu.Unlock()
	if h.key != "" {
		h.t.r.say(h.key, text)
	}
	h.t.r.c.o.Log.Info("moving a primary", "topology", h.t.name, "text", text)
}
