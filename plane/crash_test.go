package plane_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/plane/planetest"
	"kaname.dev/kaname/plane/trust"
)

// The crash tests run cores as processes of their own (this test binary again),
// which write without a pause and print a line for each write that was
// acknowledged. The parent reads the lines from a pipe, so what is in the pipe when
// the process is killed counts. Then it looks for all of them.

// childEnv names the variable that makes the test binary such a process; its
// value is a childJob as JSON.
const childEnv = "KANAME_PLANE_TEST_CHILD"

// childJob is what such a process is told.
type childJob struct {
	Options plane.Options
	Writers int
}

// child opens a core and writes until it is killed.
func child(job string) {
	var j childJob
	fail := func(err error) {
		fmt.Printf("error %v\n", err)
		os.Exit(1)
	}
	if err := json.Unmarshal([]byte(job), &j); err != nil {
		fail(err)
	}
	ctx := context.Background()
	j.Options.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	p, err := plane.Open(ctx, j.Options)
	if err != nil {
		fail(err)
	}
	fmt.Println("ready")
	docs := plane.Documents[note](p, "crash")
	var wg sync.WaitGroup
	for w := range j.Writers {
		wg.Go(func() {
			for n := 0; ; n++ {
				key := ulid.Make().String()
				// While a cluster has no leader, writes fail; a failed one is not acknowledged.
				if w%3 == 2 {
					if p.Emit(ctx, "crash", note{Text: key}) == nil {
						fmt.Printf("event %s\n", key)
					}
				} else if _, err := docs.Create(ctx, key, note{N: n}); err == nil {
					fmt.Printf("doc %s\n", key)
				}
			}
		})
	}
	wg.Wait()
	select {} // without writers it only holds the store, until it is killed
}

// process is a running core.
type process struct {
	cmd   *exec.Cmd
	ready chan struct{}
	done  chan struct{} // its output is read to the end

	mu    sync.Mutex
	acked map[string]bool // "doc KEY", "event KEY"
	log   strings.Builder
}

func startProcess(t *testing.T, o plane.Options, writers int) *process {
	t.Helper()
	o.Log, o.Authority, o.Identity = nil, nil, nil // it reads them from its directory
	job, err := json.Marshal(childJob{o, writers})
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: exec.Command(exe), ready: make(chan struct{}), done: make(chan struct{}), acked: map[string]bool{}}
	p.cmd.Env = append(os.Environ(), childEnv+"="+string(job))
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stderr = &lockedWriter{mu: &p.mu, w: &p.log}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go p.read(out)
	t.Cleanup(p.kill)
	return p
}

type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

func (p *process) read(out io.Reader) {
	defer close(p.done)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		switch line := lines.Text(); {
		case line == "ready":
			close(p.ready)
		case strings.HasPrefix(line, "doc ") || strings.HasPrefix(line, "event "):
			if len(line[strings.IndexByte(line, ' '):]) != 27 {
				continue // cut off by the kill
			}
			p.mu.Lock()
			p.acked[line] = true
			p.mu.Unlock()
		default:
			p.mu.Lock()
			p.log.WriteString(line + "\n")
			p.mu.Unlock()
		}
	}
}

// kill ends the process as a power switch does, and reads what it still said.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.done
	_ = p.cmd.Wait() // it was killed
}

func (p *process) waitReady(t *testing.T, within time.Duration) {
	t.Helper()
	select {
	case <-p.ready:
	case <-p.done:
		t.Fatalf("the core did not start:\n%s", p.said())
	case <-time.After(within):
		t.Fatalf("the core is not ready after %s:\n%s", within, p.said())
	}
}

func (p *process) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// count returns how many writes were acknowledged.
func (p *process) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.acked)
}

