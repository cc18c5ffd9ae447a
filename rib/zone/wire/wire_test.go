package wire

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"kaname.dev/kaname/lab/dns"
	"kaname.dev/kaname/rib/zone/name"
)

var labKey = Key{Name: dns.KeyName, Algorithm: "hmac-sha256", Secret: dns.KeySecret}

func TestNewer(t *testing.T) {
	for _, x := range []struct {
		a, b uint32
		want bool
	}{{1, 0, true}, {0, 1, false}, {5, 5, false}, {0, 1<<32 - 1, true}, {1 << 31, 0, false}, {0, 1 << 31, false}, {1<<31 - 1, 0, true}, {3, 1<<31 + 4, true}} {
		if Newer(x.a, x.b) != x.want {
			t.Errorf("Newer(%d, %d) is %t", x.a, x.b, !x.want)
		}
	}
}

func TestReadKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	for _, text := range []string{
		"// a comment with key \"no\"\nkey \"XFR.\" {\n\talgorithm hmac-sha256;\n\tsecret \"" + dns.KeySecret + "\";\n};\nkey two { secret \"AAAA\"; };\n",
		"key xfr { algorithm HMAC-SHA256; secret " + dns.KeySecret + "; };",
		"key:\n  - id: xfr # ours\n    algorithm: hmac-sha256\n    secret: " + dns.KeySecret + "\n  - id: two\n    secret: AAAA\n",
		"key:\n\tname: \"xfr\"\n\talgorithm: hmac-sha256\n\tsecret: \"" + dns.KeySecret + "\"\n",
		"hmac-sha256:xfr:" + dns.KeySecret + "\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if k, err := ReadKey(path); err != nil || k != labKey {
			t.Errorf("%q is read as %+v, %v", text, k, err)
		}
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadKey(path); err == nil || !strings.Contains(err.Error(), "chmod") {
		t.Errorf("a file for everybody: %v", err)
	}
	for _, text := range []string{"", "key", `key "a" { algorithm hmac-md5; secret "AAAA"; };`, `key "a" { secret "hush!"; };`, "a:b:c", `key "a" {`, `key "..` + "\x00"} {
		if k, err := ParseKey(text); err == nil || strings.Contains(err.Error(), "hush") {
			t.Errorf("%q is read as %+v, %v", text, k, err)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add(`key "a" { algorithm hmac-sha256; secret "AAAA"; };`)
	f.Add("key:\n - id: a\n   secret: AAAA")
	f.Fuzz(func(t *testing.T, text string) {
		if k, err := ParseKey(text); err == nil && (k.Name == "" || k.Secret == "") {
			t.Errorf("%q is read as %+v", text, k)
		}
	})
}

// TestUnsignedBetween has messages of a transfer without signatures between signed ones.
func TestUnsignedBetween(t *testing.T) {
	for _, x := range []struct {
		between int
		spoil   bool
		ok      bool
	}{{0, false, true}, {1, false, true}, {99, false, true}, {100, false, false}, {3, true, false}} {
		server, _ := NewSigner(labKey)
		client, _ := NewSigner(labKey)
		m := new(mdns.Msg)
		m.SetQuestion("a.test.", mdns.TypeAXFR)
		raw, _ := client.Sign(m)
		q := new(mdns.Msg)
		_ = q.Unpack(raw)
		if err := server.Verify(raw, q); err != nil {
			t.Fatal(err)
		}
		server.Request(q.IsTsig())
		m.Response = true
		first, _ := server.Sign(m)
		server.Follow()
		err := read(client, first)
		client.Follow()
		for range x.between {
			m.Answer = []mdns.RR{&mdns.NS{Hdr: mdns.RR_Header{Name: "a.test.", Rrtype: mdns.TypeNS, Class: mdns.ClassINET}, Ns: "b."}}
			plain, _ := m.Pack()
			server.pending = append(server.pending, plain...) // the sender signs what it sent
			if x.spoil {
				plain[len(plain)-2] ^= 1
			}
			err = errors.Join(err, read(client, plain))
		}
		last := lastSigned(t, server, m)
		if err = errors.Join(err, read(client, last)); (err == nil) != x.ok || err != nil && !errors.Is(err, ErrKey) {
			t.Errorf("%d unsigned messages, spoilt %t: %v", x.between, x.spoil, err)
		}
	}
}

// lastSigned signs a message and the unsigned ones before it with the library.
func lastSigned(t *testing.T, s *Signer, m *mdns.Msg) []byte {
	t.Helper()
	m = m.Copy()
	m.SetTsig(s.key.Name, mdns.HmacSHA256, 300, time.Now().Unix())
	raw, _, err := mdns.TsigGenerateWithProvider(m, verifier{s}, s.mac, true)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func read(s *Signer, raw []byte) error {
	m := new(mdns.Msg)
	if err := m.Unpack(raw); err != nil {
		return err
	}
	return s.Verify(raw, m)
}

// TestClient talks to a real server.
func TestClient(t *testing.T) {
	b := dns.BIND(t, dns.Options{
		Primary: true, Catalogs: []string{"cat.test"},
		Extra: "zone \"closed.test\" { type primary; file \"zone.db\"; allow-query { none; }; allow-transfer { none; }; };\nzone \"empty.test\" { type primary; file \"missing.db\"; };\n",
	})
	var zones []name.Name
	var texts []string
	for i := range 300 {
		texts = append(texts, fmt.Sprintf("z%d.test", i))
		zones = append(zones, name.Name(fmt.Sprintf("z%d.test.", i)))
	}
	b.AddZones(texts...)
	c, ctx := new(Client), t.Context()
	peer := Peer{Address: b.Address, Key: &labKey, Source: netip.MustParseAddr("127.0.0.1")}
	soa, err := c.SOA(ctx, peer, "z1.test.")
	if err != nil || soa.Serial != 1 || soa.Refresh != 3600 || !soa.Authoritative {
		t.Errorf("SOA is %+v, %v", soa, err)
	}
	if ns, err := c.NS(ctx, peer, "z1.test."); err != nil || len(ns) != 2 {
		t.Errorf("NS are %v, %v", ns, err)
	}
	n := 0
	if err := c.Transfer(ctx, peer, "cat.test.", func(mdns.RR) error { n++; return nil }); err != nil || n != 303 {
		t.Errorf("%d records, %v", n, err)
	}
	stop := errors.New("stop")
	if err := c.Transfer(ctx, peer, "cat.test.", func(mdns.RR) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("the caller's own error: %v", err)
	}
	from, err := c.SOA(ctx, peer, "cat.test.")
	if err != nil {
		t.Fatal(err)
	}
	b.AddZones("more.test")
	b.RemoveZones("z7.test")
	inc, err := c.Incremental(ctx, peer, "cat.test.", from.Serial, nil)
	if err != nil || inc.Full || len(inc.Steps) != 2 || len(inc.Steps[0].Added) != 1 || len(inc.Steps[1].Removed) != 1 {
		t.Errorf("increment is %+v, %v", inc, err)
	}
	if n = 0; true {
		inc, err = c.Incremental(ctx, peer, "z1.test.", 0, func(mdns.RR) error { n++; return nil })
	}
	if err != nil || !inc.Full || n != 7 || inc.Serial != 1 {
		t.Errorf("increment is %+v with %d records, %v", inc, n, err)
	}
	errorsOf(t, c, peer)
	got := 0
	err = new(Prober).SOAs(ctx, b.Address, append(zones, "no.test.", "empty.test."), func(z name.Name, s SOA, err error) {
		switch {
		case z == "no.test." || z == "z7.test.":
			if !errors.Is(err, ErrRefused) {
				t.Errorf("%s: %v", z, err)
			}
		case z == "empty.test.":
			if !errors.Is(err, ErrServer) {
				t.Errorf("%s: %v", z, err)
			}
		case err != nil || s.Serial != 1:
			t.Errorf("%s: %+v, %v", z, s, err)
		}
		got++
	})
	if err != nil || got != 302 {
		t.Errorf("%d were probed, %v", got, err)
	}
}

// errorsOf looks at what the client says of what goes wrong.
func errorsOf(t *testing.T, c *Client, peer Peer) {
	t.Helper()
	unsigned, wrong, unknown, gone := peer, peer, peer, peer
	secret, who := labKey, labKey
	secret.Secret, who.Name = "b3RoZXIgb3RoZXIgb3RoZXIgb3RoZXI=", "who"
	unsigned.Key, wrong.Key, unknown.Key = nil, &secret, &who
	gone.Address = netip.MustParseAddrPort("127.0.0.1:1")
	for _, x := range []struct {
		peer Peer
		zone name.Name
		want error
	}{
		{peer, "closed.test.", ErrRefused},
		{peer, "no.test.", ErrRefused},
		{peer, "empty.test.", ErrServer},
		{wrong, "z1.test.", ErrKey},
		{unknown, "z1.test.", ErrKey},
		{gone, "z1.test.", ErrUnreachable},
	} {
		_, soa := c.SOA(t.Context(), x.peer, x.zone)
		axfr := c.Transfer(t.Context(), x.peer, x.zone, func(mdns.RR) error { return nil })
		if x.zone == "no.test." && errors.Is(axfr, ErrNotAuth) {
			axfr = ErrRefused // BIND answers NOTAUTH to a transfer
		}
		if !errors.Is(soa, x.want) || !errors.Is(axfr, x.want) {
			t.Errorf("%s of %s: %v; %v; want %v", x.zone, x.peer.Address, soa, axfr, x.want)
		}
		t.Log(soa)
	}
	if err := c.Notify(t.Context(), unsigned, "no.test.", 1); err == nil {
		t.Error("a NOTIFY of an unknown zone is taken")
	}
}

func TestNobodyAnswers(t *testing.T) {
	zones := make([]name.Name, 5000)
	for i := range zones {
		zones[i] = name.Name(fmt.Sprintf("z%d.test.", i))
	}
	begun, n := time.Now(), 0
	p := Prober{Timeout: 100 * time.Millisecond}
	err := p.SOAs(t.Context(), netip.MustParseAddrPort("127.0.0.1:1"), zones, func(_ name.Name, _ SOA, err error) {
		if n++; !errors.Is(err, ErrUnreachable) {
			t.Error(err)
		}
	})
	if err != nil || n != len(zones) || time.Since(begun) > 5*time.Second {
		t.Errorf("%d zones after %v, %v", n, time.Since(begun), err)
	}
}
