package plane

import (
	"context"
	"time"
)

// Epoch is the fencing token of a lease: it only grows.
type Epoch uint64

// LeaseOptions sets how long a lease lasts without renewal.
type LeaseOptions struct {
	TTL time.Duration // zero means the plane's default for its mode: 5 s embedded, 20 s clustered
	// Why is shown to those who find the lease taken: "deploy of shop 1.4.2 by alice".
	Why string
	// Try returns a Conflict fault naming the holder at once instead of waiting.
	Try bool
}

// Lease is held by at most one process at any time.
type Lease struct{}

// Lease blocks until the lease is held or ctx ends.
func (p *Plane) Lease(ctx context.Context, name string, o LeaseOptions) (*Lease, error) {
	panic("unwritten")
}

// Name returns the lease's name.
func (l *Lease) Name() string { panic("unwritten") }

// Epoch returns the fencing token under which the lease was granted.
func (l *Lease) Epoch() Epoch { panic("unwritten") }

// Context is cancelled before the lease can be granted to another; its cause is
// a Conflict fault.
func (l *Lease) Context() context.Context { panic("unwritten") }

// Release gives the lease back, so that the next one need not wait for its TTL.
func (l *Lease) Release(ctx context.Context) error { panic("unwritten") }
