package files_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/plane/planetest"
	"kaname.dev/kaname/rib"
	"kaname.dev/kaname/rib/release/files"
	"kaname.dev/kaname/rib/release/store"
	"kaname.dev/kaname/rib/release/swarm"
	"kaname.dev/kaname/rib/release/tuggle"
	"kaname.dev/kaname/rib/ribtest"
)

type box struct {
	*files.Files
	rib.Node
	store *store.Store
}

func attach(t *testing.T, n rib.Node, slave bool) *box {
	t.Helper()
	s, err := store.Open(t.Context(), store.Options{Dir: filepath.Join(n.Dir, "store"), Log: n.Log})
	if err != nil {
		t.Fatal(err)
	}
	stats, err := swarm.NewStats(n.Metrics)
	if err != nil {
		t.Fatal(err)
	}
	srv := swarm.NewServer(swarm.ServerOptions{
		Caller: func(r *http.Request) (string, error) { return plane.PeerName(*r.TLS) }, Stats: stats, Log: n.Log,
	})
	srv.Register(n.Peers)
	f, err := files.New(files.Options{Plane: n.Plane, Store: s, Server: srv, Client: n.PeerClient, Stats: stats, Slave: slave, Log: n.Log})
	if err != nil {
		t.Fatal(err)
	}
	f.Open()
	t.Cleanup(func() {
		f.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &box{f, n, s}
}

func noise(n int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, seed))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func (b *box) get(t *testing.T, name string, remote bool) ([]byte, error) {
	t.Helper()
	o, err := b.Find(t.Context(), name)
	if err != nil {
		return nil, err
	}
	r, err := b.Read(t.Context(), o, remote)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func trio(t *testing.T) (core, a, b *box) {
	t.Helper()
	n := ribtest.Core(t, "core")
	core = attach(t, n, false)
	return core, attach(t, ribtest.Host(t, n, "a", nil), false), attach(t, ribtest.Host(t, n, "b", nil), false)
}

func TestAFileReachesWhoAsksForIt(t *testing.T) {
	core, a, b := trio(t)
	data := noise(3<<20, 1)
	o, err := a.Create(t.Context(), "app.tar.gz", "application/gzip", bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if o.ID != tuggle.ID("app.tar.gz") || o.Size != int64(len(data)) {
		t.Errorf("created %+v", o)
	}
	if _, err := b.get(t, "app.tar.gz", false); !fault.Is(err, fault.KindNotFound) {
		t.Errorf("b without fetching: %v", err)
	}
	var wg sync.WaitGroup
	for range 4 { // all at once: one fetch
		wg.Go(func() {
			if got, err := b.get(t, "app.tar.gz", true); err != nil || !bytes.Equal(got, data) {
				t.Errorf("b: %d bytes, %v", len(got), err)
			}
		})
	}
	wg.Wait()
	edges, err := core.Graph(t.Context(), "app.tar.gz")
	if err != nil || len(edges) != 1 || edges[0].From != "a" || edges[0].To != "b" {
		t.Errorf("graph %v, %v", edges, err)
	}
	planetest.Close(t, a.Plane) // the first holder is gone: b gives
	if got, err := core.get(t, "app.tar.gz", true); err != nil || !bytes.Equal(got, data) {
		t.Errorf("core from b: %d bytes, %v", len(got), err)
	}
	if list, err := b.List(t.Context()); err != nil || len(list) != 1 || list[0].Name != "app.tar.gz" {
		t.Errorf("list %v, %v", list, err)
	}
}

func TestOfTwoPutsOneWins(t *testing.T) {
	_, a, b := trio(t)
	errs := make([]error, 2)
	var wg sync.WaitGroup
	for i, f := range []*box{a, b} {
		wg.Go(func() {
			_, errs[i] = f.Create(t.Context(), "x", "text/plain", strings.NewReader(strings.Repeat(f.Host, 1000)))
		})
	}
	wg.Wait()
	won, lost := a, b
	if errs[0] != nil {
		won, lost = b, a
	}
	if err := errors.Join(errs...); !fault.Is(err, fault.KindExists) || (errs[0] == nil) == (errs[1] == nil) {
		t.Fatalf("both: %v", errs)
	}
	for _, f := range []*box{won, lost} {
		if got, err := f.get(t, "x", true); err != nil || string(got) != strings.Repeat(won.Host, 1000) {
			t.Errorf("%s: %.10q %v", f.Host, got, err)
		}
	}
}

func TestADeletedNameNeverServesOldBytes(t *testing.T) {
	_, a, b := trio(t)
	if _, err := a.Create(t.Context(), "x", "text/plain", strings.NewReader("old")); err != nil {
		t.Fatal(err)
	}
	if got, err := b.get(t, "x", true); err != nil || string(got) != "old" {
		t.Fatalf("%q %v", got, err)
	}
	if err := a.Delete(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.get(t, "x", true); !fault.Is(err, fault.KindNotFound) {
		t.Errorf("after deletion: %v", err)
	}
	planetest.Eventually(t, "b forgets x", func() bool { _, err := b.store.Opaque("x"); return err != nil })
	// b holds old bytes of the name, as if it had been away.
	if _, err := b.store.CreateOpaque(t.Context(), store.Opaque{Name: "x"}, strings.NewReader("old")); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Create(t.Context(), "x", "text/plain", strings.NewReader("new")); err != nil {
		t.Fatal(err)
	}
	if got, err := b.get(t, "x", true); err != nil || string(got) != "new" {
		t.Errorf("b serves %q, %v", got, err)
	}
	if _, err := b.store.CreateOpaque(t.Context(), store.Opaque{Name: "orphan"}, strings.NewReader("old")); err != nil {
		t.Fatal(err)
	}
	if err := b.Tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if list := b.store.OpaqueFiles(); len(list) != 1 || list[0].Name != "x" {
		t.Errorf("after tidying: %v", list)
	}
}

func TestReplicateAndSlaves(t *testing.T) {
	core, a, _ := trio(t)
	slave := attach(t, ribtest.Host(t, core.Node, "slave", nil), true)
	o, err := a.Create(t.Context(), "x", "text/plain", strings.NewReader("bytes"))
	if err != nil {
		t.Fatal(err)
	}
	planetest.Eventually(t, "commands are known", func() bool {
		ms, err := core.Plane.Members(t.Context())
		n := 0
		for _, m := range ms {
			n += m.Commands["release.file.fetch"]
		}
		return err == nil && n == 4
	})
	if err := a.Replicate(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	for _, f := range []*box{core, slave} {
		planetest.Eventually(t, f.Host+" has x", func() bool { got, err := f.get(t, "x", false); return err == nil && string(got) == "bytes" })
	}
	found, err := plane.Ask[files.Found](t.Context(), a.Plane, "release.file.find", "x")
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range found.Hosts {
		if h == "slave" {
			t.Error("a slave is told to give")
		}
	}
}
