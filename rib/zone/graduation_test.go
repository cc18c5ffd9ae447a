package zone

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/lab"
	labdns "kaname.dev/kaname/lab/dns"
	"kaname.dev/kaname/rib/ribtest"
	"kaname.dev/kaname/rib/zone/graduate/compare"
	"kaname.dev/kaname/rib/zone/name"
)

// desk asks for actions as a door does.
type desk struct {
	t       *testing.T
	catalog action.Catalog

	mu     sync.Mutex
	events []action.Event // of the last action
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	r := Rib()
	if err := r.Attach(ribtest.Core(t, "core1")); err != nil {
		t.Fatal(err)
	}
	return &desk{t: t, catalog: action.NewCatalog(r.Actions...)}
}

// do runs an action; values are texts by field, "file" the contents of a file.
func (d *desk) do(what string, values map[string]string) (string, error) {
	d.t.Helper()
	a, in := d.prepare(what, values)
	d.mu.Lock()
	d.events = nil
	d.mu.Unlock()
	run := &action.Run{ID: "1", Actor: action.Actor{Name: "alice"}, Emit: func(e action.Event) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.events = append(d.events, e)
	}}
	out, err := a.Run(d.t.Context(), run, in)
	if err != nil {
		return "", err
	}
	raw, err := json.Marshal(out)
	if err != nil {
		d.t.Fatal(err)
	}
	back, err := a.DecodeOut(raw) // as it comes to the client
	if err != nil {
		d.t.Fatal(err)
	}
	if s, ok := back.(fmt.Stringer); ok {
		return s.String(), nil
	}
	return string(raw), nil
}

func (d *desk) prepare(what string, values map[string]string) (action.Action, action.Inputs) {
	d.t.Helper()
	a, err := d.catalog.Find(what)
	if err != nil {
		d.t.Fatal(err)
	}
	in := action.Inputs{Values: map[string]json.RawMessage{}, Files: map[string]action.File{}}
	for k, v := range values {
		if k == "file" {
			in.Files[k] = action.File{Name: "all.conf", Reader: strings.NewReader(v), Size: int64(len(v))}
			continue
		}
		for _, f := range a.Fields {
			if f.Name == k {
				in.SetText(f, strings.Fields(v)...)
				if f.Kind != action.KindList {
					in.SetText(f, v)
				}
			}
		}
		if in.Values[k] == nil {
			d.t.Fatalf("%s has no field %s", what, k)
		}
	}
	return a, in
}

// must runs an action that has to succeed, with texts that its result has to have.
func (d *desk) must(what string, values map[string]string, want ...string) string {
	d.t.Helper()
	out, err := d.do(what, values)
	if err != nil {
		d.t.Fatalf("%s %v: %v\n%s", what, values, err, d.told())
	}
	for _, w := range want {
		if !strings.Contains(out, w) {
			d.t.Errorf("%s %v: %q is missing in:\n%s", what, values, w, out)
		}
	}
	return out
}

// refused runs an action that has to fail so.
func (d *desk) refused(kind fault.Kind, what string, values map[string]string, want ...string) {
	d.t.Helper()
	out, err := d.do(what, values)
	if err == nil {
		d.t.Fatalf("%s %v is not refused:\n%s", what, values, out)
	}
	if !fault.Is(err, kind) {
		d.t.Errorf("%s %v: kind of %v is not %s", what, values, err, kind)
	}
	if _, remedy, ok := strings.Cut(err.Error(), "; "); !ok || remedy == "" {
		d.t.Errorf("%s %v: no remedy: %v", what, values, err)
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			d.t.Errorf("%s %v: %q is missing in: %v", what, values, w, err)
		}
	}
}

func (d *desk) told() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var b strings.Builder
	for i := range d.events {
		fmt.Fprintln(&b, d.events[i].Step, d.events[i].State, d.events[i].Text)
	}
	return b.String()
}

const gradSecret = "c2VjcmV0IG9mIHRoZSB0ZXN0LCAyNTYgYml0IGxvbmc="

