package plane

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"kaname.dev/kaname/plane/trust"
)

// court runs contenders as processes, collects what they tell, and is the resource
// that the lease protects: it takes the writes in the order in which they arrive.
type court struct {
	t   *testing.T
	res *resource
	h   *history

	mu      sync.Mutex // guards the fields below
	procs   map[string]*leaseProc
	holder  string // who believed last
	epoch   Epoch  // under which epoch
	changed time.Time
	leader  string
}

type leaseProc struct {
	cmd   *exec.Cmd
	ready chan struct{}
	done  chan struct{}
	job   leaseJob
	span  *span
	log   strings.Builder // of stderr; read after done only
}

func newCourt(t *testing.T) *court {
	_ = t.TempDir() // its removal, noted down first, comes after the end of the processes
	h := &history{}
	c := &court{t: t, h: h, res: &resource{h: h}, procs: map[string]*leaseProc{}}
	t.Cleanup(func() {
		for who := range c.procs {
			c.kill(who)
		}
	})
	return c
}

func (c *court) start(who string, j leaseJob) {
	c.t.Helper()
	job, err := json.Marshal(j)
	if err != nil {
		c.t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		c.t.Fatal(err)
	}
	p := &leaseProc{cmd: exec.Command(exe), job: j, ready: make(chan struct{}), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), LeaseChildEnv+"="+string(job))
	p.cmd.Stderr = &p.log
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.mu.Lock()
	c.procs[who] = p
	c.mu.Unlock()
	go c.listen(who, p, out)
}

func (c *court) listen(who string, p *leaseProc, out io.Reader) {
	defer close(p.done)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var l leaseLine
		if json.Unmarshal(lines.Bytes(), &l) == nil { // else cut off by a kill
			c.take(who, p, l)
		}
	}
}

func (c *court) take(who string, p *leaseProc, l leaseLine) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch l.Kind {
	case "ready":
		close(p.ready)
	case "believe":
		if p.span == nil || p.span.Epoch != l.Epoch {
			p.span = &span{Who: who, Epoch: l.Epoch, From: l.At}
			c.h.mu.Lock()
			c.h.Spans = append(c.h.Spans, p.span)
			c.h.mu.Unlock()
		}
		p.span.To = l.Until
		if l.Epoch > c.epoch {
			c.holder, c.epoch, c.changed = who, l.Epoch, time.Now()
		}
	case "end":
		p.span.To = min(p.span.To, l.At)
	case "write":
		c.res.write(who, l.Epoch, time.Unix(0, l.At))
	case "leads":
		c.leader = who
	}
}

func (c *court) proc(who string) *leaseProc {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.procs[who]
}

func (c *court) signal(who string, s syscall.Signal) {
	if err := c.proc(who).cmd.Process.Signal(s); err != nil {
		c.t.Errorf("signal %s: %v", who, err)
	}
}

// kill ends a process by SIGKILL and reads what it still said.
func (c *court) kill(who string) {
	p := c.proc(who)
	_ = p.cmd.Process.Kill() // it may be dead
	<-p.done
	_ = p.cmd.Wait() // it was killed
}

func (c *court) restart(who string) {
	c.kill(who)
	c.start(who, c.proc(who).job)
}

