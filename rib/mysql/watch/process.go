// Package watch is what an agent sees: of its own server the process, whether it answers
// and can commit, and its disk; of the other members whether their servers answer. It
// measures and tells; what follows from it is decided elsewhere. All ages are of the
// monotonic clock of this machine.
package watch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"kaname.dev/kaname/rib/mysql/topology"
)

// Process follows the process of the server that listens on a unix socket: by the
// socket's peer credentials (unix(7), SO_PEERCRED), then by a descriptor of the process
// (pidfd_open(2)), which tells its end within milliseconds and never names another one
// that got the same number.
type Process struct {
	socket, pidFile string
	log             *slog.Logger

	mu      sync.Mutex
	fd      *os.File // of the process; nil when none is known
	pid     int
	since   time.Time // of the present state
	gone    time.Time // when the last one that has ended did
	state   topology.Process
	dir     string // its data directory, as it was last seen
	start   string
	ended   chan struct{} // closed when the process of fd has ended
	starts  int
	changed chan struct{}
}

// ProcessState is what is known of the process.
type ProcessState struct {
	Process topology.Process
	PID     int
	For     time.Duration // since when it is so
	Starts  int           // processes seen so far: a higher number is another process
	Ended   time.Time     // when the last process that has ended did; zero: none has
	// Dir is the data directory, where the server's process works; empty when unknown.
	Dir string
	// Start is the same as long as the process is, also for another agent: when it was
	// started, since which boot. Empty when unknown.
	Start string
}

// NewProcess returns a watcher of the server that listens on socket. pidFile, which may be
// empty, is asked where the socket tells nothing, as with a process of another PID namespace.
func NewProcess(socket, pidFile string, log *slog.Logger) *Process {
	return &Process{
		socket: socket, pidFile: pidFile, log: log, state: topology.Unseen, since: time.Now(),
		changed: make(chan struct{}, 1),
	}
}

// findEvery is the time between looks for a process while there is none.
const findEvery = 100 * time.Millisecond

// Run follows the process, and the next one, until ctx ends.
func (p *Process) Run(ctx context.Context) {
	defer p.drop()
	tick := time.NewTicker(findEvery)
	defer tick.Stop()
	for {
		if fd, pid, listens := p.find(ctx); fd != nil {
			p.follow(ctx, p.take(fd, pid), pid)
		} else if listens {
			p.set(topology.Unseen) // it serves again, whoever it is
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// follow waits for the end of the process that was taken.
func (p *Process) follow(ctx context.Context, ended <-chan struct{}, pid int) {
	tick := time.NewTicker(dyingEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if p.State().Process == topology.Running && dying(pid) {
				p.set(topology.Gone)
			}
			continue
		case <-ended:
		}
		p.mu.Lock()
		_ = p.fd.Close() // its process has ended
		p.fd = nil
		p.become(topology.Gone)
		p.mu.Unlock()
		p.log.Warn("the server's process has ended", "pid", pid)
		return
	}
}

// dyingEvery is the time between looks whether a process is about to end.
const dyingEvery = 25 * time.Millisecond

// pfExiting is PF_EXITING of the kernel (include/linux/sched.h).
const pfExiting = 0x4

// dying reports whether a process is on its way out. The kernel gives back its memory
// before it closes its sockets and tells its end, which takes a second for some ten GiB:
// until then clients see silence, but nothing of the program runs any more. See
// proc_pid_stat(5), field 9.
func dying(pid int) bool {
	fields := stat(pid)
	if fields == nil {
		return false // the descriptor will tell
	}
	f, err := strconv.ParseUint(fields[9-3], 10, 64)
	return err == nil && f&pfExiting != 0
}

// started says which process of that number it is: field 22 of proc_pid_stat(5), when it
// began, and which boot that counts from.
func started(pid int) string {
	fields := stat(pid)
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if fields == nil || err != nil {
		return ""
	}
	return strings.TrimSpace(string(boot)) + "/" + fields[22-3]
}

// stat returns the fields of proc_pid_stat(5) from the third on; nil when there are none.
func stat(pid int) []string {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return nil
	}
	// The second field, the program's name, may contain anything, also parentheses.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 40 {
		return nil
	}
	return fields
}

// State returns what is known now.
func (p *Process) State() ProcessState {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := ProcessState{Process: p.state, For: time.Since(p.since), Starts: p.starts, Ended: p.gone, Dir: p.dir}
	if p.state == topology.Running {
		s.PID, s.Start = p.pid, p.start
	}
	return s
}

// Changed has a value when the state has changed since the last one was taken.
func (p *Process) Changed() <-chan struct{} { return p.changed }

