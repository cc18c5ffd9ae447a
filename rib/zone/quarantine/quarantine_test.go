package quarantine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/miekg/dns"

	"kaname.dev/kaname/rib/zone/name"
)

func record(t *testing.T, text string) dns.RR {
	t.Helper()
	rr, err := dns.NewRR(text)
	if err != nil {
		t.Fatal(err)
	}
	return rr
}

func TestContentsAreKeptWholeOrNotAtAll(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	n := name.Name(`we\034ird.test.`)
	soa := record(t, `we\"ird.test. 300 IN SOA ns1.test. host.test. 7 3600 600 604800 60`)
	txt := record(t, `a\;b.we\"ird.test. 300 IN TXT "x;y" "\"z\""`)
	send := func(rrs ...dns.RR) func(context.Context, func(dns.RR) error) error {
		return func(_ context.Context, each func(dns.RR) error) error {
			for _, rr := range rrs {
				if err := each(rr); err != nil {
					return err
				}
			}
			return nil
		}
	}
	if err := s.Save(t.Context(), n, send(soa, txt, soa)); err != nil {
		t.Fatal(err)
	}
	got, err := s.Read(n)
	if err != nil || len(got) != 2 || got[1].String() != txt.String() {
		t.Errorf("read %v, %v", got, err)
	}
	cut := errors.New("cut")
	err = s.Save(t.Context(), n, func(_ context.Context, each func(dns.RR) error) error { _ = each(soa); return cut })
	if !errors.Is(err, cut) {
		t.Errorf("a cut transfer gives %v", err)
	}
	if got, err := s.Read(n); err != nil || len(got) != 2 {
		t.Errorf("a cut transfer has harmed what was kept: %v, %v", got, err)
	}
	if err := s.Save(t.Context(), "empty.test.", send()); err == nil {
		t.Error("a transfer without SOA was kept")
	}
	if err := os.WriteFile(filepath.Join(dir, "x.part"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if left, _ := filepath.Glob(filepath.Join(dir, "*.part")); len(left) > 0 {
		t.Errorf("half written files stay: %v", left)
	}
	if err := again.Sweep(time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, ok := again.Kept(n); !ok {
		t.Error("fresh contents were swept")
	}
	if err := again.Sweep(time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, ok := again.Kept(n); ok {
		t.Error("old contents were not swept")
	}
}