// oldSite is a named with two primary zones and a secondary one, and its configuration
// as named-checkconf prints it.
type oldSite struct {
	server *labdns.Server
	conf   string
	zones  []string
}

func newOldSite(t *testing.T) oldSite {
	t.Helper()
	lab.Need(t, "named-checkconf")
	primary := labdns.BIND(t, labdns.Options{Primary: true})
	primary.AddZones("sec.example")
	s := labdns.BIND(t, labdns.Options{From: []netip.AddrPort{primary.Address}, Extra: fmt.Sprintf(`
key "Grad" { algorithm hmac-sha256; secret %q; };
zone "one.example" { type primary; file "zone.db"; allow-transfer { key Grad; }; };
zone "two.example" { type primary; file "zone.db"; allow-transfer { 127.0.0.0/8; }; };
zone "sec.example" { type secondary; primaries { %s port %d; }; allow-transfer { 127.0.0.0/8; }; };
`, gradSecret, primary.Address.Addr(), primary.Address.Port())})
	lab.Eventually(t, "the secondary zone is there", func() bool { _, _, ok := s.SOA("sec.example"); return ok })
	out, err := exec.CommandContext(t.Context(), "named-checkconf", "-p", s.Config).Output()
	if err != nil {
		t.Fatal(err)
	}
	return oldSite{s, string(out), []string{"one.example", "two.example", "sec.example"}}
}

// openFolder makes a folder that the unprivileged servers of the lab may use.
func openFolder(t *testing.T) string {
	t.Helper()
	d, err := os.MkdirTemp("", "kaname-graduation-") //nolint:usetesting // as another user they must reach it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(d) })
	if err := os.Chmod(d, 0o777); err != nil {
		t.Fatal(err)
	}
	return d
}

// carry does what a person does with the files: it copies the configuration and the
// zone files to the new server. A zone whose name is spoiled gets other contents.
func carry(t *testing.T, written, folder, spoiled string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(written, "*"))
	if err != nil || len(files) < 3 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, f := range files {
		st, err := os.Stat(f)
		if err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f, st.Mode(), err)
		}
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(folder, filepath.Base(f)), string(text))
		if filepath.Base(f) != "copy.list" {
			continue
		}
		for line := range strings.Lines(string(text)) {
			from, to, _ := strings.Cut(strings.TrimSpace(line), "\t")
			zone, err := os.ReadFile(from)
			if err != nil {
				t.Fatal(err)
			}
			if spoiled != "" && strings.Contains(to, spoiled) {
				zone = bytes.Replace(zone, []byte("192.0.2.80"), []byte("192.0.2.81"), 1)
			}
			put(t, to, string(zone))
		}
	}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestASiteGraduates moves a real named to NSD and to Knot, all the way: imported,
