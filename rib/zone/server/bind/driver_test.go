package bind

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"kaname.dev/kaname/lab"
	"kaname.dev/kaname/lab/dns"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/server"
)

// bed is a primary, a secondary and the driver of that.
type bed struct {
	primary, second *dns.Server
	d               server.Driver
	t               *testing.T
}

func newBed(t *testing.T, o dns.Options) *bed {
	t.Helper()
	lab.Need(t, "named")
	o.Address = dns.AddressOf(t)
	p := dns.BIND(t, dns.Options{Primary: true, Notify: []netip.AddrPort{o.Address}})
	o.From = []netip.AddrPort{p.Address}
	b := &bed{primary: p, second: dns.BIND(t, o), t: t}
	b.d = b.driver(server.Options{})
	return b
}

func (b *bed) driver(o server.Options) server.Driver {
	b.t.Helper()
	o.Name, o.Kind, o.Control, o.Config = "ns1", "bind", b.second.Control, b.second.Config
	if o.KeyFile == "" {
		o.KeyFile = b.second.KeyFile
	}
	d, err := New(o)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = d.Close() })
	return d
}

func (b *bed) template() server.Template {
	return server.Template{
		Name: "default", Primaries: []server.Primary{{Address: b.primary.Address, Key: dns.KeyName}},
		Transfer: []string{"127.0.0.1/8", "key " + dns.KeyName},
	}
}

func (b *bed) additions(zones ...string) []server.Addition {
	b.t.Helper()
	out := make([]server.Addition, len(zones))
	for i, z := range zones {
		out[i] = server.Addition{Name: parse(b.t, z), Template: b.template()}
	}
	return out
}

