package story

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// patience is how long a story waits for what must come, on a busy machine.
const patience = 90 * time.Second

// fleetKey is under which a story keeps its fleet.
type fleetKey struct{}

// fleet is the core and the hosts of one story.
type fleet struct {
	work  string
	order []string
	hosts map[string]*member
}

// member is one host: its settings stay, its process comes and goes.
type member struct {
	name, dir, private string
	core               bool
	cmd                *exec.Cmd
	done               chan struct{} // closed when the process was waited for
}

func fleetOf(ts *testscript.TestScript) *fleet {
	f, _ := ts.Value(fleetKey{}).(*fleet)
	return f
}

// ports are given out on a loopback address of this run's own, below those that the
// kernel takes for outgoing connections: a host finds its own free again after a
// restart, whatever else runs on this machine.
var ports struct {
	sync.Mutex
	ip   string
	next int
}

func freePort() (string, error) {
	ports.Lock()
	defer ports.Unlock()
	if ports.ip == "" {
		ports.ip, ports.next = fmt.Sprintf("127.%d.%d.1", 64+rand.IntN(128), 1+rand.IntN(254)), 7000
	}
	for range 100 {
		ports.next++
		address := fmt.Sprintf("%s:%d", ports.ip, ports.next)
		l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
		if err == nil {
			return address, l.Close()
		}
	}
	return "", fmt.Errorf("no free port at %s up to %d", ports.ip, ports.next)
}

// fleetCmd makes a core and hosts, starts them, and waits until all are alive:
//
//	fleet CORE [HOST[:SETTING=VALUE,…]]…
//
// A host's label role is its name without digits. $NAME_ROOT, $NAME_TUGGLE and
// $NAME_METRICS say where its releases, tuggle's interface and its metrics are,
// $CORE_API where the core's API is.
func fleetCmd(ts *testscript.TestScript, neg bool, args []string) {
	neverNegated(ts, neg, "fleet CORE [HOST[:SETTING=VALUE,…]]…", len(args) > 0)
	f := fleetOf(ts)
	for i, a := range args {
		name, sets, _ := strings.Cut(a, ":")
		m, err := f.settle(ts, name, sets, i == 0)
		ts.Check(err)
		if i > 0 {
			f.join(ts, m)
		}
		ts.Check(f.start(m))
		if i == 0 {
			ts.Setenv("KANAME_SOCKET", filepath.Join(f.work, "core.sock"))
			ts.Check(f.ready(m))
		}
	}
	for _, n := range f.order {
		ts.Check(f.ready(f.hosts[n]))
	}
	f.alive(ts)
}

// settle writes the configuration of a host.
func (f *fleet) settle(ts *testscript.TestScript, name, sets string, core bool) (*member, error) {
	m := &member{name: name, dir: filepath.Join(f.work, "hosts", name), core: core}
	var addresses [5]string
	for i := range addresses {
		var err error
		if addresses[i], err = freePort(); err != nil {
			return nil, err
		}
	}
	m.private = addresses[0]
	release := []string{"root: " + filepath.Join(m.dir, "srv")}
	tuggle := []string{"listen: " + addresses[1]}
	for s := range strings.SplitSeq(sets, ",") {
		key, value, ok := strings.Cut(s, "=")
		if !ok {
			continue
		}
		if k, ok := strings.CutPrefix(key, "release.tuggle."); ok {
			tuggle = append(tuggle, k+": "+value)
		} else {
			release = append(release, strings.TrimPrefix(key, "release.")+": "+value)
		}
	}
	text := fmt.Sprintf("host:\n  name: %s\n  dir: %s/state\nrelease:\n  %s\n  tuggle:\n    %s\nmetrics:\n  listen: %s\npeer:\n  listen: %s\nlog:\n  format: text\n",
		name, m.dir, strings.Join(release, "\n  "), strings.Join(tuggle, "\n    "), m.private, addresses[2])
	if core {
		text += fmt.Sprintf("plane:\n  listen: %s\napi:\n  listen: %s\n  socket: %s/core.sock\n", addresses[3], addresses[4], f.work)
		ts.Setenv("CORE_API", addresses[4])
	}
	upper := strings.ToUpper(name)
	ts.Setenv(upper+"_ROOT", filepath.Join(m.dir, "srv"))
	ts.Setenv(upper+"_TUGGLE", addresses[1])
	ts.Setenv(upper+"_METRICS", addresses[0])
	f.hosts[name] = m
	f.order = append(f.order, name)
	if err := os.MkdirAll(m.dir, 0o755); err != nil {
		return nil, err
	}
	return m, os.WriteFile(m.config(), []byte(text), 0o600)
}

func (m *member) config() string { return filepath.Join(m.dir, "kaname.yaml") }
func (m *member) log() string    { return filepath.Join(m.dir, "log") }

// join lets a host join with a token that is good for it alone.
func (f *fleet) join(ts *testscript.TestScript, m *member) {
	ts.Check(ts.Exec("kaname", "token", "create", "--role", "agent", "--host", m.name, "-o", "json", "--yes"))
	var token struct{ Token string }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &token))
	ts.Check(ts.Exec("kaname", "join", token.Token, "--name", m.name, "--config", m.config(), "--labels", "role="+strings.TrimRight(m.name, "0123456789")))
}

