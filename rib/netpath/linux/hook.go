package linux

import (
	"maps"
	"net/netip"
	"strconv"
	"strings"

	"kaname.dev/kaname/rib/netpath/conn"
	"kaname.dev/kaname/rib/netpath/packet"
	"kaname.dev/kaname/rib/netpath/trace"
)

// view is a packet on its way through a namespace, with what rules can ask about it.
type view struct {
	p               packet.Packet
	in, out         string // devices; of a bridged packet the bridge
	physIn, physOut string // ports of a bridge
	mark            uint32
	marker          *Rule // that set it
	track           tracking
	proxied         uint16     // port of TPROXY
	next            netip.Addr // next hop
	hook            string     // "PREROUTING", ...
	sets            map[string]*Set
	space           *Space
}

// tracking is what connection tracking says about the packet.
type tracking struct {
	done    bool // it has been seen
	off     bool // and is not tracked
	invalid bool
	zone    int
	zoner   *Rule
	first   packet.Packet // as it came to it
	entry   *conn.Entry   // nil: new
	reply   bool
	mark    uint32
}

// same reports whether it makes no difference to go on with one or the other.
func (v *view) same(w *view) bool {
	return v.p == w.p && v.mark == w.mark && v.proxied == w.proxied &&
		v.track.mark == w.track.mark && v.track.zone == w.track.zone && v.track.off == w.track.off
}

// state is a set of states of -m conntrack --ctstate.
type state uint8

const (
	stateNew state = 1 << iota
	stateEstablished
	stateRelated
	stateInvalid
	stateUntracked
	stateSNAT
	stateDNAT
)

var states = map[string]state{
	"NEW": stateNew, "ESTABLISHED": stateEstablished, "RELATED": stateRelated, "INVALID": stateInvalid, "UNTRACKED": stateUntracked,
	"SNAT": stateSNAT, "DNAT": stateDNAT,
}

func (v *view) state() state {
	t := &v.track
	switch {
	case t.off:
		return stateUntracked
	case !t.done || t.invalid:
		return stateInvalid
	case t.entry == nil:
		s := stateNew
		if t.first.IPSrc != v.p.IPSrc || t.first.SrcPort != v.p.SrcPort {
			s |= stateSNAT
		}
		if t.first.IPDst != v.p.IPDst || t.first.DstPort != v.p.DstPort {
			s |= stateDNAT
		}
		return s
	}
	s := stateNew
	if t.reply || t.entry.Seen {
		s = stateEstablished
	}
	src, dst := t.entry.Translated()
	if src {
		s |= stateSNAT
	}
	if dst {
		s |= stateDNAT
	}
	return s
}

// original returns the tuple of the connection's first packet.
func (v *view) original() (t conn.Tuple, ok bool) {
	switch {
	case !v.track.done || v.track.off || v.track.invalid:
		return t, false
	case v.track.entry != nil:
		return v.track.entry.Original, true
	}
	return conn.Of(v.track.first)
}

// tupleAddr returns the address that "--ctorigsrc" and its like name.
func (v *view) tupleAddr(option string) (netip.Addr, bool) {
	t, ok := v.original()
	if !ok {
		return netip.Addr{}, false
	}
	r := t.Invert()
	if e := v.track.entry; e != nil {
		r = e.Reply
	} else if now, isIP := conn.Of(v.p); isIP {
		r = now.Invert()
	}
	switch option {
	case "--ctorigsrc":
		return t.Src, true
	case "--ctorigdst":
		return t.Dst, true
	case "--ctreplsrc":
		return r.Src, true
	}
	return r.Dst, true
}

// order lists the tables of each hook by the kernel's priorities (netfilter_ipv4.h);
// "conntrack" and "confirm" are connection tracking itself.
var order = map[string][]string{
	"PREROUTING":  {"raw", "conntrack", "mangle", "nat"},
	"INPUT":       {"mangle", "filter", "security", "nat", "confirm"},
	"FORWARD":     {"mangle", "filter", "security"},
	"OUTPUT":      {"raw", "conntrack", "mangle", "nat", "filter", "security"},
	"POSTROUTING": {"mangle", "nat", "confirm"},
}

// walk is one question to a namespace being answered.
type walk struct {
	s *Space
	c *compiled
	x Context
	o Outcome
}