// written, compared with a difference planted, mended, cut over, back and over again.
func TestASiteGraduates(t *testing.T) {
	old := newOldSite(t)
	d := newDesk(t)
	for kind, start := range map[string]func(*testing.T, string) *labdns.Server{
		"nsd": func(t *testing.T, dir string) *labdns.Server {
			t.Helper()
			return labdns.NSD(t, labdns.Options{Extra: fmt.Sprintf("include: %q\ninclude: %q\n", dir+"/keys.conf", dir+"/zones.conf")})
		},
		"knot": func(t *testing.T, dir string) *labdns.Server {
			t.Helper()
			return labdns.Knot(t, labdns.Options{Extra: fmt.Sprintf("include: %q\ninclude: %q\n", dir+"/keys.conf", dir+"/zones.conf")})
		},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel() // they mostly wait
			lab.Need(t, map[string]string{"nsd": "nsd", "knot": "knotd"}[kind])
			d := &desk{t: t, catalog: d.catalog}
			free := labdns.AddressOf(t) // a server that is not there
			begin := func(to string) map[string]string {
				return map[string]string{
					"file": old.conf, "for": kind, "old": old.server.Address.String(), "new": to,
					"name": "to-" + kind, "green": "0s", "runs": "2",
				}
			}
			d.must("zone graduate", begin(free.String()), "one.example", "primary", "sec.example", "secondary", "grad", "TEMPLATE", "graduation to-"+kind+" is imported")

			named := map[string]string{"name": "to-" + kind, "tsig": "hmac-sha256:Grad:" + gradSecret}
			d.refused(fault.KindConflict, "zone compare", named, "differ")
			if !strings.Contains(d.told(), "does not serve 3 of 3 zones yet") {
				t.Errorf("a server that is not there: %s", d.told())
			}
			d.must("zone graduation", map[string]string{"name": "to-" + kind}, "imported")

			dir, written := openFolder(t), filepath.Join(t.TempDir(), "new")
			conf := map[string]string{"file": old.conf, "for": kind, "folder": dir, "config": dir}
			if out := d.must("zone target", conf, "SECRET", "one.example"); strings.Contains(out, gradSecret) {
				t.Error("a secret is printed")
			}
			conf["write"] = written
			if out := d.must("zone target", conf, filepath.Join(written, "zones.conf")); strings.Contains(out, gradSecret) {
				t.Error("a secret is printed")
			}
			carry(t, written, dir, "two.example")
			fresh := start(t, dir)
			for _, z := range old.zones {
				lab.Eventually(t, z+" is served", func() bool { _, _, ok := fresh.SOA(z); return ok })
			}

			d.must("zone graduate", begin(fresh.Address.String()), "imported", fresh.Address.String())
			cut := map[string]string{"name": "to-" + kind}
			d.refused(fault.KindConflict, "zone cutover", cut, "cut over", "imported")
			d.refused(fault.KindConflict, "zone compare", named, "in 1 of 3 zones")
			if !strings.Contains(d.told(), "two.example") || !strings.Contains(d.told(), "192.0.2.81") {
				t.Errorf("the planted difference is not told: %s", d.told())
			}
			d.must("zone graduation", cut, "shadow", "two.example", "old |", "new |", "192.0.2.81", "192.0.2.80")
			d.refused(fault.KindConflict, "zone cutover", cut, "too early", "1 findings", "--accept")
			d.must("zone cutover", map[string]string{"name": "to-" + kind, "accept": "true", "why": "no zone was added by rndc"}, "shadow")
			d.refused(fault.KindConflict, "zone cutover", cut, "too early", "differences")

			carry(t, written, dir, "")
			fresh.Stop()
			fresh.Start()
			for _, z := range old.zones {
				lab.Eventually(t, z+" is served", func() bool { _, _, ok := fresh.SOA(z); return ok })
			}
			d.must("zone compare", named, "no difference: 3 zones", "is shadow")
			d.refused(fault.KindConflict, "zone cutover", cut, "1 of 2 green")
			single := map[string]string{"old": old.server.Address.String(), "new": fresh.Address.String(), "zones": "two.example", "questions-only": "true", "ignore-ttl": "true"}
			if _, err := d.do("zone compare", single); !fault.Is(err, fault.KindPartial) {
				t.Errorf("guessed names: %v", err)
			}
			d.must("zone compare", named, "is green", "switch")

			a, in := d.prepare("zone cutover", cut)
			plan, err := a.Plan(t.Context(), in)
			if text := fmt.Sprint(plan); err != nil || !strings.Contains(text, "glue") || !strings.Contains(text, old.server.Address.Addr().String()) {
				t.Errorf("plan %s, %v", text, err)
			}
			d.must("zone cutover", cut, "is cutover", "--rollback")
			d.refused(fault.KindConflict, "zone graduate", begin(free.String()), "cut over")
			d.must("zone cutover", map[string]string{"name": "to-" + kind, "rollback": "true", "why": "wrong ACL"}, "is shadow")
			d.refused(fault.KindConflict, "zone cutover", cut, "too early")
			d.refused(fault.KindInvalid, "zone cutover", map[string]string{"name": "to-" + kind, "force": "true"}, "reason")
			d.must("zone cutover", map[string]string{"name": "to-" + kind, "force": "true", "why": "the old one burns"}, "is cutover")
			d.must("zone cutover", map[string]string{"name": "to-" + kind, "release": "true"}, "is released")
			d.must("zone graduations", nil, "to-"+kind, "released")
			d.must("zone graduation", cut, "forced though", "alice", "wrong ACL")
		})
	}
}

