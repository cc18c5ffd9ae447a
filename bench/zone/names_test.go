package zone

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kaname.dev/kaname/lab/dns"
	"kaname.dev/kaname/rib/zone/name"
)

// typed are names as people type them, below a parent: special to shells, to
// configuration files and control channels, and to zone files. Those that would inject
// a zone would inject evil.test.
var typed = []string{
	"日本語", "MiXeD", `a\046b`, `\000nul`, `\255high`, "sp ace", `quo"te`, "apo'strophe", "br{ace}", "semi;colon", "new\nline", "$ORIGIN", "*", "st*ar", "@", "@at",
	`back\\slash`, "#hash", "%s%n", "0/25", "-dash", "_srv", "tick`id`", "$(touch evil)", "a=b", "[x]", "a:b", "<t>", "a|b&c", "tab\ttab", strings.Repeat("l", 63),
	`x"; }; zone "evil.test" { type primary; file "zone\046db"; }; zone "y`, "x\naddzone evil.test kaname\n", "x evil.test\n", "x' OR '1'='1", `x/\046\046/\046\046/evil.test`,
}

// wildcard is a member for which a catalog as a whole is not taken (RFC 9432 section 7
// leaves it to us): no zone can have the name.
const wildcard name.Name = `\042.cat.example.`

