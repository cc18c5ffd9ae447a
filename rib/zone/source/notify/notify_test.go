package notify

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"kaname.dev/kaname/lab"
	"kaname.dev/kaname/lab/dns"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/source"
	"kaname.dev/kaname/rib/zone/wire"
)

// quick is usual, for tests that cannot wait minutes.
func quick() pace {
	return pace{
		rate: 1000, flight: 8, queue: 1000, forget: 200 * time.Millisecond, verify: 300 * time.Millisecond,
		strikes: 3, over: 300 * time.Millisecond, full: 500 * time.Millisecond, gather: 5 * time.Millisecond, scan: 20 * time.Millisecond,
	}
}

// keeper is who is told.
type keeper struct {
	mu      sync.Mutex
	zones   map[name.Name]bool
	trouble string
	fails   bool
}

func (k *keeper) tell(_ context.Context, r source.Report) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fails {
		return os.ErrDeadlineExceeded
	}
	k.trouble = r.Trouble
	if r.Full != nil {
		k.zones = map[name.Name]bool{}
		for _, m := range r.Full.Members {
			k.zones[m.Name] = true
		}
	}
	if r.Delta != nil {
		for _, m := range r.Delta.Add {
			k.zones[m.Name] = true
		}
		for _, n := range r.Delta.Remove {
			delete(k.zones, n)
		}
	}
	return nil
}

func (k *keeper) has(n name.Name) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.zones[n]
}

func (k *keeper) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.zones)
}

func (k *keeper) troubled() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.trouble != ""
}

// start runs a source until the test ends, or stop is called.
func start(t *testing.T, o source.Options, p pace) (*Source, *keeper, func()) {
	t.Helper()
	s, err := open(o, p)
	if err != nil {
		t.Fatal(err)
	}
	k := &keeper{zones: map[name.Name]bool{}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, k.tell) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		_ = s.Close()
	})
	t.Cleanup(stop)
	return s, k, stop
}

func options(t *testing.T, primary netip.AddrPort) source.Options {
	t.Helper()
	return source.Options{
		Name: "super", Kind: "notify", Peer: wire.Peer{Address: primary}, Dir: t.TempDir(),
		Froms: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
		Names: []name.Name{"ns1.a.test.", "ns1.b.test.", "ns1.c.test.", "ns1.d.test.", "ns1.many-00.test."},
	}
}

var allowed = netip.MustParseAddrPort("192.0.2.7:40000")

func heard(n name.Name) source.Notify { return source.Notify{Zone: n, From: allowed} }

// relay stands between the source and a primary, and counts questions.
func relay(t *testing.T, to netip.AddrPort) (netip.AddrPort, *atomic.Int64) {
	t.Helper()
	var count atomic.Int64
	front, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() { _ = front.Close(); all.Wait() })
	all.Go(func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := front.ReadFrom(buf)
			if err != nil {
				return
			}
			count.Add(1)
			q := append([]byte(nil), buf[:n]...)
			all.Go(func() {
				back, err := net.Dial("udp", to.String())
				if err != nil {
					return
				}
				defer back.Close()
				_ = back.SetDeadline(time.Now().Add(time.Second))
				_, _ = back.Write(q)
				b := make([]byte, 4096)
				if n, err := back.Read(b); err == nil {
					_, _ = front.WriteTo(b[:n], from)
				}
			})
		}
	})
	return netip.MustParseAddrPort(front.LocalAddr().String()), &count
}

func TestZonesComeByNotifyAndGo(t *testing.T) {
	lab.Need(t, "named")
	primary := dns.BIND(t, dns.Options{Primary: true})
	primary.AddZones("a.test", "b.test", "c.test", "strange.test")
	o := options(t, primary.Address)
	s, k, stop := start(t, o, quick())
	for _, n := range []name.Name{"a.test.", "b.test.", "c.test.", "strange.test.", "lacking.test."} {
		s.Hear(heard(n))
	}
	lab.Eventually(t, "the zones are told", func() bool { return k.count() == 3 })
	if k.has("strange.test.") || k.has("lacking.test.") {
		t.Error("a zone that does not name us, or is not there, was taken")
	}
	primary.RemoveZones("b.test")
	lab.Eventually(t, "the removed zone is told", func() bool { return !k.has("b.test.") })

	stop()
	_, k, stop = start(t, o, quick())
	lab.Eventually(t, "the set is there after a restart", func() bool { return k.has("a.test.") && k.has("c.test.") && k.count() == 2 })

	primary.Signal(syscall.SIGSTOP)
	lab.Eventually(t, "silence is trouble", k.troubled)
	primary.Signal(syscall.SIGCONT)
	lab.Eventually(t, "trouble ends", func() bool { return !k.troubled() })
	if k.count() != 2 {
		t.Errorf("after the primary's silence there are %d zones", k.count())
	}

	stop()
	primary.RemoveZones("a.test", "c.test") // both at once, as when an access list changes
	_, k, _ = start(t, o, quick())
	lab.Eventually(t, "a primary that turns all down is trouble", k.troubled)
	if k.count() != 2 {
		t.Errorf("when all are turned down there are %d zones", k.count())
	}
	primary.AddZones("a.test")
	lab.Eventually(t, "the one that is gone goes", func() bool { return k.has("a.test.") && k.count() == 1 })
}

