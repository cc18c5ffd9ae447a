package vip

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"

	"github.com/vishvananda/netlink"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/mysql/endpoint"
)

// Holder holds virtual addresses on this host. It works in the network namespace of its
// process and needs CAP_NET_ADMIN and CAP_NET_RAW. What the host holds is read from the kernel
// each time, so that a restarted agent takes up what is there.
//
// The agent has it drop the address, besides on order, when it closes its server by itself
// and when it starts on a host that is not the primary's.
type Holder struct {
	log    *slog.Logger
	lock   sync.Mutex
	epochs map[netip.Addr]uint64    // the highest seen
	told   map[netip.Addr]announcer // who is still telling the network of an address
}

// NewHolder returns a Holder that nobody has told anything yet. Close it.
func NewHolder(log *slog.Logger) *Holder {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Holder{log: log, epochs: map[netip.Addr]uint64{}, told: map[netip.Addr]announcer{}}
}

// Close ends the announcements that are still under way; addresses stay.
func (h *Holder) Close() error {
	h.lock.Lock()
	defer h.lock.Unlock()
	for a := range h.told {
		h.hush(a)
	}
	return nil
}

// Do takes the address (want) or drops it, or says how it stands (a.Look), and answers in a
// few words. It can be called again: what is so already stays, and is announced once more.
//
// Errors: fault.KindConflict (and endpoint.ErrOld) when a higher epoch was seen since the
// agent's start; KindExists when another machine answers for the address; KindNotFound without
// a fitting device; KindDenied without the capabilities.
func (h *Holder) Do(ctx context.Context, want bool, a Assignment) (string, error) {
	h.lock.Lock()
	defer h.lock.Unlock()
	if !a.Address.IsValid() {
		return "", fault.Invalid("a virtual address is missing")
	}
	addr := a.Address.Addr()
	links, err := holding(addr)
	if err != nil {
		return "", h.explain(a, err)
	}
	if a.Look {
		return state(h.epochs[addr], len(links) > 0), nil
	}
	if seen := h.epochs[addr]; a.Epoch < seen {
		return "", fault.Conflict(fmt.Sprintf("address %s: epoch %d is over, %d was seen", addr, a.Epoch, seen)).Because(endpoint.ErrOld)
	}
	h.epochs[addr] = a.Epoch
	if !want {
		return h.drop(a, links)
	}
	return h.take(ctx, a, links)
}

// drop removes the address from all devices that have it. What announces it ends first, so
// that nothing is said after the new holder has spoken.
func (h *Holder) drop(a Assignment, links []held) (string, error) {
	h.hush(a.Address.Addr())
	if len(links) == 0 {
		return "was not here", nil
	}
	for _, l := range links {
		if err := netlink.AddrDel(l.link, &l.addr); err != nil && !errors.Is(err, syscall.EADDRNOTAVAIL) {
			return "", h.explain(a, err)
		}
		h.log.Info("virtual address removed", "topology", a.Topology, "address", a.Address, "device", l.link.Attrs().Name, "epoch", a.Epoch)
	}
	return "removed from " + links[0].link.Attrs().Name, nil
}

func (h *Holder) take(ctx context.Context, a Assignment, links []held) (string, error) {
	var link netlink.Link
	done := "is on "
	if len(links) > 0 {
		link = links[0].link
		h.hush(a.Address.Addr())
	} else {
		var err error
		if link, err = device(a); err != nil {
			return "", err
		}
		done = "added to "
	}
	name := link.Attrs().Name
	ifi, err := net.InterfaceByIndex(link.Attrs().Index)
	if err != nil {
		return "", h.explain(a, err)
	}
	owner, err := probe(ctx, ifi, a.Address.Addr(), a.Probe)
	if err != nil {
		return "", h.explain(a, err)
	}
	used := fmt.Errorf("%s answers for it on %s", owner, name)
	if owner != nil && !a.Force && len(links) == 0 {
		return "", fault.Exists(fmt.Sprintf("address %s is in use", a.Address.Addr())).Because(used).Try("remove it there, or set force to yes")
	}
	if len(links) == 0 {
		err := netlink.AddrAdd(link, &netlink.Addr{IPNet: ipnet(a.Address), Flags: noDAD})
		if err != nil && !errors.Is(err, syscall.EEXIST) {
			return "", h.explain(a, err)
		}
		h.log.Info("virtual address added", "topology", a.Topology, "address", a.Address, "device", name, "epoch", a.Epoch)
	}
	if err := h.announce(a, ifi); err != nil {
		return "", err
	}
	if owner != nil && !a.Force {
		return "", fault.Exists(fmt.Sprintf("address %s is here and elsewhere", a.Address.Addr())).Because(used).Try("remove it there")
	}
	if owner != nil {
		done = "by force, though " + owner.String() + " answers for it too, " + done
	}
	return done + name, nil
}

func (h *Holder) explain(a Assignment, err error) error {
	f := fault.Internal(fmt.Sprintf("address %s on %s", a.Address, cmp.Or(a.Device, "this host")))
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		f.Kind = fault.KindDenied
		f.Remedy = "give the agent CAP_NET_ADMIN and CAP_NET_RAW"
	}
	return f.Because(err)
}

// noDAD is IFA_F_NODAD (linux/if_addr.h): an IPv6 address can be used at once. Whether
// somebody else has it was asked before, in less time than the kernel takes.
const noDAD = 0x02

type held struct {
	link netlink.Link
	addr netlink.Addr
}

// holding returns where this host has the address.
func holding(addr netip.Addr) ([]held, error) {
	family := netlink.FAMILY_V4
	if addr.Is6() {
		family = netlink.FAMILY_V6
	}
	all, err := netlink.AddrList(nil, family)
	if err != nil {
		return nil, err
	}
	var found []held
	for _, x := range all {
		if ip, ok := netip.AddrFromSlice(x.IP); !ok || ip.Unmap() != addr {
			continue
		}
		link, err := netlink.LinkByIndex(x.LinkIndex)
		if err != nil {
			return nil, err
		}
		found = append(found, held{link, x})
	}
	return found, nil
}

// device returns the named device, or the one in whose network the address is.
func device(a Assignment) (netlink.Link, error) {
	if a.Device != "" {
		link, err := netlink.LinkByName(a.Device)
		if err != nil {
			return nil, fault.NotFound("device " + a.Device + " for address " + a.Address.String()).Because(err).Try("set device to one that this host has")
		}
		return link, nil
	}
	all, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, err
	}
	var seen []string
	for _, x := range all {
		if x.IPNet.Contains(a.Address.Addr().AsSlice()) && !x.IP.IsLoopback() {
			return netlink.LinkByIndex(x.LinkIndex)
		}
		seen = append(seen, x.IPNet.String())
	}
	return nil, fault.NotFound("a device for address " + a.Address.String() + " among " + strings.Join(seen, " ")).Try("set device")
}

func ipnet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

const heldWord, freeWord = "held", "free"

// state is the answer to Look.
func state(epoch uint64, held bool) string {
	word := freeWord
	if held {
		word = heldWord
	}
	return fmt.Sprintf("%s %d", word, epoch)
}

func parseState(s string) (epoch uint64, held bool) {
	var word string
	if n, err := fmt.Sscanf(s, "%s %d", &word, &epoch); err != nil || n != 2 {
		return 0, false
	}
	return epoch, word == heldWord
}
