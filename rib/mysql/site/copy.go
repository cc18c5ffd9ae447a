package site

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/host"
	"kaname.dev/kaname/rib/mysql/order"
	"kaname.dev/kaname/rib/mysql/server"
	"kaname.dev/kaname/rib/mysql/topology"
)

// copyOf is reclone of a MariaDB: a backup of the donor, streamed by its agent, takes the
// place of the data directory. Until it is complete and prepared nothing happens to the
// server. The old data stay beside until the copy has caught up with the primary.
func (s *Site) copyOf(ctx context.Context, o order.Order, donor topology.Member) (order.Done, error) {
	w, version, err := s.workshop(ctx)
	if err != nil {
		return order.Done{}, err
	}
	m, err := s.interrupted(w)
	if err != nil {
		return order.Done{}, err
	}
	there := m != nil
	if !there { // else a kill came after the exchange: go on from there
		if m, err = s.receive(ctx, w, version, donor); err != nil {
			_ = os.RemoveAll(w.copy) // the next one removes it again
			return order.Done{}, err
		}
	}
	within, done, err := s.desk.take(ctx, false)
	if err != nil {
		return order.Done{}, err
	}
	defer done()
	if !there {
		if err := s.replace(within, w, m); err != nil {
			return order.Done{}, err
		}
	} else if err := s.back(within, s.process.State().Starts-running(s.process.State().Process), 0); err != nil {
		return order.Done{}, err
	}
	out, err := s.behind(within, o, m.From)
	if err == nil {
		out.How += "; the old data are in " + m.Before + " until it has caught up"
	}
	return out, err
}

// interrupted ends or undoes what a kill has interrupted. It returns the mark of the copy
// that is in place and has not landed yet, nil when there is none.
func (s *Site) interrupted(w *swap) (*mark, error) {
	m, err := readMark(w.dir)
	if err != nil {
		return nil, err
	}
	if m != nil {
		err = w.carryOn(m.Before)
	} else if err = s.tidyNow(); err == nil {
		err = w.putBack()
	}
	if err != nil {
		return nil, fault.Unavailable("an exchange of data that was interrupted cannot be ended").At(w.dir).Because(err)
	}
	return m, nil
}

func running(p topology.Process) int {
	if p == topology.Running {
		return 1
	}
	return 0
}

// workshop finds out where the data are and whether a copy can take their place.
func (s *Site) workshop(ctx context.Context) (*swap, string, error) {
	version, err := backupProgram(ctx)
	if err != nil {
		return nil, "", err
	}
	if len(s.o.Start) == 0 {
		return nil, "", fault.Unsupported("no command is configured that starts server " + s.o.Member).Try("set mysql.servers.start on its host: the server is stopped for the exchange of its data")
	}
	s.mu.Lock()
	dir := s.kept.Logs.Dir
	s.mu.Unlock()
	asked, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	switch i, err := s.o.Server.Instance(asked); {
	case err == nil && len(i.Elsewhere) > 0:
		return nil, "", fault.Unsupported("server " + s.o.Member + " has data outside of its data directory: " + strings.Join(i.Elsewhere, ", ")).
			Try("put a copy in place by hand: mariadb-backup --copy-back")
	case err == nil && i.Version != version:
		return nil, "", fault.Conflict("server " + s.o.Member + " is MariaDB " + i.Version + ", its mariadb-backup is of " + version).Try("install that of the server's version")
	case err == nil:
		dir = i.DataDir
	case dir == "": // it is down, and has never been seen up
		return nil, "", fault.Unavailable("where the data of server " + s.o.Member + " are is not known").Because(err).Try("start the server, if only once: its agent asks it")
	}
	w, err := newSwap(dir)
	if err != nil {
		return nil, "", fault.Unavailable("the data directory of server " + s.o.Member).Because(err)
	}
	return w, version, nil
}

