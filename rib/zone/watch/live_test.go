package watch

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"kaname.dev/kaname/lab"
	"kaname.dev/kaname/lab/dns"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/server"
	"kaname.dev/kaname/rib/zone/wire"
)

// live runs a watcher of a real server until the test ends.
func live(t *testing.T, o Options) *Watcher {
	t.Helper()
	w := New(o)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); w.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return w
}

// find returns what is known of a zone.
func find(w *Watcher, n name.Name) Seen {
	for s := range w.Snapshot() {
		if s.Name == n {
			return s
		}
	}
	return Seen{}
}

// secondary gives a named of the lab a secondary zone, as a driver would.
func secondary(s *dns.Server, primary netip.AddrPort, zone, key string) {
	if key != "" {
		key = " key " + key
	}
	s.RNDC("addzone", zone, `{ type secondary; file "zones/`+zone+`.db"; primaries { `+primary.Addr().String()+` port `+port(primary)+key+`; }; };`)
}

func port(a netip.AddrPort) string { _, p, _ := strings.Cut(a.String(), ":"); return p }

func TestARealSecondary(t *testing.T) {
	lab.Need(t, "named")
	address := dns.AddressOf(t)
	primary := dns.BIND(t, dns.Options{Primary: true, Notify: []netip.AddrPort{address}})
	second := dns.BIND(t, dns.Options{Address: address, From: []netip.AddrPort{primary.Address}})
	primary.AddZones("a.test")
	var mu sync.Mutex
	took := map[name.Name]time.Duration{}
	key := wire.Key{Name: dns.KeyName, Algorithm: "hmac-sha256", Secret: dns.KeySecret}
	w := live(t, Options{
		Server: second.Address, Name: "ns1", Period: 500 * time.Millisecond, Keys: Keys{key},
		OnServed: func(n name.Name, d time.Duration) { mu.Lock(); took[n] = d; mu.Unlock() },
	})
	set := func(names ...name.Name) {
		zones := map[name.Name]Zone{}
		for _, n := range names {
			zones[n] = Zone{Primaries: []server.Primary{{Address: primary.Address, Key: dns.KeyName}}}
		}
		w.Set(zones)
	}

	secondary(second, primary.Address, "a.test", dns.KeyName)
	set("a.test.")
	w.Added([]name.Name{"a.test."})
	lab.Eventually(t, "it is served, and the primary known", func() bool {
		s := find(w, "a.test.")
		return s.State == Serving && s.Serial == 1 && s.Primary == 1
	})
	mu.Lock()
	if took["a.test."] == 0 {
		t.Error("nobody was told that it is served")
	}
	mu.Unlock()
	if s := find(w, "a.test."); time.Until(s.Expires) < 600_000*time.Second {
		t.Errorf("it expires at %s, as the server says", s.Expires)
	}
	primary.Rewrite(5, "a.test")
	lab.Eventually(t, "the new serial is seen on both", func() bool {
		s := find(w, "a.test.")
		return s.Serial == 5 && s.Primary == 5 && s.Behind.IsZero()
	})

	set("a.test.", "lacking.test.")
	secondary(second, primary.Address, "lacking.test", dns.KeyName)
	w.Added([]name.Name{"lacking.test."})
	lab.Eventually(t, "the cause of the other is found", func() bool {
		s := find(w, "lacking.test.")
		return s.State == Loading && strings.Contains(s.Note, "primary "+primary.Address.String())
	})
	t.Log(find(w, "lacking.test.").Note)

	second.RNDC("delzone", "a.test")
	lab.Eventually(t, "a hand's removal is seen", func() bool { return find(w, "a.test.").State == Drift })
	set("lacking.test.")
	w.Removed([]name.Name{"a.test."})
	lab.Eventually(t, "it leaves", func() bool { return len(w.Leaving()) == 0 })

	second.Kill()
	lab.Eventually(t, "a dead server is seen", func() bool { return find(w, "lacking.test.").State == Silent })
	second.Start()
	lab.Eventually(t, "it is back", func() bool { return find(w, "lacking.test.").State == Loading })
}

