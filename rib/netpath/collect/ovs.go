package collect

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"kaname.dev/kaname/rib/netpath/collect/mask"
	"kaname.dev/kaname/rib/netpath/collect/ovsdb"
	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/packet"
)

// wanted is what is read of Open vSwitch's database (ovs-vswitchd.conf.db(5)).
var wanted = []ovsdb.Table{
	{Name: "Open_vSwitch", Columns: []string{"ovs_version", "external_ids", "bridges"}},
	{Name: "Bridge", Columns: []string{"name", "datapath_id", "datapath_type", "fail_mode", "external_ids", "other_config", "ports", "protocols"}},
	{Name: "Port", Columns: []string{"name", "tag", "trunks", "vlan_mode", "interfaces", "other_config"}},
	{Name: "Interface", Columns: []string{"name", "ofport", "type", "options", "external_ids", "mac_in_use", "mtu", "admin_state", "link_state", "error"}},
}

// database reads bridges and ports; nil where there is no Open vSwitch.
func (w *work) database(ctx context.Context) *facts.OVS {
	c, err := ovsdb.Dial(ctx, filepath.Join(w.OVS, "db.sock"))
	if errors.Is(err, fs.ErrNotExist) && !slices.ContainsFunc(w.host.Processes, func(p facts.Process) bool { return strings.HasPrefix(p.Name, "ovs") }) {
		return nil
	}
	var rows [][]ovsdb.Row
	if err == nil {
		defer c.Close() //nolint:errcheck // only read
		rows, err = c.Select(ctx, "Open_vSwitch", wanted...)
	}
	if err != nil {
		w.lacks(facts.Database, "", "", fmt.Errorf("%w; is ovsdb-server running?", err))
		return nil
	}
	out := &facts.OVS{}
	for _, r := range rows[0] {
		out.Version, out.Externals = r.Text("ovs_version"), mask.Map(r.Map("external_ids"))
	}
	ports, interfaces := byUUID(rows[2]), byUUID(rows[3])
	w.protocols = map[string][]string{}
	for _, r := range rows[1] {
		b := facts.Bridge{
			Name: r.Text("name"), DatapathID: r.Text("datapath_id"), Datapath: r.Text("datapath_type"), FailMode: r.Text("fail_mode"),
			Externals: mask.Map(r.Map("external_ids")), Other: mask.Map(r.Map("other_config")), Ports: []facts.Port{},
		}
		if b.Datapath == "" {
			b.Datapath = "system"
		}
		for _, id := range r.References("ports") {
			b.Ports = append(b.Ports, port(ports[id], interfaces))
		}
		slices.SortFunc(b.Ports, func(a, b facts.Port) int { return strings.Compare(a.Name, b.Name) })
		out.Bridges = append(out.Bridges, b)
		w.protocols[b.Name] = r.Texts("protocols")
	}
	slices.SortFunc(out.Bridges, func(a, b facts.Bridge) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func byUUID(rows []ovsdb.Row) map[string]ovsdb.Row {
	out := make(map[string]ovsdb.Row, len(rows))
	for _, r := range rows {
		out[r.UUID()] = r
	}
	return out
}

func port(p ovsdb.Row, interfaces map[string]ovsdb.Row) facts.Port {
	out := facts.Port{
		Name: p.Text("name"), OFPort: -1, Trunks: p.Numbers("trunks"), Mode: p.Text("vlan_mode"), Other: mask.Map(p.Map("other_config")),
	}
	out.Tag, _ = p.Number("tag")
	ids := p.References("interfaces")
	if len(ids) == 0 {
		return out
	}
	i := interfaces[ids[0]]
	if n, ok := i.Number("ofport"); ok {
		out.OFPort = n
	}
	out.Type, out.Options, out.Externals = i.Text("type"), mask.Map(i.Map("options")), mask.Map(i.Map("external_ids"))
	out.MAC, _ = packet.ParseMAC(i.Text("mac_in_use"))
	out.MTU, _ = i.Number("mtu")
	out.Admin, out.Link, out.Error = i.Text("admin_state"), i.Text("link_state"), i.Text("error")
	return out
}

// daemon connects to ovs-vswitchd itself.
func (w *work) daemon(ctx context.Context) (*ovsdb.Client, error) {
	pid, err := os.ReadFile(filepath.Join(w.OVS, "ovs-vswitchd.pid"))
	if err != nil {
		return nil, fmt.Errorf("%w; is ovs-vswitchd running?", err)
	}
	return ovsdb.Dial(ctx, filepath.Join(w.OVS, "ovs-vswitchd."+strings.TrimSpace(string(pid))+".ctl"))
}

// userspace reads the connections that the user-space data path tracks.
func (w *work) userspace(ctx context.Context, o *facts.OVS) {
	if !slices.ContainsFunc(o.Bridges, func(b facts.Bridge) bool { return b.Datapath == "netdev" }) {
		return
	}
	c, err := w.daemon(ctx)
	if err != nil {
		w.lacks(facts.Tracked, "", "ovs", err)
		return
	}
	defer c.Close() //nolint:errcheck // only read
	const path = "netdev@ovs-netdev"
	if n, err := c.Command(ctx, "dpctl/ct-get-nconns", path); err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(n)); err == nil && n > w.Conns {
			w.lacks(facts.Tracked, "", "ovs", tooMany(n, w.Conns))
			return
		}
	}
	text, err := c.Command(ctx, "dpctl/dump-conntrack", path)
	if err != nil {
		w.lacks(facts.Tracked, "", "ovs", err)
		return
	}
	for line := range strings.Lines(text) {
		if t, ok := tracked(strings.TrimSpace(line)); ok {
			o.Conns = append(o.Conns, t)
		}
	}
}