// receive makes a copy of the donor, complete and prepared, beside the data.
func (s *Site) receive(ctx context.Context, w *swap, version string, donor topology.Member) (*mark, error) {
	if err := os.RemoveAll(w.copy); err != nil { // of one that was interrupted
		return nil, err
	}
	if err := os.Mkdir(w.copy, 0o700); err != nil {
		return nil, fault.Unavailable("the copy cannot be made").Because(err)
	}
	space, err := host.DiskSpace(w.copy)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	body, err := s.o.Copy(ctx, donor, Want{Version: version, Room: space.Free})
	if err != nil {
		return nil, err
	}
	n, err := unpack(ctx, body, w.copy)
	if err != nil {
		return nil, fault.Unavailable("the copy of " + donor.Name + " broke off after " + strconv.FormatInt(n>>20, 10) + " MiB; the data of " + s.o.Member + " are as they were").Because(err).
			Try("see the log of the agent beside " + donor.Name + ", and order it again")
	}
	s.o.Log.Info("a copy has arrived", "from", donor.Name, "bytes", n, "took", time.Since(start))
	path, err := program("mariadb-backup", "mariabackup")
	if err != nil {
		return nil, err
	}
	if r, err := host.Run(ctx, host.Command{Args: []string{path, "--no-defaults", "--prepare", "--target-dir=" + w.copy}}); err != nil {
		said := &ending{last: []byte(r.Output)}
		return nil, fault.Unavailable("the copy of " + donor.Name + " cannot be prepared; the data of " + s.o.Member + " are as they were").Because(fmt.Errorf("%w: %s", err, said.why()))
	}
	at, err := position(w.copy)
	if err != nil {
		return nil, fault.Unsupported("the copy of " + donor.Name + " cannot follow by GTID").Because(err)
	}
	m := &mark{From: donor.Name, Position: at, Before: w.before(start), At: start}
	if err := dress(w.copy, w.dir, *m); err != nil {
		return nil, fault.Unavailable("the copy cannot be given owner and modes of the data directory").Because(err)
	}
	return m, nil
}

// unpack unpacks a stream below a directory. Unless the stream has come to its end, and not
// merely stopped, it fails.
func unpack(ctx context.Context, body io.ReadCloser, dir string) (int64, error) {
	defer body.Close() //nolint:errcheck // only read
	path, err := program("mbstream")
	if err != nil {
		return 0, err
	}
	said := &ending{}
	cmd := exec.CommandContext(ctx, path, "-x", "-C", dir)
	cmd.Stdout, cmd.Stderr, cmd.Dir = said, said, "/"
	in, err := cmd.StdinPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	n, copied := io.Copy(in, body)
	closed := in.Close()
	err = cmd.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return n, cause
	}
	if copied != nil && !errors.Is(copied, syscall.EPIPE) {
		return n, copied
	}
	if err != nil {
		return n, fmt.Errorf("mbstream: %w: %s", err, said.why())
	}
	return n, errors.Join(copied, closed)
}

// replace has the server end, exchanges its data for the copy, and has it start again: on
// the old data when it does not on the new.
func (s *Site) replace(ctx context.Context, w *swap, m *mark) error {
	err := errors.Join(s.settled(ctx), s.keep(func(k *kept) { k.Complete = "" }))
	if err == nil {
		err = s.stopServer(ctx)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(w.copy))
	}
	before := s.process.State().Starts
	if err := w.exchange(m.Before); err != nil {
		return fault.Unavailable("the data of server " + s.o.Member + " cannot be exchanged").At(w.dir).Because(err).
			Try("see what is in " + w.dir + ", " + w.copy + " and " + m.Before + "; then order it again")
	}
	starting, cancel := context.WithTimeout(ctx, startsWithin)
	defer cancel()
	failed := s.back(starting, before, 0)
	if failed == nil || ctx.Err() != nil {
		return failed
	}
	err = s.stopServer(ctx)
	if err == nil {
		err = w.undo(m.Before)
	}
	if err == nil {
		err = s.back(ctx, s.process.State().Starts, 0)
	}
	return fault.Unavailable("server " + s.o.Member + " does not start on the copy of " + m.From + ", and was put back on its old data").Because(errors.Join(failed, err)).
		Try("see the server's error log")
}

