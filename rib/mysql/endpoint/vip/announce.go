package vip

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/mdlayher/arp"
)

// voice speaks for one address on one device.
type voice interface {
	ask() error                       // who has it?
	tell() error                      // it is here, now
	deadline(t time.Time)             // for owner
	owner() (net.HardwareAddr, error) // the next to answer for it, other than this device
	io.Closer
}

func speak(ifi *net.Interface, addr netip.Addr) (voice, error) {
	if addr.Is4() {
		return newARP(ifi, addr)
	}
	return newND(ifi, addr)
}

// mute reports whether a device has no neighbours that keep hardware addresses: the loopback
// and tunnels.
func mute(ifi *net.Interface) bool {
	return ifi.Flags&net.FlagLoopback != 0 || ifi.Flags&net.FlagBroadcast == 0 || len(ifi.HardwareAddr) != 6
}

// longest bounds a probe: who holds addresses cannot give one up meanwhile.
const longest = time.Second

// probe asks for the address, thrice, and returns who else answers within d, at most longest;
// nil: nobody, or d is 0.
func probe(ctx context.Context, ifi *net.Interface, addr netip.Addr, d time.Duration) (net.HardwareAddr, error) {
	if d <= 0 || mute(ifi) {
		return nil, nil
	}
	d = min(d, longest)
	v, err := speak(ifi, addr)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	stop := context.AfterFunc(ctx, func() { v.deadline(time.Unix(1, 0)) })
	defer stop()
	for range 3 {
		if err := v.ask(); err != nil {
			return nil, err
		}
		v.deadline(time.Now().Add(d / 3))
		switch mac, err := v.owner(); {
		case err == nil:
			return mac, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return nil, err
		}
	}
	return nil, nil
}

// announcer is the goroutine that repeats an announcement: closing stop ends it, and done is
// closed when it has ended.
type announcer struct{ stop, done chan struct{} }

// pauses are those between announcements: the first is made before Do returns, the others in
// the background, for a frame can be lost and a switch may still be learning.
var pauses = []time.Duration{20 * time.Millisecond, 80 * time.Millisecond, 400 * time.Millisecond, 1500 * time.Millisecond, 3 * time.Second}

// announce tells the network once and goes on doing so for a while.
func (h *Holder) announce(a Assignment, ifi *net.Interface) error {
	if mute(ifi) {
		return nil
	}
	v, err := speak(ifi, a.Address.Addr())
	if err != nil {
		return h.explain(a, err)
	}
	if err := v.tell(); err != nil {
		v.Close()
		return h.explain(a, err)
	}
	said := announcer{make(chan struct{}), make(chan struct{})}
	h.told[a.Address.Addr()] = said
	go func() {
		defer close(said.done)
		defer v.Close()
		for _, pause := range pauses {
			select {
			case <-said.stop:
				return
			case <-time.After(pause):
			}
			if err := v.tell(); err != nil {
				h.log.Warn("virtual address not announced again", "address", a.Address, "device", ifi.Name, "err", err)
			}
		}
	}()
	return nil
}

// hush ends the announcements of an address.
func (h *Holder) hush(addr netip.Addr) {
	if a, ok := h.told[addr]; ok {
		close(a.stop)
		<-a.done
		delete(h.told, addr)
	}
}

// arpVoice speaks ARP (RFC 826; probes and announcements: RFC 5227).
type arpVoice struct {
	client *arp.Client
	ifi    *net.Interface
	addr   netip.Addr
}

var (
	everybody = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	nobody    = net.HardwareAddr{0, 0, 0, 0, 0, 0}
)

func newARP(ifi *net.Interface, addr netip.Addr) (voice, error) {
	c, err := arp.Dial(ifi)
	if err != nil {
		return nil, fmt.Errorf("ARP on %s: %w", ifi.Name, err)
	}
	return &arpVoice{c, ifi, addr}, nil
}

func (v *arpVoice) send(op arp.Operation, from netip.Addr, to net.HardwareAddr) error {
	p, err := arp.NewPacket(op, v.ifi.HardwareAddr, from, to, v.addr)
	if err != nil {
		return err
	}
	if err := v.client.WriteTo(p, everybody); err != nil {
		return fmt.Errorf("ARP on %s: %w", v.ifi.Name, err)
	}
	return nil
}

// ask sends a probe: no sender's address, so that it changes nobody's table.
func (v *arpVoice) ask() error { return v.send(arp.OperationRequest, netip.IPv4Unspecified(), nobody) }

// tell sends both forms of an announcement, for there is equipment that knows only one.
func (v *arpVoice) tell() error {
	return errors.Join(
		v.send(arp.OperationRequest, v.addr, nobody),
		v.send(arp.OperationReply, v.addr, v.ifi.HardwareAddr))
}

func (v *arpVoice) deadline(t time.Time) { _ = v.client.SetReadDeadline(t) } // fails only on a closed socket, which the next read tells

func (v *arpVoice) owner() (net.HardwareAddr, error) {
	for {
		p, _, err := v.client.Read()
		if err != nil {
			return nil, err
		}
		if p.SenderIP == v.addr && !slices.Equal(p.SenderHardwareAddr, v.ifi.HardwareAddr) {
			return p.SenderHardwareAddr, nil
		}
	}
}

func (v *arpVoice) Close() error { return v.client.Close() }
