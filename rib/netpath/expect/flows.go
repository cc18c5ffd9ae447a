package expect

import (
	"strconv"
	"strings"

	"kaname.dev/kaname/rib/netpath/packet"
)

// flow is a line of a dump, cut where its fields end. Fields are not interpreted: to tell
// what a flow is there for, its words are enough, and two million of them are read.
type flow struct {
	table   int
	cookie  string
	prio    int
	match   string      // "priority=2,in_port=1": as dumped
	fields  [][2]string // of match, without the priority; the value of a bare word is ""
	actions []string    // top level
	line    string
	soft    bool // times out: learned
}

// parseFlows reads a dump as ovs-ofctl writes it. Lines that are no flows are left out.
func parseFlows(dump string) []flow {
	out := make([]flow, 0, strings.Count(dump, "\n"))
	for line := range strings.Lines(dump) {
		if f, ok := parseFlow(strings.TrimSpace(line)); ok {
			out = append(out, f)
		}
	}
	return out
}

func parseFlow(line string) (flow, bool) {
	head, actions, ok := strings.Cut(line, " actions=")
	if !ok {
		return flow{}, false
	}
	f := flow{line: line, prio: 32768}
	for word := range strings.SplitSeq(head, " ") {
		word = strings.TrimSuffix(word, ",")
		k, val, _ := strings.Cut(word, "=")
		switch k {
		case "", "duration", "n_packets", "n_bytes", "idle_age", "hard_age", "send_flow_rem", "reset_counts", "importance":
		case "cookie":
			f.cookie = val
		case "table":
			f.table, _ = strconv.Atoi(val)
		case "idle_timeout", "hard_timeout":
			f.soft = true
		default:
			f.match = word
		}
	}
	f.readMatch()
	f.actions = splitTop(actions)
	return f, true
}

func (f *flow) readMatch() {
	if f.match == "" {
		return
	}
	f.fields = make([][2]string, 0, 1+strings.Count(f.match, ","))
	for part := range strings.SplitSeq(f.match, ",") {
		k, v, _ := strings.Cut(part, "=")
		if k == "priority" {
			f.prio, _ = strconv.Atoi(v)
			continue
		}
		f.fields = append(f.fields, [2]string{k, v})
	}
}

// splitTop cuts at the commas outside brackets.
func splitTop(s string) []string {
	out := make([]string, 0, 1+strings.Count(s, ","))
	depth, from := 0, 0
	for i := range len(s) {
		switch s[i] {
		case '(', '[', '{':
			depth++
		case ')', ']', '}':
			depth--
		case ',':
			if depth == 0 {
				out = append(out, s[from:i])
				from = i + 1
			}
		}
	}
	return append(out, s[from:])
}

// get returns the value of a field and whether the flow has it.
func (f *flow) get(field string) (string, bool) {
	for i := range f.fields {
		if f.fields[i][0] == field {
			return f.fields[i][1], true
		}
	}
	return "", false
}

// has reports whether the flow matches on a field, or names a protocol by its bare word.
func (f *flow) has(field string) bool { _, ok := f.get(field); return ok }

// number reads a field that is a number, decimal or 0x; -1 if the flow has none, or a mask.
func (f *flow) number(field string) int {
	s, ok := f.get(field)
	if !ok {
		return -1
	}
	return number(s)
}

func number(s string) int {
	n, err := strconv.ParseInt(s, 0, 64)
	if err != nil {
		return -1
	}
	return int(n)
}

// vlan returns the VLAN that the flow asks for, -1 if it asks for none.
func (f *flow) vlan() int {
	if n := f.number("dl_vlan"); n >= 0 {
		return n
	}
	if s, ok := f.get("vlan_tci"); ok {
		value, mask, masked := strings.Cut(s, "/")
		if n := number(value); n >= 0 && (!masked || number(mask)&0xfff == 0xfff) {
			return n & 0xfff
		}
	}
	if n := f.number("vlan_vid"); n >= 0 {
		return n & 0xfff
	}
	return -1
}

// drops reports whether the flow lets nothing through.
func (f *flow) drops() bool { return len(f.actions) == 1 && f.actions[0] == "drop" }

// sets returns the value that an action gives to a field under any of its names: "tun_id",
// "NXM_NX_TUN_ID[]".
func (f *flow) sets(names ...string) (string, bool) {
	for _, a := range f.actions {
		kind, rest, ok := strings.Cut(a, ":")
		if !ok {
			continue
		}
		for _, n := range names {
			switch kind {
			case "set_field", "load":
				if value, ok := strings.CutSuffix(rest, "->"+n); ok {
					return value, true
				}
			case n:
				return rest, true
			}
		}
	}
	return "", false
}

// setsTunnel returns the tunnel's number that the flow gives, -1 if none.
func (f *flow) setsTunnel() int {
	if s, ok := f.sets("tun_id", "NXM_NX_TUN_ID[]", "set_tunnel", "set_tunnel64", "OXM_OF_TUNNEL_ID[]"); ok {
		return number(s)
	}
	return -1
}

// setsVLAN returns the VLAN that the flow gives, -1 if none.
func (f *flow) setsVLAN() int {
	if s, ok := f.sets("mod_vlan_vid"); ok {
		return number(s)
	}
	if s, ok := f.sets("vlan_vid", "OXM_OF_VLAN_VID[]", "NXM_OF_VLAN_TCI[0..11]"); ok {
		return number(s) & 0xfff
	}
	return -1
}

// setsSource returns the sender's hardware address that the flow gives.
func (f *flow) setsSource() (packet.MAC, bool) {
	s, ok := f.sets("mod_dl_src", "eth_src", "NXM_OF_ETH_SRC[]")
	if !ok {
		return packet.MAC{}, false
	}
	m, err := packet.ParseMAC(s)
	return m, err == nil
}

// outputs lists the numbers of the ports that the flow sends to.
func (f *flow) outputs() []int {
	var out []int
	for _, a := range f.actions {
		if s, ok := strings.CutPrefix(a, "output:"); ok {
			if n := number(s); n >= 0 {
				out = append(out, n)
			}
		}
	}
	return out
}

// resubmits returns the table that the packet goes on to, -1 if to none.
func (f *flow) resubmits() int {
	for _, a := range f.actions {
		if s, ok := strings.CutPrefix(a, "goto_table:"); ok {
			return number(s)
		}
		if s, ok := strings.CutPrefix(a, "resubmit(,"); ok {
			return number(strings.TrimSuffix(s, ")"))
		}
		if s, ok := strings.CutPrefix(a, "write_metadata"); ok && s == "" {
			continue
		}
	}
	return -1
}
