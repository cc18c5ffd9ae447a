package vip

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv6"
)

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
		_ = c.Close() // the first error is told
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
