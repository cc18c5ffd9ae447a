package expect

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/packet"
)

// The lab's raw recordings (lab/neutron/real/record.sh), read into facts: tests only.

func rawJSON(t testing.TB, file string, into any) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(strings.TrimSpace(string(b))) == 0 {
		b = []byte("[]")
	}
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

func rawText(file string) string {
	b, _ := os.ReadFile(file)
	return string(b)
}

func rawMAC(s string) packet.MAC {
	m, _ := packet.ParseMAC(s)
	return m
}

// rawHost reads a host below dir/name.
func rawHost(t testing.TB, dir, name string) *facts.Host {
	t.Helper()
	at := filepath.Join(dir, name)
	h := &facts.Host{Version: facts.Version, Name: name, OVS: rawOVS(t, filepath.Join(at, "ovs"))}
	ids := map[string]uint64{} // by what processes.txt says
	spaces, err := os.ReadDir(filepath.Join(at, "ns"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range spaces {
		n := rawSpace(t, filepath.Join(at, "ns", e.Name()))
		if e.Name() != "root" {
			n.Name = e.Name()
		}
		n.ID = uint64(len(h.Namespaces) + 1)
		ids[n.Name] = n.ID
		h.Namespaces = append(h.Namespaces, n)
	}
	slices.SortStableFunc(h.Namespaces, func(a, b facts.Namespace) int { return strings.Compare(a.Name, b.Name) })
	for line := range strings.Lines(rawText(filepath.Join(at, "processes.txt"))) {
		w := strings.Fields(line)
		if len(w) < 3 {
			continue
		}
		pid, _ := strconv.Atoi(w[0])
		p := facts.Process{PID: pid, Name: filepath.Base(w[2]), Args: w[2:]}
		for _, arg := range w {
			for space, id := range ids {
				if _, uuid, ok := strings.Cut(space, "-"); ok && len(uuid) == 36 && strings.Contains(arg, uuid) {
					if p.Name == "dnsmasq" && strings.HasPrefix(space, "qdhcp-") || p.Name == "haproxy" && !strings.HasPrefix(space, "snat-") && !strings.HasPrefix(space, "fip-") {
						p.Network = id
					}
				}
			}
		}
		h.Processes = append(h.Processes, p)
	}
	if len(h.Processes) == 0 {
		h.Missing = append(h.Missing, facts.Missing{What: facts.Programs, Why: "not recorded"})
	}
	return h
}

func rawSpace(t testing.TB, at string) facts.Namespace {
	n := facts.Namespace{Sysctls: map[string]string{}}
	var links []struct {
		Index   int    `json:"ifindex"`
		Name    string `json:"ifname"`
		Flags   []string
		MTU     int
		Master  string
		Address string
		Peer    int `json:"link_index"`
		Info    struct {
			Kind string `json:"info_kind"`
		} `json:"linkinfo"`
		Addrs []struct {
			Local string
			Len   int `json:"prefixlen"`
		} `json:"addr_info"`
	}
	rawJSON(t, filepath.Join(at, "addrs.json"), &links)
	for _, l := range links {
		f := facts.Link{
			Name: l.Name, Index: l.Index, Kind: l.Info.Kind, MAC: rawMAC(l.Address), MTU: l.MTU, Master: l.Master, PeerIndex: l.Peer,
			Up: slices.Contains(l.Flags, "UP"), Running: slices.Contains(l.Flags, "LOWER_UP"),
		}
		for _, a := range l.Addrs {
			if ip, err := netip.ParseAddr(a.Local); err == nil {
				f.Addrs = append(f.Addrs, netip.PrefixFrom(ip, a.Len))
			}
		}
		n.Links = append(n.Links, f)
	}
	rawRoutes(t, at, &n)
	for line := range strings.Lines(rawText(filepath.Join(at, "sysctl.txt"))) {
		if k, v, ok := strings.Cut(line, " = "); ok {
			n.Sysctls[strings.TrimSpace(k)] = strings.TrimSpace(v)
		}
	}
	n.IPTables4, n.IPTables6, n.IPSets = rawText(filepath.Join(at, "iptables.txt")), rawText(filepath.Join(at, "ip6tables.txt")), rawText(filepath.Join(at, "ipset.txt"))
	return n
}

func rawPrefix(s string, v6 bool) netip.Prefix {
	if s == "default" || s == "" {
		if v6 {
			return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	if p, err := netip.ParsePrefix(s); err == nil {
		return p
	}
	a, _ := netip.ParseAddr(s)
	return netip.PrefixFrom(a, a.BitLen())
}

func rawTable(s string) uint32 {
	switch s {
	case "", "main":
		return 254
	case "local":
		return 255
	case "default":
		return 253
	}
	n, _ := strconv.ParseUint(s, 10, 32)
	return uint32(n)
}

func rawRoutes(t testing.TB, at string, n *facts.Namespace) {
	var routes []struct {
		Type, Dst, Gateway, Dev, Table, Prefsrc string
	}
	rawJSON(t, filepath.Join(at, "routes4.json"), &routes)
	for _, r := range routes {
		f := facts.Route{Table: rawTable(r.Table), Dst: rawPrefix(r.Dst, false), Kind: r.Type, Dev: r.Dev}
		f.Via, _ = netip.ParseAddr(r.Gateway)
		f.Src, _ = netip.ParseAddr(r.Prefsrc)
		n.Routes = append(n.Routes, f)
	}
	var rules []struct {
		Priority        int
		Src, Iif, Table string
		Srclen          int
	}
	rawJSON(t, filepath.Join(at, "rules4.json"), &rules)
	for _, r := range rules {
		f := facts.Rule{Priority: r.Priority, In: r.Iif, Kind: "lookup", Table: rawTable(r.Table)}
		if a, err := netip.ParseAddr(r.Src); err == nil {
			bits := 32
			if r.Srclen > 0 {
				bits = r.Srclen
			}
			f.From = netip.PrefixFrom(a, bits)
		}
		n.Rules = append(n.Rules, f)
	}
	var neigh []struct {
		Dst, Dev, Lladdr string
		State            []string
	}
	rawJSON(t, filepath.Join(at, "neigh4.json"), &neigh)
	for _, e := range neigh {
		a, _ := netip.ParseAddr(e.Dst)
		f := facts.Neighbour{Addr: a, Dev: e.Dev, MAC: rawMAC(e.Lladdr)}
		if len(e.State) > 0 {
			f.State = strings.ToLower(e.State[0])
		}
		n.Neighbours = append(n.Neighbours, f)
	}
}

// rawTab is a table of OVSDB as ovs-vsctl --format=json lists it: rows by their uuid.
func rawTab(t testing.TB, file string) map[string]map[string]any {
	var raw struct {
		Headings []string
		Data     [][]any
	}
	rawJSON(t, file, &raw)
	out := map[string]map[string]any{}
	for _, row := range raw.Data {
		m := map[string]any{}
		for i, v := range row {
			m[raw.Headings[i]] = rawValue(v)
		}
		out[fmt.Sprint(m["_uuid"])] = m
	}
	return out
}

// rawValue makes sets slices or single values, maps maps of strings.
func rawValue(v any) any {
	pair, ok := v.([]any)
	if !ok || len(pair) != 2 {
		return v
	}
	switch pair[0] {
	case "uuid":
		return pair[1]
	case "set":
		var out []any
		for _, e := range pair[1].([]any) {
			out = append(out, rawValue(e))
		}
		return out
	case "map":
		m := map[string]string{}
		for _, e := range pair[1].([]any) {
			kv := e.([]any)
			m[fmt.Sprint(kv[0])] = fmt.Sprint(kv[1])
		}
		return m
	}
	return v
}

func rawList(v any) []string {
	switch v := v.(type) {
	case []any:
		var out []string
		for _, e := range v {
			out = append(out, fmt.Sprint(e))
		}
		return out
	case nil:
		return nil
	}
	return []string{fmt.Sprint(v)}
}

func rawInt(v any) int {
	if f, ok := v.(float64); ok {
		return int(f)
	}
	return 0
}

func rawString(v any) string {
	s, _ := v.(string)
	return s
}

func rawOVS(t testing.TB, at string) *facts.OVS {
	bridges, ports, ifaces := rawTab(t, at+"/Bridge.json"), rawTab(t, at+"/Port.json"), rawTab(t, at+"/Interface.json")
	o := &facts.OVS{}
	for _, id := range slices.Sorted(maps.Keys(bridges)) {
		row := bridges[id]
		b := facts.Bridge{Name: rawString(row["name"]), Datapath: rawString(row["datapath_type"]), FailMode: rawString(row["fail_mode"])}
		b.Externals, _ = row["external_ids"].(map[string]string)
		for _, pid := range rawList(row["ports"]) {
			pr := ports[pid]
			ids := rawList(pr["interfaces"])
			if len(ids) == 0 {
				continue
			}
			ir := ifaces[ids[0]]
			p := facts.Port{Name: rawString(pr["name"]), Tag: rawInt(pr["tag"]), OFPort: rawInt(ir["ofport"]), Type: rawString(ir["type"]), MAC: rawMAC(rawString(ir["mac_in_use"])), MTU: rawInt(ir["mtu"]), Error: rawString(ir["error"]), Admin: rawString(ir["admin_state"]), Link: rawString(ir["link_state"])}
			p.Options, _ = ir["options"].(map[string]string)
			p.Externals, _ = ir["external_ids"].(map[string]string)
			p.Other, _ = pr["other_config"].(map[string]string)
			b.Ports = append(b.Ports, p)
		}
		slices.SortFunc(b.Ports, func(a, c facts.Port) int { return strings.Compare(a.Name, c.Name) })
		var flows strings.Builder
		for line := range strings.Lines(rawText(at + "/" + b.Name + "/flows.txt")) {
			if strings.Contains(line, "actions=") {
				flows.WriteString(line)
			}
		}
		b.Flows = flows.String()
		o.Bridges = append(o.Bridges, b)
	}
	slices.SortFunc(o.Bridges, func(a, b facts.Bridge) int { return strings.Compare(a.Name, b.Name) })
	return o
}
