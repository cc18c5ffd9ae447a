package serve

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/miekg/dns"

	"kaname.dev/kaname/lab"
	"kaname.dev/kaname/rib/zone/source"
	"kaname.dev/kaname/rib/zone/wire"
)

// TestBadClock has a client whose clock is ten minutes behind, its key right.
func TestBadClock(t *testing.T) {
	s, peer := serving(t, Options{})
	publish(t, s, Zone{Name: "cat.test.", Records: members("cat.test.", 1), Keys: []string{"xfr"}})
	m := new(dns.Msg)
	m.SetQuestion("cat.test.", dns.TypeSOA)
	m.SetTsig("xfr.", dns.HmacSHA256, 300, time.Now().Add(-10*time.Minute).Unix())
	c := dns.Client{TsigSecret: map[string]string{"xfr.": secret}}
	r, _, _ := c.ExchangeContext(t.Context(), m, peer.Address.String())
	if r == nil || r.Rcode != dns.RcodeNotAuth || r.IsTsig() == nil || r.IsTsig().Error != dns.RcodeBadTime || len(r.IsTsig().OtherData) != 12 {
		t.Fatalf("the answer is %v", r)
	}
}

// TestReplay sends one signed NOTIFY again and again: it is heard once.
func TestReplay(t *testing.T) {
	heard := make(chan source.Notify, 1000)
	_, peer := serving(t, Options{Notify: []Rule{{Keys: []string{"xfr"}}}, OnNotify: func(n source.Notify) { heard <- n }})
	signer, err := wire.NewSigner(testKey)
	if err != nil {
		t.Fatal(err)
	}
	m := new(dns.Msg)
	m.SetNotify("cat.test.")
	raw, err := signer.Sign(m)
	if err != nil {
		t.Fatal(err)
	}
	conn := dial(t, "udp", peer.Address)
	b := make([]byte, 512)
	for range 20 {
		if _, err := conn.Write(raw); err != nil {
			t.Fatal(err)
		}
		if n, err := conn.Read(b); err != nil || b[3]&0xf != 0 {
			t.Fatalf("answer of %d octets, %v", n, err)
		}
	}
	if len(heard) != 1 {
		t.Errorf("it was heard %d times", len(heard))
	}
	// One whose octets were changed is not heard, and not answered as if it were.
	raw[20] ^= 0x20
	_, _ = conn.Write(raw)
	if n, err := conn.Read(b); err == nil && b[3]&0xf == 0 || len(heard) != 1 {
		t.Errorf("a changed one: answer of %d octets, %v, heard %d", n, err, len(heard))
	}
}

func dial(t testing.TB, network string, at netip.AddrPort) net.Conn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), network, at.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	return conn
}

// TestFlood sends unsigned NOTIFYs of unknown zones: few answers, nothing heard, and those
// who may are answered meanwhile.
func TestFlood(t *testing.T) {
	s, peer := serving(t, Options{
		Notify: []Rule{{Keys: []string{"xfr"}}}, OnNotify: func(source.Notify) { t.Error("it was heard") },
	})
	publish(t, s, Zone{Name: "cat.test.", Records: members("cat.test.", 1), Keys: []string{"xfr"}})
	conn := dial(t, "udp", peer.Address)
	m := new(dns.Msg)
	m.SetNotify("spoofed.test.")
	raw, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	for range 20_000 {
		_, _ = conn.Write(raw)
	}
	if _, err := new(wire.Client).SOA(t.Context(), peer, "cat.test."); err != nil {
		t.Errorf("in the flood: %v", err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	answers, b := 0, make([]byte, 512)
	for {
		if _, err := conn.Read(b); err != nil {
			break
		}
		answers++
	}
	if answers > limitBurst+limitRate*2 {
		t.Errorf("%d answers", answers)
	}
}

// TestSlowConnections has more connections than are allowed, which send next to nothing;
// others get through, and no goroutine is left.
func TestSlowConnections(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("server", func(t *testing.T) {
		s, peer := serving(t, Options{MaxConns: 20})
		publish(t, s, Zone{Name: "cat.test.", Records: members("cat.test.", 1, many(20_000)...), Keys: []string{"xfr"}})
		for i := range 60 {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(i))}}
			conn, err := d.DialContext(t.Context(), "tcp", peer.Address.String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_, _ = conn.Write([]byte{0, 50, 1})
		}
		// A transfer whose client reads nothing.
		stalled := dial(t, "tcp", peer.Address)
		m := new(dns.Msg)
		m.SetAxfr("cat.test.")
		signer, _ := wire.NewSigner(testKey)
		raw, err := signer.Sign(m)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = stalled.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(raw))), raw...))
		for range 5 {
			if all, err := take(t, peer, "cat.test."); err != nil || len(all) != 20_003 {
				t.Fatalf("%d records, %v", len(all), err)
			}
		}
		if _, err := new(wire.Client).SOA(t.Context(), peer, "cat.test."); err != nil {
			t.Error(err)
		}
	})
	lab.Eventually(t, "all goroutines have ended", func() bool { return runtime.NumGoroutine() <= before })
}

// TestCut has a transfer that ends in the middle: an error, never a short set.
func TestCut(t *testing.T) {
	s, peer := serving(t, Options{})
	publish(t, s, Zone{Name: "cat.test.", Records: members("cat.test.", 1, many(20_000)...), Keys: []string{"xfr"}})
	for _, after := range []int64{1, 100, 60_000, 200_000, 600_000} {
		cut := peer
		cut.Address = cutting(t, peer.Address, after)
		n := 0
		err := new(wire.Client).Transfer(t.Context(), cut, "cat.test.", func(dns.RR) error { n++; return nil })
		if want := wire.ErrCut; !errors.Is(err, want) && (after > 60_100 || !errors.Is(err, wire.ErrUnreachable)) {
			t.Errorf("cut after %d octets: %d records, %v", after, n, err)
		}
	}
}

