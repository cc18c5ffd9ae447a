package release

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/prometheus/client_golang/prometheus"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/plane/planetest"
	"kaname.dev/kaname/plane/trust"
	"kaname.dev/kaname/rib"
)

// node is one host in this process: a real plane, a real peer listener over mutual TLS,
// the rib with its store.
type node struct {
	t     *testing.T
	r     *service
	plane *plane.Plane
	root  string // of apps
	dir   string // of the rib
	id    *trust.Identity
	stop  func()
}

// fleetOfTest is a core and plain hosts.
type fleetOfTest struct {
	t     *testing.T
	core  *node
	dir   string // of the core's plane
	hosts []*node
}

func newFleet(t *testing.T, hosts int) *fleetOfTest {
	t.Helper()
	f := &fleetOfTest{t: t, dir: t.TempDir()}
	ln := listen(t)
	p := planetest.Open(t, plane.Options{Host: "core", Mode: plane.Embedded, Dir: f.dir, Listen: "127.0.0.1:0", Address: ln.Addr().String()})
	f.core = startNode(t, p, ln, t.TempDir(), t.TempDir(), nil)
	for i := range hosts {
		f.hosts = append(f.hosts, f.join(nil, fmt.Sprintf("web%d", i+1), t.TempDir(), t.TempDir()))
	}
	return f
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// join starts a plain host with its directories; it is enrolled when it has no identity
// yet.
func (f *fleetOfTest) join(id *trust.Identity, name, dir, root string) *node {
	f.t.Helper()
	if id == nil {
		id = planetest.Join(f.t, f.core.plane, name, trust.RoleAgent).Identity
	}
	ln := listen(f.t)
	labels := map[string]string{"role": "web", "zone": "z" + name[len(name)-1:]}
	p := planetest.Open(f.t, plane.Options{Host: name, Identity: id, Mode: plane.Host, Cores: []string{f.core.plane.ListenAddress()}, Labels: labels, Address: ln.Addr().String()})
	n := startNode(f.t, p, ln, dir, root, labels)
	n.id = id
	planetest.Eventually(f.t, "core hears of "+name, func() bool {
		members, err := f.core.plane.Members(f.t.Context())
		if err != nil {
			f.t.Fatal(err)
		}
		for _, m := range members {
			if m.Host == name && m.Alive && m.Commands["release.verify"] > 0 && m.Address == ln.Addr().String() {
				return true
			}
		}
		return false
	})
	return n
}

// startNode runs the rib on a plane.
func startNode(t *testing.T, p *plane.Plane, ln net.Listener, dir, root string, labels map[string]string) *node {
	t.Helper()
	n := &node{t: t, plane: p, root: root, dir: dir, r: newService()}
	n.r.config.Root = root
	n.r.pace, n.r.patience = 100*time.Millisecond, 10*time.Second
	state, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	server, client := p.PeerTLS()
	err = n.r.attach(rib.Node{
		Host: p.Host(), Labels: labels, Plane: p, Dir: dir, Root: state, Metrics: prometheus.NewRegistry(), Peers: mux,
		Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})).With("on", p.Host()),
		PeerClient: func(host string) *http.Client {
			c := client.Clone()
			c.ServerName = host
			return &http.Client{Transport: &http.Transport{TLSClientConfig: c, TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}}}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: mux, TLSConfig: server, ReadHeaderTimeout: time.Minute, TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.ServeTLS(ln, "", "") })
	wg.Go(func() {
		if err := n.r.run(ctx); err != nil {
			t.Errorf("%s: %v", p.Host(), err)
		}
	})
	n.stop = sync.OnceFunc(func() {
		cancel()
		_ = srv.Close()
		if n.r.site != nil {
			_ = n.r.site.Close()
		}
		wg.Wait()
		if n.r.store != nil {
			_ = n.r.store.Close()
		}
		_ = state.Close()
	})
	t.Cleanup(n.stop)
	if err := n.r.ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return n
}

// kill ends a host: its rib and its plane.
func (n *node) kill() {
	planetest.Close(n.t, n.plane)
	n.stop()
}

// live returns what current names on the host, through the link.
func (n *node) live(app string) string {
	b, err := os.ReadFile(filepath.Join(n.root, app, "current", "VERSION"))
	if err != nil {
		return ""
	}
	return string(b)
}

