package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"kaname.dev/kaname/fault"
)

// startWithin is how long a process may take until it is ready.
const startWithin = 60 * time.Second

// process is a kaname that lives until it is stopped.
type process struct {
	name  string
	cmd   *exec.Cmd
	ready chan addresses // receives once
	ended chan struct{}  // closed when it has ended

	mu   sync.Mutex
	last []string // lines of its log, for when it fails
}

// addresses are those of the log line "ready".
type addresses struct{ Plane, API, Socket, Peer, Private string }

// launch starts the binary with its log in JSON. It gets a process group of its
// own, so that Ctrl-C reaches it through us alone, and dies with us.
func launch(ctx context.Context, binary, name, logFile string, args ...string) (*process, error) {
	out, err := os.OpenFile(logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	p := &process{name: name, ready: make(chan addresses, 1), ended: make(chan struct{})}
	p.cmd = exec.CommandContext(context.WithoutCancel(ctx), binary, args...)
	p.cmd.Env = append(clean(os.Environ()), "KANAME_LOG_FORMAT=json")
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	stderr, err := p.cmd.StderrPipe()
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		return nil, errors.Join(err, out.Close())
	}
	go func() { // ends with the process, which stop waits for
		defer close(p.ended)
		p.read(stderr, out)
		_ = p.cmd.Wait() // how it ended stands in its log
		_ = out.Close()
	}()
	return p, nil
}

// clean leaves out what would change the settings of the processes.
func clean(env []string) []string {
	var out []string
	for _, kv := range env {
		if !strings.HasPrefix(kv, "KANAME_") && !strings.HasPrefix(kv, "NOTIFY_SOCKET=") && !strings.HasPrefix(kv, "WATCHDOG_") {
			out = append(out, kv)
		}
	}
	return out
}

func (p *process) read(r io.Reader, log io.Writer) {
	in := bufio.NewScanner(r)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		_, _ = log.Write(append(in.Bytes(), '\n')) // the log is a courtesy
		var line struct {
			Msg string
			addresses
		}
		if json.Unmarshal(in.Bytes(), &line) == nil && line.Msg == "ready" {
			p.ready <- line.addresses
		}
		p.mu.Lock()
		p.last = append(p.last[max(0, len(p.last)-9):], in.Text())
		p.mu.Unlock()
	}
}

// await returns the addresses when the process is ready.
func (p *process) await(ctx context.Context) (addresses, error) {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	select {
	case a := <-p.ready:
		return a, nil
	case <-p.ended:
		p.mu.Lock()
		defer p.mu.Unlock()
		return addresses{}, fault.Internal(fmt.Sprintf("%s ended before it was ready:\n%s", p.name, strings.Join(p.last, "\n")))
	case <-ctx.Done():
		return addresses{}, fault.Timeout(p.name + " did not become ready").Because(ctx.Err())
	}
}

// stop ends the process, gently at first.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	patience := time.NewTimer(15 * time.Second)
	defer patience.Stop()
	select {
	case <-p.ended:
	case <-patience.C:
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
}