// refused are names that are none, or not served.
var refused = []string{".", "..", "a..test", ".test", strings.Repeat("l", 64) + ".test", strings.Repeat("m.", 127) + "test", `\256.test`, `a\`}

// whole are names below others' parents; the last has 255 octets on the wire.
func whole() []string {
	label := strings.Repeat("m", 61) + "."
	return []string{"2.0.192.in-addr.arpa", "64/26.2.0.192.in-addr.arpa", "8.b.d.0.1.0.0.2.ip6.arpa", strings.Repeat(label, 4) + ".test"[1:]}
}

// TestNames has zones of all these names added by people, by a directory of files and by
// a catalog: every server serves them, or the status says why it does not. Nothing else
// is harmed, and nothing is injected.
func TestNames(t *testing.T) {
	files := filepath.Join(t.TempDir(), "zones")
	if err := os.Mkdir(files, 0o755); err != nil {
		t.Fatal(err)
	}
	var catalog *dns.Server
	b := newBed(t, options{primaries: []string{"bind"}, servers: all, sources: func(b *bed) string {
		catalog = dns.BIND(t, dns.Options{Primary: true, Notify: addrs(b.listen), Catalogs: []string{"cat.test"}})
		return fmt.Sprintf("    - {name: files, kind: directory, config: %q, primary: %q, key: %q}\n    - {name: catalog, kind: catalog, address: %q, catalog: cat.test, key: %q}\n",
			files, b.primaries[0].Address, b.key, catalog.Address, b.key)
	}})
	every := 2 // those that people do not type, in full size
	if figures() != "" {
		every = 1
	}
	ours := map[string][]name.Name{}
	typedHere := append(below("cli.test", 0, 1), whole()...)
	ours["cli"] = parsed(t, typedHere)
	ours["catalog"] = slices.DeleteFunc(parsed(t, below("cat.example", 0, every)), func(n name.Name) bool { return n == wildcard })
	var called []string // as files can be
	for _, text := range below("dir.test", every-1, every) {
		if !strings.Contains(text, "/") && text[0] != '#' && len(text) < 240 {
			called = append(called, text)
		}
	}
	ours["directory"] = parsed(t, called)

	b.primaries[0].AddZones(append(bare(ours["cli"], ours["directory"]), "stays.test")...)
	write(t, filepath.Join(files, "stays.test.zone"), dns.ZoneFile(1))
	b.await("stays.test", true, time.Now(), 20*time.Second)
	stop := b.guardZone("stays.test")
	began := time.Now()
	b.shell("add", typedHere, "--primary", b.primaries[0].Address.String())
	for _, text := range called {
		write(t, filepath.Join(files, text+".zone"), dns.ZoneFile(1))
	}
	catalog.AddZones(bare(ours["catalog"])...)
	for _, text := range refused {
		if out, err := b.command("zone", "add", "--primary", "127.0.0.1:53", "--", text).CombinedOutput(); err == nil {
			t.Errorf("the name %q is taken: %s", text, out)
		}
	}
	for how, zones := range ours {
		b.settle(how, zones)
	}
	t.Logf("all are served or refused %s after they were added", time.Since(began).Round(time.Millisecond))
	b.uninjected()
	b.poisoned(catalog, ours["catalog"])
	if lost := stop(); lost != "" {
		t.Errorf("another zone was harmed: %s", lost)
	}
	b.restarts(ours)
	t.Logf("%s: the servers were started again", time.Since(began).Round(time.Millisecond))

	b.shell("remove", typedHere, "--yes")
	for _, text := range called {
		if err := os.Remove(filepath.Join(files, text+".zone")); err != nil {
			t.Fatal(err)
		}
	}
	catalog.RemoveZones(bare(ours["catalog"][1:])...) // a catalog that loses all is held
	gone := slices.Concat(ours["cli"], ours["directory"], ours["catalog"][1:])
	b.until("all are removed", 40*time.Second, func() bool { return len(b.stillServed(gone)) == 0 })
	b.await("stays.test", true, time.Now(), 5*time.Second)
	t.Logf("%s: all were removed", time.Since(began).Round(time.Millisecond))
}

// below returns every so manieth of the names, from one on, below a parent.
func below(parent string, from, every int) []string {
	var out []string
	for i := from; i < len(typed); i += every {
		out = append(out, typed[i]+"."+parent)
	}
	return out
}

func parsed(t *testing.T, texts []string) []name.Name {
	t.Helper()
	names := make([]name.Name, len(texts))
	for i, text := range texts {
		n, err := name.Parse(text)
		if err != nil {
			t.Fatalf("%q %v", text, err)
		}
		names[i] = n
	}
	return names
}

func bare(lists ...[]name.Name) []string {
	var out []string
	for _, n := range slices.Concat(lists...) {
		out = append(out, n.Bare())
	}
	return out
}

// shell runs kaname zone in a shell, each name quoted as people do.
func (b *bed) shell(verb string, names []string, flags ...string) {
	b.t.Helper()
	words := append([]string{bin, "zone", verb}, append(flags, "--")...)
	for _, n := range names {
		words = append(words, "'"+strings.ReplaceAll(n, "'", `'\''`)+"'")
	}
	c := b.command()
	c.Path, c.Args = "/bin/sh", []string{"sh", "-c", strings.Join(words, " ")}
	if out, err := c.CombinedOutput(); err != nil {
		b.t.Fatalf("zone %s: %v: %s", verb, err, out)
	}
}

// command returns kaname with arguments, to be run.
func (b *bed) command(args ...string) *exec.Cmd {
	c := exec.Command(bin, args...)
	c.Dir = b.dir
	c.Env = append(os.Environ(), "KANAME_SOCKET="+b.dir+"/core.sock")
	return c
}

// settle waits until each server serves each zone, or the status says why it does not.
func (b *bed) settle(how string, zones []name.Name) {
	b.t.Helper()
	type place struct{ zone, server string }
	open := map[place]name.Name{}
	for _, n := range zones {
		for _, s := range b.servers {
			open[place{n.Unicode(), "ns1/" + s.Kind}] = n
		}
	}
	notes := map[place]string{}
	b.until("all zones by "+how+" are served, or a note says why not", 30*time.Second, func() bool {
		var rows []struct{ Zone, Server, State, Note string }
		raw, err := b.try("zone", "status", "--all", "--limit", "0")
		if err != nil || json.Unmarshal(raw, &rows) != nil {
			return false
		}
		states := map[place]string{}
		for _, r := range rows {
			at := place{r.Zone, r.Server}
			states[at], notes[at] = r.State, r.Note
		}
		for at, n := range open {
			if b.serves(at.server, n) {
				delete(open, at)
			}
		}
		silent := 0
		for at := range open {
			if notes[at] == "" || states[at] == "serving" {
				silent++
			}
		}
		return silent == 0
	})
	by, strange := map[string]int{}, 0
	for at := range open {
		by[at.server]++
		if at.server == "ns1/pdns" { // its API takes few characters
			if !strings.Contains(notes[at], "cannot hold a zone of this name") && !strings.Contains(notes[at], "SERVFAIL") {
				b.t.Errorf("%s: %s does not serve %s: %s", how, at.server, at.zone, notes[at])
			}
			continue
		}
		strange++
		b.t.Logf("%s: %s does not serve %s: %s", how, at.server, at.zone, notes[at])
	}
	b.t.Logf("%s: %d names; not served, with a note that says why: %v", how, len(zones), by)
	if strange > len(b.servers) { // the wildcard, for which no primary has contents
		b.t.Errorf("%s: %d are not served by servers that could", how, strange)
	}
}

// poisoned lists a wildcard in the catalog: the source says so, and its zones stay.
func (b *bed) poisoned(catalog *dns.Server, zones []name.Name) {
	b.t.Helper()
	before := len(b.stillServed(zones))
	catalog.Update("cat.test", nil, []string{dns.Member("cat.test", wildcard.Bare())})
	b.until("the source says what is wrong", 10*time.Second, func() bool {
		raw, _ := b.try("zone", "sources")
		return strings.Contains(string(raw), "member-wildcard")
	})
	if after := len(b.stillServed(zones)); after < before {
		b.t.Errorf("a wildcard in the catalog cost %d zones", before-after)
	}
	catalog.Update("cat.test", []string{dns.Member("cat.test", wildcard.Bare())}, nil)
}

func (b *bed) serves(server string, n name.Name) bool {
	i := slices.IndexFunc(b.servers, func(s *dns.Server) bool { return "ns1/"+s.Kind == server })
	_, _, ok := b.servers[i].SOA(n.String())
	return ok
}

// uninjected looks that no server got what nobody asked for.
func (b *bed) uninjected() {
	b.t.Helper()
	b.cli(nil, "zone", "apply", "--yes") // look at all of them now
	b.until("no server has zones that are not ours", 10*time.Second, func() bool {
		return !slices.ContainsFunc(b.serverRows(), func(r serverRow) bool { return r.Foreign > 0 })
	})
	for _, s := range b.servers {
		for _, evil := range []string{"evil.test", "evil", "test"} {
			if _, rcode, _ := s.SOA(evil); rcode != 5 {
				b.t.Errorf("%s answers for %s with code %d", s.Kind, evil, rcode)
			}
		}
		if _, err := os.Stat(filepath.Join(s.Dir, "evil")); err == nil {
			b.t.Errorf("a command was run in %s", s.Dir)
		}
	}
	if _, err := os.Stat(filepath.Join(b.dir, "evil")); err == nil {
		b.t.Error("a command was run by the shell")
	}
}

// restarts starts every server again: each can read what it keeps, and serves what it
// served.
func (b *bed) restarts(ours map[string][]name.Name) {
	b.t.Helper()
	zones := slices.Concat(ours["cli"], ours["directory"], ours["catalog"])
	before := b.stillServed(zones)
	for _, s := range b.servers {
		s.Stop()
		s.Start()
	}
	b.await("stays.test", true, time.Now(), 20*time.Second)
	b.until("all are served again", 20*time.Second, func() bool { return len(b.stillServed(zones)) >= len(before) })
}

// stillServed returns which zones are served, and by whom.
func (b *bed) stillServed(zones []name.Name) []string {
	var out []string
	for _, s := range b.servers {
		for _, n := range zones {
			if _, _, ok := s.SOA(n.String()); ok {
				out = append(out, s.Kind+" "+n.Bare())
			}
		}
	}
	return out
}
