package path

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"kaname.dev/kaname/rib/netpath/conn"
	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/linux"
	"kaname.dev/kaname/rib/netpath/openflow"
)

// site is a host, compiled when a packet first comes to each of its parts.
type site struct {
	facts   *facts.Host
	before  *site // the host before it was edited, whose parts serve on where they are the same
	sw      *openflow.Switch
	spaces  map[string]*linux.Space
	devices map[string]*device
	tracked map[string]*conn.Table
	zones   []int
}

// device is a link with the namespace that it is in.
type device struct {
	space *facts.Namespace
	link  *facts.Link
}

func newSite(h *facts.Host, before *site) *site {
	return &site{facts: h, before: before, spaces: map[string]*linux.Space{}, tracked: map[string]*conn.Table{}}
}

// open is the host's Open vSwitch; nil if it has none.
func (s *site) open() *openflow.Switch {
	if s.sw == nil && s.facts.OVS != nil {
		if s.before != nil && sameSwitch(s.facts.OVS, s.before.facts.OVS) {
			s.sw = s.before.open()
		} else {
			s.sw = openflow.New(s.facts.OVS)
		}
	}
	return s.sw
}

// space is a namespace by name; nil if the host has none of that name.
func (s *site) space(name string) *linux.Space {
	if c := s.spaces[name]; c != nil {
		return c
	}
	n := s.facts.Space(name)
	if n == nil {
		return nil
	}
	if s.before != nil {
		if old := s.before.facts.Space(name); old != nil && sameSpace(n, old) {
			s.spaces[name] = s.before.space(name)
			return s.spaces[name]
		}
	}
	s.spaces[name] = linux.New(s.facts, n)
	return s.spaces[name]
}

// device finds a link by name in any namespace but those that hold machines; a name that is
// there twice is that of the host's own namespace.
func (s *site) device(name string) *device {
	if s.devices == nil {
		s.devices = map[string]*device{}
		for i := range s.facts.Namespaces {
			n := &s.facts.Namespaces[i]
			for j := range n.Links {
				if s.devices[n.Links[j].Name] == nil {
					s.devices[n.Links[j].Name] = &device{space: n, link: &n.Links[j]}
				}
			}
		}
	}
	return s.devices[name]
}

// link finds a link in a namespace.
func (s *site) link(space, name string) *device {
	if d := s.device(name); d != nil && d.space.Name == space {
		return d
	}
	if n := s.facts.Space(space); n != nil {
		if l := n.Link(name); l != nil {
			return &device{space: n, link: l}
		}
	}
	return nil
}

// peer is the other end of a veth; nil if it is in no namespace that is known.
func (s *site) peer(d *device) *device {
	if d.link.PeerIndex == 0 {
		return nil
	}
	for i := range s.facts.Namespaces {
		n := &s.facts.Namespaces[i]
		if n.ID != d.link.PeerSpace { // 0: on another host
			continue
		}
		for j := range n.Links {
			l := &n.Links[j]
			// both must know each other: indexes repeat from namespace to namespace
			if l.Index == d.link.PeerIndex && l.PeerIndex == d.link.Index && (n != d.space || l != d.link) {
				return &device{space: n, link: l}
			}
		}
	}
	return nil
}

// table returns the connections that a part of the host tracks, as they were collected:
// those of a namespace, or of Open vSwitch.
func (s *site) table(key string) *conn.Table {
	if t := s.tracked[key]; t != nil {
		return t
	}
	var list []facts.Conn
	if key == inSwitch {
		if s.facts.OVS != nil {
			list = s.facts.OVS.Conns
		}
	} else if n := s.facts.Space(key); n != nil {
		list = n.Conns
	}
	s.tracked[key] = conn.New(list)
	return s.tracked[key]
}

// inSwitch is the name under which a user-space Open vSwitch keeps its connections: no
// namespace is called that.
const inSwitch = "\x00ovs"

// tracks is the key of the connections that Open vSwitch uses: those of the host's kernel
// unless its data path is its own.
func (s *site) tracks() string {
	for i := range s.facts.OVS.Bridges {
		if s.facts.OVS.Bridges[i].Datapath == "netdev" {
			return inSwitch
		}
	}
	if len(s.facts.OVS.Conns) > 0 {
		return inSwitch
	}
	return ""
}

// user reports whether the host's Open vSwitch forwards in user space.
func (s *site) user() bool { return s.facts.OVS != nil && s.tracks() == inSwitch }

var zoneOf = regexp.MustCompile(`--zone(?:-orig|-reply)? (\d+)`)

// allZones lists the zones of connection tracking in which filters of this host may look:
// the VLANs of ports, and what iptables assigns.
func (s *site) allZones() []int {
	if s.zones != nil {
		return s.zones
	}
	zones := []int{0}
	if s.facts.OVS != nil {
		for i := range s.facts.OVS.Bridges {
			for _, p := range s.facts.OVS.Bridges[i].Ports {
				tag, _ := strconv.Atoi(p.Other["tag"])
				zones = append(zones, p.Tag, tag)
			}
		}
	}
	if n := s.facts.Space(""); n != nil {
		for _, text := range []string{n.IPTables4, n.IPTables6} {
			for _, m := range zoneOf.FindAllStringSubmatch(text, -1) {
				zone, _ := strconv.Atoi(m[1])
				zones = append(zones, zone)
			}
		}
	}
	slices.Sort(zones)
	s.zones = slices.Compact(zones)
	return s.zones
}

// plugged is the OVS port of a device, with its bridge.
func (s *site) plugged(name string) (*facts.Bridge, *facts.Port) { return s.facts.PortOn(name) }

// patch is the port of bridge by which packets cross to the bridge other; "" if there is none.
func (s *site) patch(bridge, other string) string {
	a, b := s.facts.Bridge(bridge), s.facts.Bridge(other)
	if a == nil || b == nil {
		return ""
	}
	for i := range a.Ports {
		p := &a.Ports[i]
		if p.Type == "patch" && b.Port(p.Options["peer"]) != nil {
			return p.Name
		}
	}
	return ""
}

// wires lists the bridges of Open vSwitch that patch ports join to a bridge, itself first.
func (s *site) joined(bridge string) []string {
	list := []string{bridge}
	for i := 0; i < len(list); i++ {
		b := s.facts.Bridge(list[i])
		if b == nil {
			continue
		}
		for _, p := range b.Ports {
			if p.Type != "patch" {
				continue
			}
			if next, _ := s.plugged(p.Options["peer"]); next != nil && !slices.Contains(list, next.Name) && next.Name != "br-int" {
				list = append(list, next.Name)
			}
		}
	}
	return list
}

// isWire reports whether a port of Open vSwitch is a device that leads out of the host.
func (s *site) isWire(p *facts.Port) bool {
	if p.Type != "" || strings.HasPrefix(p.Name, "tap") || strings.HasPrefix(p.Name, "qvo") || p.Externals["iface-id"] != "" {
		return false
	}
	d := s.link("", p.Name)
	return d == nil || d.link.Kind != "veth" || s.peer(d) == nil
}
