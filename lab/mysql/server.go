// Package mysql runs real MariaDB and MySQL servers for tests: on loopback, or each on a
// host of its own of lab/netns, alone or as a replicating topology, and breaks them:
// killed, stopped, cut off. Passwords are those of a lab, the same everywhere.
package mysql

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"kaname.dev/kaname/lab/netns"
)

// The flavours, as rib/mysql writes them.
const (
	FlavourMySQL   = "mysql"
	FlavourMariaDB = "mariadb"
)

// ids numbers the servers of this process.
var ids atomic.Int64

// Options of a server.
type Options struct {
	Host *netns.Host // where it runs; nil: on this machine, at 127.0.0.1
	Port int         // 0: 3306 on a host, any free port otherwise
	ID   int         // server_id; 0: the next of this process
	Dir  string      // holds all that is the server's; "": a new folder in the temporary one
	Args []string    // further arguments of the server, which win over the lab's own
	Name string      // "": "db" and the ID
}

// Server is a running server, or one that was and can be started again.
type Server struct {
	Flavour string // FlavourMySQL or FlavourMariaDB
	Name    string
	IP      string
	Port    int
	ID      int // server_id

	Dir, DataDir, Socket, PIDFile, ErrLog string

	// Files as the MySQL clients read them, with user and password, mode 0600: of the
	// accounts UserAdmin, UserRepl and UserApp.
	AdminFile, ReplFile, AppFile string
	// StartFile is a script that starts the server as a process of its own and returns
	// at once, for what restarts servers by a command.
	StartFile string

	Host *netns.Host // nil: this machine

	t    testing.TB
	argv []string // program and arguments

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{} // closed when cmd has ended
	dbs  map[string]*sql.DB
}

// start makes the server's folder from a template and starts it, without waiting until it
// answers. argv makes the command line from what the server is.
func start(t testing.TB, flavour string, o Options, template string, argv func(*Server) []string) *Server {
	t.Helper()
	s := &Server{Flavour: flavour, Host: o.Host, ID: o.ID, t: t, dbs: map[string]*sql.DB{}}
	if s.ID == 0 {
		s.ID = int(ids.Add(1))
	}
	s.Name, s.IP, s.Port = cmp.Or(o.Name, "db"+strconv.Itoa(s.ID)), "127.0.0.1", o.Port
	switch {
	case o.Host != nil:
		s.IP, s.Port = o.Host.IP, cmp.Or(o.Port, 3306)
	case s.Port == 0:
		s.Port = freePort(t)
	}
	s.folder(o.Dir)
	t.Cleanup(s.end)
	if out, err := exec.Command("cp", "-a", "--reflink=auto", template, s.DataDir).CombinedOutput(); err != nil {
		t.Fatalf("copy %s: %v: %s", template, err, out)
	}
	s.AdminFile = s.credentials("admin.cnf", UserAdmin, PasswordAdmin)
	s.ReplFile = s.credentials("repl.cnf", UserRepl, PasswordRepl)
	s.AppFile = s.credentials("app.cnf", UserApp, PasswordApp)
	s.argv = append(argv(s), o.Args...)
	s.script()
	s.launch(t)
	return s
}

// folder makes the server's folder. Its name is short, for so must be that of a socket.
func (s *Server) folder(dir string) {
	s.t.Helper()
	var err error
	if dir == "" {
		if dir, err = os.MkdirTemp("", "kmy"); err != nil {
			s.t.Fatal(err)
		}
		s.t.Cleanup(func() { _ = os.RemoveAll(dir) })
	} else if err = os.MkdirAll(dir, 0o755); err != nil {
		s.t.Fatal(err)
	}
	s.Dir, s.DataDir, s.Socket = dir, filepath.Join(dir, "data"), filepath.Join(dir, "s.sock")
	s.PIDFile, s.ErrLog, s.StartFile = filepath.Join(dir, "pid"), filepath.Join(dir, "err.log"), filepath.Join(dir, "start")
}

func (s *Server) credentials(name, user, password string) string {
	s.t.Helper()
	path := filepath.Join(s.Dir, name)
	if err := os.WriteFile(path, fmt.Appendf(nil, "[client]\nuser = %s\npassword = \"%s\"\n", user, password), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// script writes StartFile.
func (s *Server) script() {
	s.t.Helper()
	words := []string{"exec", "setsid", "-f"}
	if s.Host != nil {
		words = append(words, "ip", "netns", "exec", s.Host.Name)
	}
	for _, w := range s.argv {
		words = append(words, "'"+strings.ReplaceAll(w, "'", `'\''`)+"'")
	}
	text := "#!/bin/sh\n" + strings.Join(words, " ") + " </dev/null >/dev/null 2>&1\n"
	if err := os.WriteFile(s.StartFile, []byte(text), 0o755); err != nil { //nolint:gosec // it is a program
		s.t.Fatal(err)
	}
}

// Address returns IP:port.
func (s *Server) Address() string { return net.JoinHostPort(s.IP, strconv.Itoa(s.Port)) }

// Dial connects to the server over TCP: on its host when it has one, otherwise on this
// machine.
func (s *Server) Dial(ctx context.Context) (net.Conn, error) {
	if s.Host != nil {
		return s.Host.Dial(ctx, "tcp", s.Address())
	}
	return new(net.Dialer).DialContext(ctx, "tcp", s.Address())
}

// Start starts the server on its data and waits until it answers a query.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	if s.PID() != 0 {
		t.Fatalf("%s runs already", s.Name)
	}
	s.launch(t)
	s.await(t)
}

