package bundle

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"kaname.dev/kaname/lab"
	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/intent"
)

// A cloud of 1,000 hosts with 2,000 flows each is read, and asked for, host by host.
func TestBig(t *testing.T) {
	hosts, flows := 1000, 2000
	if !lab.Soak() {
		hosts = 20
	}
	path := filepath.Join(t.TempDir(), "big.tar.zst")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w, err := NewWriter(f)
	if err != nil {
		t.Fatal(err)
	}
	c := &intent.Cloud{Version: intent.Version}
	for i := range hosts * 50 {
		c.Ports = append(c.Ports, intent.Port{ID: fmt.Sprintf("%08x-0000-4000-8000-%012x", i, i*7919), Name: fmt.Sprintf("vm%d", i), IPs: []intent.FixedIP{{}}, Host: fmt.Sprintf("c%d", i/50)})
	}
	if err = w.Cloud(c); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	for i := range hosts {
		var b strings.Builder
		for j := range flows {
			fmt.Fprintf(&b, "cookie=0x%x, duration=%d.%03ds, table=%d, n_packets=%d, n_bytes=%d, priority=%d,ip,reg5=0x%x,dl_dst=fa:16:3e:%02x:%02x:%02x,nw_dst=10.%d.%d.%d actions=ct(commit,zone=NXM_NX_REG6[0..15]),output:%d\n",
				0x3c5d9f9f8f2b0000+i, i*j%100000, j%1000, j%90, i*j%9999, i*j*77%999999, j%100, j, i%256, j/256, j%256, i%256, j/256, j%256, j)
		}
		h := &facts.Host{Version: facts.Version, Name: fmt.Sprintf("c%d", i), OVS: &facts.OVS{Bridges: []facts.Bridge{{Name: "br-int", Flows: b.String()}}}}
		if err = w.Host(h); err != nil {
			t.Fatal(err)
		}
	}
	if err = w.Close(); err != nil {
		t.Fatal(err)
	}
	if err = f.Close(); err != nil {
		t.Fatal(err)
	}
	wrote := time.Since(start)
	info, _ := os.Stat(path)
	c = nil //nolint:wastedassign // lets it go

	start = time.Now()
	b, err := Open(path, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	opened := time.Since(start)
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	start = time.Now()
	n := 0
	for _, name := range b.Names() {
		h, err := b.Host(name)
		if err != nil {
			t.Fatal(err)
		}
		n += strings.Count(h.Bridge("br-int").Flows, "\n")
	}
	if n != hosts*flows || len(b.Cloud.Ports) != hosts*50 {
		t.Errorf("%d flows, %d ports", n, len(b.Cloud.Ports))
	}
	t.Logf("%d hosts, %d flows: file %d MB, written in %v, opened in %v, then %d MB of heap (%d MB of it hosts), all hosts unpacked in %v",
		hosts, n, info.Size()>>20, wrote.Round(time.Millisecond), opened.Round(time.Millisecond), m.HeapAlloc>>20, b.Size()>>20, time.Since(start).Round(time.Millisecond))
	runtime.KeepAlive(b)
}