func TestGraduationRefuses(t *testing.T) {
	d := newDesk(t)
	conf := `key k { algorithm hmac-sha256; secret "????????"; }; options { recursion no; };
zone "a.example" { type primary; file "a"; allow-transfer { key k; }; };`
	views := `view in { zone "a.example" { type primary; file "a"; }; }; view out { zone "a.example" { type primary; file "b"; }; };`
	dir := t.TempDir()
	put(t, filepath.Join(dir, "named.conf"), `include "`+dir+`/zones.conf"; zone "b.example" { type primary; file "b"; };`)
	put(t, filepath.Join(dir, "zones.conf"), `zone "c.example" { type primary; file "c"; };`)
	put(t, filepath.Join(dir, "keys.conf"), "other contents")
	for _, c := range []struct {
		kind   fault.Kind
		what   string
		values map[string]string
		want   string
	}{
		{fault.KindInvalid, "zone graduate", map[string]string{"for": "nsd"}, "named-checkconf -p"},
		{fault.KindInvalid, "zone graduate", map[string]string{"for": "nsd", "file": `include "x.conf";`}, "all.conf:1: it includes \"x.conf\""},
		{fault.KindInvalid, "zone graduate", map[string]string{"for": "nsd", "file": `options { include "x.conf"; };`}, "includes"},
		{fault.KindInvalid, "zone graduate", map[string]string{"for": "nsd", "file": "zone {"}, "cannot be read"},
		{fault.KindInvalid, "zone graduate", map[string]string{"for": "nsd", "file": conf, "path": "/x"}, "both"},
		{fault.KindInvalid, "zone graduate", map[string]string{"for": "nsd", "path": "x"}, "absolute"},
		{fault.KindInvalid, "zone graduate", map[string]string{"for": "nsd", "file": "options { recursion no; };"}, "no primary or secondary"},
		{fault.KindInvalid, "zone graduate", map[string]string{"for": "nsd", "file": views}, "in, out"},
		{fault.KindNotFound, "zone graduate", map[string]string{"for": "nsd", "file": views, "view": "x"}, "in, out"},
		{fault.KindInvalid, "zone graduate", map[string]string{"for": "nsd", "file": conf, "old": "192.0.2.1"}, "only one"},
		{fault.KindInvalid, "zone graduate", map[string]string{"for": "nsd", "file": conf, "old": "ns1", "new": "ns2"}, "192.0.2.1:53"},
		{fault.KindInvalid, "zone graduate", map[string]string{"for": "nsd", "file": conf, "old": "192.0.2.1", "new": "192.0.2.1:53"}, "the same"},
		{fault.KindInvalid, "zone graduate", map[string]string{"for": "nsd", "file": conf, "old": "192.0.2.1", "new": "192.0.2.2", "name": "a b"}, "letters"},
		{fault.KindInvalid, "zone target", map[string]string{"for": "nsd", "file": conf, "write": "x"}, "absolute"},
		{fault.KindInvalid, "zone target", map[string]string{"for": "nsd", "file": conf, "write": "/x/kaname"}, "left out"},
		{fault.KindExists, "zone target", map[string]string{"for": "nsd", "file": strings.Replace(conf, "????????", gradSecret, 1), "write": dir}, "differs"},
		{fault.KindInvalid, "zone target", map[string]string{"for": "nsd", "file": conf, "folder": "x y"}, "absolute"},
		{fault.KindInvalid, "zone compare", map[string]string{"old": "192.0.2.1"}, "two servers"},
		{fault.KindInvalid, "zone compare", map[string]string{"old": "192.0.2.1", "new": "192.0.2.2"}, "no zones"},
		{fault.KindNotFound, "zone compare", map[string]string{"name": "x"}, "x does not exist"},
		{fault.KindNotFound, "zone compare", map[string]string{"old": "192.0.2.1", "new": "192.0.2.2", "zones": "a.example", "key": "x"}, "zone.keys"},
		{fault.KindInvalid, "zone compare", map[string]string{"old": "192.0.2.1", "new": "192.0.2.2", "zones": "a.example", "tsig": gradSecret}, "dig -y"},
		{fault.KindInvalid, "zone compare", map[string]string{"old": "192.0.2.1", "new": "192.0.2.2", "zones": "a.example", "sign": "true"}, "--key"},
		{fault.KindInvalid, "zone compare", map[string]string{"old": "192.0.2.1", "new": "192.0.2.2", "zones": "a..example"}, "a..example"},
		{fault.KindNotFound, "zone cutover", map[string]string{"name": "x"}, "x does not exist"},
		{fault.KindInvalid, "zone cutover", map[string]string{"name": "x", "release": "true", "rollback": "true"}, "exclude"},
		{fault.KindInvalid, "zone cutover", map[string]string{"name": "x", "accept": "true"}, "reason"},
	} {
		d.refused(c.kind, c.what, c.values, c.want)
		if _, err := d.do(c.what, c.values); err != nil && strings.Contains(err.Error(), gradSecret) {
			t.Errorf("%s: a secret is printed", c.what)
		}
	}
	d.must("zone graduate", map[string]string{"for": "knot", "path": filepath.Join(dir, "named.conf")}, "b.example", "c.example", "2 zones")
	d.must("zone graduate", map[string]string{"for": "knot", "file": views, "view": "in"}, "of view in", "several views")

	both := map[string]string{"for": "nsd", "file": views, "view": "in", "old": "192.0.2.1", "new": "192.0.2.2", "name": "v"}
	d.must("zone graduate", both, "graduation v is imported", "1 blockers", "--accept")
	d.must("zone cutover", map[string]string{"name": "v", "accept": "true", "why": "a server each"})
	d.must("zone graduate", both, "0 blockers") // what was accepted stays so
	both["file"] = strings.Replace(views, `file "a"`, `file "a"; allow-query { 10.0.0.0/8; }`, 1)
	d.must("zone graduate", both, "2 blockers")
	d.must("zone cutover", map[string]string{"name": "v", "abandon": "true", "why": "no time"}, "abandoned")
}

