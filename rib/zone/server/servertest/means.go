package servertest

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"kaname.dev/kaname/lab/dns"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/server"
)

// stock creates the zones of the suite on the primary, all at once.
func (s *suite) stock(t *testing.T) {
	t.Helper()
	zones := []string{
		"one.test", "same.test", "good1.test", "good2.test", "change.test", "foreign.test", "adopt.test", "adoptgone.test",
		"keep1.test", "keep2.test", "keep3.test", "status.test", "badkey.test", "beside.test", "two1.test", "two2.test", "paused.test",
	}
	for _, n := range append(bulkNames(), hostile(t)...) {
		zones = append(zones, n.Bare())
	}
	s.Primary.AddZones(zones...)
}

// bulkNames are many zones.
func bulkNames() []name.Name {
	list := make([]name.Name, 150)
	for i := range list {
		list[i] = name.Name(fmt.Sprintf("bulk%03d.test.", i))
	}
	return list
}

// template is how the zones are served.
func (s *suite) template() server.Template {
	return server.Template{
		Name: "default", Primaries: []server.Primary{{Address: s.Primary.Address, Key: dns.KeyName}},
		Transfer: []string{"127.0.0.1/8", "key " + dns.KeyName}, Options: s.Options,
	}
}

func (s *suite) id(t server.Template) string { return t.ID(s.Kind) }

// addition asks for zones with the template.
func (s *suite) additions(zones ...name.Name) []server.Addition {
	out := make([]server.Addition, len(zones))
	for i, z := range zones {
		out[i] = server.Addition{Name: z, Template: s.template()}
	}
	return out
}

func removals(zones ...name.Name) []server.Removal {
	out := make([]server.Removal, len(zones))
	for i, z := range zones {
		out[i] = server.Removal{Name: z}
	}
	return out
}

// add adds zones and fails the test unless all are taken.
func (s *suite) add(t *testing.T, d server.Driver, list []server.Addition) {
	t.Helper()
	errs := d.Add(limited(t), list)
	if len(errs) != len(list) {
		t.Fatalf("Add of %d zones returned %d results", len(list), len(errs))
	}
	for i, err := range errs {
		if err != nil {
			t.Fatalf("Add of %s: %v", list[i].Name, err)
		}
	}
}

func (s *suite) remove(t *testing.T, d server.Driver, list []server.Removal) {
	t.Helper()
	errs := d.Remove(limited(t), list)
	if len(errs) != len(list) {
		t.Fatalf("Remove of %d zones returned %d results", len(list), len(errs))
	}
	for i, r := range list {
		if err := errs[i]; err != nil {
			t.Fatalf("Remove of %s: %v", r.Name, err)
		}
	}
}

// list returns what the server has, by name.
func (s *suite) list(t *testing.T, d server.Driver) map[name.Name]server.Zone {
	t.Helper()
	zones, err := d.List(limited(t))
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	have := map[name.Name]server.Zone{}
	for _, z := range zones {
		if _, twice := have[z.Name]; twice {
			t.Errorf("List has %s twice", z.Name)
		}
		if !z.Present {
			t.Errorf("List has %s as not present", z.Name)
		}
		have[z.Name] = z
	}
	return have
}

// wantOwned fails unless the zone is listed as ours, with the template.
func (s *suite) wantOwned(t *testing.T, have map[name.Name]server.Zone, zone name.Name, template server.Template) {
	t.Helper()
	if z, ok := have[zone]; !ok || !z.Owned || z.Template != s.id(template) {
		t.Errorf("List has %s as %+v; want it owned, with template %s", zone, z, s.id(template))
	}
}

// wait looks until cond holds.
func wait(limit time.Duration, cond func() bool) bool {
	deadline := time.Now().Add(limit)
	for !cond() {
		if time.Now().After(deadline) {
			return false
		}
		<-time.After(10 * time.Millisecond)
	}
	return true
}

// served waits until the server answers with authority. Zones that wait are kicked,
// as a site does: a first transfer may be lost.
func (s *suite) served(t *testing.T, d server.Driver, zones ...name.Name) {
	t.Helper()
	until, kicked := time.Now().Add(serveLimit), time.Now()
	for left := zones; len(left) > 0; {
		var next []name.Name
		for _, z := range left {
			if _, _, ok := s.Server.SOA(string(z)); !ok {
				next = append(next, z)
			}
		}
		left = next
		if len(left) > 0 && time.Now().After(until) {
			t.Fatalf("%d zones are not served after %s, %s the first; the server wrote:\n%s", len(left), serveLimit, left[0], s.Server.Log())
		}
		if len(left) > 0 && time.Since(kicked) > 3*time.Second {
			kicked = time.Now()
			if err := d.Kick(limited(t), left); err != nil {
				t.Errorf("Kick: %v", err)
			}
		}
		if len(left) > 0 {
			<-time.After(20 * time.Millisecond)
		}
	}
}

// serial waits until the zone is served with the serial.
func (s *suite) serial(t *testing.T, zone name.Name, want uint32) {
	t.Helper()
	var got uint32
	if !wait(serveLimit, func() bool {
		n, _, ok := s.Server.SOA(string(zone))
		got = n
		return ok && n == want
	}) {
		t.Errorf("%s is served with serial %d, want %d", zone, got, want)
	}
}

// silent waits until the server answers for the zone as for one that it never had.
func (s *suite) silent(t *testing.T, zone name.Name) {
	t.Helper()
	var rcode int
	if !wait(serveLimit, func() bool {
		_, rc, ok := s.Server.SOA(string(zone))
		rcode = rc
		return !ok && rc != mdns.RcodeSuccess && rc != mdns.RcodeServerFailure && rc >= 0
	}) {
		t.Errorf("%s answers %s after its removal", zone, mdns.RcodeToString[rcode])
	}
}

// traces waits until nothing of a removed zone is on the server's disk.
func (s *suite) traces(t *testing.T, zone name.Name) {
	t.Helper()
	look := s.Left
	if look == nil {
		look = s.files
	}
	var left []string
	if !wait(5*time.Second, func() bool { left = look(zone); return len(left) == 0 }) {
		t.Errorf("of the removed %s are left: %v", zone, left)
	}
}

// files are paths of the server that are named like the zone.
func (s *suite) files(zone name.Name) []string {
	var found []string
	_ = filepath.WalkDir(s.Server.Dir, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && (strings.Contains(filepath.Base(path), zone.Bare()) || strings.Contains(filepath.Base(path), zone.File())) {
			found = append(found, path)
		}
		return nil
	})
	return found
}

// clean removes what a case left, so that the next begins with an empty server.
func (s *suite) clean(t *testing.T) {
	t.Helper()
	if s.Server.PID() == 0 {
		return
	}
	var list []server.Removal
	for n := range s.list(t, s.d) {
		list = append(list, server.Removal{Name: n, Adopt: true})
	}
	if len(list) > 0 {
		s.remove(t, s.d, list)
	}
}

// other returns a primary whose zones have serial 2.
func (s *suite) other(t *testing.T, zones ...string) *dns.Server {
	t.Helper()
	p := Primary(t, s.Server.Address)
	p.Rewrite(2)
	p.AddZones(zones...)
	return p
}