func (c *court) wait(what string, within time.Duration, cond func() bool) {
	c.t.Helper()
	for end := time.Now().Add(within); ; {
		c.mu.Lock()
		ok := cond()
		c.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(end) {
			c.t.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (c *court) readied(who string) {
	c.t.Helper()
	p := c.proc(who)
	select {
	case <-p.ready:
	case <-p.done:
		_ = p.cmd.Wait()
		c.t.Fatalf("%s did not start:\n%s", who, p.log.String())
	case <-time.After(60 * time.Second):
		c.t.Fatalf("%s is not ready", who)
	}
}

// handover does something to the holder and waits for the next epoch.
func (c *court) handover(what string, within time.Duration, do func(holder string)) {
	c.t.Helper()
	c.mu.Lock()
	holder, epoch, began := c.holder, c.epoch, time.Now()
	c.mu.Unlock()
	do(holder)
	c.wait("a new holder after: "+what, within, func() bool { return c.epoch > epoch })
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t.Logf("%s (%s, epoch %d): %s has epoch %d after %s", what, holder, epoch, c.holder, c.epoch, c.changed.Sub(began).Round(time.Millisecond))
}

// verdict checks the history and that there was something to check.
func (c *court) verdict(holdings, stale int) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if wrong := c.h.check(); len(wrong) > 0 {
		c.t.Errorf("%s", strings.Join(wrong, "\n"))
	}
	refused := 0
	for _, w := range c.h.Writes {
		if !w.OK {
			refused++
		}
	}
	c.t.Logf("%d holdings, %d writes, %d of them stale and refused", len(c.h.Spans), len(c.h.Writes), refused)
	if len(c.h.Spans) < holdings || refused < stale {
		c.t.Errorf("too tame: want %d holdings and %d stale writes", holdings, stale)
	}
}

// cutter is a TCP proxy that can hold back everything, as a partition does.
type cutter struct {
	l    net.Listener
	to   string
	wg   sync.WaitGroup
	mu   sync.Mutex
	gate chan struct{} // closed: everything passes
	all  []net.Conn
}

func newCutter(t *testing.T, to string) *cutter {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{l: l, to: to, gate: make(chan struct{})}
	close(c.gate)
	c.wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			c.mu.Lock()
			c.all = append(c.all, in, out)
			c.mu.Unlock()
			c.wg.Go(func() { c.pass(in, out) })
			c.wg.Go(func() { c.pass(out, in) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		c.mend()
		c.mu.Lock()
		for _, x := range c.all {
			_ = x.Close()
		}
		c.mu.Unlock()
		c.wg.Wait()
	})
	return c
}

func (c *cutter) pass(from, to net.Conn) {
	defer to.Close()
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		c.mu.Lock()
		gate := c.gate
		c.mu.Unlock()
		<-gate
		if n > 0 {
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gate = make(chan struct{})
}

func (c *cutter) mend() {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.gate:
	default:
		close(c.gate)
	}
}

func soaking() bool { return os.Getenv("KANAME_SOAK") != "" }

// TestLeaseOfProcesses has four processes contend for a lease in a store on
// loopback, each through a proxy of its own. Holders are stopped and continued,
// killed, cut off, and the store is killed and started again.
func TestLeaseOfProcesses(t *testing.T) {
	const ttl = time.Second
	rounds := 1
	if soaking() {
		rounds = 25
	}
	c, dir := newCourt(t), t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().(*net.TCPAddr)
	_ = l.Close() // the store takes it
	c.start("store", leaseJob{StoreDir: filepath.Join(dir, "store"), Port: addr.Port})
	c.readied("store")
	cutters := map[string]*cutter{}
	for i := range 4 {
		who := fmt.Sprintf("core%d", i+1)
		cutters[who] = newCutter(t, addr.String())
		c.start(who, leaseJob{TTL: ttl, Options: Options{
			Host: who, Dir: filepath.Join(dir, who), Mode: External,
			External: ExternalOptions{URL: "nats://" + cutters[who].l.Addr().String(), Replicas: 1},
		}})
	}
	for who := range cutters {
		c.readied(who)
	}
	c.wait("a first holder", 30*time.Second, func() bool { return c.epoch > 0 })
	for range rounds {
		c.handover("stopped", 20*time.Second, func(h string) { c.signal(h, syscall.SIGSTOP) })
		for who := range cutters {
			c.signal(who, syscall.SIGCONT)
		}
		c.handover("killed", 20*time.Second, c.kill)
		for who := range cutters {
			if c.proc(who).cmd.ProcessState != nil {
				c.start(who, c.proc(who).job)
			}
		}
		c.handover("cut off", 20*time.Second, func(h string) { cutters[h].cut() })
		for _, x := range cutters {
			x.mend()
		}
		time.Sleep(ttl) // what was held back comes through
		c.mu.Lock()
		writes, epoch := len(c.h.Writes), c.epoch
		c.mu.Unlock()
		c.restart("store")
		c.readied("store")
		c.wait("the lease is used again after a restart of the store", 20*time.Second, func() bool {
			last := c.h.Writes[len(c.h.Writes)-1]
			return len(c.h.Writes) > writes+100 && last.OK && last.Epoch >= epoch
		})
	}
	c.verdict(3*rounds+1, 20*rounds) // a quick machine notices sooner, and writes less that is stale
}

// TestLeaseOfThreeCores has three cores of a cluster contend. The one that leads
// the documents is killed, or stopped, and comes back.
func TestLeaseOfThreeCores(t *testing.T) {
	losses := 1
	if soaking() {
		losses = 20
	}
	c := newCourt(t)
	names := c.cluster(3 * time.Second)
	for _, who := range names {
		c.readied(who)
	}
	c.wait("a first holder and a leader", 60*time.Second, func() bool { return c.epoch > 0 && c.leader != "" })
	for i := range losses {
		c.mu.Lock()
		leader, epoch, writes := c.leader, c.epoch, len(c.h.Writes)
		c.leader = ""
		c.mu.Unlock()
		began := time.Now()
		if i%2 == 0 {
			c.kill(leader)
		} else {
			c.signal(leader, syscall.SIGSTOP)
		}
		c.wait("another leader", 60*time.Second, func() bool { return c.leader != "" && c.leader != leader })
		elected := time.Since(began)
		c.wait("the lease is used", 60*time.Second, func() bool {
			last := c.h.Writes[len(c.h.Writes)-1]
			return len(c.h.Writes) > writes+100 && last.OK && last.Who != leader && last.Epoch >= epoch
		})
		c.mu.Lock()
		t.Logf("leader %s lost: %s leads after %s; epoch %d became %d, in use after %s", leader, c.leader, elected.Round(time.Millisecond), epoch, c.epoch, time.Since(began).Round(time.Millisecond))
		c.mu.Unlock()
		if i%2 == 0 {
			c.start(leader, c.proc(leader).job)
			c.readied(leader)
		} else {
			c.signal(leader, syscall.SIGCONT)
			time.Sleep(time.Second) // as zombie
		}
	}
	c.verdict(1, 0) // a holder that did not lead keeps its lease
}

// cluster starts three cores as processes.
func (c *court) cluster(ttl time.Duration) (names []string) {
	c.t.Helper()
	a, err := trust.NewAuthority()
	if err != nil {
		c.t.Fatal(err)
	}
	var ports []string
	for range 6 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			c.t.Fatal(err)
		}
		defer l.Close() //nolint:errcheck // only its number is wanted
		ports = append(ports, l.Addr().String())
	}
	for i := range 3 {
		names = append(names, fmt.Sprintf("core%d", i+1))
	}
	jobs := map[string]leaseJob{}
	for i, who := range names {
		o := Options{Host: who, Dir: c.t.TempDir(), Mode: Cluster, Listen: ports[3+i], Address: "127.0.0.1:1"}
		o.Cluster.Listen = ports[i]
		for j := range 3 {
			if j != i {
				o.Cluster.Peers = append(o.Cluster.Peers, ports[j])
			}
		}
		if err := a.Save(o.trustDir()); err != nil {
			c.t.Fatal(err)
		}
		jobs[who] = leaseJob{Options: o, TTL: ttl}
	}
	for who, j := range jobs {
		c.start(who, j)
	}
	return names
}