func parse(t *testing.T, s string) name.Name {
	t.Helper()
	n, err := name.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (b *bed) add(list []server.Addition) {
	b.t.Helper()
	for i, err := range b.d.Add(b.t.Context(), list) {
		if err != nil {
			b.t.Fatalf("%s: %v", list[i].Name, err)
		}
	}
}

func (b *bed) list(d server.Driver) map[name.Name]server.Zone {
	b.t.Helper()
	list, err := d.List(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	all := map[name.Name]server.Zone{}
	for _, z := range list {
		all[z.Name] = z
	}
	return all
}

func (b *bed) served(zones ...string) {
	b.t.Helper()
	for _, z := range zones {
		lab.Eventually(b.t, z+" is served", func() bool { _, _, ok := b.second.SOA(z); return ok })
	}
}

func (b *bed) refused(zones ...string) {
	b.t.Helper()
	for _, z := range zones {
		lab.Eventually(b.t, z+" is refused", func() bool { _, rcode, _ := b.second.SOA(z); return rcode == mdns.RcodeRefused })
	}
}

func names(format string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf(format, i)
	}
	return out
}

func removals(t *testing.T, zones ...string) []server.Removal {
	t.Helper()
	out := make([]server.Removal, len(zones))
	for i, z := range zones {
		out[i] = server.Removal{Name: parse(t, z)}
	}
	return out
}

func TestBothLanes(t *testing.T) {
	b := newBed(t, dns.Options{})
	single := []string{"a.test", `sp\032ace.test`, `q\"uote.test`, "1.0.10.in-addr.arpa"}
	many := names("z%d.test", 200)
	b.primary.AddZones(many...)
	b.primary.AddZones(single...)
	info, err := b.d.Probe(t.Context())
	if err != nil || len(info.Problems) > 0 || !strings.HasPrefix(info.Version, "9.") || info.Boot == "" || info.Batch != batchFile {
		t.Fatalf("%+v, %v", info, err)
	}
	if got := b.list(b.d); len(got) != 0 {
		t.Errorf("a new server has %v", got)
	}
	b.add(b.additions(single...))
	b.add(b.additions(many...))
	b.add(b.additions(slices.Concat(many, single)...)) // again
	b.served(slices.Concat(many, single)...)
	for n, z := range b.list(b.d) {
		if !z.Loaded || z.Serial != 1 {
			t.Errorf("%s: %+v", n, z)
		}
	}
	id := b.template().ID("bind")
	fresh := b.driver(server.Options{})
	for range 2 {
		got := b.list(fresh)
		if len(got) != len(many)+len(single) {
			t.Fatalf("%d zones are listed", len(got))
		}
		for n, z := range got {
			if !z.Owned || z.Template != id || !z.Present {
				t.Errorf("%s: %+v", n, z)
			}
		}
		b.second.Kill()
		b.second.Start()
	}
	lines, err := readLines(filepath.Join(b.second.Dir, "kaname", "zones.conf"))
	if err != nil || len(lines) != len(many)-1 {
		t.Errorf("%d zones are in the file: %v", len(lines), err)
	}
	for i, err := range b.d.Remove(t.Context(), removals(t, slices.Concat(many[:150], single[:1], []string{"unknown.test"})...)) {
		if err != nil {
			t.Errorf("removal %d: %v", i, err)
		}
	}
	b.refused(slices.Concat(many[:150], single[:1])...)
	for _, err := range b.d.Remove(t.Context(), removals(t, slices.Concat(many[150:], single[1:])...)) {
		if err != nil {
			t.Error(err)
		}
	}
	b.refused(slices.Concat(many[150:], single[1:])...)
	if got := b.list(b.d); len(got) != 0 {
		t.Errorf("after the removal it has %v", got)
	}
	lab.Eventually(t, "no file is left", func() bool {
		all, err := b.d.(*driver).survey(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		b.d.(*driver).sweep(all, time.Now().Add(time.Hour))
		left, _ := filepath.Glob(filepath.Join(b.second.Dir, "kaname", id, "*"))
		return len(left) == 0
	})
	b.second.Kill()
	b.second.Start()
	if got := b.list(b.d); len(got) != 0 {
		t.Errorf("after a restart it has %v", got)
	}
}

func TestChangeKeepsAnswering(t *testing.T) {
	b := newBed(t, dns.Options{})
	zones := append(names("z%d.test", 120), "a.test", "b.test")
	b.primary.AddZones(zones...)
	b.add(b.additions(zones[120:]...))
	b.add(b.additions(zones[:120]...))
	b.served(zones...)
	lab.Eventually(t, "named has written the files", func() bool {
		files, _ := filepath.Glob(filepath.Join(b.second.Dir, "kaname", b.template().ID("bind"), "*.db"))
		return len(files) == len(zones)
	})
	b.primary.Kill() // what is lost now stays lost
	changed := b.additions(zones...)
	for i := range changed {
		changed[i].Template.Options = map[string]string{"bind": "max-refresh-time 3000;"}
	}
	for _, part := range [][]server.Addition{changed[:1], changed[120:], changed[1:120]} {
		b.add(part)
		for _, a := range part {
			if _, rcode, ok := b.second.SOA(string(a.Name)); !ok {
				t.Fatalf("%s answers %s after the change", a.Name, mdns.RcodeToString[rcode])
			}
		}
	}
	for n, z := range b.list(b.d) {
		if z.Template != changed[0].Template.ID("bind") {
			t.Errorf("%s has template %s", n, z.Template)
		}
	}
	b.second.Kill()
	b.second.Start()
	b.served(zones...) // from its files
}

func TestForeign(t *testing.T) {
	b := newBed(t, dns.Options{Extra: `zone "static.test" { type primary; file "zone.db"; };`})
	b.primary.AddZones("hand.test", "static.test")
	b.second.RNDC("addzone", "hand.test", fmt.Sprintf(`{ type secondary; file "hand.db"; primaries { %s port %d key xfr; }; };`, b.primary.Address.Addr(), b.primary.Address.Port()))
	b.served("hand.test", "static.test")
	for n, z := range b.list(b.d) {
		if z.Owned || !z.Present || z.Template != "" {
			t.Errorf("%s: %+v", n, z)
		}
	}
	for _, err := range b.d.Add(t.Context(), b.additions("hand.test", "static.test")) {
		if !errors.Is(err, server.ErrForeign) {
			t.Errorf("addition: %v", err)
		}
	}
	for _, err := range b.d.Remove(t.Context(), removals(t, "hand.test", "static.test")) {
		if !errors.Is(err, server.ErrForeign) {
			t.Errorf("removal: %v", err)
		}
	}
	adopt := b.additions("hand.test", "static.test")
	adopt[0].Adopt, adopt[1].Adopt = true, true
	b.primary.Kill()
	errs := b.d.Add(t.Context(), adopt)
	if errs[0] != nil || !errors.Is(errs[1], server.ErrForeign) || !strings.Contains(errs[1].Error(), "named.conf") {
		t.Errorf("adoption: %v", errs)
	}
	if _, _, ok := b.second.SOA("hand.test"); !ok {
		t.Error("the adopted zone answers no more")
	}
	if z := b.list(b.d)["hand.test."]; !z.Owned {
		t.Errorf("the adopted zone is %+v", z)
	}
}

func TestStatusAndKick(t *testing.T) {
	b := newBed(t, dns.Options{})
	b.add(b.additions("late.test"))
	st, err := b.d.Status(t.Context(), []name.Name{"late.test.", "none.test."})
	if err != nil || !st[0].Present || st[0].Loaded || st[0].Note == "" || st[1].Present {
		t.Fatalf("%+v, %v", st, err)
	}
	if z := b.list(b.d)["late.test."]; z.Loaded {
		t.Errorf("listed as loaded: %+v", z)
	}
	b.primary.AddZones("late.test")
	if err := b.d.Kick(t.Context(), []name.Name{"late.test."}); err != nil {
		t.Error(err)
	}
	b.served("late.test")
	st, err = b.d.Status(t.Context(), []name.Name{"late.test."})
	if err != nil || !st[0].Loaded || st[0].Serial != 1 {
		t.Errorf("%+v, %v", st, err)
	}
	if err := b.d.Kick(t.Context(), []name.Name{"none.test."}); err == nil {
		t.Error("an unknown zone is kicked")
	}
}

func TestRefusals(t *testing.T) {
	b := newBed(t, dns.Options{})
	bad := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(bad, []byte(`key "rndc" { algorithm hmac-sha256; secret "d3Jvbmc="; };`), 0o600); err != nil {
		t.Fatal(err)
	}
	wrong := b.driver(server.Options{KeyFile: bad})
	if _, err := wrong.Probe(t.Context()); !errors.Is(err, server.ErrDenied) {
		t.Errorf("a wrong key: %v", err)
	}
	if err := wrong.Add(t.Context(), b.additions("a.test"))[0]; !errors.Is(err, server.ErrDenied) {
		t.Errorf("addition with a wrong key: %v", err)
	}
	list := b.additions(names("t%d.test", 100)...)
	for i := range list {
		list[i].Template.Primaries = []server.Primary{{Address: b.primary.Address, Key: "unknown"}}
	}
	list = append(list, b.additions("good.test")...)
	errs := b.d.Add(t.Context(), list)
	if !errors.Is(errs[0], server.ErrTemplate) || !errors.Is(errs[99], server.ErrTemplate) || errs[100] != nil {
		t.Errorf("a template with an unknown key: %v, %v, %v", errs[0], errs[99], errs[100])
	}
	for _, words := range []string{"}; zone x { type primary;", `file "/etc/passwd";`, "# x", "type primary;"} {
		a := b.additions("inject.test")
		a[0].Template.Options = map[string]string{"bind": words}
		if err := b.d.Add(t.Context(), a)[0]; !errors.Is(err, server.ErrTemplate) {
			t.Errorf("%s: %v", words, err)
		}
	}
	if got := b.list(b.d); len(got) != 1 {
		t.Errorf("it has %v", got)
	}
	b.second.Signal(syscall.SIGSTOP)
	ctx, cancel := contextOf(t, time.Second)
	begun := time.Now()
	for _, err := range b.d.Add(ctx, b.additions(names("p%d.test", 50)...)) {
		if err == nil {
			t.Error("a paused server adds")
		}
	}
	if time.Since(begun) > 5*time.Second {
		t.Errorf("it took %s", time.Since(begun))
	}
	cancel()
	b.second.Signal(syscall.SIGCONT)
	b.second.Kill()
	if _, err := b.d.List(t.Context()); !errors.Is(err, server.ErrUnreachable) {
		t.Errorf("list of a dead server: %v", err)
	}
	if _, err := b.d.Status(t.Context(), []name.Name{"a."}); !errors.Is(err, server.ErrUnreachable) {
		t.Errorf("status of a dead server: %v", err)
	}
}