// tarball makes a release of files; what it holds depends on version and seed, most of
// it on seed alone.
func tarball(t *testing.T, version string, seed uint64, extra map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	rnd := rand.New(rand.NewPCG(seed, 1))
	add := func(name string, mode int64, contents []byte) {
		h := &tar.Header{Name: name, Mode: mode, Size: int64(len(contents)), ModTime: time.Unix(1_700_000_000, 0), Typeflag: tar.TypeReg}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(contents); err != nil {
			t.Fatal(err)
		}
	}
	add("VERSION", 0o644, []byte(version))
	for i := range 60 {
		c := make([]byte, 1000+rnd.IntN(40_000))
		for j := range c {
			c[j] = byte(rnd.Uint32())
		}
		add(fmt.Sprintf("lib/dir%d/file%d.bin", i%7, i), 0o644, c)
	}
	for name, text := range extra {
		add(name, 0o755, []byte(text))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// run calls an action as an operator would, through its declaration.
func run[Out any](f *fleetOfTest, n *node, name string, values map[string][]string, file ...any) (Out, []action.Event, error) {
	f.t.Helper()
	in := action.TextInputs(values)
	if len(file) == 2 {
		b := file[1].([]byte)
		in.Files["archive"] = action.File{Name: file[0].(string), Reader: bytes.NewReader(b), Size: int64(len(b))}
	}
	a, err := action.NewCatalog(n.r.actions()...).Find(name)
	if err != nil {
		f.t.Fatal(err)
	}
	var mu sync.Mutex
	var events []action.Event
	ctx, cancel := context.WithTimeout(f.t.Context(), 60*time.Second)
	defer cancel()
	res, err := a.Run(ctx, &action.Run{ID: "test", Actor: action.Actor{Name: "alice", Door: "cli", Role: "operator"}, Emit: func(e action.Event) {
		mu.Lock()
		defer mu.Unlock()
		events = append(events, e)
	}}, in)
	out, _ := res.(Out)
	return out, events, err
}

func (f *fleetOfTest) push(version string, archive []byte) releaseOut {
	f.t.Helper()
	out, _, err := run[releaseOut](f, f.core, "release push", map[string][]string{}, "shop-"+version+".tar.gz", archive)
	if err != nil {
		f.t.Fatalf("push %s: %v", version, err)
	}
	return out
}

func (f *fleetOfTest) deploy(version string, values map[string][]string) (deployOut, []action.Event, error) {
	f.t.Helper()
	v := map[string][]string{"app": {"shop"}, "version": {version}, "to": {"role=web"}}
	maps.Copy(v, values)
	return run[deployOut](f, f.core, "release deploy", v)
}

func (f *fleetOfTest) wantLive(want string) {
	f.t.Helper()
	for _, h := range f.hosts {
		if got := h.live("shop"); got != want {
			f.t.Errorf("%s has %q live, want %q", h.plane.Host(), got, want)
		}
	}
}

// failed prints the events of a run that did not go as it should.
func failed(t *testing.T, events []action.Event) {
	t.Helper()
	for _, e := range events {
		b, _ := json.Marshal(e)
		t.Logf("%s", b)
	}
}

func TestDeploysFromFirstToLast(t *testing.T) {
	f := newFleet(t, 3)
	pushed := f.push("1.0.0", tarball(t, "1.0.0", 7, nil))
	if pushed.App != "shop" || pushed.Version != "1.0.0" || pushed.Files != 61 {
		t.Errorf("pushed %+v", pushed)
	}
	out, events, err := f.deploy("1.0.0", nil)
	if err != nil {
		failed(t, events)
		t.Fatal(err)
	}
	f.wantLive("1.0.0")
	if out.Live != 3 || out.State != deployDone || out.Origin < pushed.Wire || out.Origin > 2*pushed.Wire {
		t.Errorf("first deploy: %+v", out)
	}
	f.push("1.1.0", tarball(t, "1.1.0", 7, map[string]string{"bin/new": "#!/bin/sh\n"}))
	out, events, err = f.deploy("1.1.0", nil)
	if err != nil {
		failed(t, events)
		t.Fatal(err)
	}
	f.wantLive("1.1.0")
	if out.Delta == 0 || out.Delta > out.Full/20 || out.Fetched > out.Full/2 {
		t.Errorf("second deploy: the delta has %d of %d bytes, fetched %d", out.Delta, out.Full, out.Fetched)
	}
	f.push("1.2.0", tarball(t, "1.2.0", 7, nil))
	out, events, err = f.deploy("1.2.0", map[string][]string{"health-cmd": {`test "$KANAME_RELEASE" != 1.2.0`}, "health-within": {"300ms"}, "waves": {"1,100%"}})
	if err == nil || out.State != deployFailed {
		failed(t, events)
		t.Fatalf("a failing release: %+v, %v", out, err)
	}
	if out.RolledBack != 1 {
		t.Errorf("rolled back: %+v", out)
	}
	f.wantLive("1.1.0")
	if _, _, err := run[deployOut](f, f.core, "release rollback", map[string][]string{"app": {"shop"}}); err != nil {
		t.Fatal(err)
	}
	f.wantLive("1.0.0")
	if v, _, err := run[[]verifyOut](f, f.core, "release verify", map[string][]string{"app": {"shop"}}); err != nil || len(v) != 3 {
		t.Errorf("verify: %+v, %v", v, err)
	}
	st, _, err := run[[]statusOut](f, f.core, "release status", map[string][]string{"app": {"shop"}})
	if err != nil || len(st) != 3 {
		t.Fatalf("status: %+v, %v", st, err)
	}
	for _, s := range st {
		if s.State != "live" || s.Wanted != "1.0.0" || s.Live != "1.0.0" {
			t.Errorf("status: %+v", s)
		}
	}
	if fault.Is(err, fault.KindInternal) {
		t.Error(err)
	}
}
