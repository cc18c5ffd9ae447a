package openflow

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"kaname.dev/kaname/rib/netpath/packet"
)

// datapath carries out actions of the data path, as ofproto/trace writes them, on a packet.
type datapath struct {
	v     *vswitch
	p     packet.Packet
	again []packet.Packet // by recirc, in order
	out   []string
	inner uint16 // tag behind the first
}

// outputs returns what leaves, of all passes of a trace.
func (v *vswitch) outputs(text string, q question) ([]string, error) {
	d := &datapath{v: v}
	queue := []packet.Packet{q.packet}
	queue[0].Tunnel = packet.Tunnel{}
	for line := range strings.Lines(text) {
		actions, ok := strings.CutPrefix(strings.TrimSpace(line), "Datapath actions: ")
		if !ok {
			continue
		}
		if len(queue) == 0 {
			return nil, errors.New("more passes than recirculations")
		}
		d.p, queue = queue[0], queue[1:]
		d.again = nil
		if err := d.do(actions); err != nil {
			return nil, err
		}
		queue = append(queue, d.again...)
	}
	return d.out, nil
}

// do carries out a list; a packet in brackets is a copy.
func (d *datapath) do(actions string) error {
	for actions != "" {
		one, rest, err := cutAction(actions)
		if err != nil {
			return err
		}
		actions = rest
		if err := d.one(one); err != nil {
			return fmt.Errorf("%s: %w", one, err)
		}
	}
	return nil
}

func (d *datapath) one(one string) error {
	if n, err := strconv.Atoi(one); err == nil {
		return d.output(n)
	}
	name, arg := one, ""
	if before, after, ok := strings.Cut(one, "("); ok {
		name, arg = before, strings.TrimSuffix(after, ")")
	}
	switch name {
	case "drop", "ct_clear", "hash", "meter":
	case "userspace":
		d.out = append(d.out, "controller "+describe(d.p))
	case "recirc":
		d.again = append(d.again, d.p)
	case "push_vlan":
		fields := split(arg)
		n, err := strconv.Atoi(fields["vid"])
		d.inner, d.p.VLAN = d.p.VLAN, uint16(n)
		return err
	case "pop_vlan":
		d.p.VLAN, d.inner = d.inner, 0
	case "clone":
		c := *d
		if err := c.do(arg); err != nil {
			return err
		}
		d.out, d.again = c.out, c.again
	case "ct":
		for word := range strings.SplitSeq(arg, ",") {
			if strings.HasPrefix(word, "nat(src=") || strings.HasPrefix(word, "nat(dst=") {
				t, err := parseTranslation(strings.TrimSuffix(word[4:], ")"))
				if err != nil {
					return err
				}
				d.p = t.apply(d.p)
			}
		}
	case "set":
		return d.set(arg)
	default:
		return errors.New("action is not known")
	}
	return nil
}

func (d *datapath) output(n int) error {
	for _, at := range d.v.vtep[n] {
		if at.remote == d.p.Tunnel.Dst.String() {
			d.out = append(d.out, fmt.Sprintf("%s:%d %s", at.bridge, at.ofport, describe(d.p)))
			return nil
		}
	}
	w, ok := d.v.where[n]
	if !ok || d.v.vtep[n] != nil {
		return fmt.Errorf("no port has number %d", n)
	}
	p := d.p
	p.Tunnel = packet.Tunnel{}
	d.out = append(d.out, fmt.Sprintf("%s:%d %s", w.bridge, w.ofport, describe(p)))
	return nil
}

// set is set(eth(src=...,dst=...)).
func (d *datapath) set(arg string) error {
	kind, list, _ := strings.Cut(strings.TrimSuffix(arg, ")"), "(")
	p := &d.p
	for k, v := range split(list) {
		var err error
		v, _, _ = strings.Cut(v, "/") // what a mask leaves alone is equal in the value
		switch kind + "." + k {
		case "eth.src":
			err = p.Src.UnmarshalText([]byte(v))
		case "eth.dst":
			err = p.Dst.UnmarshalText([]byte(v))
		case "ipv4.src", "ipv6.src", "arp.sip":
			p.IPSrc, err = netip.ParseAddr(v)
		case "ipv4.dst", "ipv6.dst", "arp.tip":
			p.IPDst, err = netip.ParseAddr(v)
		case "ipv4.ttl", "ipv6.hlimit":
			p.TTL, err = small(v)
		case "ipv4.tos", "ipv6.tclass":
			p.TOS, err = small(v)
		case "arp.op":
			p.Op, err = small(v)
		case "arp.sha", "nd.sll":
			err = p.ARPSrc.UnmarshalText([]byte(v))
		case "arp.tha", "nd.tll":
			err = p.ARPDst.UnmarshalText([]byte(v))
		case "nd.target":
			p.Target, err = netip.ParseAddr(v)
		case "tcp.src", "udp.src", "sctp.src":
			p.SrcPort, err = short(v)
		case "tcp.dst", "udp.dst", "sctp.dst":
			p.DstPort, err = short(v)
		case "icmp.type", "icmpv6.type":
			p.ICMPType, err = small(v)
		case "icmp.code", "icmpv6.code":
			p.ICMPCode, err = small(v)
		case "tunnel.tun_id":
			n, e := strconv.ParseUint(v, 0, 32)
			p.Tunnel.ID, p.Tunnel.Kind, err = uint32(n), "vxlan", e
		case "tunnel.src":
			p.Tunnel.Src, err = netip.ParseAddr(v)
		case "tunnel.dst":
			p.Tunnel.Dst, err = netip.ParseAddr(v)
			p.Tunnel.Kind = "vxlan"
		case "tunnel.ttl", "tunnel.tp_dst", "tunnel.flags", "tunnel.tos":
		default:
			if kind != "skb_mark" && kind != "skb_priority" {
				err = fmt.Errorf("%s.%s is not known", kind, k)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func small(s string) (uint8, error) {
	n, err := strconv.ParseUint(s, 0, 8)
	return uint8(n), err
}

func short(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 0, 16)
	return uint16(n), err
}

func split(s string) map[string]string {
	m := map[string]string{}
	for s != "" {
		word, rest, err := cutAction(s)
		if err != nil {
			return m
		}
		s = rest
		k, v, ok := strings.Cut(word, "=")
		if !ok {
			k, v, _ = strings.Cut(word, "(")
		}
		m[k] = v
	}
	return m
}
