package watch_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"kaname.dev/kaname/lab"
	labmysql "kaname.dev/kaname/lab/mysql"
	"kaname.dev/kaname/rib/mysql/topology"
	"kaname.dev/kaname/rib/mysql/watch"
)

// run starts a function that ends with its context, and waits for it at the test's end.
func run(t *testing.T, f func(context.Context)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { f(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
}

// becomes waits for a state of the process and returns how long it took.
func becomes(t *testing.T, p *watch.Process, want topology.Process) time.Duration {
	t.Helper()
	start := time.Now()
	deadline := time.After(10 * time.Second)
	for p.State().Process != want {
		select {
		case <-p.Changed():
		case <-deadline:
			t.Fatalf("the process is not %s: %+v", want, p.State())
		}
	}
	return time.Since(start)
}

func TestProcess(t *testing.T) {
	for flavour, start := range map[string]func(testing.TB, labmysql.Options) *labmysql.Server{
		"mariadb": labmysql.MariaDB, "mysql": labmysql.MySQL,
	} {
		t.Run(flavour, func(t *testing.T) {
			switch {
			case flavour == "mariadb":
				lab.Need(t, "mariadbd")
			case !lab.Soak():
				t.Skip("the same once more with MySQL, which takes longer to start: make soak")
			}
			s := start(t, labmysql.Options{})
			// No pid file: the socket tells.
			p := watch.NewProcess(s.Socket, "", slog.New(slog.DiscardHandler))
			run(t, p.Run)
			becomes(t, p, topology.Running)
			first := p.State().Start
			if got := p.State(); first == "" || got.PID != s.PID() || got.Starts != 1 || filepath.Clean(got.Dir) != s.DataDir {
				t.Fatalf("state %+v, the process is %d in %s", got, s.PID(), s.DataDir)
			}
			if d := watch.Disk(p.State().Dir); d.Free <= 0 || d.Full || d.ReadOnly {
				t.Errorf("disk %+v", d)
			}
			kill := time.Now()
			if err := syscall.Kill(s.PID(), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			becomes(t, p, topology.Gone)
			if took := time.Since(kill); took > 150*time.Millisecond {
				t.Errorf("its end was seen after %v", took)
			} else {
				t.Logf("its end was seen after %v", took)
			}
			lab.Eventually(t, "the server is gone", func() bool { return s.PID() == 0 })
			s.Start(t)
			becomes(t, p, topology.Running)
			if got := p.State(); got.PID != s.PID() || got.Starts != 2 || got.Start == first {
				t.Fatalf("after the restart %+v, the process is %d", got, s.PID())
			}
			// A halted server lives, and can be killed.
			s.Stop()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			if got := p.State(); got.Process != topology.Running {
				t.Errorf("halted: %+v", got)
			}
			if err := p.Kill(ctx); err != nil {
				t.Fatal(err)
			}
			if got := p.State(); got.Process != topology.Gone {
				t.Errorf("killed: %+v", got)
			}
			if err := p.Kill(ctx); err != nil {
				t.Errorf("killed again: %v", err)
			}
		})
	}
}

func TestProcessThatNeverWas(t *testing.T) {
	p := watch.NewProcess(filepath.Join(t.TempDir(), "s.sock"), "", slog.New(slog.DiscardHandler))
	run(t, p.Run)
	<-time.After(300 * time.Millisecond)
	if got := p.State(); got.Process != topology.Unseen || got.Starts != 0 || got.PID != 0 {
		t.Errorf("state %+v", got)
	}
}
