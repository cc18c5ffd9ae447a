package pdnsapi

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"kaname.dev/kaname/lab"
	labdns "kaname.dev/kaname/lab/dns"
	"kaname.dev/kaname/rib/zone/name"
)

func open(t *testing.T, address, keyFile string) *Client {
	t.Helper()
	c, err := New(address, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestAgainstServer(t *testing.T) {
	s := labdns.PowerDNS(t, labdns.Options{})
	c := open(t, s.Control, s.KeyFile)
	ctx := t.Context()
	if v, err := c.Version(ctx); err != nil || v == "" {
		t.Errorf("Version: %q, %v", v, err)
	}
	if m, err := c.Config(ctx); err != nil || m["secondary"] != "yes" {
		t.Errorf("Config: %v, %v", m, err)
	}
	if k, err := c.Keys(ctx); err != nil || len(k) != 1 || k[0] != labdns.KeyName {
		t.Errorf("Keys: %v, %v", k, err)
	}
	set := Settings{Masters: []string{"192.0.2.1:5300", "[2001:db8::1]:5300"}, Account: "kaname:default-00000000", Pull: "xfr.", Give: []string{"xfr."}}
	names := []name.Name{"a.test.", `0\04725.2.0.192.in-addr.arpa.`, "_x._tcp.test.", "xn--wgv71a119e.jp.", "."}
	for _, n := range names {
		if err := c.Create(ctx, n, set); errors.Is(err, ErrConnect) { // it hung up: look at what there is
			if _, err := c.One(ctx, n); err != nil {
				t.Errorf("One of %s: %v", n, err)
				continue
			}
		} else if err != nil {
			t.Errorf("Create of %s: %v", n, err)
			continue
		}
		err := c.Create(ctx, n, set)
		if errors.Is(err, ErrConnect) { // it hung up; nothing is lost, so once more
			err = c.Create(ctx, n, set)
		}
		if !errors.Is(err, ErrExists) {
			t.Errorf("second Create of %s: %v", n, err)
		}
		z, err := c.One(ctx, n)
		if err != nil || z.Name != n || z.Kind != Slave || len(z.Masters) != 2 || z.Masters[0] != "192.0.2.1:5300" || z.Account != set.Account || len(z.Pull) != 1 || len(z.Give) != 1 {
			t.Errorf("One of %s: %+v, %v", n, z, err)
		}
		if z, err := c.Find(ctx, n); err != nil || z.Name != n {
			t.Errorf("Find of %s: %+v, %v", n, z, err)
		}
		if err := c.Retrieve(ctx, n); err != nil {
			t.Errorf("Retrieve of %s: %v", n, err)
		}
	}
	if all, err := c.All(ctx); err != nil || len(all) != len(names) {
		t.Errorf("All: %+v, %v", all, err)
	}
	if err := c.Change(ctx, "a.test.", Settings{Masters: []string{"192.0.2.2:53"}, Account: "x"}); err != nil {
		t.Error(err)
	}
	if z, err := c.One(ctx, "a.test."); err != nil || len(z.Masters) != 1 || z.Masters[0] != "192.0.2.2" || z.Account != "x" || len(z.Pull) > 0 || len(z.Give) > 0 {
		t.Errorf("after Change: %+v, %v", z, err)
	}
	for _, n := range names {
		if err := c.Delete(ctx, n); err != nil {
			t.Errorf("Delete of %s: %v", n, err)
		}
		if err := c.Delete(ctx, n); !errors.Is(err, ErrMissing) {
			t.Errorf("second Delete of %s: %v", n, err)
		}
		if _, err := c.Find(ctx, n); !errors.Is(err, ErrMissing) {
			t.Errorf("Find of %s, deleted: %v", n, err)
		}
	}
}

// TestStrangeNames has names that a server holds and the API takes only in URLs.
func TestStrangeNames(t *testing.T) {
	s := labdns.PowerDNS(t, labdns.Options{Primary: true})
	c := open(t, s.Control, s.KeyFile)
	ctx := t.Context()
	names := []name.Name{`a\032b.test.`, `a\046b.test.`, `x\034\125\059\123.test.`, `\061\0372e.test.`, `a\092b.test.`, `\200.test.`}
	for _, n := range names {
		s.AddZones(string(n))
	}
	all, err := c.All(ctx)
	if err != nil || len(all) != len(names) {
		t.Fatalf("All: %+v, %v", all, err)
	}
	for _, n := range names {
		if z, err := c.Find(ctx, n); err != nil || z.Name != n {
			t.Errorf("Find of %s: %+v, %v", n, z, err)
		}
		if err := c.Create(ctx, n, Settings{}); err == nil {
			t.Errorf("%s is created", n)
		}
		if err := c.Delete(ctx, n); err != nil {
			t.Errorf("Delete of %s: %v", n, err)
		}
	}
	if all, err := c.All(ctx); err != nil || len(all) > 0 {
		t.Errorf("left are %+v, %v", all, err)
	}
}

// TestAnswers has answers that a real server gives only now and then.
func TestAnswers(t *testing.T) {
	var calls atomic.Int32
	answer := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		answer(w, r)
	}))
	defer h.Close()
	key := filepath.Join(t.TempDir(), "key")
	c := open(t, h.URL, key)
	ctx := t.Context()
	if err := c.Delete(ctx, "a.test."); !errors.Is(err, ErrKey) || calls.Load() > 0 {
		t.Errorf("without a key file: %v", err)
	}
	if err := os.WriteFile(key, []byte("a\r\nX-Other: b\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.Delete(ctx, "a.test."); !errors.Is(err, ErrKey) || calls.Load() > 0 {
		t.Errorf("with a key of two lines: %v", err)
	}
	if err := os.WriteFile(key, []byte("k\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	answer = func(w http.ResponseWriter, _ *http.Request) {
		if calls.Load() < 3 {
			http.Error(w, `{"error": "database is locked"}`, http.StatusInternalServerError)
		} else {
			w.WriteHeader(http.StatusNoContent)
		}
	}
	if err := c.Delete(ctx, "a.test."); err != nil || calls.Load() != 3 {
		t.Errorf("busy twice: %v after %d calls", err, calls.Load())
	}
	for _, text := range []string{`[{"name": "a.test.", "kind": "Slave"}`, `[{"name": "a.test."}, 3]`, `{}`, ``, `[{"name": ""}]`} {
		answer = func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) }
		if all, err := c.All(ctx); err == nil {
			t.Errorf("the answer %q is the list %v", text, all)
		}
	}
	for _, address := range []string{"", "127.0.0.1:8081", "ftp://a", "http://", "http://u:p@a", "http://a?x=y"} {
		if _, err := New(address, key); err == nil {
			t.Errorf("New takes %q", address)
		}
	}
}

func TestDeadServer(t *testing.T) {
	s := labdns.PowerDNS(t, labdns.Options{})
	c := open(t, s.Control, s.KeyFile)
	s.Kill()
	if _, err := c.All(t.Context()); !errors.Is(err, ErrConnect) {
		t.Errorf("All of a dead server: %v", err)
	}
	s.Start()
	lab.Eventually(t, "it answers again", func() bool { _, err := c.All(t.Context()); return err == nil })
}

func FuzzID(f *testing.F) {
	f.Add("a.test.")
	f.Add(`a\032b/..=2E%2e?x=#.test`)
	f.Fuzz(func(t *testing.T, s string) {
		n, err := name.Parse(s)
		if err != nil {
			return
		}
		for _, c := range []byte(id(n)) {
			if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'F' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '=') {
				t.Fatalf("the URL of %q holds %q", n, c)
			}
		}
	})
}