// hook passes the packet through the tables of a hook; false: it is dropped, or nobody knows.
// The connection is committed by commit, later, since the next hop may still be unknown.
func (w *walk) hook(name string, v *view) bool {
	v.hook = name
	g, lacks := w.c.filters(v.p.Type)
	if lacks != "" {
		return w.unknown(v, "iptables of "+w.s.label()+": "+lacks)
	}
	for _, table := range order[name] {
		ok := true
		switch table {
		case "conntrack":
			w.track(v)
		case "confirm":
		case "nat":
			ok = w.nat(g, v)
		default:
			ok = w.table(g, table, v)
		}
		if !ok {
			return false
		}
	}
	return true
}

// table passes the packet through one table that filters or marks.
func (w *walk) table(g *program, table string, v *view) bool {
	r := g.run(table, v.hook, v)
	switch r.kind { //nolint:exhaustive // the others are dealt with below, or need nothing
	case doubt:
		return w.doubt(v, table, r)
	case drop:
		w.add(v, "drop", w.told(v, table, r, "why", WhyFilter), w.s.ruleProof(table, r)...).Drop = true
		return false
	}
	if table == "filter" && len(r.rules) > 0 {
		w.add(v, "filter", w.told(v, table, r), w.s.ruleProof(table, r)...)
	}
	return true
}

// told are the facts about a verdict.
func (w *walk) told(v *view, table string, r verdict, more ...string) map[string]string {
	f := map[string]string{"table": table, "hook": v.hook, "chain": v.hook}
	if r.chain != nil {
		f["policy"] = r.chain.Policy
	}
	if d := decider(r); d != nil {
		f["rule"], f["chain"] = d.Line, d.Chain
		if d.Comment != "" {
			f["comment"] = d.Comment
		}
		if d.Target == "REJECT" {
			f["reject"] = "icmp-port-unreachable"
			if o := find(d.Args, "--reject-with"); o != nil {
				f["reject"] = strings.Join(o.Args, "")
			}
		}
	}
	if v.track.zoner != nil {
		f["zone"] = strconv.Itoa(v.track.zone)
	}
	for i := 0; i+1 < len(more); i += 2 {
		f[more[i]] = more[i+1]
	}
	return f
}

// decider returns the rule that says most about a verdict: the last one, but of those that
// accept all that came so far the one that let it come, since security groups admit by RETURN.
func decider(r verdict) *Rule {
	n := len(r.rules)
	if n == 0 {
		return nil
	}
	last := r.rules[n-1]
	if n > 1 && r.kind == accept && last.Target == "ACCEPT" && len(last.Matches) == 0 && r.rules[n-2].Target == "RETURN" {
		return r.rules[n-2]
	}
	if r.chain != nil && last.Target != "RETURN" {
		return nil // a policy
	}
	return last
}

// ruleProof writes the rules that led to a verdict as iptables-save does.
func (s *Space) ruleProof(table string, r verdict) []trace.Proof {
	where := s.where("iptables " + table)
	var lines []trace.Proof
	for _, rule := range r.rules {
		lines = append(lines, trace.Proof{Host: s.name(), Where: where, Line: rule.Line})
	}
	if r.chain != nil {
		lines = append(lines, trace.Proof{Host: s.name(), Where: where, Line: "-P " + r.chain.Name + " " + r.chain.Policy})
	}
	return lines
}

// doubt ends the walk where the filters say something that is not understood.
func (w *walk) doubt(v *view, table string, r verdict) bool {
	w.o.Unknown = append(w.o.Unknown, r.why...)
	w.add(v, "unknown", map[string]string{"table": table, "hook": v.hook, "why": strings.Join(r.why, "; ")}, w.s.ruleProof(table, r)...)
	return false
}

// track looks the packet up among the connections.
func (w *walk) track(v *view) {
	t := &v.track
	if t.done || t.off || !v.p.IsIP() {
		return
	}
	t.done = true
	if v.p.Proto == packet.ICMPv6 && v.p.ICMPType >= 130 && v.p.ICMPType <= 137 {
		t.off = true // neighbour discovery is not tracked (nf_conntrack_proto_icmpv6.c)
		return
	}
	t.first = v.p
	t.entry, t.reply = w.x.Tracked.Look(t.zone, v.p)
	if t.entry != nil {
		t.mark = t.entry.Mark
		return
	}
	t.invalid = !conn.Starts(v.p)
}