func (s *Server) launch(t testing.TB) {
	t.Helper()
	cmd := exec.Command(s.argv[0], s.argv[1:]...)
	if s.Host != nil {
		//nolint:usetesting // the server outlives a subtest that starts it anew, and end() kills it
		cmd = s.Host.Command(context.Background(), s.argv[0], s.argv[1:]...)
	}
	// The server does not change its user, so that this signal stays in force.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", s.Name, err)
	}
	done := make(chan struct{})
	go func() { // ends with the process, which end() kills
		defer close(done)
		_ = cmd.Wait()
	}()
	s.mu.Lock()
	s.cmd, s.done = cmd, done
	s.mu.Unlock()
}

// await waits until the server answers a query.
func (s *Server) await(t testing.TB) {
	t.Helper()
	s.mu.Lock()
	done := s.done
	s.mu.Unlock()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_, err := s.DB().ExecContext(ctx, "DO 1")
		cancel()
		if err == nil {
			return
		}
		select {
		case <-done:
			t.Fatalf("%s %s ended at its start:\n%s", s.Flavour, s.Name, s.Tail())
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s %s does not answer: %v\n%s", s.Flavour, s.Name, err, s.Tail())
		}
	}
}

// PID returns the server's process, whoever started it; 0 when there is none.
func (s *Server) PID() int {
	s.mu.Lock()
	cmd, done := s.cmd, s.done
	s.mu.Unlock()
	if cmd != nil {
		select {
		case <-done:
		default:
			return cmd.Process.Pid
		}
	}
	raw, err := os.ReadFile(s.PIDFile)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		return 0
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !strings.Contains(string(line), s.DataDir) {
		return 0
	}
	return pid
}

// Kill ends the server by SIGKILL and waits until it is gone.
func (s *Server) Kill() { s.signal(syscall.SIGKILL); s.gone() }

// Stop halts the server by SIGSTOP: its sockets stay open and nobody answers.
func (s *Server) Stop() {
	s.t.Helper()
	s.signal(syscall.SIGSTOP)
	// The signal returns before the last thread stands still, which may answer one more query.
	for deadline := time.Now().Add(10 * time.Second); !stands(s.PID()); <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("%s does not stop", s.Name)
		}
	}
}

// stands tells whether each thread of a process is stopped, or the process is gone.
func stands(pid int) bool {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, f := range files {
		b, _ := os.ReadFile(f)
		// proc_pid_stat(5): the state follows the command's closing parenthesis.
		if i := bytes.LastIndexByte(b, ')'); i >= 0 && i+2 < len(b) && b[i+2] != 'T' {
			return false
		}
	}
	return true
}

// Cont lets it go on.
func (s *Server) Cont() { s.signal(syscall.SIGCONT) }

// Shutdown ends the server in an orderly way and waits until it is gone.
func (s *Server) Shutdown() { s.signal(syscall.SIGTERM); s.gone() }

func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	pid := s.PID()
	if pid == 0 {
		return
	}
	if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		s.t.Errorf("%v to %s: %v", sig, s.Name, err)
	}
}

func (s *Server) gone() {
	s.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for s.PID() != 0 {
		if time.Now().After(deadline) {
			s.t.Errorf("%s does not end:\n%s", s.Name, s.Tail())
			return
		}
		<-time.After(2 * time.Millisecond)
	}
}

// end kills the server for good and shows its log where the test has failed.
func (s *Server) end() {
	s.Kill()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, db := range s.dbs {
		_ = db.Close()
	}
	if s.t.Failed() {
		s.t.Logf("%s %s said:\n%s", s.Flavour, s.Name, s.Tail())
	}
}

// Tail returns the last lines of the server's error log.
func (s *Server) Tail() string {
	raw, err := os.ReadFile(s.ErrLog)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	return strings.Join(lines[max(0, len(lines)-25):], "\n")
}

// DB returns connections over the unix socket, as root, or as one of the accounts. It
// belongs to the server.
func (s *Server) DB(user ...string) *sql.DB {
	s.t.Helper()
	who := "root"
	if len(user) > 0 && user[0] != "" {
		who = user[0]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if db := s.dbs[who]; db != nil {
		return db
	}
	c := mysql.NewConfig()
	c.User, c.Passwd, c.Net, c.Addr = who, passwords[who], "unix", s.Socket
	c.Timeout, c.Logger, c.InterpolateParams = 5*time.Second, &mysql.NopLogger{}, true
	connector, err := mysql.NewConnector(c)
	if err != nil {
		s.t.Fatal(err)
	}
	s.dbs[who] = sql.OpenDB(connector)
	return s.dbs[who]
}

// Exec executes statements one after the other as root, in one session.
func (s *Server) Exec(t testing.TB, statements ...string) {
	t.Helper()
	c, err := s.DB().Conn(t.Context())
	if err != nil {
		t.Fatalf("%s: %v", s.Name, err)
	}
	for _, q := range statements {
		if _, err := c.ExecContext(t.Context(), q); err != nil {
			t.Fatalf("%s: %s: %v", s.Name, q, err)
		}
	}
	_ = c.Close()
}

// Value returns the first column of a query's only row, as text; "" for NULL.
func (s *Server) Value(t testing.TB, query string, args ...any) string {
	t.Helper()
	var v sql.NullString
	if err := s.DB().QueryRowContext(t.Context(), query, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %s: %v", s.Name, query, err)
	}
	return v.String
}

// freePort returns a port on which nobody listens, and which the kernel gives to nobody
// for an outgoing connection while the server is down.
func freePort(t testing.TB) int {
	t.Helper()
	for range 1000 {
		port := 12000 + rand.IntN(18000)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			_ = l.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}
