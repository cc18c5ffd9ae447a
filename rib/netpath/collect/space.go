package collect

import (
	"context"
	"errors"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"

	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/packet"
)

// visit is one namespace while it is read, on a thread that is in it.
type visit struct {
	*work
	space *space
	out   facts.Namespace
	links map[int]string // names by index
	peers map[int]uint64 // inodes of namespaces by the number that this one has for them
}

// space collects one namespace.
func (w *work) space(ctx context.Context, s *space) facts.Namespace {
	v := &visit{work: w, space: s, out: facts.Namespace{Name: s.name, ID: s.id}, links: map[int]string{}}
	if err := s.inside(func() { v.read(ctx) }); err != nil {
		v.lack(facts.Spaces, err)
	}
	return v.out
}

func (v *visit) lack(what string, err error) { v.lacks(what, v.space.name, "", err) }

func (v *visit) read(ctx context.Context) {
	h, err := netlink.NewHandle()
	if err != nil {
		v.lack(facts.Spaces, err)
		return
	}
	defer h.Close()
	for _, part := range []struct {
		what string
		read func(*netlink.Handle) error
	}{{facts.Links, v.readLinks}, {facts.Routes, v.readRoutes}, {facts.Rules, v.readRules}, {facts.Neighbours, v.readNeighbours}} {
		if err := steady(func() error { return part.read(h) }); err != nil {
			v.lack(part.what, err)
		}
	}
	v.readSysctls()
	v.readSockets()
	if ctx.Err() == nil {
		v.readFilters(ctx)
	}
	if ctx.Err() == nil {
		v.readTracked()
	}
}

// steady reads again what changed while it was read, a few times.
func steady(read func() error) (err error) {
	for range 4 {
		if err = read(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return err
		}
	}
	return err
}

// mac is a hardware address, zero where it is none of Ethernet.
func mac(hw net.HardwareAddr) packet.MAC {
	if len(hw) != 6 {
		return packet.MAC{}
	}
	return packet.MAC(hw)
}

// addr is an address, invalid where there is none.
func addr(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

// prefix is a range of addresses, invalid where there is none.
func prefix(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(addr(n.IP), ones)
}