// nat translates: a known connection as it always was, a new one by the rules.
func (w *walk) nat(g *program, v *view) bool {
	t := &v.track
	if !t.done || t.off || t.invalid {
		return true
	}
	dst := v.hook == "PREROUTING" || v.hook == "OUTPUT"
	before := v.p
	if t.entry != nil {
		p := t.entry.Translate(v.p, t.reply)
		if dst {
			v.p.IPDst, v.p.DstPort = p.IPDst, p.DstPort
		} else {
			v.p.IPSrc, v.p.SrcPort = p.IPSrc, p.SrcPort
		}
		if v.p != before {
			f := translation(before, v.p, dst)
			f["known"] = "true"
			if t.reply {
				f["answer"] = "true"
			}
			w.add(v, f["kind"], f, w.s.connProof(t.entry)...)
		}
		return true
	}
	r := g.run("nat", v.hook, v)
	switch r.kind { //nolint:exhaustive // the others are dealt with below, or need nothing
	case doubt:
		return w.doubt(v, "nat", r)
	case drop:
		w.add(v, "drop", w.told(v, "nat", r, "why", WhyFilter), w.s.ruleProof("nat", r)...).Drop = true
		return false
	}
	if v.p != before {
		f := w.told(v, "nat", r)
		maps.Copy(f, translation(before, v.p, dst))
		w.add(v, f["kind"], f, w.s.ruleProof("nat", r)...)
	}
	return true
}

// translation says what was rewritten.
func translation(before, after packet.Packet, dst bool) map[string]string {
	end := func(a netip.Addr, port uint16) string {
		if port == 0 {
			return a.String()
		}
		return netip.AddrPortFrom(a, port).String()
	}
	if dst {
		return map[string]string{"kind": "dnat", "from": end(before.IPDst, before.DstPort), "to": end(after.IPDst, after.DstPort)}
	}
	return map[string]string{"kind": "snat", "from": end(before.IPSrc, before.SrcPort), "to": end(after.IPSrc, after.SrcPort)}
}

// connProof is the line of a real connection; one that the walk itself has begun has none.
func (s *Space) connProof(e *conn.Entry) []trace.Proof {
	if !e.Real {
		return nil
	}
	return []trace.Proof{{Host: s.name(), Where: s.where("conntrack"), Line: e.Line}}
}

// commit remembers the connection of a packet that leaves or is delivered.
func (w *walk) commit(v *view) {
	t := &v.track
	if t.done && !t.off && !t.invalid {
		w.x.Tracked.Commit(t.zone, t.first, v.p, t.mark)
	}
}

// add appends a step and returns it.
func (w *walk) add(v *view, does string, told map[string]string, proof ...trace.Proof) *Step {
	delete(told, "kind")
	w.o.Steps = append(w.o.Steps, Step{Does: does, Facts: told, Proof: proof, Packet: v.p})
	return &w.o.Steps[len(w.o.Steps)-1]
}

// drop ends the walk.
func (w *walk) drop(v *view, why string, told map[string]string, proof ...trace.Proof) Outcome {
	if told == nil {
		told = map[string]string{}
	}
	told["why"] = why
	w.add(v, "drop", told, proof...).Drop = true
	return w.o
}

// unknown ends the walk for want of something.
func (w *walk) unknown(v *view, what string) bool {
	w.o.Unknown = append(w.o.Unknown, what)
	w.add(v, "unknown", map[string]string{"why": what})
	return false
}

// lacks returns why a part of the namespace's state was not collected.
func (s *Space) lacks(what string) string {
	if s.host == nil {
		return ""
	}
	return s.host.Lacks(what, s.ns.Name, "")
}

func (s *Space) name() string {
	if s.host == nil {
		return ""
	}
	return s.host.Name
}

// label names the namespace in sentences.
func (s *Space) label() string {
	if s.ns.Name == "" {
		return "the host's own namespace on " + s.name()
	}
	return s.ns.Name + " on " + s.name()
}

// where names a part of the namespace's state in a proof.
func (s *Space) where(part string) string { return strings.TrimSpace(s.ns.Name + " " + part) }
