package zone

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"kaname.dev/kaname/lab/dns"
)

// TestKilledInTheMiddle kills the agent, the core and each server in the middle of
// many additions: all zones are served in the end, and none that was served was lost
// meanwhile on a server that lived.
func TestKilledInTheMiddle(t *testing.T) {
	n := 400
	if figures() != "" {
		n = 10_000
	}
	b := newBed(t, options{primaries: []string{"bind"}, servers: all})
	b.primaries[0].AddZones("first.test")
	b.await("first.test", true, time.Now(), time.Minute)
	stop := b.guardZone("first.test")

	zones := named("mass", n)
	b.primaries[0].AddZones(zones...)
	b.until("some are served", 5*time.Minute, func() bool { return b.served() > n/20 })
	b.ns.end(syscall.SIGKILL)
	b.ns.start()
	b.until("more are served", 5*time.Minute, func() bool { return b.served() > n/3 })
	b.core.end(syscall.SIGKILL)
	b.core.start()
	if lost := stop(); lost != "" {
		t.Errorf("while kaname was killed, a zone was lost: %s", lost)
	}
	for _, s := range b.servers {
		s.Kill()
		s.Start()
	}
	began := time.Now()
	b.complete(zones, began, 30*time.Minute)
	t.Logf("%d zones on %d servers %s after the last kill", n, len(b.servers), time.Since(began))
}

// named returns n names of zones.
func named(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%s%05d.test", prefix, i)
	}
	return out
}

// served returns how many zones all servers together serve, divided by the servers.
func (b *bed) served() int {
	sum := 0
	for _, r := range b.serverRows() {
		sum += r.Serving
	}
	return sum / max(len(b.servers), 1)
}

// complete waits until every server answers for every zone, and returns how long each
// took since began.
func (b *bed) complete(zones []string, began time.Time, within time.Duration) map[string]time.Duration {
	b.t.Helper()
	took := map[string]time.Duration{}
	done := make(chan struct {
		kind string
		took time.Duration
		bad  string
	}, len(b.servers))
	for _, s := range b.servers {
		go func() {
			bad := allServed(s, zones, began, within)
			done <- struct {
				kind string
				took time.Duration
				bad  string
			}{s.Kind, time.Since(began), bad}
		}()
	}
	for range b.servers {
		d := <-done
		if d.bad != "" {
			b.t.Fatalf("%s: %s; status %s\nhost:\n%s", d.kind, d.bad, b.status(d.bad), tail(b.ns.log))
		}
		took[d.kind] = d.took
	}
	return took
}

// allServed asks for the zones in turn until each was answered once; it returns one
// that was not in time.
func allServed(s *dns.Server, zones []string, began time.Time, within time.Duration) string {
	for _, z := range zones {
		for {
			if _, _, ok := s.SOA(z); ok {
				break
			}
			if time.Since(began) > within {
				return z
			}
			<-time.After(20 * time.Millisecond)
		}
	}
	return ""
}

// guardZone asks all servers for a zone all the time; the returned function ends it
// and says which server did not serve it.
func (b *bed) guardZone(zone string) func() string {
	end, lost := make(chan struct{}), make(chan string, 1)
	go func() {
		found := ""
		for {
			select {
			case <-end:
				lost <- found
				return
			case <-time.After(50 * time.Millisecond):
			}
			for _, s := range b.servers {
				if _, rcode, ok := s.SOA(zone); !ok && rcode >= 0 {
					found = fmt.Sprintf("%s answers %s with code %d", s.Kind, zone, rcode)
				}
			}
		}
	}()
	return func() string { close(end); return <-lost }
}