func TestCausesByName(t *testing.T) {
	lab.Need(t, "named")
	primary := dns.BIND(t, dns.Options{Primary: true})
	closed := dns.BIND(t, dns.Options{Primary: true})
	conf, err := os.ReadFile(closed.Config)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(conf), "allow-transfer { key xfr; 127.0.0.0/8; };", "allow-transfer { none; };", 1)
	if err := os.WriteFile(filepath.Clean(closed.Config), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(closed.Config, 65534, 65534); err != nil && os.Geteuid() == 0 {
		t.Fatal(err)
	}
	closed.RNDC("reconfig")
	primary.AddZones("a.test")
	closed.AddZones("a.test")
	good := wire.Key{Name: dns.KeyName, Algorithm: "hmac-sha256", Secret: dns.KeySecret}
	bad := good
	bad.Secret = "d3Jvbmcgd3Jvbmcgd3Jvbmcgd3Jvbmcgd3Jvbmcgd3I="
	stranger := good
	stranger.Name = "stranger"
	for _, c := range []struct {
		peer wire.Peer
		zone name.Name
		want string
	}{
		{wire.Peer{Address: primary.Address, Key: &good}, "a.test.", "gives it to this host with the key xfr"},
		{wire.Peer{Address: primary.Address, Key: &bad}, "a.test.", "the TSIG key is wrong"},
		{wire.Peer{Address: primary.Address, Key: &stranger}, "a.test.", "the TSIG key is wrong"},
		{wire.Peer{Address: closed.Address, Key: &good}, "a.test.", "its transfer fails: refused (key: xfr)"},
		{wire.Peer{Address: primary.Address}, "lacking.test.", "refused"},
		{wire.Peer{Address: dns.AddressOf(t)}, "a.test.", "does not answer this host"},
	} {
		if got := diagnose(t.Context(), c.peer, c.zone); !strings.Contains(got, c.want) {
			t.Errorf("of %s at %s: %q lacks %q", c.zone, c.peer.Address, got, c.want)
		}
	}
}

func TestDelegations(t *testing.T) {
	lab.Need(t, "named")
	parent := dns.BIND(t, dns.Options{Primary: true, Catalogs: []string{"test"}})
	ours := dns.BIND(t, dns.Options{Primary: true})
	ours.AddZones("good.test", "half.test")
	parent.Update("test", nil, []string{
		"good.test. 0 IN NS ns1.example.", "good.test. 0 IN NS ns2.example.",
		"half.test. 0 IN NS ns1.example.", "half.test. 0 IN NS old.example.",
		"half.test. 0 IN DS 1 13 2 0000000000000000000000000000000000000000000000000000000000000000",
		"empty.test. 0 IN NS ns1.example.",
	})
	w := World{
		Roots: []netip.AddrPort{parent.Address}, Names: []name.Name{"ns1.example.", "ns2.example."},
		At: map[name.Name][]netip.AddrPort{"ns1.example.": {ours.Address}, "ns2.example.": {ours.Address}},
	}
	look := func(zone name.Name) Report {
		t.Helper()
		r, err := Delegation(t.Context(), w, zone)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := look("good.test."); !r.Delegated || r.Signed || len(r.Strange)+len(r.Absent)+len(r.Lame) > 0 {
		t.Errorf("a good one: %+v", r)
	}
	r := look("half.test.")
	if !r.Signed || len(r.Strange) != 1 || r.Strange[0] != "old.example." || len(r.Absent) != 1 || r.Absent[0] != "ns2.example." || len(r.Lame) != 1 || r.Lame[0].Server != "old.example." {
		t.Errorf("a half one: %+v", r)
	}
	if r := look("empty.test."); len(r.Lame) != 1 || r.Lame[0].Server != "ns1.example." {
		t.Errorf("a lame one: %+v", r)
	}
	if r := look("never.test."); r.Delegated || r.Signed {
		t.Errorf("one that is not delegated: %+v", r)
	}
	w.Roots = []netip.AddrPort{dns.AddressOf(t)}
	if _, err := Delegation(t.Context(), w, "good.test."); err == nil {
		t.Error("a parent that does not answer is no error")
	}
}
