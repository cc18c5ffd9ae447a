package bind

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"kaname.dev/kaname/lab"
	"kaname.dev/kaname/lab/dns"
	"kaname.dev/kaname/rib/zone/server"
)

// TestView has a named with two views, of which the driver has one; the other has a
// zone of the same name.
func TestView(t *testing.T) {
	b := newBed(t, dns.Options{})
	stats := dns.AddressOf(t)
	write(t, b.second.Config, fmt.Sprintf(`include %q;
key "xfr" { algorithm hmac-sha256; secret %q; };
controls { inet %s allow { any; } keys { "rndc"; }; };
statistics-channels { inet 127.0.0.1 port %d allow { any; }; };
options {
	directory %q; listen-on port %d { 127.0.0.1; }; listen-on-v6 { none; }; pid-file "named.pid"; allow-new-zones yes;
	session-keyfile "session.key"; lock-file none; recursion no; allow-query { any; };
};
view "far" { match-clients { 192.0.2.1; }; zone "z0.test" { type primary; file "zone.db"; }; };
view "near" { match-clients { any; }; include "kaname/zones-near.conf"; };
`, b.second.KeyFile, dns.KeySecret, strings.Replace(b.second.Control, ":", " port ", 1), stats.Port(), b.second.Dir, b.second.Address.Port()))
	write(t, filepath.Join(b.second.Dir, "kaname", "zones-near.conf"), fileHead)
	b.second.Kill()
	b.second.Start()
	b.d = b.driver(server.Options{View: "near"})
	if info, err := b.d.Probe(t.Context()); err != nil || len(info.Problems) > 0 || info.Batch != batchFile {
		t.Fatalf("Probe: %+v, %v", info, err)
	}
	single, many := names("y%d.test", 3), names("z%d.test", 100)
	zones := slices.Concat(single, many)
	b.primary.AddZones(zones...)
	b.add(b.additions(single...))
	b.add(b.additions(many...))
	b.served(zones...)
	b.second.Kill()
	b.second.Start()
	b.served(zones...)
	have := b.list(b.driver(server.Options{View: "near"}))
	for n, z := range have {
		if !z.Owned || z.Template != b.template().ID(kind) {
			t.Errorf("%s: %+v", n, z)
		}
	}
	if len(have) != len(zones) {
		t.Errorf("%d zones are there, want %d", len(have), len(zones))
	}
	if far := b.list(b.driver(server.Options{View: "far"})); len(far) != 1 || far["z0.test."].Owned {
		t.Errorf("the other view has %v", far)
	}
	for i, err := range b.d.Remove(t.Context(), removals(t, zones...)) {
		if err != nil {
			t.Errorf("removal of %s: %v", zones[i], err)
		}
	}
	b.refused(zones...)
	if far := b.list(b.driver(server.Options{View: "far"})); len(far) != 1 {
		t.Errorf("the other view has %v after the removals", far)
	}
	if _, err := b.driver(server.Options{View: "none"}).List(t.Context()); err == nil {
		t.Error("a view that is not there lists zones")
	}
}

// TestFolderFull has no room, and then no right to write, where the driver's folders
// are.
func TestFolderFull(t *testing.T) {
	lab.NeedRoot(t)
	b := newBed(t, dns.Options{})
	at := filepath.Join(b.second.Dir, "kaname")
	if err := syscall.Mount("kaname-test", at, "tmpfs", 0, "size=16k,nr_inodes=2"); err != nil {
		t.Skipf("no file system can be mounted here: %v", err)
	}
	defer func() { _ = syscall.Unmount(at, syscall.MNT_DETACH) }()
	write(t, filepath.Join(at, "zones.conf"), fileHead)
	if err := b.d.Add(t.Context(), b.additions("a.test"))[0]; !errors.Is(err, server.ErrFull) {
		t.Errorf("a full folder: %v", err)
	}
	if err := syscall.Mount("", at, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if err := b.d.Add(t.Context(), b.additions("a.test"))[0]; !errors.Is(err, syscall.EROFS) || !strings.Contains(err.Error(), "writable by named and kaname") {
		t.Errorf("a folder that is read-only: %v", err)
	}
	if err := syscall.Unmount(at, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(at, "zones.conf")); err != nil {
		t.Fatal(err)
	}
	b.primary.AddZones("a.test")
	b.add(b.additions("a.test"))
	b.served("a.test")
}
