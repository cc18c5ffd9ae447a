package bind

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kaname.dev/kaname/lab/dns"
	"kaname.dev/kaname/rib/zone/server"
	"kaname.dev/kaname/rib/zone/wire"
)

// TestSetup applies what Setup prints to a named that knows nothing of kaname.
func TestSetup(t *testing.T) {
	b := newBed(t, dns.Options{})
	o := server.Options{Name: "ns1", Control: b.second.Control, KeyFile: b.second.KeyFile, Config: b.second.Config}
	control, address := strings.Replace(b.second.Control, ":", " port ", 1), b.second.Address
	base := fmt.Sprintf(`include %q;
controls { inet %s allow { any; } keys { "rndc"; }; };
options {
	directory %q; listen-on port %d { 127.0.0.1; }; listen-on-v6 { none; }; pid-file "named.pid";
	session-keyfile "session.key"; lock-file none; recursion no; allow-query { any; };
`, b.second.KeyFile, control, b.second.Dir, address.Port())
	write(t, o.Config, base+"};\n")
	if err := os.RemoveAll(filepath.Join(b.second.Dir, "kaname")); err != nil {
		t.Fatal(err)
	}
	b.second.Kill()
	b.second.Start()
	info, err := b.d.Probe(t.Context())
	if err != nil || len(info.Problems) < 2 || info.Batch != batchAddZone {
		t.Errorf("before: %+v, %v", info, err)
	}
	zones := []string{"a.test", "b.test"}
	b.primary.AddZones(zones...)
	for range 2 {
		r := Setup(server.Setup{Options: o, Templates: []server.Template{b.template()}, Keys: []wire.Key{{Name: "xfr.", Algorithm: "hmac-sha256", Secret: dns.KeySecret}}})
		for _, f := range r.Files {
			if err := os.MkdirAll(filepath.Dir(f.Path), 0o755); err != nil {
				t.Fatal(err)
			}
			text := strings.Replace(f.Text, fmt.Sprintf("port %d", statsPort), fmt.Sprintf("port %d", dns.AddressOf(t).Port()), 1)
			write(t, f.Path, text)
		}
		_ = os.Chown(filepath.Join(b.second.Dir, "kaname"), 65534, 65534)
		write(t, o.Config, fmt.Sprintf("%sinclude %q;\n};\ninclude %q;\ninclude %q;\n", base, r.Files[0].Path, r.Files[1].Path, r.Files[2].Path))
		for _, c := range r.Commands {
			if out, err := exec.CommandContext(t.Context(), c[0], c[1:]...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %v: %s", c, err, out)
			}
		}
		if info, err := b.d.Probe(t.Context()); err != nil || len(info.Problems) > 0 || info.Batch != batchFile {
			t.Fatalf("after: %+v, %v", info, err)
		}
		b.add(b.additions(zones...))
		b.served(zones...)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = os.Chown(path, 65534, 65534)
}