// start starts a host's process; its log goes on in the same file.
func (f *fleet) start(m *member) error {
	if m.cmd != nil {
		return fmt.Errorf("%s runs already", m.name)
	}
	what := "agent"
	if m.core {
		what = "up"
	}
	log, err := os.OpenFile(m.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.CommandContext(context.Background(), filepath.Join(bin, "kaname"), what, "--config", m.config())
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, m.dir
	cmd.Env = append(os.Environ(), "HOME="+m.dir, "STORY_APP=shop")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	m.cmd, m.done = cmd, make(chan struct{})
	go func(done chan struct{}) {
		defer close(done)
		_ = cmd.Wait() // how it ended stands in its log
	}(m.done)
	return nil
}

// ready waits until the host says of itself that it is.
func (f *fleet) ready(m *member) error {
	client := &http.Client{Timeout: 5 * time.Second}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if resp, err := client.Get("http://" + m.private + "/readyz"); err == nil {
			var who struct{ Host string }
			wrong := json.NewDecoder(resp.Body).Decode(&who)
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK && wrong == nil && who.Host == m.name {
				return nil
			}
		}
		select {
		case <-m.done:
			log, _ := os.ReadFile(m.log())
			return fmt.Errorf("%s ended: %s\n%s", m.name, m.cmd.ProcessState, lastLines(string(log), 8))
		case <-time.After(50 * time.Millisecond):
		}
	}
	log, _ := os.ReadFile(m.log())
	return fmt.Errorf("%s is not ready after %s\n%s", m.name, patience, lastLines(string(log), 8))
}

// alive waits until the core has heard of all hosts.
func (f *fleet) alive(ts *testscript.TestScript) {
	for deadline := time.Now().Add(patience); ; <-time.After(100 * time.Millisecond) {
		err := ts.Exec("kaname", "host", "list", "-o", "json")
		var list []struct{ Host, State string }
		if err == nil {
			err = json.Unmarshal([]byte(ts.ReadFile("stdout")), &list)
		}
		n := 0
		for _, h := range list {
			if h.State == "alive" {
				n++
			}
		}
		if err == nil && n == len(f.order) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("hosts are not alive after %s: %v, %v", patience, list, err)
		}
	}
}

// hostCmd starts and ends the processes of hosts:
//
//	host start|stop|kill NAME…
//
// start waits until they are ready, stop asks them (TERM), kill does not (KILL); both
// wait until they are gone.
func hostCmd(ts *testscript.TestScript, neg bool, args []string) {
	neverNegated(ts, neg, "host start|stop|kill NAME…", len(args) > 1)
	f := fleetOf(ts)
	for _, n := range args[1:] {
		m := f.hosts[n]
		if m == nil {
			ts.Fatalf("no host %s in this fleet", n)
		}
		switch args[0] {
		case "start":
			ts.Check(f.start(m))
		case "stop":
			ts.Check(m.end(syscall.SIGTERM))
		case "kill":
			ts.Check(m.end(syscall.SIGKILL))
		default:
			ts.Fatalf("host %s: want start, stop or kill", args[0])
		}
	}
	if args[0] == "start" {
		for _, n := range args[1:] {
			ts.Check(f.ready(f.hosts[n]))
		}
	}
}

// end sends a signal and waits until the process is gone.
func (m *member) end(sig syscall.Signal) error {
	if m.cmd == nil {
		return fmt.Errorf("%s does not run", m.name)
	}
	err := m.cmd.Process.Signal(sig)
	if errors.Is(err, os.ErrProcessDone) {
		err = fmt.Errorf("%s was gone already: %s", m.name, m.cmd.ProcessState)
	}
	select {
	case <-m.done:
	case <-time.After(patience):
		err = fmt.Errorf("%s does not end within %s of %s", m.name, patience, sig)
		_ = m.cmd.Process.Kill()
		<-m.done
	}
	m.cmd = nil
	return err
}

// stopAll ends whatever still runs, hosts before their core.
func (f *fleet) stopAll() {
	for _, n := range slices.Backward(f.order) {
		if m := f.hosts[n]; m.cmd != nil {
			_ = m.end(syscall.SIGKILL) // the story is over; stop has its own scene
		}
	}
}

// complaints returns what hosts logged as warnings and errors, for a failed story.
func (f *fleet) complaints() string {
	var b strings.Builder
	for _, n := range f.order {
		text, err := os.ReadFile(f.hosts[n].log())
		if err != nil {
			continue
		}
		var bad []string
		for l := range strings.SplitSeq(string(text), "\n") {
			if l != "" && !strings.Contains(l, "level=INFO") && !strings.Contains(l, "level=DEBUG") {
				bad = append(bad, l)
			}
		}
		fmt.Fprintf(&b, "log of %s:\n%s\n", n, lastLines(strings.Join(bad, "\n"), 15))
	}
	return b.String()
}
