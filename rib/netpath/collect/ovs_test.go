package collect

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"kaname.dev/kaname/lab"
	"kaname.dev/kaname/rib/netpath/facts"
)

// vswitch starts a real Open vSwitch in a namespace, with its sockets in the directory that
// it returns.
func vswitch(t *testing.T, space string) string {
	t.Helper()
	lab.Need(t, "ovs-vswitchd")
	dir := t.TempDir()
	t.Setenv("OVS_RUNDIR", dir)
	t.Setenv("OVS_LOGDIR", dir)
	t.Setenv("OVS_DBDIR", dir)
	sh(t, "ovsdb-tool create "+dir+"/conf.db /usr/share/openvswitch/vswitch.ovsschema")
	for _, args := range [][]string{
		{"ovsdb-server", dir + "/conf.db", "--remote=punix:" + dir + "/db.sock", "--pidfile", "--no-chdir"},
		{"ovs-vswitchd", "unix:" + dir + "/db.sock", "--pidfile", "--no-chdir", "--disable-system"},
	} {
		cmd := exec.Command("ip", append([]string{"netns", "exec", space}, args...)...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		lab.Eventually(t, args[0]+" runs", func() bool {
			_, err := os.Stat(filepath.Join(dir, args[0]+".pid"))
			return err == nil
		})
	}
	sh(t, `V="ovs-vsctl --db=unix:`+dir+`/db.sock"
$V init -- add-br br-int -- set bridge br-int datapath_type=netdev fail_mode=secure protocols=OpenFlow13,OpenFlow14 \
 -- add-br br-tun -- set bridge br-tun datapath_type=netdev \
 -- add-port br-int patch-tun -- set interface patch-tun type=patch options:peer=patch-int ofport_request=5 \
 -- add-port br-tun patch-int -- set interface patch-int type=patch options:peer=patch-tun \
 -- add-port br-int tap1 tag=3 -- set interface tap1 type=internal external_ids:iface-id=x external_ids:password=hush ofport_request=7
O="ovs-ofctl -O OpenFlow13"
$O add-group unix:`+dir+`/br-int.mgmt "group_id=9,type=all,bucket=output:5"
$O add-flow unix:`+dir+`/br-int.mgmt "table=0,priority=5,ip,in_port=7,actions=group:9"
$O add-flow unix:`+dir+`/br-int.mgmt "table=0,priority=1,actions=NORMAL"
ip netns exec `+space+` ip link set tap1 up`)
	return dir
}

// counted is what passes by itself in dumps of flows.
var counted = regexp.MustCompile(`duration=[\d.]+s|n_packets=\d+|n_bytes=\d+|xid=\S+`)

func TestOpenVSwitch(t *testing.T) {
	busy, _ := room(t)
	dir := vswitch(t, busy)
	dump := func() string {
		return counted.ReplaceAllString(sh(t, `for b in br-int br-tun; do for c in dump-flows dump-groups dump-ports-desc; do ovs-ofctl -O OpenFlow13 $c unix:`+dir+`/$b.mgmt; done; done
ovs-vsctl --db=unix:`+dir+`/db.sock --columns=name,ports,protocols,external_ids,other_config list bridge`), "")
	}
	before := dump()
	h := look(t, Options{Name: "c1", OVS: dir})
	if after := dump(); after != before {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
	b := h.Bridge("br-int")
	if b == nil {
		t.Fatalf("no br-int; missing %+v", h.Missing)
	}
	for _, m := range h.Missing {
		if m.Namespace == "" && m.Bridge != "" || m.What == facts.Database {
			t.Errorf("missing %+v", m)
		}
	}
	if b.FailMode != "secure" || b.Datapath != "netdev" || len(b.Ports) != 3 {
		t.Errorf("bridge %+v", b)
	}
	if p := b.Port("tap1"); p == nil || p.OFPort != 7 || p.Tag != 3 || p.Type != "internal" || p.Externals["iface-id"] != "x" || p.Externals["password"] != "***" || p.MAC.Zero() {
		t.Errorf("port %+v", p)
	}
	if p := b.PortAt(local); p == nil || p.Name != "br-int" {
		t.Errorf("its own port is %+v", p)
	}
	lines := strings.Split(strings.TrimSpace(b.Flows), "\n")
	if len(lines) != 2 || !strings.HasPrefix(lines[0], "cookie=") || !strings.Contains(b.Flows, "in_port=7 actions=group:9") {
		t.Errorf("flows %q", b.Flows)
	}
	if !strings.HasPrefix(b.Groups, "group_id=9") {
		t.Errorf("groups %q", b.Groups)
	}
	if none := look(t, Options{OVS: t.TempDir()}); none.OVS != nil {
		t.Error("an Open vSwitch out of nothing")
	}
	sh(t, "mv "+dir+"/ovs-vswitchd.pid "+dir+"/br-int.mgmt "+t.TempDir())
	h = look(t, Options{OVS: dir})
	if h.Lacks(facts.Flows, "", "br-int") == "" || h.Lacks("fdb", "", "br-int") == "" || h.Lacks(facts.Flows, "", "br-tun") != "" || h.Bridge("br-int").Flows != "" {
		t.Errorf("missing %+v", h.Missing)
	}
}
