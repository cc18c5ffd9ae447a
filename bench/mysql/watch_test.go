package mysql

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/plane/planetest"
	"kaname.dev/kaname/plane/trust"
	"kaname.dev/kaname/rib/mysql/exchange"
	"kaname.dev/kaname/rib/mysql/order"
	"kaname.dev/kaname/rib/mysql/topology"
	"kaname.dev/kaname/rib/office"
)

// How many there are in TestWatch200.
const (
	watched = 200 // topologies
	members = 3   // of each
	carry   = 30  // hosts, which share the servers
	rest    = 60 * time.Second
)

// TestWatch200 is one controller that watches 200 topologies of three servers. So many
// servers do not run on one machine: the core is a real process, hosts have really joined
// it and report each beat, but what they report of their servers is PLAYED.
func TestWatch200(t *testing.T) {
	full(t)
	s := newStage(t)
	s.known()
	s.b.cli(nil, s.adoption(0)...)
	alone := s.detections(func(int) int { return 0 })
	var adopting errgroup.Group
	adopting.SetLimit(4)
	for i := 1; i < watched; i++ {
		adopting.Go(func() error {
			_, err := s.b.try(s.adoption(i)...)
			return err
		})
	}
	if err := adopting.Wait(); err != nil {
		t.Fatal(err)
	}
	s.b.until("all are fine", time.Minute, func() bool { return s.fine(watched) })

	profiled := s.profile(os.Getenv("KANAME_PROFILE"))
	user, system := s.cpu()
	began := time.Now()
	<-time.After(rest)
	profiled()
	took := time.Since(began).Seconds()
	userNow, systemNow := s.cpu()
	user, system = userNow-user, systemNow-system
	share := (user + system).Seconds() / took
	record("mysql.watch200_cpu", share, "cores", "0.30 of a core", share/0.30)
	t.Logf("the core takes %.3f of a core in peace, %.3f of it in the kernel", share, system.Seconds()/took)
	if share > 0.30 {
		t.Errorf("the core takes %.2f of a core to watch %d topologies in peace", share, watched)
	}

	many := s.detections(func(i int) int { return 10 + i })
	one, all := at(alone, 0.5), at(many, 0.5)
	record("mysql.watch200_detect_ms", float64(all)/1e6, "ms", fmt.Sprintf("one topology watched: %.1f ms", float64(one)/1e6), float64(all)/float64(one))
	t.Logf("first order to freeze: %v with one topology, %v with %d", alone, many, watched)

	quiet := s.detect(150, func(p *played) { p.mute = true })
	record("mysql.watch200_silence_s", quiet.Seconds(), "s", "the policy's silence", quiet.Seconds()/topology.DefaultPolicy().Silence.Seconds())
	t.Logf("first order to freeze after silence: %v", quiet)
}

// stage is the core and those who play servers.
type stage struct {
	t       *testing.T
	b       *bed
	private string    // host:port of the core's private listener
	servers []*played // three for each topology
	byName  map[string]*played
}

// played is a server that is not there, and what its agent says of it.
type played struct {
	name, address string
	id            uint32
	client        *office.Client
	news          chan struct{}

	mu      sync.Mutex // guards the fields below
	rec     *topology.Record
	have    uint64
	epoch   uint64
	source  string // address it replicates from; empty: nobody
	open    bool
	gone    time.Time // when its process ended; zero: it runs
	mute    bool      // its agent is silent
	deaf    time.Time // since when it neither sees nor hears the primary; zero: it does
	stopped time.Time // when it was told to freeze
}

const executed = "0-1-100"

func newStage(t *testing.T) *stage {
	t.Helper()
	dir, err := os.MkdirTemp("", "kbw") //nolint:usetesting // short, as a socket's name must be
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &stage{t: t, b: &bed{t: t, dir: dir}, byName: map[string]*played{}}
	api, at := s.core(planetest.Ports(t, 4))
	for i := range watched * members {
		p := &played{name: fmt.Sprintf("s%03d%c", i/members, 'a'+i%members), address: fmt.Sprintf("10.9.%d.%d:3306", i/200, i%200+1), id: uint32(i + 1), news: make(chan struct{}, 1), open: i%members == 0}
		if !p.open {
			p.source = s.servers[i-i%members].address
		}
		s.servers = append(s.servers, p)
		s.byName[p.name] = p
	}
	for h := range carry {
		s.host(fmt.Sprintf("h%02d", h), api, at, h)
	}
	return s
}

