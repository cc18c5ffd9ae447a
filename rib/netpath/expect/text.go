package expect

import (
	"fmt"
	"slices"
	"strings"

	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/intent"
	"kaname.dev/kaname/rib/netpath/trace"
)

// Facts as the host's own tools write them.

func linkLine(l *facts.Link) string {
	flags := "DOWN"
	if l.Up {
		flags = "UP"
		if l.Running {
			flags = "UP,LOWER_UP"
		}
	}
	s := fmt.Sprintf("%d: %s: <%s> mtu %d", l.Index, l.Name, flags, l.MTU)
	if l.Master != "" {
		s += " master " + l.Master
	}
	s += " link/ether " + l.MAC.String()
	var addrs strings.Builder
	for _, a := range l.Addrs {
		addrs.WriteString(" inet " + a.String())
	}
	s += addrs.String()
	return s
}

func routeLine(r *facts.Route) string {
	var b strings.Builder
	if r.Kind != "unicast" && r.Kind != "" {
		b.WriteString(r.Kind + " ")
	}
	if r.Dst.Bits() == 0 {
		b.WriteString("default")
	} else {
		b.WriteString(r.Dst.String())
	}
	if r.Via.IsValid() {
		b.WriteString(" via " + r.Via.String())
	}
	if r.Dev != "" {
		b.WriteString(" dev " + r.Dev)
	}
	if r.Table != mainTable {
		fmt.Fprintf(&b, " table %d", r.Table)
	}
	return b.String()
}

func ruleLine(r *facts.Rule) string {
	s := fmt.Sprintf("%d:\tfrom ", r.Priority)
	if r.From.IsValid() {
		s += r.From.String()
	} else {
		s += "all"
	}
	if r.In != "" {
		s += " iif " + r.In
	}
	return fmt.Sprintf("%s lookup %d", s, r.Table)
}

func neighLine(n *facts.Neighbour) string {
	return fmt.Sprintf("%s dev %s lladdr %s %s", n.Addr, n.Dev, n.MAC, strings.ToUpper(n.State))
}

func portLine(p *facts.Port) string {
	s := fmt.Sprintf("Port %s tag: %d ofport: %d", p.Name, p.Tag, p.OFPort)
	if p.Type != "" {
		s += " type: " + p.Type
	}
	keys := make([]string, 0, len(p.Options))
	for k := range p.Options {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for i, k := range keys {
		keys[i] = k + "=" + p.Options[k]
	}
	if len(keys) > 0 {
		s += " options: {" + strings.Join(keys, ", ") + "}"
	}
	if p.Error != "" {
		s += " error: " + p.Error
	}
	return s
}

func intentPort(p *intent.Port) trace.Proof {
	var ips []string
	for _, f := range p.IPs {
		ips = append(ips, f.Addr.String())
	}
	return trace.Proof{Where: "Neutron", Line: fmt.Sprintf("port %s mac_address=%s ip=%s host=%s status=%s", p.ID, p.MAC, strings.Join(ips, ","), p.Host, p.Status)}
}

func intentFloat(f *intent.Float) trace.Proof {
	return trace.Proof{Where: "Neutron", Line: fmt.Sprintf("floating IP %s fixed=%s port=%s status=%s", f.Addr, f.Fixed, f.Port, f.Status)}
}

func neutron(format string, a ...any) trace.Proof {
	return trace.Proof{Where: "Neutron", Line: fmt.Sprintf(format, a...)}
}

// none is the proof that something is not there: what was looked for, and what is there in
// its place.
func (v *view) none(where, what string, there ...string) []trace.Proof {
	out := []trace.Proof{{Host: v.h.Name, Where: where, Line: "(no line: " + what + ")"}}
	for _, l := range there[:min(len(there), maxThere)] {
		out = append(out, trace.Proof{Host: v.h.Name, Where: where, Line: l})
	}
	return out
}

// maxThere bounds the lines shown of what is there in the place of what is not.
const maxThere = 4

// see is a proof by a line that is there.
func (v *view) see(where, line string) trace.Proof {
	return trace.Proof{Host: v.h.Name, Where: where, Line: line}
}
