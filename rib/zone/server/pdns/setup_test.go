package pdns

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	labdns "kaname.dev/kaname/lab/dns"
	"kaname.dev/kaname/rib/zone/server"
	"kaname.dev/kaname/rib/zone/wire"
)

// TestSetup puts the recipe's settings into a server, runs its commands, and asks
// the driver whether anything is missing.
func TestSetup(t *testing.T) {
	api := labdns.AddressOf(t)
	key := filepath.Join(t.TempDir(), "api.key")
	o := server.Options{Name: "ns4", Kind: "pdns", Control: "http://" + api.String(), KeyFile: key, Dir: t.TempDir()}
	keys := []wire.Key{{Name: "other.", Algorithm: "hmac-sha256", Secret: labdns.KeySecret}}
	r := Setup(server.Setup{Options: o, Keys: keys})
	for _, f := range r.Files {
		if f.Path == key {
			if err := os.WriteFile(f.Path, []byte(f.Text), os.FileMode(f.Mode)); err != nil {
				t.Fatal(err)
			}
		}
	}
	again := Setup(server.Setup{Options: o, Keys: keys})
	if again.Files[1].Text != r.Files[1].Text {
		t.Error("the recipe has another key, though there is one")
	}
	s := labdns.PowerDNS(t, labdns.Options{Extra: r.Files[1].Text})
	for _, c := range r.Commands {
		for i := range c {
			if strings.HasPrefix(c[i], "--config-dir=") {
				c[i] = "--config-dir=" + s.Dir
			}
		}
		if out, err := exec.CommandContext(t.Context(), c[0], c[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", c, err, out)
		}
	}
	d, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	info, err := d.Probe(t.Context())
	if err != nil || len(info.Problems) > 0 {
		t.Errorf("after the recipe: %+v, %v", info, err)
	}
	template := server.Template{Name: "default", Primaries: []server.Primary{{Address: api, Key: "other"}}}
	good(t, d.Add(t.Context(), additions(template, "a.test.")))
}

func TestProblems(t *testing.T) {
	fine := map[string]string{"secondary": "yes", "xfr-cycle-interval": "5", "slave-cycle-interval": "60", "allow-axfr-ips": "127.0.0.0/8,::1", "gsqlite3-pragma-foreign-keys": "yes"}
	if p := problems("4.7.3", fine); len(p) > 0 {
		t.Errorf("fine settings have problems %q", p)
	}
	if p := problems("4.4.1", map[string]string{"slave": "no", "xfr-cycle-interval": "60", "allow-axfr-ips": "192.0.2.1", "gsqlite3-pragma-foreign-keys": ""}); len(p) != 5 {
		t.Errorf("problems are %q, want 5", p)
	}
}