// protocols are the names of protocols that Open vSwitch writes.
var protocolNumbers = map[string]uint8{"tcp": packet.TCP, "udp": packet.UDP, "icmp": packet.ICMP, "icmpv6": packet.ICMPv6, "sctp": 132, "igmp": 2, "udplite": 136, "dccp": 33}

// tracked reads a line of dpctl/dump-conntrack:
// tcp,orig=(src=10.0.0.1,dst=10.0.0.2,sport=1,dport=2),reply=(...),zone=1,mark=1,protoinfo=(state=ESTABLISHED).
func tracked(line string) (facts.Conn, bool) {
	name, rest, _ := strings.Cut(line, ",")
	out := facts.Conn{Proto: protocolNumbers[name]}
	if n, err := strconv.ParseUint(name, 10, 8); err == nil {
		out.Proto = uint8(n)
	}
	part := ""
	for _, field := range strings.FieldsFunc(rest, func(r rune) bool { return r == ',' || r == ')' }) {
		if group, first, ok := strings.Cut(field, "=("); ok {
			part, field = group, first
		}
		key, value, _ := strings.Cut(field, "=")
		n, _ := strconv.ParseUint(value, 0, 32)
		a, _ := netip.ParseAddr(value)
		switch part + " " + key {
		case "orig src":
			out.Src = a
		case "orig dst":
			out.Dst = a
		case "orig sport", "orig id":
			out.Sport = uint16(n) //nolint:gosec // a port
		case "orig dport":
			out.Dport = uint16(n) //nolint:gosec // a port
		case "reply src":
			out.RSrc = a
		case "reply dst":
			out.RDst = a
		case "reply sport", "reply id":
			out.RSport = uint16(n) //nolint:gosec // a port
		case "reply dport":
			out.RDport = uint16(n) //nolint:gosec // a port
		case "reply zone":
			out.Zone = int(n) //nolint:gosec // 16 bits
		case "reply mark":
			out.Mark = uint32(n)
		case "protoinfo state":
			out.State = value
		}
	}
	return out, out.Src.IsValid() && out.Dst.IsValid()
}