// core starts the core on loopback and returns where hosts join, and where the plane is.
func (s *stage) core(ports []string) (api, at string) {
	s.t.Helper()
	p := &process{t: s.t, name: "core1", what: "up", config: filepath.Join(s.b.dir, "core.yaml"), log: filepath.Join(s.b.dir, "core.log"), socket: filepath.Join(s.b.dir, "core.sock")}
	conf := fmt.Sprintf("host:\n  name: core1\n  dir: %s/core\nmetrics:\n  listen: %q\napi:\n  listen: %q\n  socket: %s\nplane:\n  listen: %q\npeer:\n  listen: %q\nlog:\n  format: text\n",
		s.b.dir, ports[0], ports[1], p.socket, ports[2], ports[3])
	if err := os.WriteFile(p.config, []byte(conf), 0o600); err != nil {
		s.t.Fatal(err)
	}
	log, err := os.Create(p.log)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	p.cmd = exec.Command(bin, "up", "--config", p.config)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	p.done = make(chan struct{})
	go func(cmd *exec.Cmd) { defer close(p.done); _ = cmd.Wait() }(p.cmd)
	s.t.Cleanup(func() {
		p.end(syscall.SIGKILL)
		if s.t.Failed() {
			s.t.Logf("the core said:\n%s", tail(p.log, 40))
		}
	})
	s.b.cores, s.private = []*process{p}, ports[0]
	s.b.until("the core is ready", time.Minute, func() bool {
		r, err := http.Get("http://" + ports[0] + "/readyz")
		if err != nil {
			return false
		}
		_ = r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
	return ports[1], ports[2]
}

// host joins the plane, serves orders for its share of the servers, and reports.
func (s *stage) host(name, api, at string, share int) {
	s.t.Helper()
	var made struct{ Token string }
	s.b.cli(&made, "token", "create", "--role", "agent", "--host", name, "--yes")
	text, _, _ := strings.Cut(made.Token, "@") // the core that it is for stands behind
	token, err := trust.ParseToken(text)
	if err != nil {
		s.t.Fatal(err)
	}
	joined, err := trust.Join(s.t.Context(), api, token, name)
	if err != nil {
		s.t.Fatal(err)
	}
	pl := planetest.Open(s.t, plane.Options{Host: name, Mode: plane.Host, Identity: joined.Identity, Cores: []string{at}, Address: "127.0.0.1:1", Beat: 2 * time.Second})
	_, conf := pl.PeerTLS()
	conf.ServerName = "core1"
	hc := &http.Client{Transport: &http.Transport{TLSClientConfig: conf, MaxIdleConnsPerHost: 4}}
	s.t.Cleanup(hc.CloseIdleConnections)
	client := exchange.NewClient(pl, func(string) *http.Client { return hc }, 2*time.Second)
	var list []exchange.Server
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	s.t.Cleanup(func() { cancel(); work.Wait() })
	for i := share; i < len(s.servers); i += carry {
		p := s.servers[i]
		p.client = client
		list = append(list, exchange.Server{Name: p.name, Address: p.address})
		work.Go(func() { s.reports(ctx, p, time.Duration(i)*topology.Beat/time.Duration(len(s.servers))) })
	}
	if err := plane.ServeQuery(pl, exchange.CommandServers, 1, func(context.Context, *plane.Call, struct{}) ([]exchange.Server, error) { return list, nil }); err != nil {
		s.t.Fatal(err)
	}
	if err := plane.Serve(pl, exchange.CommandOrder, 1, func(_ context.Context, _ *plane.Call, o order.Order) (order.Done, error) {
		return s.byName[o.Member].obey(o), nil
	}); err != nil {
		s.t.Fatal(err)
	}
}

// obey does as a healthy server would.
func (p *played) obey(o order.Order) order.Done {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.epoch = max(p.epoch, o.Epoch)
	if o.Record != nil {
		p.rec = o.Record.Clone()
	}
	frozen := &topology.Frozen{Received: executed, Executed: executed, Granted: 10 * time.Second, Applies: true, Version: version}
	switch o.Verb {
	case order.Look:
		return order.Done{Details: &order.Details{Self: p.self(), Executed: executed, Received: executed, State: executed}}
	case order.Freeze:
		if p.stopped.IsZero() {
			p.stopped = time.Now()
		}
		return order.Done{Frozen: frozen}
	case order.Drain, order.Level, order.Rescue, order.Close:
		return order.Done{Frozen: frozen}
	case order.Promote:
		p.open, p.source = true, ""
	case order.Follow:
		p.open, p.source = false, o.Source.Address
	case order.Fence:
		p.open = false
		return order.Done{How: "closed"}
	}
	select {
	case p.news <- struct{}{}:
	default:
	}
	return order.Done{How: "done"}
}

const version = "10.11.11-MariaDB-log"

// self is what the agent sees; with the lock held.
func (p *played) self() topology.Self {
	if !p.gone.IsZero() {
		return topology.Self{Process: topology.Gone, GoneFor: time.Since(p.gone), Silent: time.Since(p.gone), Trouble: "connection refused"}
	}
	v := topology.Self{
		Process: topology.Running, Answers: true, Version: version, ServerID: p.id, ReadOnly: !p.open, Uptime: time.Hour, Clients: 5,
		SemiSync: topology.SemiSync{Loaded: true, Replies: !p.open}, Disk: topology.Disk{Free: 1 << 36},
	}
	if p.open {
		v.SemiSync = topology.SemiSync{Loaded: true, Waits: true, Active: true, Acks: 1, Clients: members - 1, Timeout: 1000 * time.Hour}
		v.Commit = &topology.Commit{Took: 2 * time.Millisecond}
	}
	if p.source != "" {
		v.Replica = &topology.Replica{Source: p.source, Channels: 1, Receiving: true, Receiver: "Yes", NoNews: 100 * time.Millisecond, Applying: true, ByGTID: true}
		if !p.deaf.IsZero() {
			v.Replica.NoNews = time.Since(p.deaf)
		}
	}
	return v
}

// reports reports each beat and at once on a change, until ctx ends.
func (s *stage) reports(ctx context.Context, p *played, offset time.Duration) {
	select {
	case <-ctx.Done():
		return
	case <-time.After(offset):
	}
	reports := exchange.NewReports(p.client)
	defer reports.Close()
	tick := time.NewTicker(topology.Beat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-p.news:
		}
		r, ok := p.report()
		if !ok {
			continue
		}
		h, err := reports.Say(ctx, r)
		if err != nil || h.Record == nil {
			continue
		}
		p.mu.Lock()
		p.rec, p.have, p.epoch = h.Record, h.Revision, max(p.epoch, h.Record.Epoch)
		p.mu.Unlock()
	}
}

// report is what the agent says now; nothing while it is silent or belongs to no topology.
func (p *played) report() (topology.Report, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rec == nil || p.mute {
		return topology.Report{}, false
	}
	r := topology.Report{Topology: p.rec.Name, Member: p.name, Epoch: p.epoch, Have: p.have, Self: p.self()}
	r.Lease = topology.Lease{Held: p.open && p.gone.IsZero()}
	for _, m := range p.rec.Members {
		if m.Name == p.name {
			continue
		}
		v := topology.Sight{Of: m.Name, Answers: true, For: time.Minute, Agent: true}
		if m.Name == p.rec.Primary && !p.deaf.IsZero() {
			v = topology.Sight{Of: m.Name, For: time.Since(p.deaf), Silent: time.Since(p.deaf), Trouble: "i/o timeout"}
		}
		r.Sights = append(r.Sights, v)
	}
	return r, true
}

// known waits until the core knows the servers of the first and the last topology.
func (s *stage) known() {
	s.t.Helper()
	s.b.until("the servers are known", time.Minute, func() bool {
		raw, err := s.b.try("mysql", "servers")
		return err == nil && strings.Count(string(raw), `"host"`) >= len(s.servers)
	})
}

// adoption is the command that adopts a topology.
func (s *stage) adoption(i int) []string {
	m := s.servers[i*members : (i+1)*members]
	return []string{"mysql", "adopt", fmt.Sprintf("t%03d", i), "--primary", m[0].name, "--replicas", m[1].name + "," + m[2].name, "--cooldown", "1ms", "--yes"}
}

// fine reports whether so many topologies are.
func (s *stage) fine(n int) bool {
	var rows []status
	s.b.cli(&rows, "mysql", "status")
	k := 0
	for _, r := range rows {
		if r.State == "fine" && r.Members == "3/3" && !strings.Contains(r.Note, "at step") {
			k++
		}
	}
	return k == n
}

// detections measures ten deaths of a process, of the topologies that are named.
func (s *stage) detections(which func(i int) int) []time.Duration {
	s.t.Helper()
	var out []time.Duration
	for i := range 10 {
		out = append(out, s.detect(which(i), func(p *played) { p.gone = time.Now() }))
	}
	slices.Sort(out)
	return out
}

// detect lets a topology's primary fail, returns how long it took until the first replica
// was told to freeze, and waits until all is well again.
func (s *stage) detect(i int, fail func(*played)) time.Duration {
	s.t.Helper()
	three := s.servers[i*members : (i+1)*members]
	s.b.until("the topology is well", time.Minute, func() bool { return s.well(i) })
	k := slices.IndexFunc(three, func(p *played) bool { p.mu.Lock(); defer p.mu.Unlock(); return p.open })
	old := three[k]
	began := time.Now()
	for _, p := range three {
		p.mu.Lock()
		p.stopped = time.Time{}
		if p == old {
			fail(p)
		} else {
			p.deaf = began
		}
		p.mu.Unlock()
	}
	old.news <- struct{}{}
	var first time.Time
	moved := func() bool {
		first = time.Time{}
		again := false
		for _, p := range three {
			p.mu.Lock()
			if p != old && !p.stopped.IsZero() && (first.IsZero() || p.stopped.Before(first)) {
				first = p.stopped
			}
			again = again || p != old && p.open
			p.mu.Unlock()
		}
		return again
	}
	s.b.until("another member is open", 30*time.Second, moved)
	for _, p := range three { // the old one is back, closed
		p.mu.Lock()
		p.deaf = time.Time{}
		if p == old {
			p.gone, p.mute, p.open, p.source = time.Time{}, false, false, ""
		}
		p.mu.Unlock()
	}
	return first.Sub(began)
}

// well reports whether a topology is, as the core sees it.
func (s *stage) well(i int) bool {
	var rows []status
	s.b.cli(&rows, "mysql", "status", fmt.Sprintf("t%03d", i))
	return len(rows) == 1 && rows[0].State == "fine" && rows[0].Members == "3/3" && !strings.Contains(rows[0].Note, "at step")
}

// profile takes a profile of what the core does while it rests, if a file is named; what it
// returns waits for it.
func (s *stage) profile(path string) (wait func()) {
	if path == "" {
		return func() {}
	}
	done := make(chan error, 1)
	go func() {
		r, err := http.Get(fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", s.private, int(rest.Seconds())-5))
		if err != nil {
			done <- err
			return
		}
		defer r.Body.Close()
		raw, err := io.ReadAll(r.Body)
		done <- errors.Join(err, os.WriteFile(path, raw, 0o600))
	}()
	return func() {
		if err := <-done; err != nil {
			s.t.Logf("no profile: %v", err)
		}
	}
}

// cpu is what the core's process has used: utime and stime of proc_pid_stat(5), at 100 a second.
func (s *stage) cpu() (user, system time.Duration) {
	s.t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.b.cores[0].cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	f := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
	ticks := func(text string) time.Duration {
		n, err := strconv.Atoi(text)
		if err != nil {
			s.t.Fatal(err)
		}
		return time.Duration(n) * 10 * time.Millisecond
	}
	return ticks(f[11]), ticks(f[12])
}
