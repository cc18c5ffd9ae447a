package vip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/mdlayher/arp"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv6"
)

// voice speaks for one address on one device.
type voice interface {
	ask() error                       // who has it?
	tell() error                      // it is here, now
	deadline(t time.Time)             // for owner
	owner() (net.HardwareAddr, error) // the next to answer for it, other than this device
	Close() error
}

func speak(ifi *net.Interface, addr netip.Addr) (voice, error) {
	if addr.Is4() {
		return newARP(ifi, addr)
	}
	return newND(ifi, addr)
}

// probe asks for the address, thrice, and returns who else answers within d; nil: nobody.
func probe(ctx context.Context, ifi *net.Interface, addr netip.Addr, d time.Duration) (net.HardwareAddr, error) {
	if ifi.Flags&net.FlagLoopback != 0 {
		return nil, nil
	}
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

// announcer is the goroutine that repeats an announcement; stop ends it, and done is
// closed when it has ended.
type announcer struct {
	stop context.CancelFunc
	done chan struct{}
}

// announce tells the network once and goes on doing so for a while.
func (h *Holder) announce(a Assignment, dev string) error {
	ifi, err := net.InterfaceByName(dev)
	if err != nil {
		return h.explain(a, err)
	}
	if ifi.Flags&net.FlagLoopback != 0 {
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
	stop := make(chan struct{})
	done := make(chan struct{})
	h.told[a.Address.Addr()] = announcer{stop: func() { close(stop) }, done: done}
	go func() {
		defer close(done)
		defer v.Close()
		for _, pause := range repeats {
			select {
			case <-stop:
				return
			case <-time.After(pause):
			}
			if err := v.tell(); err != nil {
				h.log.Warn("virtual address not announced again", "address", a.Address, "device", dev, "err", err)
			}
		}
	}()
	return nil
}

// hush ends the announcements of an address.
func (h *Holder) hush(addr netip.Addr) {
	if a, ok := h.told[addr]; ok {
		a.stop()
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

// ndVoice speaks neighbour discovery (RFC 4861 sections 4.3, 4.4 and 7.2.6).
type ndVoice struct {
	conn *icmp.PacketConn
	ifi  *net.Interface
	addr netip.Addr
}

func newND(ifi *net.Interface, addr netip.Addr) (voice, error) {
	c, err := icmp.ListenPacket("ip6:ipv6-icmp", "::")
	if err != nil {
		return nil, fmt.Errorf("neighbour discovery on %s: %w", ifi.Name, err)
	}
	p := c.IPv6PacketConn()
	var only ipv6.ICMPFilter
	only.SetAll(true)
	only.Accept(ipv6.ICMPTypeNeighborAdvertisement)
	// Receivers drop what may have come through a router: the hop limit must be 255.
	err = errors.Join(p.SetICMPFilter(&only), p.SetMulticastHopLimit(255), p.SetMulticastInterface(ifi), p.SetMulticastLoopback(false), p.SetControlMessage(ipv6.FlagInterface, true))
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("neighbour discovery on %s: %w", ifi.Name, err)
	}
	return &ndVoice{c, ifi, addr}, nil
}

const (
	optSource, optTarget = 1, 2 // link-layer address options, RFC 4861 section 4.6.1
	override             = 1 << 29
)

func (v *ndVoice) send(typ ipv6.ICMPType, flags uint32, opt byte, to netip.Addr) error {
	body := []byte{byte(flags >> 24), byte(flags >> 16), byte(flags >> 8), byte(flags)}
	body = append(body, v.addr.AsSlice()...)
	body = append(body, opt, 1) // length in units of 8 octets
	body = append(body, v.ifi.HardwareAddr...)
	raw, err := (&icmp.Message{Type: typ, Body: &icmp.RawBody{Data: body}}).Marshal(nil) // the kernel sets the checksum
	if err != nil {
		return err
	}
	if _, err := v.conn.WriteTo(raw, &net.IPAddr{IP: to.AsSlice(), Zone: v.ifi.Name}); err != nil {
		return fmt.Errorf("neighbour discovery on %s: %w", v.ifi.Name, err)
	}
	return nil
}

func (v *ndVoice) ask() error {
	group := netip.MustParseAddr("ff02::1:ff00:0").As16()
	last := v.addr.As16()
	copy(group[13:], last[13:])
	return v.send(ipv6.ICMPTypeNeighborSolicitation, 0, optSource, netip.AddrFrom16(group))
}

func (v *ndVoice) tell() error {
	return v.send(ipv6.ICMPTypeNeighborAdvertisement, override, optTarget, netip.IPv6LinkLocalAllNodes())
}

func (v *ndVoice) deadline(t time.Time) { _ = v.conn.SetReadDeadline(t) } // as above

func (v *ndVoice) owner() (net.HardwareAddr, error) {
	buf := make([]byte, 1500)
	for {
		n, cm, _, err := v.conn.IPv6PacketConn().ReadFrom(buf)
		if err != nil {
			return nil, err
		}
		mac, ok := advertised(buf[:n], v.addr)
		if ok && (cm == nil || cm.IfIndex == v.ifi.Index) && !slices.Equal(mac, v.ifi.HardwareAddr) {
			return mac, nil
		}
	}
}

func (v *ndVoice) Close() error { return v.conn.Close() }

// advertised returns the link-layer address in a neighbour advertisement of addr; nil when
// it has none.
func advertised(b []byte, addr netip.Addr) (net.HardwareAddr, bool) {
	if len(b) < 24 || b[0] != byte(ipv6.ICMPTypeNeighborAdvertisement) {
		return nil, false
	}
	if target, _ := netip.AddrFromSlice(b[8:24]); target != addr {
		return nil, false
	}
	for opts := b[24:]; len(opts) >= 8 && opts[1] > 0 && len(opts) >= 8*int(opts[1]); opts = opts[8*int(opts[1]):] {
		if opts[0] == optTarget {
			return slices.Clone(opts[2:8]), true
		}
	}
	return nil, true
}
