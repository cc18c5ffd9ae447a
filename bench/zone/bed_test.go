// Package zone puts the rib zone to work between real name servers, with the built
// kaname as processes of its own: small in the tests, in full size when KANAME_BENCH
// names the file for the figures (make bench).
package zone

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"kaname.dev/kaname/lab"
	"kaname.dev/kaname/lab/dns"
)

// bin is the kaname under test, built once.
var bin string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "kaname-bench")
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench/zone:", err)
			return 1
		}
		defer os.RemoveAll(dir)
		bin = filepath.Join(dir, "kaname")
		build := exec.Command("go", "build", "-o", bin, "kaname.dev/kaname")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "bench/zone: build kaname:", err)
			return 1
		}
		return m.Run()
	}())
}

// bed is a core with sources, a host with name servers, and the servers.
type bed struct {
	t         *testing.T
	dir       string
	primaries []*dns.Server
	servers   []*dns.Server
	core, ns  *process
	ports     []string
	listen    string          // the core's DNS listener
	key       string          // file with the lab's TSIG key
	took      []time.Duration // by server, of the last await
}

// process is a kaname.
type process struct {
	t      *testing.T
	config string
	what   string
	ready  string // address of the private listener
	log    string
	cmd    *exec.Cmd
	done   chan struct{}
}

// options of a bed.
type options struct {
	primaries []string // kinds
	servers   []string // kinds
	extra     string   // lines of the core's section zone, indented by two
	noSources bool
	sources   func(*bed) string // other sources than the primaries', as lines indented by four
	from      []string          // further primaries of the servers
	share     int               // zone.guard.share; 100 when 0: the tests remove what they made
}

// newBed starts primaries, secondaries, a core that watches the primaries, and a host
// that works the secondaries.
func newBed(t *testing.T, o options) *bed {
	t.Helper()
	lab.NeedRoot(t)
	b := &bed{t: t, dir: t.TempDir()}
	b.listen, b.key = b.port(), filepath.Join(b.dir, "xfr.key")
	for _, kind := range o.primaries {
		b.primaries = append(b.primaries, start(t, kind, dns.Options{Primary: true, Notify: addrs(b.listen)}))
	}
	from := o.from
	for _, p := range b.primaries {
		from = append(from, p.Address.String())
	}
	for _, kind := range o.servers {
		b.servers = append(b.servers, start(t, kind, dns.Options{From: addrs(from...)}))
	}
	key := b.key
	write(t, key, fmt.Sprintf("key %q { algorithm hmac-sha256; secret %q; };\n", dns.KeyName, dns.KeySecret))
	b.core = b.process("core1", "up", func(s *strings.Builder) {
		fmt.Fprintf(s, "zone:\n  listen: [%q]\n  keys: [%q]\n  rescue: %q\n  guard: {share: %d}\n%s", b.listen, key, b.port(), cmp.Or(o.share, 100), o.extra)
		if o.noSources {
			return
		}
		s.WriteString("  sources:\n")
		if o.sources != nil {
			s.WriteString(o.sources(b))
			return
		}
		for i, p := range b.primaries {
			fmt.Fprintf(s, "    - name: p%d-%s\n      kind: %s\n      address: %q\n      key: %q\n      control: %q\n      key_file: %q\n      config: %q\n      stats: %q\n",
				i, p.Kind, p.Kind, p.Address, key, p.Control, p.KeyFile, p.Config, p.Stats)
		}
	})
	b.core.start()
	b.ns = b.process("ns1", "agent", func(s *strings.Builder) {
		fmt.Fprintf(s, "zone:\n  rescue: %q\n  keys: [%q]\n  servers:\n", b.port(), key)
		for _, v := range b.servers {
			fmt.Fprintf(s, "    - name: %s\n      kind: %s\n      address: %q\n      control: %q\n      key_file: %q\n      config: %q\n      stats: %q\n",
				v.Kind, v.Kind, v.Address, v.Control, v.KeyFile, v.Config, v.Stats)
		}
	})
	var token struct{ Token string }
	b.cli(&token, "token", "create", "--role", "agent", "--host", "ns1", "--yes")
	b.cli(nil, "join", token.Token, "--name", "ns1", "--config", b.ns.config)
	b.ns.start()
	b.until("all servers are worked", time.Minute, func() bool { return len(b.serverRows()) == len(o.servers) })
	return b
}

func start(t *testing.T, kind string, o dns.Options) *dns.Server {
	t.Helper()
	switch kind {
	case "bind":
		return dns.BIND(t, o)
	case "nsd":
		return dns.NSD(t, o)
	case "knot":
		return dns.Knot(t, o)
	case "pdns":
		return dns.PowerDNS(t, o)
	}
	t.Fatalf("no server is of kind %s", kind)
	return nil
}

// port returns a free loopback address.
func (b *bed) port() string {
	for {
		a := dns.AddressOf(b.t).String()
		if !slices.Contains(b.ports, a) {
			b.ports = append(b.ports, a)
			return a
		}
	}
}

