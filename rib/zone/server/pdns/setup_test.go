package pdns

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	labdns "kaname.dev/kaname/lab/dns"
	"kaname.dev/kaname/rib/zone/server"
	"kaname.dev/kaname/rib/zone/wire"
)

// TestSetup applies the recipe to a server that knows nothing of kaname, and asks the
// driver whether anything is missing.
func TestSetup(t *testing.T) {
	api := labdns.AddressOf(t)
	s := labdns.PowerDNS(t, labdns.Options{})
	config := func(lines string) {
		text := "launch=gsqlite3\ngsqlite3-database=" + s.Dir + "/pdns.db\nsocket-dir=" + s.Dir + "\nlocal-address=127.0.0.1\nguardian=no\ndaemon=no\ndisable-syslog=yes\nsecurity-poll-suffix=\n" + lines
		write(t, s.Config, fmt.Sprintf("%slocal-port=%d\n", text, s.Address.Port()))
	}
	folder := filepath.Join(s.Dir, "pdns.d")
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	config("")
	o := server.Options{Name: "ns4", Kind: "pdns", Control: "http://" + api.String(), KeyFile: filepath.Join(s.Dir, "kaname.key"), Config: s.Config, Dir: t.TempDir()}
	keys := []wire.Key{{Name: "other.", Algorithm: "hmac-sha256", Secret: labdns.KeySecret}}
	r := Setup(server.Setup{Options: o, Keys: keys})
	for _, f := range r.Files {
		write(t, f.Path, f.Text)
	}
	again := Setup(server.Setup{Options: o, Keys: keys})
	if again.Files[1].Text != r.Files[1].Text {
		t.Error("the recipe has another key, though there is one")
	}
	config("include-dir=" + folder + "\n")
	s.Kill()
	s.Start()
	for _, c := range r.Commands {
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

// write makes a file that the server may read.
func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = os.Chown(path, 65534, 65534)
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