func TestNamesArePacked(t *testing.T) {
	var names []name.Name
	for i := range 100_000 {
		names = append(names, name.Name(fmt.Sprintf("customer-%06d.example.", i*7919%1_000_003)))
	}
	b, err := packNames(names)
	if err != nil || len(b) > 600<<10 {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	back, err := unpackNames(b)
	if err != nil || len(back) != len(names) || back[99_999] != names[99_999] {
		t.Fatalf("%d names, %v", len(back), err)
	}
	if _, err := unpackNames(b[:len(b)/2]); !fault.Is(err, fault.KindCorrupt) {
		t.Errorf("half of it: %v", err)
	}
	t.Logf("%d names in %d KiB", len(names), len(b)>>10)
}

// TestAnswersAreShown looks at what people see of a difference.
func TestAnswersAreShown(t *testing.T) {
	text := graduationOut{Last: []compare.Difference{
		{Zone: "a.example.", Kind: "answer", Question: "www.a.example. A", What: "only old: x", Old: ";; one\n;; two"},
		{Zone: "a.example.", Kind: "answer", Question: "www.a.example. A +dnssec", What: "only old: x", Old: "again"},
	}}.String()
	for _, want := range []string{"a.example: answer: www.a.example. A: only old: x", "old | ;; two", "new | (nothing)", "+dnssec"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing:\n%s", want, text)
		}
	}
	if strings.Contains(text, "again") {
		t.Errorf("every answer of a zone is printed:\n%s", text)
	}
}
