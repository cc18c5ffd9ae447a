package nsd

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kaname.dev/kaname/lab/dns"
	"kaname.dev/kaname/rib/zone/server"
	"kaname.dev/kaname/rib/zone/wire"
)

// TestSetup applies the recipe to an nsd that knows nothing of kaname.
func TestSetup(t *testing.T) {
	p, s := bed(t, dns.Options{})
	var b strings.Builder
	fmt.Fprintf(&b, "server:\n\tip-address: 127.0.0.1@%d\n\tport: %d\n\tusername: \"\"\n\tdatabase: \"\"\n\tzonesdir: %q\n",
		s.Address.Port(), s.Address.Port(), filepath.Join(s.Dir, "zones"))
	for option, file := range map[string]string{"pidfile": "nsd.pid", "xfrdfile": "xfrd.state", "xfrdir": ".", "zonelistfile": "zone.list"} {
		fmt.Fprintf(&b, "\t%s: %q\n", option, filepath.Join(s.Dir, file))
	}
	fmt.Fprintf(&b, "remote-control:\n\tcontrol-enable: yes\n\tcontrol-interface: %q\n", s.Control)
	bare := b.String()
	config := func(text string) {
		if err := os.WriteFile(s.Config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_ = os.Chown(s.Config, 65534, 65534)
	}
	config(bare)
	s.Kill()
	s.Start()
	d := open(t, s, server.Options{})
	if info, err := d.Probe(t.Context()); err != nil || len(info.Problems) != 1 {
		t.Errorf("before: %+v, %v", info, err)
	}
	list := additions(template(p), "a.test")
	r := Setup(server.Setup{
		Options: server.Options{Name: "ns1", Control: s.Control, Config: s.Config}, Templates: []server.Template{list[0].Template},
		Keys: []wire.Key{{Name: dns.KeyName + ".", Algorithm: "hmac-sha256.", Secret: dns.KeySecret}},
	})
	if len(r.Notes) != 2 { // to include the file, and to let kaname write it
		t.Errorf("the recipe has the notes %q", r.Notes)
	}
	if err := os.WriteFile(r.Files[0].Path, []byte(r.Files[0].Text), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = os.Chown(r.Files[0].Path, 65534, 65534)
	config(bare + fmt.Sprintf("include: %q\n", r.Files[0].Path))
	for _, c := range r.Commands {
		if out, err := exec.CommandContext(t.Context(), c[0], c[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", c, err, out)
		}
	}
	d = open(t, s, server.Options{})
	if info, err := d.Probe(t.Context()); err != nil || len(info.Problems) > 0 {
		t.Errorf("after: %+v, %v", info, err)
	}
	p.AddZones("a.test")
	serve(t, d, s, list, time.Second)
}
