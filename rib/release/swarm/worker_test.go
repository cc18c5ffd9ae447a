package swarm

import (
	"bufio"
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"kaname.dev/kaname/lab/netns"
)

// TestMain lets this binary be a host of its own, for tests in network namespaces.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "worker" {
		if err := work(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// workerConfig is what a worker reads first; then a line lets it begin to fetch.
type workerConfig struct {
	Self   string    `json:"self"`
	Listen string    `json:"listen"`
	Dir    string    `json:"dir"`
	Index  testIndex `json:"index"`
	Peers  []Peer    `json:"peers"`
	Origin bool      `json:"origin"`
	Lies   bool      `json:"lies"` // it gives chunks that are not what they should be
	CA     []byte    `json:"ca"`
	Key    []byte    `json:"key"`
}

// workerSays is a line that a worker writes.
type workerSays struct {
	Event   string             `json:"event"` // ready, progress, dropped, done, failed
	Have    int                `json:"have,omitempty"`
	Stored  int                `json:"stored,omitempty"`
	Peer    string             `json:"peer,omitempty"`
	Text    string             `json:"text,omitempty"`
	Traffic map[string]Traffic `json:"traffic,omitempty"`
	RSS     int64              `json:"rss,omitempty"`
}

// lyingPack gives every chunk with its last byte changed.
type lyingPack struct{ *testPack }

func (p lyingPack) Open(i int) (io.ReadCloser, error) {
	b, err := os.ReadFile(p.path(i))
	if err != nil {
		return nil, err
	}
	b[len(b)-1]++
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	go func() {
		defer w.Close() //nolint:errcheck // a test's pipe
		w.Write(b)      //nolint:errcheck // the reader may leave early
	}()
	return r, nil
}

func work(in io.Reader, out io.Writer) error {
	var c workerConfig
	lines := bufio.NewReader(in)
	line, err := lines.ReadBytes('\n')
	if err != nil {
		return err
	}
	if err := json.Unmarshal(line, &c); err != nil {
		return err
	}
	cert, err := x509.ParseCertificate(c.CA)
	if err != nil {
		return err
	}
	key, err := x509.ParseECPrivateKey(c.Key)
	if err != nil {
		return err
	}
	ca := &testCA{cert: cert, key: key, pool: x509.NewCertPool()}
	ca.pool.AddCert(cert)
	conf, err := ca.config(c.Self)
	if err != nil {
		return err
	}
	h, err := newTestHost(c.Self, c.Listen, conf, nil)
	if err != nil {
		return err
	}
	p, err := openTestPack(c.Dir, c.Index)
	if err != nil {
		return err
	}
	if c.Origin {
		if err := p.fill(); err != nil {
			return err
		}
	}
	var hosts []string
	for _, peer := range c.Peers {
		hosts = append(hosts, peer.Host)
	}
	var given Pack = p
	if c.Lies {
		given = lyingPack{p}
	}
	stop, err := h.server.Share(given, ShareSpec{Hosts: hosts, Origin: c.Origin})
	if err != nil {
		return err
	}
	defer stop()
	var mu sync.Mutex
	say := func(s workerSays) {
		mu.Lock()
		defer mu.Unlock()
		s.Traffic, s.Stored = h.stats.Peers(), p.stored()
		json.NewEncoder(out).Encode(s) //nolint:errcheck // the parent may be gone
	}
	say(workerSays{Event: "ready"})
	if _, err := lines.ReadBytes('\n'); err != nil {
		return err
	}
	if !c.Origin {
		err := Fetch(context.Background(), p, FetchSpec{
			Self: c.Self, Peers: c.Peers, Client: h.client, Stats: h.stats,
			Progress: func(pr Progress) { say(workerSays{Event: "progress", Have: pr.Have, Text: pr.Waiting}) },
			Dropped:  func(host string, why error) { say(workerSays{Event: "dropped", Peer: host, Text: why.Error()}) },
		})
		if err == nil {
			err = p.complete()
		}
		if err != nil {
			say(workerSays{Event: "failed", Text: err.Error()})
			return err
		}
		say(workerSays{Event: "done", Have: p.Chunks()})
	}
	lines.ReadBytes('\n') //nolint:errcheck // the end of input is the end
	say(workerSays{Event: "end"})
	return nil
}

// worker is a host in a network namespace, as its parent sees it.
type worker struct {
	config workerConfig
	host   *netns.Host
	cmd    *exec.Cmd
	in     io.WriteCloser
	events chan workerSays // closed when the process has ended

	mu   sync.Mutex
	last map[string]workerSays // newest of each event
}

// race is a set of workers on one bridge; worker 0 is the origin.
type race struct {
	t       *testing.T
	rate    int64
	index   testIndex
	bridge  *netns.Bridge
	workers []*worker
	began   time.Time
}

func newRace(t *testing.T, receivers int, rate int64, chunks, size int, change func(i int, c *workerConfig)) *race {
	t.Helper()
	ca, err := newTestCA()
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalECPrivateKey(ca.key)
	if err != nil {
		t.Fatal(err)
	}
	r := &race{t: t, rate: rate, index: newTestIndex(chunks, size), bridge: netns.New(t, receivers+1, rate)}
	var peers []Peer
	for i, h := range r.bridge.Hosts {
		peers = append(peers, Peer{Host: fmt.Sprint("h", i), Address: h.IP + ":7422", Origin: i == 0})
	}
	for i, h := range r.bridge.Hosts {
		w := &worker{host: h, config: workerConfig{
			Self: peers[i].Host, Listen: peers[i].Address, Dir: t.TempDir(), Index: r.index, Peers: peers, Origin: i == 0,
			CA: ca.cert.Raw, Key: key,
		}}
		if change != nil {
			change(i, &w.config)
		}
		r.workers = append(r.workers, w)
		r.start(w)
	}
	for _, w := range r.workers {
		r.await(w, "ready")
	}
	return r
}

// start runs a worker, for the first time or again.
func (r *race) start(w *worker) {
	r.t.Helper()
	self, err := os.Executable()
	if err != nil {
		r.t.Fatal(err)
	}
	w.cmd = w.host.Command(r.t.Context(), self, "worker")
	w.cmd.Stderr = os.Stderr
	if w.in, err = w.cmd.StdinPipe(); err != nil {
		r.t.Fatal(err)
	}
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	if err := w.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	w.last, w.events = map[string]workerSays{}, make(chan workerSays, 1)
	events := w.events
	go func() {
		defer close(events)
		for d := json.NewDecoder(out); ; {
			var s workerSays
			if d.Decode(&s) != nil {
				return
			}
			w.mu.Lock()
			w.last[s.Event] = s
			w.mu.Unlock()
			select {
			case events <- s:
			default:
			}
		}
	}()
	if err := json.NewEncoder(w.in).Encode(w.config); err != nil {
		r.t.Fatal(err)
	}
}

// begin lets a worker fetch.
func (r *race) begin(ws ...*worker) {
	r.t.Helper()
	if r.began.IsZero() {
		r.began = time.Now()
	}
	for _, w := range ws {
		if _, err := w.in.Write([]byte("go\n")); err != nil {
			r.t.Fatal(err)
		}
	}
}

// kill is kill -9; it returns when the process is gone.
func (r *race) kill(w *worker) {
	r.t.Helper()
	if err := w.cmd.Process.Kill(); err != nil {
		r.t.Fatal(err)
	}
	for range w.events {
	}
	w.cmd.Wait() //nolint:errcheck // it was killed
}

func (w *worker) said(event string) (workerSays, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s, ok := w.last[event]
	return s, ok
}

// await waits until a worker has said something.
func (r *race) await(w *worker, event string) workerSays {
	r.t.Helper()
	return r.until(w, event, func(workerSays) bool { return true })
}

// until waits until a worker has said something that holds.
func (r *race) until(w *worker, event string, holds func(workerSays) bool) workerSays {
	r.t.Helper()
	limit := time.After(2 * time.Minute)
	for {
		if s, ok := w.said(event); ok && holds(s) {
			return s
		}
		select {
		case _, open := <-w.events:
			if !open {
				if s, ok := w.said(event); ok && holds(s) {
					return s
				}
				r.t.Fatalf("%s ended before %s: %+v", w.config.Self, event, w.last)
			}
		case <-time.After(20 * time.Millisecond):
		case <-limit:
			r.t.Fatalf("%s did not come to %s in time: %+v", w.config.Self, event, w.last)
		}
	}
}

// bound is F/B: the bytes of the pack over the rate of a link.
func (r *race) bound() time.Duration {
	bits := float64(len(r.index.Chunks)) * float64(r.index.Size) * 8
	return time.Duration(bits / float64(r.rate) * float64(time.Second))
}

// ratio is the time since the beginning over F/B.
func (r *race) ratio() float64 { return float64(time.Since(r.began)) / float64(r.bound()) }

// copies returns how many copies of the pack a worker has sent, without headers. It ends the worker.
func (r *race) copies(w *worker) float64 {
	r.t.Helper()
	if err := w.in.Close(); err != nil {
		r.t.Fatal(err)
	}
	sent := int64(0)
	for _, t := range r.await(w, "end").Traffic {
		sent += t.Sent
	}
	return float64(sent) / float64(len(r.index.Chunks)*r.index.Size)
}
