package rebuild_test

import (
	"strconv"
	"strings"
	"testing"

	"kaname.dev/kaname/lab"
	"kaname.dev/kaname/rib/netpath/bundle"
	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/path"
	"kaname.dev/kaname/rib/netpath/rebuild"
	"kaname.dev/kaname/rib/netpath/trace"
)

// TestTheRebuiltCloudBehaves sends real packets over hosts that were made of a recording,
// and compares their fate with what the model says of that recording.
func TestTheRebuiltCloudBehaves(t *testing.T) {
	for _, p := range rebuild.Programs {
		lab.Need(t, p)
	}
	lab.Need(t, "ping")
	b, err := bundle.Open("../testdata/healthy.tar.zst", bundle.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	hosts := map[string]*facts.Host{}
	for _, n := range b.Names() {
		if hosts[n], err = b.Host(n); err != nil {
			t.Fatal(err)
		}
	}
	k := rebuild.New(t, b.Cloud, hosts)
	w := path.NewWorld(b.Cloud, hosts)
	for _, q := range []struct {
		host, vm, to, address string
		tcp                   uint16
	}{
		{"c1", "a1", "b1", "", 0},
		{"c1", "a1", "a2", "", 0},
		{"c1", "a1", "a2", "", 443},
		{"c1", "a1", "a2", "", 8080},
		{"c2", "a2", "a1", "", 8080},
		{"c1", "a1", "b2", "", 0},
		{"c2", "b2", "a1", "", 0},
		{"c1", "a1", "internet", rebuild.Elsewhere, 0},
		{"c2", "a2", "internet", rebuild.Elsewhere, 0},
		{"c2", "w2", "internet", rebuild.Elsewhere, 0},
		{"c1", "v1", "v2", "", 0},
	} {
		ask := trace.Question{From: q.vm, To: q.to, Port: q.tcp}
		said, err := w.Walk(ask)
		if err != nil {
			t.Fatal(err)
		}
		address := q.address
		if address == "" {
			address = said.Target.Addr.String()
		}
		command := "ping -c 1 -W 2 " + address + " || ping -c 2 -W 2 " + address
		if q.tcp != 0 {
			command = "timeout 3 bash -c 'echo > /dev/tcp/" + address + "/" + strconv.Itoa(int(q.tcp)) + "'"
		}
		out, err := k.Hosts[q.host].Shell(t.Context(), "vm() { ip netns exec "+q.vm+" bash -c \"$1\"; }; vm '"+strings.ReplaceAll(command, "'", `'\''`)+"'")
		if passes := err == nil; passes != (said.Verdict == trace.Delivered) {
			t.Errorf("%s to %s port %d: the model says %s, really it passes: %v\n%s", q.vm, q.to, q.tcp, said.Verdict, passes, out)
		}
	}
}
