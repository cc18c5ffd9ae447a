package target

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"kaname.dev/kaname/lab"
	labdns "kaname.dev/kaname/lab/dns"
	"kaname.dev/kaname/rib/zone/graduate/namedconf"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/server"
	"kaname.dev/kaname/rib/zone/wire"
)

const secret = "c2VjcmV0IG9mIHRoZSB0ZXN0LCAyNTYgYml0IGxvbmc="

// site is what is moved: keyed is for the key only, open for loopback, none for nobody;
// sec comes from the primary %s.
const site = `
key "Grad" { algorithm hmac-sha256; secret "` + secret + `"; };
key "unused" { algorithm hmac-sha256; secret "` + secret + `"; };
acl near { 127.0.0.0/8; };
options { directory "/old"; allow-transfer { key grad; }; recursion no; };
zone "keyed.example" { type primary; file "keyed"; };
zone "open.example" { type primary; file "open"; allow-transfer { near; }; also-notify { 127.0.0.9 port 5309; }; notify explicit; };
zone "none.example" { type primary; file "none"; allow-transfer { none; }; };
zone "odd\032name.example" { type primary; file "odd"; };
zone "sec.example" { type secondary; primaries { %s key "xfr"; }; };
key "xfr" { algorithm hmac-sha256; secret "` + labdns.KeySecret + `"; };
`

var zones = []string{"keyed.example", "open.example", "none.example", `odd\032name.example`, "sec.example"}

// recipe makes the recipe and writes its files, but for the keys that servers of the lab
// have already, and the zone files.
func recipe(t *testing.T, kind string, primary netip.AddrPort) (server.Recipe, string) {
	t.Helper()
	d, err := os.MkdirTemp("", "kaname-target-") //nolint:usetesting // the servers of the lab, as another user, must reach it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(d) })
	if err := os.Chmod(d, 0o755); err != nil {
		t.Fatal(err)
	}
	c, err := namedconf.ParseConfig("named.conf", fmt.Sprintf(site, fmt.Sprintf("%s port %d", primary.Addr(), primary.Port())))
	if err != nil {
		t.Fatal(err)
	}
	for i := range c.Keys {
		if c.Keys[i].Name == "xfr" {
			c.Keys = append(c.Keys[:i], c.Keys[i+1:]...) // the server of the lab has it
			break
		}
	}
	r, _, err := Recipe(c, Options{Kind: kind, Folder: d, Config: d})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Files {
		if strings.Contains(f.Text, secret) && f.Mode&0o007 != 0 {
			t.Errorf("%s holds a secret and has mode %o", f.Path, f.Mode)
		}
		if strings.Contains(f.Text, "unused") {
			t.Errorf("%s has a key that no zone uses", f.Path)
		}
		put(t, f.Path, f.Text)
		if !strings.HasSuffix(f.Path, "copy.list") {
			continue
		}
		for line := range strings.Lines(f.Text) {
			_, to, _ := strings.Cut(strings.TrimSpace(line), "\t")
			put(t, to, labdns.ZoneFile(7))
		}
	}
	return r, d
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestServersServeWhatIsWritten(t *testing.T) {
	primary := labdns.BIND(t, labdns.Options{Primary: true})
	primary.AddZones("sec.example")
	for kind, run := range map[string]func(*testing.T, string) *labdns.Server{
		"bind": func(t *testing.T, d string) *labdns.Server {
			return labdns.BIND(t, labdns.Options{Extra: fmt.Sprintf("include %q; include %q;\n", d+"/keys.conf", d+"/zones.conf")})
		},
		"nsd": func(t *testing.T, d string) *labdns.Server {
			return labdns.NSD(t, labdns.Options{Extra: fmt.Sprintf("include: %q\ninclude: %q\n", d+"/keys.conf", d+"/zones.conf")})
		},
		"knot": func(t *testing.T, d string) *labdns.Server {
			return labdns.Knot(t, labdns.Options{Extra: fmt.Sprintf("include: %q\ninclude: %q\n", d+"/keys.conf", d+"/zones.conf")})
		},
		"pdns": func(t *testing.T, d string) *labdns.Server {
			s := labdns.PowerDNS(t, labdns.Options{From: []netip.AddrPort{primary.Address}, Extra: "allow-axfr-ips=\nprimary=yes\n"})
			for _, script := range []string{"keys.sh", "zones.sh"} {
				cmd := exec.CommandContext(t.Context(), "sh", filepath.Join(d, script))
				cmd.Env = append(os.Environ(), "PDNSUTIL=pdnsutil --config-dir="+s.Dir)
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%s: %v: %s", script, err, out)
				}
			}
			s.PDNSControl("retrieve", "sec.example")
			return s
		},
	} {
		t.Run(kind, func(t *testing.T) {
			lab.Need(t, map[string]string{"bind": "named", "nsd": "nsd", "knot": "knotd", "pdns": "pdns_server"}[kind])
			_, d := recipe(t, kind, primary.Address)
			if err := os.Chmod(d, 0o777); err != nil { // the server writes the secondary's file there
				t.Fatal(err)
			}
			s := run(t, d)
			for _, z := range zones {
				lab.Eventually(t, z+" is served", func() bool { _, _, ok := s.SOA(z); return ok })
			}
			key := &wire.Key{Name: "grad", Algorithm: "hmac-sha256", Secret: secret}
			for _, c := range []struct {
				zone string
				key  *wire.Key
				may  bool
			}{
				{"keyed.example", key, true},
				{"keyed.example", nil, false},
				{"open.example", nil, true},
				{"none.example", key, false},
				{"none.example", nil, false},
				{`odd\032name.example`, key, true},
			} {
				n, err := name.Parse(c.zone)
				if err != nil {
					t.Fatal(err)
				}
				err = (&wire.Client{}).Transfer(t.Context(), wire.Peer{Address: s.Address, Key: c.key}, n, func(dns.RR) error { return nil })
				if (err == nil) != c.may {
					t.Errorf("transfer of %s, with a key %t: %v", c.zone, c.key != nil, err)
				}
			}
		})
	}
}

func TestRecipeRefusesAndReports(t *testing.T) {
	c, err := namedconf.ParseConfig("f", `zone "x" { type primary; file "x"; allow-transfer { !10.0.0.1; 10/8; key nix; }; update-policy local; };`)
	if err != nil {
		t.Fatal(err)
	}
	for what, o := range map[string]Options{
		"a kind":              {Kind: "djbdns", Folder: "/a", Config: "/a"},
		"a relative folder":   {Kind: "nsd", Folder: "a", Config: "/a"},
		"a folder with quote": {Kind: "nsd", Folder: "/a\"", Config: "/a"},
		"a view":              {Kind: "nsd", View: "nix", Folder: "/a", Config: "/a"},
	} {
		if _, _, err := Recipe(c, o); err == nil {
			t.Errorf("%s is taken", what)
		}
	}
	for _, kind := range []string{"bind", "nsd", "knot", "pdns"} {
		_, found, err := Recipe(c, Options{Kind: kind, Folder: "/a", Config: "/a"})
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprint(found)
		for _, want := range []string{"key nix", "update-policy"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no finding of %s in %s", kind, want, text)
			}
		}
		if kind == "pdns" && !strings.Contains(text, "no exceptions") {
			t.Errorf("%s: the exception is lost: %s", kind, text)
		}
	}
}