// process writes the configuration of a kaname.
func (b *bed) process(name, what string, section func(*strings.Builder)) *process {
	b.t.Helper()
	p := &process{t: b.t, what: what, ready: b.port(), config: filepath.Join(b.dir, name+".yaml"), log: filepath.Join(b.dir, name+".log")}
	var s strings.Builder
	fmt.Fprintf(&s, "host:\n  name: %s\n  dir: %s/%s\nmetrics:\n  listen: %q\npeer:\n  listen: %q\nlog:\n  format: text\n  level: debug\n", name, b.dir, name, p.ready, b.port())
	if what == "up" {
		fmt.Fprintf(&s, "plane:\n  listen: %q\napi:\n  listen: %q\n  socket: %s/core.sock\n", b.port(), b.port(), b.dir)
	}
	section(&s)
	write(b.t, p.config, s.String())
	return p
}

func (p *process) start() {
	p.t.Helper()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	p.cmd = exec.CommandContext(context.Background(), bin, p.what, "--config", p.config)
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
	p.t.Cleanup(func() { p.end(syscall.SIGKILL) })
	deadline := time.Now().Add(time.Minute)
	for {
		r, err := http.Get("http://" + p.ready + "/readyz")
		if err == nil {
			_ = r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-p.done:
			p.t.Fatalf("kaname ended:\n%s", tail(p.log))
		case <-time.After(30 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("kaname is not ready:\n%s", tail(p.log))
		}
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

// rss returns the resident memory of the process at its highest, in MiB.
func (p *process) rss() float64 {
	p.t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(raw), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			var kb float64
			_, _ = fmt.Sscan(rest, &kb)
			return kb / 1024
		}
	}
	return 0
}

// cli runs kaname and decodes what it prints.
func (b *bed) cli(out any, args ...string) {
	b.t.Helper()
	raw, err := b.try(args...)
	if err != nil {
		b.t.Fatalf("kaname %s: %v\n%s", strings.Join(args, " "), err, tail(b.core.log))
	}
	if out != nil {
		if err := json.Unmarshal(raw, out); err != nil {
			b.t.Fatalf("kaname %s printed %s: %v", strings.Join(args, " "), raw, err)
		}
	}
}

// try runs kaname.
func (b *bed) try(args ...string) ([]byte, error) {
	c := exec.Command(bin, append(args, "-o", "json")...)
	c.Env = append(os.Environ(), "KANAME_SOCKET="+b.dir+"/core.sock")
	var bad bytes.Buffer
	c.Stderr = &bad
	raw, err := c.Output()
	if err != nil {
		return raw, fmt.Errorf("%w: %s", err, bad.String())
	}
	return raw, nil
}

type serverRow struct {
	Server, State, Note      string
	Serving, Wanted, Foreign int
}

func (b *bed) serverRows() []serverRow {
	var rows []serverRow
	raw, err := b.try("zone", "servers")
	if err == nil {
		_ = json.Unmarshal(raw, &rows)
	}
	return rows
}

func (b *bed) until(what string, within time.Duration, cond func() bool) {
	b.t.Helper()
	deadline := time.Now().Add(within)
	for !cond() {
		if time.Now().After(deadline) {
			b.t.Fatalf("waited %s in vain until %s; servers: %+v\ncore:\n%s\nhost:\n%s", within, what, b.serverRows(), tail(b.core.log), tail(b.ns.log))
		}
		<-time.After(20 * time.Millisecond)
	}
}

// await polls all servers until each answers for the zone, or refuses it, and returns
// how long that took since began.
func (b *bed) await(zone string, served bool, began time.Time, within time.Duration) time.Duration {
	b.t.Helper()
	var wg sync.WaitGroup
	late := make([]string, len(b.servers))
	b.took = make([]time.Duration, len(b.servers))
	for i, s := range b.servers {
		wg.Go(func() {
			for {
				_, rcode, ok := s.SOA(zone)
				if served && ok || !served && !ok && rcode == 5 { // REFUSED
					b.took[i] = time.Since(began)
					return
				}
				if time.Since(began) > within {
					late[i] = fmt.Sprintf("%s (rcode %d)", s.Kind, rcode)
					return
				}
				<-time.After(5 * time.Millisecond)
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	if bad := strings.TrimSpace(strings.Join(late, " ")); bad != "" {
		b.t.Fatalf("zone %s served=%v is late on: %s; status %s\ncore:\n%s\nhost:\n%s", zone, served, bad, b.status(zone), tail(b.core.log), tail(b.ns.log))
	}
	return took
}

func (b *bed) status(zone string) string {
	raw, err := b.try("zone", "status", zone)
	if err != nil {
		return err.Error()
	}
	return string(raw)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func tail(path string) string {
	raw, _ := os.ReadFile(path)
	lines := strings.Split(string(raw), "\n")
	return strings.Join(lines[max(0, len(lines)-25):], "\n")
}
