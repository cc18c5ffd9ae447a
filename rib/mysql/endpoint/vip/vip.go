// Package vip leads clients to the primary by an address that the primary's host holds
// besides its own: a virtual IP.
//
// Two halves: the driver, on the controller, orders hosts through a Remote; Holder, in the
// agent of each host, adds and removes the address and tells the network (gratuitous ARP,
// or unsolicited neighbour advertisements for IPv6).
//
// An address cannot be taken from a host that does not answer. Publish goes on without
// such a host and only warns, for the mover publishes a primary only after the old one is
// closed for certain or can acknowledge nothing any more: whoever still reaches the old
// host there finds no server that takes writes. The agent has its Holder drop the
// address whenever it closes its server by itself. Whether the network still hears the old host is found
// out by asking for the address before taking it; see the setting "force". When the old host
// comes back, publish again: that removes the address there.
//
// Connections to the old host are not reset when the address goes: the next packet of such a
// client reaches the new host, whose kernel resets it; a client that only waits for an
// answer waits for its own time limit.
//
// The servers must listen on the address when it comes: bind_address must be a wildcard.
package vip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/mysql/endpoint"
	"kaname.dev/kaname/rib/mysql/topology"
)

// Assignment says what a host is to do with an address.
type Assignment struct {
	Topology string       `json:"topology"`
	Epoch    uint64       `json:"epoch"`
	Address  netip.Prefix `json:"address"`          // a single address as /32 or /128, unless another length was asked for
	Device   string       `json:"device,omitempty"` // empty: the one in whose network the address is
	// Probe is how long the host listens for another owner before it takes the address;
	// 0: it does not ask.
	Probe time.Duration `json:"probe,omitempty"`
	// Force: take it although somebody else answers for it.
	Force bool `json:"force,omitempty"`
	// Look: change nothing, say how it stands.
	Look bool `json:"look,omitempty"`
}

// Remote reaches the agents of the topology's hosts.
type Remote interface {
	// Members returns all members of the topology, also those that do not answer.
	Members(ctx context.Context) ([]topology.Member, error)
	// VIP has the Holder of the member's host do as its Do says, and returns its answer.
	// The kinds of its faults must arrive; a host that cannot be reached is
	// fault.KindUnavailable or KindTimeout.
	VIP(ctx context.Context, m topology.Member, want bool, a Assignment) (string, error)
}

type driver struct {
	assignment Assignment
	wait       time.Duration
	remote     Remote
	log        *slog.Logger
}

// New returns the driver. Settings:
//
//	address  the virtual address, "192.0.2.10" or "192.0.2.10/24"; needed. Without a length
//	         it is added as /32 (/128), which leaves the host's routes as they are.
//	device   the network device; empty: the one in whose network the address is
//	probe    how long to listen for another owner before the address is taken; 100ms.
//	         0 asks nobody, 1s is the most
//	wait     how long a host may take to answer before the address is published without
//	         it; 500ms
//	force    yes: take the address although another machine answers for it, or a host did
//	         not give it up; no
func New(o endpoint.Options, remote Remote) (endpoint.Driver, error) {
	d, err := read(o)
	if err != nil {
		return nil, err
	}
	d.remote = remote
	return d, nil
}

// Assigned returns what New's settings say of the address, for an agent that gives it up or
// takes it again by itself. Its Epoch is the caller's to set.
func Assigned(o endpoint.Options) (Assignment, error) {
	d, err := read(o)
	if err != nil {
		return Assignment{}, err
	}
	return d.assignment, nil
}

func read(o endpoint.Options) (*driver, error) {
	d := &driver{assignment: Assignment{Topology: o.Topology, Probe: 100 * time.Millisecond}, wait: time.Second, log: o.Log}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	for key, value := range o.Settings {
		var err error
		switch key {
		case "address":
			d.assignment.Address, err = prefix(value)
		case "device":
			d.assignment.Device = value
		case "probe":
			d.assignment.Probe, err = time.ParseDuration(value)
		case "wait":
			d.wait, err = time.ParseDuration(value)
		case "force":
			d.assignment.Force = value == "yes"
			if value != "yes" && value != "no" {
				err = errors.New("is neither yes nor no")
			}
		default:
			err = errors.New("is not known; known are address, device, probe, wait and force")
		}
		if err != nil {
			return nil, fmt.Errorf("endpoint vip of %s: setting %s %q: %w", o.Topology, key, value, err)
		}
	}
	if !d.assignment.Address.IsValid() {
		return nil, fmt.Errorf("endpoint vip of %s: no setting address; give the virtual address", o.Topology)
	}
	if d.wait <= 0 || d.assignment.Probe < 0 || d.assignment.Probe > longest {
		return nil, fmt.Errorf("endpoint vip of %s: wait must be more than 0, probe from 0 to 1s", o.Topology)
	}
	return d, nil
}