// Kill ends the process with SIGKILL and waits until nothing of its program runs any more. It is no error when
// none is known to be there.
func (p *Process) Kill(ctx context.Context) error {
	p.mu.Lock()
	fd, pid, ended, state := p.fd, p.pid, p.ended, p.state
	p.mu.Unlock()
	if fd == nil {
		if state == topology.Gone {
			return nil
		}
		return errors.New("kill the server: its process is not known; give its pid file, or run the agent in the same PID namespace")
	}
	conn, err := fd.SyscallConn()
	if err == nil {
		var sent error
		err = conn.Control(func(fd uintptr) { sent = unix.PidfdSendSignal(int(fd), unix.SIGKILL, nil, 0) })
		if err == nil && !errors.Is(sent, unix.ESRCH) {
			err = sent
		}
	}
	if err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("kill process %d: %w", pid, err)
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			p.killed(fd) // Run may not have come to it yet
			return nil
		case <-tick.C:
			// What is dying runs no more, however long its memory takes.
			if dying(pid) {
				p.killed(fd)
				return nil
			}
		case <-ctx.Done():
			return fmt.Errorf("kill process %d: it has not ended: %w", pid, ctx.Err())
		}
	}
}

// killed notes the end of a process, unless another one is followed already.
func (p *Process) killed(fd *os.File) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fd == fd {
		p.become(topology.Gone)
	}
}

// find returns a descriptor of the process that listens now, nil when it cannot be named,
// and whether somebody listens at all.
func (p *Process) find(ctx context.Context) (*os.File, int, bool) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", p.socket)
	if err != nil {
		// A hung server with a full backlog lives, and its pid file may tell.
		if !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, fs.ErrNotExist) {
			fd, pid := p.byFile()
			return fd, pid, false
		}
		return nil, 0, false
	}
	defer conn.Close() //nolint:errcheck // nothing was written
	fd, pid := -1, 0
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err == nil {
		err = raw.Control(func(s uintptr) { fd, pid = peer(int(s)) })
	}
	if err == nil && fd >= 0 {
		return os.NewFile(uintptr(fd), "pidfd"), pid, true
	}
	f, pid := p.byFile()
	return f, pid, true
}

// peer returns a descriptor (-1: none) and the number of the process that listens at the
// other end of a connection.
func peer(socket int) (fd, pid int) {
	cred, err := unix.GetsockoptUcred(socket, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil || cred.Pid <= 0 {
		return -1, 0
	}
	// Linux 6.5 and later give the descriptor without a way round by the number.
	if fd, err := unix.GetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_PEERPIDFD); err == nil {
		_ = unix.SetNonblock(fd, true) // else its end is polled for by a thread of its own
		return fd, int(cred.Pid)
	}
	// The number can have gone to another process only if this one has ended, and then
	// nobody listens on this connection any more.
	return open(int(cred.Pid)), int(cred.Pid)
}

// byFile returns the process that the pid file names, if it is a database server: the
// number may have been given to another since the file was written.
func (p *Process) byFile() (*os.File, int) {
	if p.pidFile == "" {
		return nil, 0
	}
	text, err := os.ReadFile(p.pidFile)
	if err != nil {
		return nil, 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 1 {
		return nil, 0
	}
	fd := open(pid)
	if fd < 0 {
		return nil, 0
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	program, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/exe")
	if err != nil || !servers[path.Base(strings.TrimSuffix(program, " (deleted)"))] {
		_ = f.Close() // nothing was done with it
		return nil, 0
	}
	return f, pid
}

// servers are the programs of database servers.
var servers = map[string]bool{"mysqld": true, "mariadbd": true, "mysqld-debug": true}

func open(pid int) int {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return -1
	}
	return fd
}

// take makes a process the one that is followed. The returned channel is closed when it
// has ended, or is followed no more.
func (p *Process) take(fd *os.File, pid int) <-chan struct{} {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		conn, err := fd.SyscallConn()
		if err == nil {
			err = conn.Read(func(fd uintptr) bool { return exited(int(fd)) })
		}
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			p.log.Warn("the end of the server's process cannot be waited for", "pid", pid, "error", err)
		}
	}()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fd, p.pid, p.ended = fd, pid, ended
	p.starts++
	// A server works in its data directory; the link tells it whatever its settings are.
	if dir, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/cwd"); err == nil {
		p.dir = dir
	}
	p.start = started(pid)
	p.become(topology.Running)
	return ended
}

// exited reports whether a process has ended, without waiting: its descriptor is readable then.
func exited(fd int) bool {
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}} //nolint:gosec // a descriptor fits
	n, err := unix.Poll(poll, 0)
	return n > 0 && err == nil
}

func (p *Process) set(s topology.Process) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.become(s)
}

// become changes the state; the lock is held.
func (p *Process) become(s topology.Process) {
	if s == p.state && s != topology.Running {
		return
	}
	p.state, p.since = s, time.Now()
	if s == topology.Gone {
		p.gone = p.since
	}
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// drop lets go of the descriptor, and waits for the goroutine that reads it.
func (p *Process) drop() {
	p.mu.Lock()
	ended := p.ended
	if p.fd != nil {
		_ = p.fd.SetReadDeadline(time.Now()) // ends the wait; the process goes on
	}
	p.mu.Unlock()
	if ended == nil {
		return
	}
	<-ended
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fd != nil {
		_ = p.fd.Close()
		p.fd = nil
	}
}