// lost returns the acknowledged writes that the core does not have.
func lost(t *testing.T, p *plane.Plane, acked map[string]bool) (out []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	have := map[string]bool{}
	list, err := plane.Documents[note](p, "crash").List(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range list {
		have["doc "+d.Key] = true
	}
	end := ulid.Make().String()
	if err := p.Emit(ctx, "crash", note{Text: end}); err != nil {
		t.Fatal(err)
	}
	for e, err := range p.Follow(ctx, "crash", 1) {
		if err != nil {
			t.Fatal(err)
		}
		var v note
		if err := json.Unmarshal(e.Data, &v); err != nil {
			t.Fatal(err)
		}
		if v.Text == end {
			break
		}
		have["event "+v.Text] = true
	}
	for a := range acked {
		if !have[a] {
			out = append(out, a)
		}
	}
	return out
}

// TestKillOfTheOnlyCoreLosesNothing kills a core under load, again and again on
// the same directory.
func TestKillOfTheOnlyCoreLosesNothing(t *testing.T) {
	rounds := 20
	if soak() {
		rounds = 100
	}
	dir := t.TempDir()
	o := plane.Options{Host: "core", Dir: dir}
	acked := map[string]bool{}
	for range rounds {
		c := startProcess(t, o, 6)
		c.waitReady(t, 30*time.Second)
		before := c.count()
		planetest.Eventually(t, "the core writes", func() bool { return c.count() > before+10 })
		time.Sleep(time.Duration(rand.IntN(200)) * time.Millisecond) //nolint:gosec // the moment of the kill
		c.kill()
		maps.Copy(acked, c.acked)
		p := planetest.Open(t, options(t, dir)) // and it starts at once
		if l := lost(t, p, acked); len(l) > 0 {
			t.Fatalf("%d of %d acknowledged writes are lost, such as %s", len(l), len(acked), l[0])
		}
		planetest.Close(t, p)
	}
	t.Logf("%d kills, %d acknowledged writes, none lost", rounds, len(acked))
}

// startCluster starts three cores as processes.
func startCluster(t *testing.T, options []plane.Options, writers int) []*process {
	t.Helper()
	cores := make([]*process, len(options))
	for i, o := range options {
		cores[i] = startProcess(t, o, writers)
	}
	for _, c := range cores {
		c.waitReady(t, 60*time.Second)
	}
	return cores
}

func processOptions(t *testing.T) []plane.Options {
	t.Helper()
	options := planetest.ClusterOptions(t, 3)
	for _, o := range options {
		if err := o.Authority.Save(o.Dir + "/trust"); err != nil {
			t.Fatal(err)
		}
	}
	return options
}

// reader opens an outsider's view of the cluster: a process is killed and its core
// run inside the test instead, so that its store can be looked at.
func reader(t *testing.T, o plane.Options) *plane.Plane {
	t.Helper()
	a, err := trust.LoadAuthority(o.Dir + "/trust")
	if err != nil {
		t.Fatal(err)
	}
	o.Authority, o.Log = a, slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	p, err := plane.Open(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestKillOfAllCoresLosesNothing kills all three cores of a cluster at once, under
// load, again and again on the same directories.
func TestKillOfAllCoresLosesNothing(t *testing.T) {
	rounds := 2
	if soak() {
		rounds = 20
	}
	options := processOptions(t)
	acked := map[string]bool{}
	for round := range rounds {
		start := time.Now()
		cores := startCluster(t, options, 4)
		up := time.Since(start)
		before := cores[0].count()
		planetest.Eventually(t, "the cores write", func() bool { return cores[0].count() > before+20 })
		time.Sleep(time.Duration(200+rand.IntN(600)) * time.Millisecond) //nolint:gosec // the moment of the kill
		for _, c := range cores {
			_ = c.cmd.Process.Signal(syscall.SIGKILL) // all before any is waited for
		}
		for _, c := range cores {
			c.kill()
			maps.Copy(acked, c.acked)
		}
		t.Logf("round %d: up after %s, %d acknowledged so far", round+1, up.Round(100*time.Millisecond), len(acked))
	}
	cores := startCluster(t, options, 0)
	cores[2].kill()
	p := reader(t, options[2])
	defer planetest.Close(t, p)
	if l := lost(t, p, acked); len(l) > 0 {
		t.Fatalf("%d of %d acknowledged writes are lost, such as %s", len(l), len(acked), l[0])
	}
	t.Logf("%d kills of all three, %d acknowledged writes, none lost", rounds, len(acked))
}

// TestOneCoreOfThreeMayFail pauses one core after the other, and kills one, while the
// others write on.
func TestOneCoreOfThreeMayFail(t *testing.T) {
	options := processOptions(t)
	cores := startCluster(t, options, 4)
	acked := map[string]bool{}
	progress := func(what string, of *process) {
		t.Helper()
		before, start := of.count(), time.Now()
		for of.count() < before+50 {
			if time.Since(start) > 40*time.Second {
				t.Fatalf("%s: no writes any more:\n%s", what, of.said())
			}
			time.Sleep(5 * time.Millisecond) // polling with a deadline
		}
		t.Logf("%s: 50 writes after %s", what, time.Since(start).Round(time.Millisecond))
	}
	for i, c := range cores {
		if err := c.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		progress(fmt.Sprintf("core%d is paused", i+1), cores[(i+1)%3])
		if err := c.cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		progress(fmt.Sprintf("core%d goes on", i+1), c)
	}
	cores[0].kill()
	maps.Copy(acked, cores[0].acked)
	progress("core1 is killed", cores[1])
	p := reader(t, options[0])
	defer planetest.Close(t, p)
	for _, c := range cores[1:] {
		c.mu.Lock()
		maps.Copy(acked, c.acked)
		c.mu.Unlock()
	}
	if l := lost(t, p, acked); len(l) > 0 {
		t.Fatalf("%d of %d acknowledged writes are lost, such as %s", len(l), len(acked), l[0])
	}
}