// prefix reads an address with or without a length.
func prefix(s string) (netip.Prefix, error) {
	if strings.Contains(s, "/") {
		return netip.ParsePrefix(s)
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	if a.Zone() != "" {
		return netip.Prefix{}, errors.New("an address with a zone; give the device as setting device")
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}

func (d *driver) Publish(ctx context.Context, t endpoint.Target) error {
	if t.Primary == nil {
		return d.Withdraw(ctx, t)
	}
	if err := d.removed(ctx, t, t.Primary.Name); err != nil {
		if errors.Is(err, endpoint.ErrOld) || !d.assignment.Force {
			return err
		}
		d.log.Warn("the address is taken although a host did not give it up", "topology", t.Topology, "address", d.assignment.Address, "err", err)
	}
	a := d.assignment
	a.Epoch = t.Epoch
	answer, err := d.remote.VIP(ctx, *t.Primary, true, a)
	if err != nil {
		return d.refused(*t.Primary, err)
	}
	d.log.Info("the address leads to the primary", "topology", t.Topology, "address", a.Address, "member", t.Primary.Name, "epoch", t.Epoch, "how", answer)
	return nil
}

func (d *driver) Withdraw(ctx context.Context, t endpoint.Target) error { return d.removed(ctx, t, "") }

// removed has all members but one give the address up, all at the same time. A host that
// does not answer in time is none of its errors.
func (d *driver) removed(ctx context.Context, t endpoint.Target, except string) error {
	a := d.assignment
	a.Epoch = t.Epoch
	return d.each(ctx, except, func(ctx context.Context, m topology.Member) error {
		answer, err := d.remote.VIP(ctx, m, false, a)
		switch {
		case silent(err):
			d.log.Warn("a host does not answer; it may still hold the address", "topology", t.Topology, "address", a.Address, "member", m.Name, "err", err)
		case err != nil:
			return d.refused(m, err)
		default:
			d.log.Debug("the address is not on the host", "topology", t.Topology, "address", a.Address, "member", m.Name, "how", answer)
		}
		return nil
	})
}

func (d *driver) each(ctx context.Context, except string, do func(context.Context, topology.Member) error) error {
	members, err := d.remote.Members(ctx)
	if err != nil {
		return fmt.Errorf("endpoint vip %s: %w", d.assignment.Address, err)
	}
	short, cancel := context.WithTimeout(ctx, d.wait)
	defer cancel()
	errs := make([]error, len(members))
	var all sync.WaitGroup
	for i, m := range members {
		if m.Name != except {
			all.Go(func() { errs[i] = do(short, m) })
		}
	}
	all.Wait()
	return errors.Join(append(errs, ctx.Err())...)
}

func (d *driver) Current(ctx context.Context) (endpoint.Target, error) {
	a := d.assignment
	a.Look = true
	var lock sync.Mutex
	var holders []topology.Member
	current := endpoint.Target{Topology: a.Topology}
	err := d.each(ctx, "", func(ctx context.Context, m topology.Member) error {
		answer, err := d.remote.VIP(ctx, m, false, a)
		if err != nil && !silent(err) {
			return d.refused(m, err)
		}
		if epoch, held := parseState(answer); err == nil && held {
			lock.Lock()
			holders = append(holders, m)
			current.Epoch = max(current.Epoch, epoch)
			lock.Unlock()
		}
		return nil
	})
	switch {
	case err != nil:
		return endpoint.Target{}, err
	case len(holders) == 0:
		return endpoint.Target{}, nil
	case len(holders) > 1:
		return endpoint.Target{}, fmt.Errorf("endpoint vip %s: %s and %s both hold it; publish the primary again", a.Address, holders[0].Name, holders[1].Name)
	}
	current.Primary = &holders[0]
	return current, nil
}

func (d *driver) Close() error { return nil }

func (d *driver) refused(m topology.Member, err error) error {
	var f *fault.Fault
	if errors.As(err, &f) && f.Kind == fault.KindConflict && !errors.Is(err, endpoint.ErrOld) {
		err = fmt.Errorf("%w: %w", endpoint.ErrOld, err)
	}
	return fmt.Errorf("endpoint vip %s on %s: %w", d.assignment.Address, m.Name, err)
}

// silent tells a host that does not answer from one that says no.
func silent(err error) bool {
	var f *fault.Fault
	return errors.Is(err, context.DeadlineExceeded) ||
		errors.As(err, &f) && (f.Kind == fault.KindUnavailable || f.Kind == fault.KindTimeout)
}