// cutting passes one connection on and cuts the answer after some octets.
func cutting(t testing.TB, to netip.AddrPort, after int64) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // closed with the test
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	server := dial(t, "tcp", to)
	go func() {
		client, err := l.Accept()
		if err != nil {
			return
		}
		go io.Copy(server, client) //nolint:errcheck // ends with the connection
		_, _ = io.CopyN(client, server, after)
		_ = client.Close()
	}()
	return netip.MustParseAddrPort(l.Addr().String())
}

// FuzzAnswer answers any octets: no panic, nothing heard, no more than one small answer.
func FuzzAnswer(f *testing.F) {
	s, err := New(Options{
		Keys: []wire.Key{testKey}, Notify: []Rule{{Keys: []string{"xfr"}}},
		OnNotify: func(source.Notify) { panic("heard without a key") },
	})
	if err != nil {
		f.Fatal(err)
	}
	if err := s.Publish(Zone{Name: "cat.test.", Records: members("cat.test.", 1, many(10)...), Keys: []string{"xfr"}}); err != nil {
		f.Fatal(err)
	}
	for _, kind := range []uint16{dns.TypeSOA, dns.TypeAXFR, dns.TypeIXFR} {
		m := new(dns.Msg)
		m.SetQuestion("cat.test.", kind)
		raw, _ := m.Pack()
		f.Add(raw, false)
		m.SetEdns0(4096, true)
		m.Opcode = dns.OpcodeNotify
		m.SetTsig("xfr.", dns.HmacSHA256, 300, 1)
		raw, _, _ = dns.TsigGenerate(m, secret, "", false)
		f.Add(raw, true)
	}
	from := netip.MustParseAddrPort("192.0.2.1:53")
	f.Fuzz(func(t *testing.T, raw []byte, udp bool) {
		size, sent := 0, 0
		if udp {
			size = minDatagram
		}
		err := s.answer(raw, from, size, func(b []byte) error {
			if sent++; sent > 1 || len(b) > minDatagram {
				t.Errorf("%d answers, of %d octets", sent, len(b))
			}
			if r := new(dns.Msg); r.Unpack(b) != nil || r.Rcode == dns.RcodeSuccess {
				t.Errorf("the answer is %v", r)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// TestMutations throws signed requests with changed octets at the server.
func TestMutations(t *testing.T) {
	heard := 0
	s, err := New(Options{Keys: []wire.Key{testKey}, Notify: []Rule{{Keys: []string{"xfr"}}}, OnNotify: func(source.Notify) { heard++ }})
	if err != nil {
		t.Fatal(err)
	}
	publish(t, s, Zone{Name: "cat.test.", Records: members("cat.test.", 1, many(10)...), Keys: []string{"xfr"}})
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		signer, _ := wire.NewSigner(testKey)
		m := new(dns.Msg)
		if m.SetNotify("cat.test."); r.IntN(2) == 0 {
			m.SetAxfr("cat.test.")
		}
		raw, err := signer.Sign(m)
		if err != nil {
			t.Fatal(err)
		}
		at := 2 + r.IntN(len(raw)-2)
		if at >= 12 && 'a' <= raw[at]|0x20 && raw[at]|0x20 <= 'z' {
			continue // case of the key's name is not signed
		}
		if at == 40 {
			continue // the low octet of the TSIG record's length: one that ends before its last zeros reads the same
		}
		raw[at] ^= byte(1 + r.IntN(255))
		_ = s.answer(raw, netip.MustParseAddrPort("192.0.2.1:53"), 0, func(b []byte) error {
			if b[3]&0xf == dns.RcodeSuccess {
				t.Errorf("octet %d changed, and answered: %x", at, raw)
			}
			return nil
		})
	}
	if heard > 0 {
		t.Errorf("%d were heard", heard)
	}
}

// TestLarge publishes 200,000 members, changes one, and transfers.
func TestLarge(t *testing.T) {
	n := 20_000
	if lab.Soak() {
		n = 200_000
	}
	s, peer := serving(t, Options{})
	names := many(n + 1)
	var at [3]time.Duration
	begun := time.Now()
	publish(t, s, Zone{Name: "cat.test.", Records: members("cat.test.", 1, names[:n]...), Keys: []string{"xfr"}})
	at[0] = time.Since(begun)
	var records []dns.RR
	for rr := range members("cat.test.", 2, names...) {
		records = append(records, rr)
	}
	begun = time.Now()
	publish(t, s, Zone{Name: "cat.test.", Keys: []string{"xfr"}, Records: func(y func(dns.RR) bool) {
		for _, rr := range records {
			if !y(rr) {
				return
			}
		}
	}})
	at[1] = time.Since(begun)
	records = nil
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	begun = time.Now()
	got := 0
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := new(wire.Client).Transfer(ctx, peer, "cat.test.", func(dns.RR) error { got++; return nil }); err != nil || got != n+4 {
		t.Fatalf("%d records, %v", got, err)
	}
	at[2] = time.Since(begun)
	inc, err := new(wire.Client).Incremental(ctx, peer, "cat.test.", 1, nil)
	if err != nil || len(inc.Steps) != 1 || len(inc.Steps[0].Added) != 1 {
		t.Fatalf("increment is %+v, %v", inc, err)
	}
	t.Logf("%d members: first publish %v, one change %v, whole transfer and its reading %v, heap %d MiB", n, at[0], at[1], at[2], m.HeapInuse>>20)
}
