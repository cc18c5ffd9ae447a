package pdns

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kaname.dev/kaname/lab"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/server"
)

// TestKilledInTheMiddle kills the server while it is given many zones, and forgets the
// driver: whoever comes next sees what is not complete, and mends it.
func TestKilledInTheMiddle(t *testing.T) {
	b := newBench(t, "")
	count := 150
	if lab.Soak() {
		count = 1000
	}
	zones, plain := make([]string, count), make([]string, count)
	for i := range zones {
		plain[i] = fmt.Sprintf("z%d.test", i)
		zones[i] = plain[i] + "."
	}
	b.primary.AddZones(plain...)
	if _, err := b.driver.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	tp := b.template(nil)
	added := make(chan []error, 1)
	go func() { added <- b.driver.Add(t.Context(), additions(tp, zones...)) }()
	lab.Eventually(t, "some zones are there", func() bool {
		return len(b.secondary.SQL("SELECT 1 FROM domains LIMIT 60;")) == 2*60
	})
	b.secondary.Kill()
	bad := 0
	var cut []string // zones of which nobody said that they are complete
	for i, err := range <-added {
		if err != nil {
			bad++
			cut = append(cut, "'"+plain[i]+"'")
			if !errors.Is(err, server.ErrUnreachable) {
				t.Errorf("a killed server: %v", err)
			}
		}
	}
	if bad == 0 || bad == count {
		t.Fatalf("%d of %d additions failed: it was not killed in the middle", bad, count)
	}
	b.secondary.SQL("DELETE FROM domainmetadata WHERE domain_id=(SELECT max(id) FROM domains WHERE name IN (" + strings.Join(cut, ",") + "));") // as if it had been cut there
	b.secondary.Start()
	b.driver = b.open(t)
	for range 2 {
		list, err := b.driver.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		complete := map[name.Name]bool{}
		for _, z := range list {
			if !z.Owned {
				t.Errorf("%s is not ours", z.Name)
			}
			complete[z.Name] = z.Template == tp.ID("pdns")
		}
		var missing []string
		for _, z := range zones {
			if !complete[name.Name(z)] {
				missing = append(missing, z)
			}
		}
		t.Logf("%d to add again", len(missing))
		good(t, b.driver.Add(t.Context(), additions(tp, missing...)))
	}
	if n := b.secondary.SQL("SELECT count(*) FROM domainmetadata WHERE kind='AXFR-MASTER-TSIG';"); n != fmt.Sprintf("%d\n", count) {
		t.Errorf("%s of %d zones have their key", strings.TrimSpace(n), count)
	}
	for _, z := range plain {
		b.served(t, z, true)
	}
}

// TestLocked has another program hold the database's lock.
func TestLocked(t *testing.T) {
	b := newBench(t, "")
	b.primary.AddZones("a.test")
	lock := func() (release func()) {
		cmd := exec.CommandContext(t.Context(), "sqlite3", filepath.Join(b.secondary.Dir, "pdns.db"))
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		_, _ = in.Write([]byte(".timeout 10000\nBEGIN IMMEDIATE;\nSELECT 'locked';\n"))
		if _, err := out.Read(make([]byte, 16)); err != nil {
			t.Fatal(err)
		}
		return func() { _ = in.Close(); _ = cmd.Wait() }
	}
	add := additions(b.template(nil), "a.test.")
	release := lock()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	begun := time.Now()
	if err := b.driver.Add(ctx, add)[0]; err == nil || time.Since(begun) > 5*time.Second {
		t.Errorf("while locked: %v after %v", err, time.Since(begun))
	}
	release()
	release = lock()
	added := make(chan []error, 1)
	go func() { added <- b.driver.Add(t.Context(), add) }()
	select {
	case errs := <-added:
		// The zone of the first attempt may be there already, complete.
		good(t, errs)
		release()
	case <-time.After(time.Second):
		release()
		good(t, <-added)
	}
	b.served(t, "a.test", true)
	good(t, b.driver.Remove(t.Context(), []server.Removal{{Name: "a.test."}}))
	b.served(t, "a.test", false)
}
