package openflow

import (
	"net/netip"
	"strconv"

	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/packet"
)

// bridge is a bridge whose flows have been read.
type bridge struct {
	facts  *facts.Bridge
	tables [256]*table
	ports  map[int]*facts.Port
	order  []*facts.Port // as floods reach them
	byName map[string]*facts.Port
	groups map[int]*group
	fdb    map[station]string
	bad    []string // what could not be read
}

type station struct {
	mac  packet.MAC
	vlan int
}

func compile(b *facts.Bridge) *bridge {
	c := &bridge{
		facts: b, ports: make(map[int]*facts.Port, len(b.Ports)), byName: make(map[string]*facts.Port, len(b.Ports)),
		fdb: make(map[station]string, len(b.FDB)),
	}
	for i := range b.Ports {
		p := &b.Ports[i]
		c.byName[p.Name] = p
		if p.OFPort > 0 {
			c.ports[p.OFPort] = p
			c.order = append(c.order, p)
		}
	}
	for _, e := range b.FDB {
		c.fdb[station{e.MAC, e.VLAN}] = e.Dev
	}
	flows, errs := Parse(b.Flows)
	for _, err := range errs {
		c.bad = append(c.bad, b.Name+": "+err.Error())
	}
	var count [256]int
	for i := range flows {
		count[flows[i].Table]++
	}
	var byTable [256][]*Flow
	for i := range flows {
		t := flows[i].Table
		if byTable[t] == nil {
			byTable[t] = make([]*Flow, 0, count[t])
		}
		byTable[t] = append(byTable[t], &flows[i])
	}
	for id, list := range byTable {
		if list != nil {
			c.tables[id] = newTable(uint8(id), list)
		}
	}
	groups, errs := parseGroups(b.Groups)
	for _, err := range errs {
		c.bad = append(c.bad, b.Name+": "+err.Error())
	}
	c.groups = groups
	return c
}

// bridge returns a bridge by its name, nil if there is none.
func (s *Switch) bridge(name string) *bridge {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b, ok := s.bridges[name]; ok {
		return b
	}
	var b *bridge
	for i := range s.ovs.Bridges {
		if s.ovs.Bridges[i].Name == name {
			b = compile(&s.ovs.Bridges[i])
		}
	}
	s.bridges[name] = b
	return b
}

// peer returns the other end of a patch port. Both ends must name one another.
func (s *Switch) peer(p *facts.Port) (string, *facts.Port) {
	for i := range s.ovs.Bridges {
		b := &s.ovs.Bridges[i]
		other := b.Port(p.Options["peer"])
		if other != nil && other.Type == "patch" && other.Options["peer"] == p.Name && other.OFPort > 0 {
			return b.Name, other
		}
	}
	return "", nil
}

// tunnels are the types of ports that packets leave the host by, in another packet.
var tunnels = map[string]bool{"vxlan": true, "gre": true, "geneve": true, "stt": true, "lisp": true, "gtpu": true, "erspan": true, "ip6gre": true, "ip6erspan": true, "bareudp": true, "srv6": true}

// tunnelKey returns the key that a tunnel port has in options, flow if flows say it.
func tunnelKey(p *facts.Port, direction string) (key uint64, flow bool) {
	text, ok := p.Options[direction]
	if !ok {
		text = p.Options["key"]
	}
	if text == "flow" {
		return 0, true
	}
	key, _ = strconv.ParseUint(text, 0, 64)
	return key, false
}

// TunnelPort returns the bridge and the port by which a packet from another host comes in,
// "" if no port takes it: remote_ip is the tunnel's source, local_ip its destination, where
// the port says them, and the key is the port's or any.
func (s *Switch) TunnelPort(t packet.Tunnel) (bridge string, port *facts.Port) {
	best := -1
	for i := range s.ovs.Bridges {
		b := &s.ovs.Bridges[i]
		for j := range b.Ports {
			p := &b.Ports[j]
			if p.Type != t.Kind || p.OFPort <= 0 {
				continue
			}
			key, flow := tunnelKey(p, "in_key")
			remote, ok1 := addressed(p.Options["remote_ip"], t.Src)
			local, ok2 := addressed(p.Options["local_ip"], t.Dst)
			if !ok1 || !ok2 || !flow && key != uint64(t.ID) {
				continue
			}
			rank := remote + local
			if !flow {
				rank += 4
			}
			if rank > best {
				best, bridge, port = rank, b.Name, p
			}
		}
	}
	return bridge, port
}

// addressed reports whether an address is the one that an option says; rank is 1 if it says
// just that one.
func addressed(option string, a netip.Addr) (rank int, ok bool) {
	if option == "" || option == "flow" {
		return 0, true
	}
	want, err := netip.ParseAddr(option)
	return 1, err == nil && want == a
}
