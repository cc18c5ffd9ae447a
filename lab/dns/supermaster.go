package dns

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kaname.dev/kaname/lab"
)

// Supermaster is a BIND that notifies and a PowerDNS that makes a zone of what it is
// notified of (autosecondary, formerly supermaster). PowerDNS asks the sender of a
// NOTIFY at port 53, so they run in a network namespace of their own.
type Supermaster struct {
	Primary, Secondary *Server
	Namespace          string // where they run, for "ip netns exec"

	t    testing.TB
	work chan func() // done inside the namespace
}

// superNS is the name server that every zone of a Supermaster has, and that the
// secondary lists together with the primary's address.
const superNS = "ns.super.test"

// superCount makes the names of namespaces differ within a process.
var superCount atomic.Int32

// NewSupermaster starts the pair. It needs root.
func NewSupermaster(t testing.TB) *Supermaster {
	t.Helper()
	lab.NeedRoot(t)
	lab.Need(t, "ip")
	s := &Supermaster{t: t, work: make(chan func())}
	first, second := netip.MustParseAddrPort("127.0.53.1:53"), netip.MustParseAddrPort("127.0.53.2:53")
	name := fmt.Sprintf("kndns%d-%d", os.Getpid(), superCount.Add(1))
	s.Namespace = name
	s.enter(name, first.Addr(), second.Addr())
	s.Inside(func() {
		s.Primary = BIND(t, Options{Address: first, Primary: true, Notify: []netip.AddrPort{second}})
		s.Primary.write("zone.db", "$TTL 300\n@ SOA "+superNS+". hostmaster 1 3600 600 604800 60\n@ NS "+superNS+".\nwww A 192.0.2.80\n")
		s.Secondary = PowerDNS(t, Options{Address: second, From: []netip.AddrPort{first}, Extra: "autosecondary=yes\n"})
		s.Secondary.SQL(fmt.Sprintf("INSERT INTO supermasters VALUES('%s', '%s', 'super');", first.Addr(), superNS))
	})
	return s
}

// enter makes the namespace and a thread that stays in it: programs that it starts
// and sockets that it opens are there. Programs of the lab end with the thread that
// started them.
func (s *Supermaster) enter(name string, addresses ...netip.Addr) {
	s.t.Helper()
	run := func(argv ...string) {
		s.t.Helper()
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil { //nolint:noctx // ends by itself
			s.t.Fatalf("%v: %v: %s", argv, err, out)
		}
	}
	run("ip", "netns", "add", name)
	s.t.Cleanup(func() { run("ip", "netns", "delete", name) })
	run("ip", "-n", name, "link", "set", "lo", "up")
	for _, a := range addresses {
		run("ip", "-n", name, "address", "add", a.String()+"/32", "dev", "lo")
	}
	run("ip", "netns", "exec", name, "sysctl", "-qw", "net.ipv4.ip_unprivileged_port_start=0")
	ready, done := make(chan error), make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked, so that the thread ends with the goroutine
		f, err := os.Open("/run/netns/" + name)
		if err == nil {
			err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
			_ = f.Close()
		}
		ready <- err
		if err != nil {
			return
		}
		for do := range s.work {
			do()
		}
	}()
	if err := <-ready; err != nil {
		s.t.Fatalf("namespace %s: %v", name, err)
	}
	s.t.Cleanup(func() { close(s.work); <-done })
}

// Inside does something in the namespace: on the one thread that is there, so not from
// within itself.
func (s *Supermaster) Inside(do func()) {
	s.t.Helper()
	done, fine := make(chan struct{}), false
	s.work <- func() {
		defer close(done) // also when a failing test ends the goroutine, and the thread with it
		do()
		fine = true
	}
	<-done
	if !fine {
		s.t.FailNow()
	}
}

// Create makes a zone on the primary and returns how long it took until the secondary
// answered for it.
func (s *Supermaster) Create(zone string) time.Duration {
	s.t.Helper()
	var took time.Duration
	s.Inside(func() {
		begun := time.Now()
		s.Primary.AddZones(zone)
		for !s.serves(zone) {
			if time.Since(begun) > time.Minute {
				s.t.Fatalf("the secondary does not serve %s after a minute:\n%s", zone, s.Secondary.Log())
			}
			<-time.After(2 * time.Millisecond)
		}
		took = time.Since(begun)
	})
	return took
}

func (s *Supermaster) serves(zone string) bool {
	_, _, ok := s.Secondary.SOA(zone)
	return ok
}

// Remove deletes a zone on the primary and reports whether the secondary still
// answers for it after the time.
func (s *Supermaster) Remove(zone string, after time.Duration) bool {
	s.t.Helper()
	still := true
	s.Inside(func() {
		s.Primary.RemoveZones(zone)
		for begun := time.Now(); still && time.Since(begun) < after; <-time.After(20 * time.Millisecond) {
			still = s.serves(zone)
		}
	})
	return still
}
