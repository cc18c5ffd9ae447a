package expect

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/trace"
)

// want is a flow that must be there, by what it does. Where it stands is told by the flows
// that do the same for others; table is for when there are none.
type want struct {
	role   string // flows of one role stand in one table
	group  string // what belongs together: lost as a whole it is one finding
	key    string // "dl_dst=fa:...": a field by which the flow is found; "" searches all
	is     func(*flow) bool
	place  func(*flow) bool // same match, whatever it does; nil: wrong ones are not told from missing ones
	table  int
	match  string // with the priority
	action string
	params map[string]string
	proof  []trace.Proof
	id     string // of the finding when it is missing
	wrong  string // when place holds and is does not
	where  string

	found, bad *flow
}

// flowIndex finds flows by a field and its value.
type flowIndex struct {
	all   []flow
	byKey map[string][]*flow
}

// indexed are the fields by which flows are looked up: those that are different in each.
var indexed = []string{"dl_dst", "dl_src", "arp_tpa", "arp_spa", "tun_id", "reg5", "in_port", "dl_vlan", "conj_id", "arp_tha"}

func newFlowIndex(all []flow) *flowIndex {
	x := &flowIndex{all: all, byKey: make(map[string][]*flow, len(all))}
	for i := range all {
		f := &all[i]
		for _, kv := range f.fields {
			if slices.Contains(indexed, kv[0]) {
				k := kv[0] + "=" + kv[1]
				x.byKey[k] = append(x.byKey[k], f)
			}
		}
	}
	return x
}

// check fills in what was found of each want, and returns the table of each role.
func (x *flowIndex) check(wants []want) map[string]int {
	tables := map[string]int{}
	for i := range wants {
		w := &wants[i]
		for _, f := range x.byKey[w.key] {
			if f.soft {
				continue
			}
			if w.is(f) {
				w.found = f
				tables[w.role] = f.table
				break
			}
			if w.place != nil && w.place(f) {
				w.bad = f
			}
		}
	}
	return tables
}

// line writes a flow as a dump would.
func (w *want) line(tables map[string]int) string {
	table, ok := tables[w.role]
	if !ok {
		table = w.table
	}
	return fmt.Sprintf(" cookie=0x0, duration=0s, table=%d, n_packets=0, n_bytes=0, %s actions=%s", table, w.match, w.action)
}

// command adds the flow by hand.
func (w *want) command(bridge string, tables map[string]int) string {
	table, ok := tables[w.role]
	if !ok {
		table = w.table
	}
	return fmt.Sprintf("ovs-ofctl -O OpenFlow13 add-flow %s 'table=%d,%s,actions=%s'", bridge, table, w.match, w.action)
}

// finding is what a want that is not met says.
func (v *view) missing(b *facts.Bridge, w *want, tables map[string]int) trace.Finding {
	id, where := w.id, fmt.Sprintf("%s table %d", b.Name, tableFor(w, tables))
	proof := v.none(where, w.match, v.inTable(b, tableFor(w, tables))...)
	line, bad := w.line(tables), ""
	if w.bad != nil {
		id, bad = cmpOr(w.wrong, w.id), w.bad.line
		proof = []trace.Proof{v.see(where, strings.TrimSpace(bad))}
	}
	return trace.Finding{
		ID: id, Where: b.Name + " " + w.where, Params: w.params, Proof: append(proof, w.proof...),
		Fix: []trace.Fix{v.run("none", "%s", w.command(b.Name, tables)), v.restart(agentL2)},
		Repair: v.edit(func(h *facts.Host) {
			if b := h.Bridge(b.Name); b != nil {
				b.Flows = addFlow(b.Flows, line, bad)
			}
		}),
	}
}

func tableFor(w *want, tables map[string]int) int {
	if t, ok := tables[w.role]; ok {
		return t
	}
	return w.table
}

// inTable lists a few flows of a table, as evidence of what is there.
func (v *view) inTable(b *facts.Bridge, table int) []string {
	flows := v.brFlows
	if b == v.tun {
		flows = v.tunFlows
	}
	var out []string
	for i := range flows {
		if flows[i].table == table && len(out) < maxThere {
			out = append(out, flows[i].line)
		}
	}
	return out
}

// addFlow adds a flow to a dump, in the place of another if there is one.
func addFlow(dump, line, instead string) string {
	if instead != "" {
		dump = strings.Replace(dump, instead, "", 1)
	}
	return strings.TrimRight(dump, "\n") + "\n" + line + "\n"
}

// lost is one finding for all wants of a group.
func (v *view) lost(b *facts.Bridge, id, where string, params map[string]string, list []*want, tables map[string]int) trace.Finding {
	lines := make([]string, len(list))
	var proof []trace.Proof
	seen := map[int]bool{}
	for i, w := range list {
		lines[i] = w.line(tables)
		if t := tableFor(w, tables); !seen[t] && len(seen) < maxThere {
			seen[t] = true
			proof = append(proof, v.none(fmt.Sprintf("%s table %d", b.Name, t), w.match, v.inTable(b, t)...)...)
		}
	}
	params["count"], params["bridge"] = strconv.Itoa(len(list)), b.Name
	return trace.Finding{
		ID: id, Where: where, Params: params, Proof: append(proof, list[0].proof...), Fix: []trace.Fix{v.restart(agentL2)},
		Repair: v.edit(func(h *facts.Host) {
			if b := h.Bridge(b.Name); b != nil {
				for _, l := range lines {
					b.Flows = addFlow(b.Flows, l, "")
				}
			}
		}),
	}
}

// sorted lists the keys of a set in order.
func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
