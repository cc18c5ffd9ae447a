// Package endpoint leads clients to the primary. A driver is one way to do it: the built-in
// router, a virtual IP, HAProxy, ProxySQL, Consul, hook scripts. endpointtest is what all
// of them must do.
package endpoint

import (
	"context"
	"errors"
	"log/slog"

	"kaname.dev/kaname/rib/mysql/topology"
)

// Target is where clients are to be led.
type Target struct {
	Topology string            `json:"topology"`
	Epoch    uint64            `json:"epoch"`
	Primary  *topology.Member  `json:"primary"`            // nil: nowhere; clients wait or are refused
	Replicas []topology.Member `json:"replicas,omitempty"` // that are fit for reads
	// Kind is that of the move this belongs to; empty: of none. Hook scripts are told.
	Kind topology.Kind `json:"kind,omitempty"`
}

// Driver is one endpoint of one topology. Its methods can be called again with the same
// argument, which changes nothing the second time; they end soon after ctx.
type Driver interface {
	// Publish leads clients to t.Primary, and cuts or drains what still leads elsewhere. It
	// returns ErrOld when the endpoint already knows a higher epoch, as far as it can
	// keep one.
	Publish(ctx context.Context, t Target) error
	// Withdraw leads clients nowhere: before the old primary is closed (a switchover, where
	// new work is held if the endpoint can do that) or while there is none.
	Withdraw(ctx context.Context, t Target) error
	// Current returns where clients are led now, as the endpoint itself says; the zero
	// Target when nowhere. errors.ErrUnsupported when it cannot tell.
	Current(ctx context.Context) (Target, error)
	// Close lets go of what the driver holds; clients are still led.
	Close() error
}

// ErrOld is returned for an epoch lower than one already published.
var ErrOld = errors.New("a higher epoch is already published")

// Options are what a driver is made of.
type Options struct {
	Topology string
	Settings map[string]string // as in the record; an unknown key is an error that names the known ones
	Log      *slog.Logger
}