// startsWithin is how long a server may take to start on a copy, which is recovered already.
const startsWithin = 3 * time.Minute

// stopsWithin is how long a server may take to end in order: it writes what is in memory.
const stopsWithin = 2 * time.Minute

// stopServer ends the server's process: in order, or by SIGKILL where it does not hear. The
// data are to be replaced.
func (s *Site) stopServer(ctx context.Context) error {
	p := s.process.State()
	if p.Process == topology.Gone {
		return nil
	}
	within, cancel := context.WithTimeout(ctx, stopsWithin)
	defer cancel()
	asked, stop := context.WithTimeout(within, 5*time.Second)
	err := s.o.Server.Shutdown(asked)
	stop()
	if err == nil && s.ended(within, p.PID) {
		return nil
	}
	if server.Refused(err) && p.Process != topology.Running {
		return nil
	}
	within, cancel = context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if killed := s.process.Kill(within); killed != nil {
		return fault.Unavailable("server " + s.o.Member + " cannot be stopped").Because(errors.Join(err, killed)).Try("stop it, and order it again")
	}
	if !s.ended(within, p.PID) {
		return fault.Timeout("server " + s.o.Member + " does not end").Because(err).Try("stop it, and order it again")
	}
	return nil
}

// ended waits until the server's process is gone, with all that it had open; false at the
// end of ctx.
func (s *Site) ended(ctx context.Context, pid int) bool {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if s.process.State().Process != topology.Running && gone(pid) {
			return true
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
}

// gone reports whether no thread of a process is left; 0 is none. What is on its way out
// still has files open.
func gone(pid int) bool {
	if pid == 0 {
		return true
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return errors.Is(err, unix.ESRCH)
	}
	defer unix.Close(fd)                                        //nolint:errcheck // nothing was done with it
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}} //nolint:gosec // a descriptor fits
	n, err := unix.Poll(poll, 0)
	return err == nil && n > 0
}

// land tells a server whose data are a copy which position they have, if nobody has yet;
// before it replicates.
func (s *Site) land(ctx context.Context) error {
	s.mu.Lock()
	dir := s.kept.Logs.Dir
	s.mu.Unlock()
	if now := s.process.State().Dir; now != "" {
		dir = now
	}
	if dir == "" {
		return nil
	}
	m, err := readMark(dir)
	if m == nil || err != nil {
		return err
	}
	if err := s.o.Server.Land(ctx, m.Position); err != nil {
		return err
	}
	if err := s.keep(func(k *kept) { k.Before = m.Before }); err != nil {
		return err
	}
	return os.Remove(filepath.Join(dir, markName))
}

// untidy reports whether data that a copy has replaced are needed no more: it has caught up
// with the primary.
func (s *Site) untidy() bool {
	start := s.process.State().Start
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kept.Before != "" && start != "" && s.kept.Complete == start
}

// tidy removes them.
func (s *Site) tidy() {
	if !s.cloning.TryLock() {
		return // it is being done
	}
	defer s.cloning.Unlock()
	if err := s.tidyNow(); err != nil {
		s.o.Log.Warn("the data that a copy has replaced stay", "error", err)
	}
}

// tidyNow removes them; cloning is held.
func (s *Site) tidyNow() error {
	s.mu.Lock()
	before := s.kept.Before
	s.mu.Unlock()
	if before == "" {
		return nil
	}
	if err := os.RemoveAll(before); err != nil {
		return err
	}
	s.o.Log.Info("the data that a copy has replaced were removed", "path", before)
	return s.keep(func(k *kept) { k.Before = "" })
}
