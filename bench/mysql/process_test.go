package mysql

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"kaname.dev/kaname/lab/netns"
)

// bin is the kaname under test, built once.
var bin string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "kaname-bench")
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench/mysql:", err)
			return 1
		}
		defer os.RemoveAll(dir)
		bin = filepath.Join(dir, "kaname")
		build := exec.Command("go", "build", "-o", bin, "kaname.dev/kaname")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "bench/mysql: build kaname:", err)
			return 1
		}
		return m.Run()
	}())
}

// process is a kaname on a host of its own.
type process struct {
	t      *testing.T
	name   string
	what   string // "up" or "agent"
	host   *netns.Host
	config string
	log    string
	socket string // of a core
	cmd    *exec.Cmd
	done   chan struct{}
}

// The ports of a kaname; each has a host of its own.
const (
	metricsPort = 7420
	apiPort     = 7421
	planePort   = 7422
	clusterPort = 7423
	peerPort    = 7424
	routerPort  = 3306 // on the host of the clients, on loopback
)

// newProcess writes the configuration of a kaname: the lines of a section come last.
func (b *bed) newProcess(name, what string, host *netns.Host, section string) *process {
	b.t.Helper()
	p := &process{t: b.t, name: name, what: what, host: host, config: filepath.Join(b.dir, name+".yaml"), log: filepath.Join(b.dir, name+".log")}
	var s strings.Builder
	fmt.Fprintf(&s, "host:\n  name: %s\n  dir: %s/%s\nmetrics:\n  listen: \"127.0.0.1:%d\"\npeer:\n  listen: \"%s:%d\"\nlog:\n  format: text\n  level: debug\n",
		name, b.dir, name, metricsPort, host.IP, peerPort)
	if what == "up" {
		p.socket = filepath.Join(b.dir, name+".sock")
		fmt.Fprintf(&s, "api:\n  listen: \"%s:%d\"\n  socket: %s\n", host.IP, apiPort, p.socket)
	}
	s.WriteString(section)
	if err := os.WriteFile(p.config, []byte(s.String()), 0o600); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		p.end(syscall.SIGKILL)
		if b.t.Failed() {
			b.t.Logf("%s said:\n%s", name, tail(p.log, 40))
		}
	})
	return p
}

// launch starts the process.
func (p *process) launch() {
	p.t.Helper()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	p.cmd = p.host.Command(context.Background(), bin, p.what, "--config", p.config)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.done = make(chan struct{})
	go func(cmd *exec.Cmd, done chan struct{}) {
		defer close(done)
		_ = cmd.Wait()
	}(p.cmd, p.done)
}

// await waits until it is ready.
func (p *process) await() {
	p.t.Helper()
	transport := &http.Transport{DialContext: p.host.Dial, DisableKeepAlives: true}
	client := &http.Client{Transport: transport, Timeout: 5 * time.Second}
	deadline := time.Now().Add(time.Minute)
	for {
		r, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/readyz", metricsPort))
		if err == nil {
			_ = r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-p.done:
			p.t.Fatalf("%s ended:\n%s", p.name, tail(p.log, 40))
		case <-time.After(30 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s is not ready:\n%s", p.name, tail(p.log, 40))
		}
	}
}

func (p *process) start() { p.launch(); p.await() }

// runs reports whether the process is there.
func (p *process) runs() bool {
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// signal sends a signal, if the process is there.
func (p *process) signal(sig syscall.Signal) {
	if p.runs() {
		_ = p.cmd.Process.Signal(sig)
	}
}

// end sends a signal and waits until the process is gone.
func (p *process) end(sig syscall.Signal) {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(sig)
	<-p.done
	p.cmd = nil
}

// cli runs kaname and decodes what it prints.
func (b *bed) cli(out any, args ...string) {
	b.t.Helper()
	raw, err := b.try(args...)
	if err != nil {
		b.t.Fatalf("kaname %s: %v", strings.Join(args, " "), err)
	}
	if out != nil {
		if err := json.Unmarshal(raw, out); err != nil {
			b.t.Fatalf("kaname %s printed %s: %v", strings.Join(args, " "), raw, err)
		}
	}
}

// try runs kaname at the first core that runs.
func (b *bed) try(args ...string) ([]byte, error) {
	socket := b.cores[0].socket
	for _, c := range b.cores {
		if c.runs() {
			socket = c.socket
			break
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, bin, append(args, "-o", "json", "--progress", "none")...)
	c.Env = append(os.Environ(), "KANAME_SOCKET="+socket)
	var bad bytes.Buffer
	c.Stderr = &bad
	raw, err := c.Output()
	if err != nil {
		return raw, fmt.Errorf("%w: %s", err, bad.String())
	}
	return raw, nil
}

func tail(path string, n int) string {
	raw, _ := os.ReadFile(path)
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
