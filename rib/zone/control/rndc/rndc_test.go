package rndc

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"kaname.dev/kaname/lab"
	"kaname.dev/kaname/lab/dns"
	"kaname.dev/kaname/rib/zone/name"
)

func must(t *testing.T, s string) name.Name {
	t.Helper()
	n, err := name.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func client(t *testing.T, s *dns.Server) *Client {
	t.Helper()
	k, err := ReadKey(s.KeyFile, "")
	if err != nil {
		t.Fatal(err)
	}
	c := New(s.Control, k, 5*time.Second)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestClient(t *testing.T) {
	lab.Need(t, "named")
	s := dns.BIND(t, dns.Options{Primary: true})
	c := client(t, s)
	ctx := t.Context()
	answer, err := c.Do(ctx, Status)
	if err != nil || !strings.Contains(answer, "number of zones") {
		t.Fatalf("status: %q, %v", answer, err)
	}
	for _, z := range []string{"a.test", `-clean.test`, `-clean`, `in`, `quote\"brace\}semi\;.test`, `new\010line.test`, `back\\slash.test`, strings.Repeat("x", 63) + ".test"} {
		n := must(t, z)
		add, err := AddZone(n, View{}, `type primary; file "zone.db";`)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Do(ctx, add); err != nil {
			t.Errorf("%s: %v", n, err)
			continue
		}
		if _, _, ok := s.SOA(string(n)); !ok {
			t.Errorf("%s is not served", n)
		}
		var refused *Refusal
		if _, err := c.Do(ctx, add); !errors.As(err, &refused) || !strings.Contains(refused.Result, "already exists") {
			t.Errorf("%s a second time: %v", n, err)
		}
		if shown, err := c.Do(ctx, ShowZone(n, View{})); err != nil || !strings.Contains(shown, `file "zone.db"`) {
			t.Errorf("%s: shows %q, %v", n, shown, err)
		}
	}
	if c.opened != 1 {
		t.Errorf("%d connections were made, one serves", c.opened)
	}
	s.Kill()
	if _, err := c.Do(ctx, Status); !errors.Is(err, ErrConnect) {
		t.Errorf("with named dead: %v", err)
	}
	s.Start()
	lab.Eventually(t, "the client has connected again", func() bool { _, err := c.Do(ctx, Status); return err == nil })
}

func TestClientErrors(t *testing.T) {
	lab.Need(t, "named")
	s := dns.BIND(t, dns.Options{})
	k, err := ReadKey(s.KeyFile, "rndc")
	if err != nil {
		t.Fatal(err)
	}
	wrong := New(s.Control, Key{Algorithm: k.Algorithm, Secret: []byte("another")}, time.Second)
	defer wrong.Close() //nolint:errcheck // a test
	if _, err := wrong.Do(t.Context(), Status); !errors.Is(err, ErrAuth) {
		t.Errorf("a wrong key: %v", err)
	}
	other := New(s.Control, Key{Algorithm: "hmac-sha512", Secret: k.Secret}, time.Second)
	defer other.Close() //nolint:errcheck // a test
	if _, err := other.Do(t.Context(), Status); !errors.Is(err, ErrAuth) {
		t.Errorf("another algorithm: %v", err)
	}

	paused := New(s.Control, k, 300*time.Millisecond)
	if _, err := paused.Do(t.Context(), Status); err != nil {
		t.Fatal(err)
	}
	s.Signal(syscall.SIGSTOP)
	begun := time.Now()
	if _, err := paused.Do(t.Context(), Status); !errors.Is(err, ErrConnect) || time.Since(begun) > 5*time.Second {
		t.Errorf("a paused named, after %s: %v", time.Since(begun), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() {
		if _, err := paused.Do(ctx, Status); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
	})
	cancel()
	wait.Wait()
	wait.Go(func() {
		if _, err := paused.Do(t.Context(), Status); err == nil {
			t.Error("a closed client answers")
		}
	})
	if err := paused.Close(); err != nil {
		t.Error(err)
	}
	wait.Wait()
	s.Signal(syscall.SIGCONT)
}

// TestReplay has a server that answers with what it has answered before.
func TestReplay(t *testing.T) {
	k := Key{Algorithm: "hmac-sha256", Secret: []byte("secret")}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // a test
	var wait sync.WaitGroup
	wait.Go(func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close() //nolint:errcheck // a test
		var first []byte
		for range 2 {
			b := make([]byte, 4096)
			n, err := conn.Read(b)
			if err != nil {
				return
			}
			request, err := k.open(b[4:n])
			if err != nil {
				t.Error(err)
				return
			}
			ser, _ := get(request, "_ctrl", "_ser")
			if first == nil {
				first, err = k.seal([]entry{
					{key: "_ctrl", table: []entry{ser, {key: "_nonce", value: []byte("7")}}},
					{key: "_data", table: []entry{{key: "text", value: []byte("old")}}},
				})
				if err != nil {
					t.Error(err)
				}
			}
			_, _ = conn.Write(first)
		}
	})
	c := New(l.Addr().String(), k, time.Second)
	if answer, err := c.Do(t.Context(), Status); err == nil {
		t.Errorf("takes the replayed answer %q", answer)
	}
	_ = c.Close()
	wait.Wait()
}

func TestKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "k")
	for text, want := range map[string]string{
		`key "a" { algorithm hmac-sha256; secret "c2VjcmV0"; };`:                                    "",
		`# c` + "\n" + `key b { algorithm HMAC-SHA512; /* x */ secret c2VjcmV0; }; options { x; };`: "",
		`key "a" { algorithm hmac-md5; secret "c2VjcmV0"; };`:                                       "rndc-confgen",
		`key "a" { algorithm hmac-sha256; secret "?"; };`:                                           "not base64",
		`key "a" { algorithm hmac-sha256; secret "c2VjcmV0"; }`:                                     "semicolon",
		``: "no key",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		k, err := ReadKey(path, "")
		if want == "" && (err != nil || string(k.Secret) != "secret") || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := ReadKey(path+"x", ""); err == nil {
		t.Error("reads a file that is not there")
	}
}

func FuzzOpen(f *testing.F) {
	k := Key{Algorithm: "hmac-sha256", Secret: []byte("secret")}
	sealed, err := k.seal([]entry{{key: "_ctrl", table: []entry{{key: "_ser", value: []byte("1")}}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed[4:])
	f.Add([]byte{0, 0, 0, 1, 5, '_', 'a', 'u', 't', 'h', 2, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := k.open(b); err == nil {
			again, err := k.seal(got)
			if err == nil {
				_, err = k.open(again[4:])
			}
			if err != nil {
				t.Errorf("what was read is not written: %v", err)
			}
		}
	})
}

// FuzzCommand holds that a command about a zone is one line of as many words as it
// should have, whatever the name, the view and the statements are.
func FuzzCommand(f *testing.F) {
	f.Add([]byte("\x04a\"};\x00"), "internal", `type secondary;`)
	f.Add([]byte("\x01\n\x00"), `x" ; rndc stop`, `}; zone x {`)
	f.Fuzz(func(t *testing.T, wire []byte, viewName, block string) {
		n, err := name.FromWire(wire)
		if err != nil {
			return
		}
		v, err := ViewOf(viewName)
		if err != nil {
			return
		}
		c, err := AddZone(n, v, block)
		if err != nil {
			return
		}
		checkLine(t, c.String(), "addzone", n, viewName, true)
		checkLine(t, ZoneStatus(n, v).String(), "zonestatus", n, viewName, false)
	})
}
