package nsd

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kaname.dev/kaname/lab"
	"kaname.dev/kaname/lab/dns"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/server"
	"kaname.dev/kaname/rib/zone/server/servertest"
)

func bed(t *testing.T, o dns.Options) (primary, second *dns.Server) {
	t.Helper()
	lab.Need(t, "nsd")
	o.Address = dns.AddressOf(t)
	primary = servertest.Primary(t, o.Address)
	o.From = []netip.AddrPort{primary.Address}
	return primary, dns.NSD(t, o)
}

func template(p *dns.Server) server.Template {
	return server.Template{
		Name: "default", Primaries: []server.Primary{{Address: p.Address, Key: dns.KeyName}},
		Transfer: []string{"127.0.0.1/8", "key " + dns.KeyName},
	}
}

func additions(t server.Template, zones ...string) []server.Addition {
	list := make([]server.Addition, len(zones))
	for i, z := range zones {
		list[i] = server.Addition{Name: name.Name(z + "."), Template: t}
	}
	return list
}

func many(format string, n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf(format, i)
	}
	return list
}

// serve adds zones and waits until all are answered; laggards are kicked.
func serve(t *testing.T, d server.Driver, s *dns.Server, list []server.Addition, kick time.Duration) {
	t.Helper()
	for i, err := range d.Add(t.Context(), list) {
		if err != nil {
			t.Fatalf("%s: %v; nsd wrote:\n%s", list[i].Name, err, s.Log())
		}
	}
	waitServed(t, d, s, list, kick)
}

func waitServed(t *testing.T, d server.Driver, s *dns.Server, list []server.Addition, kick time.Duration) {
	t.Helper()
	left := make([]name.Name, len(list))
	for i, a := range list {
		left[i] = a.Name
	}
	last := time.Now()
	lab.Eventually(t, "all are served", func() bool {
		left = slices.DeleteFunc(left, func(n name.Name) bool { _, _, ok := s.SOA(n.String()); return ok })
		if len(left) > 0 && kick > 0 && time.Since(last) > kick {
			last = time.Now()
			if err := d.Kick(t.Context(), left); err != nil {
				t.Fatal(err)
			}
		}
		return len(left) == 0
	})
}

// TestTLS controls nsd with client certificates.
func TestTLS(t *testing.T) {
	control := dns.AddressOf(t)
	certs, lines := dns.NSDCertificates(t, control)
	other, _ := dns.NSDCertificates(t, control)
	p, s := bed(t, dns.Options{Extra: lines})
	p.AddZones(many("z%d.test", 150)...)
	d := open(t, s, server.Options{Control: control.String(), CertDir: certs})
	serve(t, d, s, additions(template(p), many("z%d.test", 150)...), time.Second)
	if list, err := d.List(t.Context()); err != nil || len(list) != 150 {
		t.Errorf("List: %d, %v", len(list), err)
	}
	mixed := t.TempDir() // nsd's certificate is right, ours is not
	for file, from := range map[string]string{"nsd_server.pem": certs, "nsd_control.pem": other, "nsd_control.key": other} {
		text, err := os.ReadFile(filepath.Join(from, file))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(mixed, file), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for what, dir := range map[string]string{"another server": other, "another client": mixed} {
		d := open(t, s, server.Options{Control: control.String(), CertDir: dir})
		if _, err := d.List(t.Context()); !errors.Is(err, server.ErrDenied) {
			t.Errorf("certificates of %s: %v", what, err)
		}
	}
}

// TestCrash has contents survive kill -9 while the primary is down, and a change of
// template too.
func TestCrash(t *testing.T) {
	p, s := bed(t, dns.Options{})
	zones := many("z%d.test", 20)
	p.AddZones(zones...)
	d := open(t, s, server.Options{})
	list := additions(template(p), zones...)
	serve(t, d, s, list, time.Second)
	lab.Eventually(t, "nsd has written all files", func() bool {
		if _, err := d.List(t.Context()); err != nil {
			t.Fatal(err)
		}
		files, _ := filepath.Glob(filepath.Join(s.Dir, "zones", folder, "*.zone"))
		return len(files) == len(zones)
	})
	p.Kill()
	s.Kill()
	s.Start()
	waitServed(t, d, s, list, 0)
	for i := range list {
		list[i].Template.Options = map[string]string{kind: "max-refresh-time: 3000"}
	}
	serve(t, d, s, list, 0)
	have, err := d.List(t.Context())
	if err != nil || len(have) != len(zones) || have[0].Template != list[0].Template.ID(kind) {
		t.Errorf("List: %+v, %v", have, err)
	}
}

// TestKilledWhileAdding ends nsd in the middle of additions.
func TestKilledWhileAdding(t *testing.T) {
	p, s := bed(t, dns.Options{})
	zones := many("z%d.test", 300)
	p.AddZones(zones...)
	d := open(t, s, server.Options{})
	list := additions(template(p), zones...)
	for _, err := range d.Add(t.Context(), list[:1]) { // its pattern is there
		if err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan []error)
	go func() { done <- d.Add(t.Context(), list) }()
	lab.Eventually(t, "nsd is adding", func() bool {
		text, _ := os.ReadFile(filepath.Join(s.Dir, "zone.list"))
		return strings.Count(string(text), "\n") > 30
	})
	s.Kill()
	errs := <-done
	t.Logf("of the zones, %d have an error: %v", len(slices.DeleteFunc(errs, func(err error) bool { return err == nil })), errs[0])
	s.Start()
	lab.Eventually(t, "nsd takes commands", func() bool { _, err := d.Probe(t.Context()); return err == nil })
	serve(t, d, s, list, 2*time.Second)
	if have, err := d.List(t.Context()); err != nil || len(have) != len(zones) {
		t.Errorf("List: %d, %v", len(have), err)
	}
}

func TestTemplates(t *testing.T) {
	p, s := bed(t, dns.Options{})
	d := open(t, s, server.Options{})
	unknown := template(p)
	unknown.Primaries[0].Key = "unknown"
	for _, words := range []string{"zonefile: \"/etc/passwd\"", "notify: 192.0.2.1 NOKEY\nzone:\n name: evil", "x", "include: /etc/passwd", "notify: a b\" server:"} {
		bad := template(p)
		bad.Options = map[string]string{kind: words}
		if err := d.Add(t.Context(), additions(bad, "a.test"))[0]; !errors.Is(err, server.ErrTemplate) {
			t.Errorf("%s: %v", words, err)
		}
	}
	refused := template(p)
	refused.Options = map[string]string{kind: "notify: 300.1.1.1 nokeyofthisname"}
	for what, bad := range map[string]server.Template{"an unknown key": unknown, "an option that nsd refuses": refused, "no primaries": {Name: "x"}} {
		if err := d.Add(t.Context(), additions(bad, "a.test"))[0]; !errors.Is(err, server.ErrTemplate) {
			t.Errorf("%s: %v", what, err)
		}
	}
	p.AddZones("good.test")
	serve(t, d, s, additions(template(p), "good.test"), time.Second)
	s.Kill()
	s.Start() // with the patterns as they are now
	if have, err := d.List(t.Context()); err != nil || len(have) != 1 {
		t.Errorf("List: %v, %v", have, err)
	}
	if err := os.Rename(s.Control, s.Control+".gone"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := d.List(ctx); !errors.Is(err, server.ErrUnreachable) {
		t.Errorf("the control socket is gone: %v", err)
	}
}
