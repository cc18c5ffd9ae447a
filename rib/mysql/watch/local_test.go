package watch_test

import (
	"log/slog"
	"testing"
	"time"

	"kaname.dev/kaname/lab"
	labmysql "kaname.dev/kaname/lab/mysql"
	"kaname.dev/kaname/rib/mysql/server"
	"kaname.dev/kaname/rib/mysql/topology"
	"kaname.dev/kaname/rib/mysql/watch"
)

// TestLocalOfAnotherProcess opens a server, kills it and starts it again, which closes it:
// what the killed one was like is not told of the next.
func TestLocalOfAnotherProcess(t *testing.T) {
	lab.Need(t, "mariadbd")
	s := labmysql.MariaDB(t, labmysql.Options{Args: []string{"--read-only=1"}})
	own, err := server.Open(server.Options{Name: s.Name, Socket: s.Socket, Credentials: func() (user, password string, err error) {
		return labmysql.UserAdmin, labmysql.PasswordAdmin, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close() //nolint:errcheck // nothing is lost
	p := watch.NewProcess(s.Socket, "", slog.New(slog.DiscardHandler))
	l := watch.NewLocal(own, p, slog.New(slog.DiscardHandler))
	if got := l.Self(); got.Answers || !got.ReadOnly {
		t.Errorf("before it was asked: %+v", got)
	}
	run(t, p.Run)
	run(t, l.Run)
	is := func(want string, holds func(topology.Self) bool) {
		t.Helper()
		lab.Eventually(t, want, func() bool { return holds(l.Self()) })
	}
	is("it is closed", func(s topology.Self) bool { return s.Answers && s.ReadOnly })
	for range 3 {
		s.Exec(t, "SET GLOBAL read_only = OFF")
		l.Commits(true)
		is("it is open", func(s topology.Self) bool { return s.Answers && !s.ReadOnly && s.Commit != nil })
		s.Kill()
		is("it has ended", func(s topology.Self) bool { return s.Process == topology.Gone })
		if got := l.Self(); got.Answers || !got.ReadOnly || got.Commit != nil || got.Uptime != 0 || got.Version == "" || got.ServerID == 0 {
			t.Errorf("after its end: %+v", got)
		}
		done, wrong := make(chan struct{}), make(chan *topology.Self, 1)
		go func() {
			for {
				select {
				case <-done:
					wrong <- nil
					return
				case <-time.After(time.Millisecond):
				}
				if got := l.Self(); got.Answers && !got.ReadOnly {
					wrong <- &got
					return
				}
			}
		}()
		s.Start(t)
		is("it is closed again", func(s topology.Self) bool { return s.Answers })
		close(done)
		if got := <-wrong; got != nil {
			t.Fatalf("what the former process was like is told of the next one: %+v", *got)
		}
	}
}
