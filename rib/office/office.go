// Package office is for ribs whose decisions are made in one place: an office that one
// core holds at a time, under a lease. It finds the holder, and carries messages to it and
// between hosts by HTTP between the peer listeners (mutual TLS), for they can be large and
// must be quick.
package office

import (
	"context"
	"log/slog"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
)

// Office is the office on one core; whether this core holds it changes.
type Office struct {
	Plane *plane.Plane
	Name  string // of the office, its lease and its question: "zone"
	Duty  string // what the holder does: "keeps the zones"
	TTL   time.Duration
	Log   *slog.Logger
}

// Seat is the core that holds an office, as hosts are told.
type Seat struct {
	Host    string `json:"host"`
	Address string `json:"address"` // host:port of its peer listener
}

// seated is the document that names the holder; its key is the office's name.
type seated struct {
	Host  string      `json:"host"`
	Epoch plane.Epoch `json:"epoch"`
}

func seats(p *plane.Plane) plane.Docs[seated] { return plane.Documents[seated](p, "office.seats") }

// question is what hosts ask to find the holder.
func question(office string) string { return office + ".seat" }

// Announce makes this core answer hosts that ask who holds the office.
func (o *Office) Announce() error {
	return plane.Answer(o.Plane, question(o.Name), func(ctx context.Context, _ string, _ struct{}) (Seat, error) {
		return o.find(ctx)
	})
}

// find returns who holds the office.
func (o *Office) find(ctx context.Context) (Seat, error) {
	seat, err := seats(o.Plane).Get(ctx, o.Name)
	if err != nil {
		return Seat{}, fault.Unavailable("no core " + o.Duty + " yet").Because(err).Try("wait some seconds; then: kaname doctor on a core")
	}
	members, err := o.Plane.Members(ctx)
	if err != nil {
		return Seat{}, err
	}
	for i := range members {
		if members[i].Host == seat.Value.Host && members[i].Address != "" {
			return Seat{Host: members[i].Host, Address: members[i].Address}, nil
		}
	}
	return Seat{}, fault.Unavailable("core " + seat.Value.Host + ", which " + o.Duty + ", has no peer listener").Try("set peer.listen there")
}

// Run holds the office whenever no other core does, until ctx ends. Each time it calls
// reign with a context that ends before the lease can be granted to another core; fail
// ends the reign early. When reign returns the lease is given back.
func (o *Office) Run(ctx context.Context, reign func(ctx context.Context, lease *plane.Lease, fail context.CancelCauseFunc) error) error {
	for ctx.Err() == nil {
		lease, err := o.Plane.Lease(ctx, o.Name, plane.LeaseOptions{TTL: o.TTL, Why: o.Duty})
		if err != nil {
			if ctx.Err() != nil {
				return nil //nolint:nilerr // it was told to end
			}
			return err
		}
		if err := o.serve(ctx, lease, reign); err != nil && ctx.Err() == nil {
			o.Log.Warn("this core "+o.Duty+" no longer", "why", err)
		}
	}
	return nil
}

// serve is one reign: from the lease to its end.
func (o *Office) serve(ctx context.Context, lease *plane.Lease, reign func(context.Context, *plane.Lease, context.CancelCauseFunc) error) error {
	life, fail := context.WithCancelCause(lease.Context())
	defer fail(nil)
	stop := context.AfterFunc(ctx, func() { fail(context.Cause(ctx)) })
	defer stop()
	defer func() {
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
		defer cancel()
		_ = lease.Release(within) // it ends by itself otherwise
	}()
	return reign(life, lease, fail)
}

// Sit says to all cores that this one holds the office now: at the beginning of a reign,
// when it can answer.
func (o *Office) Sit(ctx context.Context, lease *plane.Lease) error {
	_, err := seats(o.Plane).Update(ctx, o.Name, func(d *seated) error {
		if d.Epoch > lease.Epoch() {
			return fault.Conflict("a later holder of the office " + o.Name + " sits already")
		}
		d.Host, d.Epoch = o.Plane.Host(), lease.Epoch()
		return nil
	})
	return err
}
