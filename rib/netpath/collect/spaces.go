package collect

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"

	"kaname.dev/kaname/rib/netpath/facts"
)

// self is where the calling thread's own part of /proc is. /proc/self is that of the main
// thread, which may be in another namespace.
const self = "/proc/thread-self"

// space is a network namespace to look into.
type space struct {
	name string
	id   uint64   // inode
	file *os.File // nil for the one that we are in
}

func (s *space) close() {
	if s.file != nil {
		_ = s.file.Close()
	}
}

// spaces finds the network namespaces of the host: its own first, then those with a name,
// then those without in which processes of this host live.
func (w *work) spaces() []*space {
	own := &space{}
	var st unix.Stat_t
	if err := unix.Stat(self+"/ns/net", &st); err != nil {
		w.lacks(facts.Spaces, "", "", err)
	}
	own.id = st.Ino
	all := []*space{own}
	known := map[uint64]bool{own.id: true}
	entries, err := os.ReadDir(w.Spaces)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		w.lacks(facts.Spaces, "", "", err)
	}
	for _, e := range entries {
		s, err := open(filepath.Join(w.Spaces, e.Name()), e.Name())
		if err != nil {
			w.lacks(facts.Spaces, e.Name(), "", err)
			continue
		}
		if known[s.id] { // two names of one
			s.close()
			continue
		}
		known[s.id] = true
		all = append(all, s)
	}
	return append(all, unnamed(known)...)
}

// open opens a namespace. A file that is none, as "ip netns" leaves behind when the host
// was restarted, is an error.
func open(path, name string) (*space, error) {
	f, err := os.Open(path) //nolint:gosec // the path is of a directory of namespaces
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	var fs unix.Statfs_t
	if err = errors.Join(unix.Fstat(int(f.Fd()), &st), unix.Fstatfs(int(f.Fd()), &fs)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if fs.Type != unix.NSFS_MAGIC && fs.Type != unix.PROC_SUPER_MAGIC { // before Linux 3.19 it was proc
		return nil, errors.Join(fmt.Errorf("%s is a left-over file, no namespace; ip netns delete %s", path, name), f.Close())
	}
	return &space{name: name, id: st.Ino, file: f}, nil
}

// unnamed finds namespaces by their processes, among those that have the host's own name
// space of host names: containers have one of their own and are none of our concern.
func unnamed(known map[uint64]bool) (found []*space) {
	uts, err := os.Readlink(self + "/ns/uts")
	if err != nil {
		return nil
	}
	for _, pid := range pids() {
		dir := "/proc/" + strconv.Itoa(pid) + "/ns/"
		var st unix.Stat_t
		if unix.Stat(dir+"net", &st) != nil || known[st.Ino] {
			continue
		}
		if theirs, err := os.Readlink(dir + "uts"); err != nil || theirs != uts {
			continue
		}
		known[st.Ino] = true
		if s, err := open(dir+"net", fmt.Sprintf("net:[%d]", st.Ino)); err == nil {
			found = append(found, s)
		}
	}
	return found
}

// pids lists the processes that can be seen.
func pids() (out []int) {
	d, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer d.Close() //nolint:errcheck // only read
	names, _ := d.Readdirnames(-1)
	for _, n := range names {
		if pid, err := strconv.Atoi(n); err == nil {
			out = append(out, pid)
		}
	}
	return out
}

// inside runs do on a thread that is in the namespace, and so is each program that do
// starts. The thread returns before it is used for anything else, or ends.
func (s *space) inside(do func()) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if s.file != nil && unix.Gettid() == unix.Getpid() {
			// The main thread stays at home, for /proc/self speaks of it: another one, while it is held here.
			done <- s.inside(do)
			runtime.UnlockOSThread()
			return
		}
		err := s.visit(do)
		if _, lost := errors.AsType[*lostError](err); !lost {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// lostError says that a thread could not come back; it must end.
type lostError struct{ error }

func (s *space) visit(do func()) error {
	if s.file == nil {
		do()
		return nil
	}
	home, err := os.Open(self + "/ns/net")
	if err != nil {
		return err
	}
	defer home.Close() //nolint:errcheck // only read
	if err = unix.Setns(int(s.file.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter namespace %s: %w", s.name, err)
	}
	do()
	if err = unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
		return &lostError{err}
	}
	return nil
}