func TestWhatIsNotAllowedHasNoEffect(t *testing.T) {
	lab.Need(t, "named")
	primary := dns.BIND(t, dns.Options{Primary: true})
	primary.AddZones("a.test", "b.test")
	through, asked := relay(t, primary.Address)
	o := options(t, through)
	s, k, stop := start(t, o, quick())
	s.Hear(source.Notify{Zone: "a.test.", From: netip.MustParseAddrPort("198.51.100.1:53")}) // spoofed badly
	s.Hear(source.Notify{Zone: ".", From: allowed})
	s.Hear(heard("b.test."))
	lab.Eventually(t, "the allowed one is told", func() bool { return k.has("b.test.") })
	if k.has("a.test.") || k.count() != 1 {
		t.Errorf("told were %v", k.zones)
	}
	stop()

	key := wire.Key{Name: dns.KeyName, Algorithm: "hmac-sha256", Secret: dns.KeySecret}
	o = options(t, through)
	o.Peer.Key = &key
	p := quick()
	p.verify = time.Hour
	s, k, _ = start(t, o, p)
	before := asked.Load()
	s.Hear(heard("a.test.")) // unsigned
	s.Hear(source.Notify{Zone: "a.test.", From: allowed, Key: "other"})
	s.Hear(source.Notify{Zone: "a.test.", From: netip.MustParseAddrPort("198.51.100.1:53"), Key: "xfr"})
	s.Hear(source.Notify{Zone: "b.test.", From: allowed, Key: "XFR."})
	lab.Eventually(t, "the signed one is told", func() bool { return k.has("b.test.") })
	if k.count() != 1 {
		t.Errorf("told were %v", k.zones)
	}
	if n := asked.Load() - before; n > 2 {
		t.Errorf("%d questions for one zone", n)
	}

	// Replayed after the zone has gone, the signed message brings it not back.
	primary.RemoveZones("b.test")
	s.mu.Lock()
	s.known["b.test."].next = time.Time{}
	s.mu.Unlock()
	lab.Eventually(t, "the removed one goes", func() bool { return k.count() == 0 })
	before = asked.Load()
	for range 1000 {
		s.Hear(source.Notify{Zone: "b.test.", From: allowed, Key: "xfr"})
	}
	lab.Eventually(t, "the replay is looked into", func() bool { return asked.Load() > before })
	<-time.After(100 * time.Millisecond)
	if n := asked.Load() - before; k.count() != 0 || n > 3 {
		t.Errorf("a replay brought %d zones and %d questions", k.count(), n)
	}
}

func TestAFloodCostsFewQuestions(t *testing.T) {
	lab.Need(t, "named")
	primary := dns.BIND(t, dns.Options{Primary: true})
	primary.AddZones("a.test")
	through, asked := relay(t, primary.Address)
	p := quick()
	p.rate, p.flight, p.queue = 100, 4, 200
	s, k, _ := start(t, options(t, through), p)
	began := time.Now()
	for i := range 10_000 {
		s.Hear(heard(name.Name(fmt.Sprintf("flood-%d.test.", i))))
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("hearing took %s", took)
	}
	lab.Eventually(t, "the flood is over", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.queue) == 0
	})
	s.Hear(heard("a.test."))
	lab.Eventually(t, "a zone comes after it", func() bool { return k.has("a.test.") })
	if n := asked.Load(); n > 260 {
		t.Errorf("10,000 NOTIFYs cost %d questions", n)
	}
	if took := time.Since(began); took < time.Second {
		t.Errorf("200 questions at 100 a second took %s", took)
	}
}

func TestTheSetOnDisk(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, setFile)
	if err := os.WriteFile(path, []byte("+ a.test.\n+ b.test.\n- a.test.\n+ c.te"), 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	s, names, err := openSet(root)
	if err != nil || len(names) != 1 || names[0] != "b.test." {
		t.Fatalf("%v, %v", names, err)
	}
	if err := s.change([]name.Name{"d.test."}, []name.Name{"b.test."}); err != nil {
		t.Fatal(err)
	}
	_ = s.close()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if names, err := parseSet(raw); err != nil || len(names) != 1 || names[0] != "d.test." {
		t.Errorf("%v, %v", names, err)
	}
	if _, err := parseSet([]byte("+ a.test.\nrubbish\n")); err == nil {
		t.Error("rubbish was read")
	}
}
