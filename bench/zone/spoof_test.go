package zone

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"kaname.dev/kaname/lab/dns"
	"kaname.dev/kaname/rib/zone/wire"
)

// Who notifies in these tests: the first address may, the second may not.
const (
	friend   = "127.0.0.2"
	stranger = "127.0.0.9"
)

// TestSpoofedNotify sends a running core what attackers send: it makes no zone, and costs
// the primary few questions.
func TestSpoofedNotify(t *testing.T) {
	var openly, signed *relay
	b := newBed(t, options{primaries: []string{"bind"}, sources: func(b *bed) string {
		openly, signed = newRelay(t, b.primaries[0].Address), newRelay(t, b.primaries[0].Address)
		return fmt.Sprintf(`    - {name: open, kind: notify, address: %q, allow: [open.test], allow_from: [%s], names: [ns1.a.open.test, ns1.z.open.test]}
    - {name: signed, kind: notify, address: %q, key: %q, allow: [signed.test], names: [ns1.a.signed.test, ns1.b.signed.test]}
`, openly.address, friend, signed.address, b.key)
	}})
	b.primaries[0].AddZones("a.open.test", "z.open.test", "a.signed.test", "b.signed.test", "others.open.test")
	asked := func() int64 { return openly.count.Load() + signed.count.Load() }
	key := wire.Key{Name: dns.KeyName, Algorithm: "hmac-sha256", Secret: dns.KeySecret}

	t.Run("what is meant", func(t *testing.T) {
		b.send(t, friend, plain("a.open.test"), mdns.RcodeSuccess)
		b.send(t, stranger, sign(t, key, "a.signed.test"), mdns.RcodeSuccess) // anywhere, for it is signed
		b.until("both are desired", 10*time.Second, func() bool {
			return slices.Equal(b.desired(), []string{"a.open.test", "a.signed.test"})
		})
	})
	before := b.desired()
	calm := func(t *testing.T, most int64) {
		t.Helper()
		n := asked()
		t.Cleanup(func() {
			<-time.After(300 * time.Millisecond)
			if got := asked() - n; got > most {
				t.Errorf("the primary was asked %d times, more than %d", got, most)
			}
			if now := b.desired(); !slices.Equal(now, before) {
				t.Errorf("desired is now %v, was %v", now, before)
			}
		})
	}
	t.Run("from elsewhere", func(t *testing.T) {
		calm(t, 0)
		b.send(t, stranger, plain("z.open.test"), mdns.RcodeRefused)
	})
	t.Run("unsigned", func(t *testing.T) {
		calm(t, 0)
		b.send(t, stranger, plain("b.signed.test"), mdns.RcodeRefused)
		b.send(t, friend, plain("b.signed.test"), mdns.RcodeSuccess) // the other source's may notify, for its zones
	})
	t.Run("wrongly signed", func(t *testing.T) {
		calm(t, 0)
		wrong := key
		wrong.Secret = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
		b.send(t, friend, sign(t, wrong, "b.signed.test"), mdns.RcodeNotAuth)
		strange := key
		strange.Name = "strange"
		b.send(t, friend, sign(t, strange, "b.signed.test"), mdns.RcodeNotAuth)
		changed := sign(t, key, "b.signed.tesT")
		changed[13] ^= 1 // another zone under the same signature
		b.send(t, friend, changed, mdns.RcodeNotAuth)
	})
	t.Run("not there, or not ours", func(t *testing.T) {
		calm(t, 8)
		b.send(t, friend, plain("lacking.open.test"), mdns.RcodeSuccess)
		b.send(t, friend, plain("others.open.test"), mdns.RcodeSuccess)
		b.send(t, friend, plain("elsewhere.test"), mdns.RcodeSuccess)
		b.send(t, friend, sign(t, key, "lacking.signed.test"), mdns.RcodeSuccess)
	})
	t.Run("replayed", func(t *testing.T) { replays(t, b, key, calm) })
	t.Run("a flood", func(t *testing.T) { floods(t, b, openly, before) })
}

// replays sends a captured message again, to the core that heard it and to one that was
// started since.
func replays(t *testing.T, b *bed, key wire.Key, calm func(*testing.T, int64)) {
	captured := sign(t, key, "c.signed.test")
	t.Run("before the zone is there", func(t *testing.T) {
		calm(t, 4)
		b.send(t, friend, captured, mdns.RcodeSuccess)
	})
	t.Run("a hundred times", func(t *testing.T) {
		calm(t, 0)
		for range 100 {
			b.send(t, friend, captured, mdns.RcodeSuccess)
		}
	})
	b.core.end(syscall.SIGTERM)
	b.core.start()
	b.until("the keeper sits", 20*time.Second, func() bool { return len(b.desired()) == 2 })
	t.Run("after a restart", func(t *testing.T) {
		calm(t, 4)
		for range 100 {
			b.send(t, friend, captured, mdns.RcodeSuccess)
		}
	})
}

// floods sends NOTIFYs of many zones, from where one may and from where one may not, and
// looks that a zone that is meant comes through afterwards.
func floods(t *testing.T, b *bed, openly *relay, before []string) {
	const many = 20_000
	began, first := time.Now(), openly.count.Load()
	for _, from := range []string{stranger, friend} {
		c := b.dial(t, from)
		for i := range many {
			_, _ = c.Write(plain(fmt.Sprintf("flood%d.open.test", i)))
		}
	}
	sent := time.Since(began)
	<-time.After(time.Second) // the network has tokens again
	b.send(t, friend, plain("z.open.test"), mdns.RcodeSuccess)
	b.until("a zone is desired after a flood", 15*time.Second, func() bool { return slices.Contains(b.desired(), "z.open.test") })
	took := time.Since(began)
	asked := openly.count.Load() - first
	t.Logf("%d NOTIFYs in %s cost the primary %d questions in %s", 2*many, sent.Round(time.Millisecond), asked, took.Round(time.Millisecond))
	if most := int64(300*took.Seconds()) + 100; asked > most { // see the source's pace
		t.Errorf("%d NOTIFYs cost %d questions, more than %d", 2*many, asked, most)
	}
	if now := b.desired(); len(now) != len(before)+1 {
		t.Errorf("after the flood desired are %v", now)
	}
}

// relay stands between a source and the primary, and counts questions by UDP.
type relay struct {
	address netip.AddrPort
	count   atomic.Int64
}

func newRelay(t *testing.T, to netip.AddrPort) *relay {
	t.Helper()
	front, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{address: netip.MustParseAddrPort(front.LocalAddr().String())}
	var all sync.WaitGroup
	t.Cleanup(func() { _ = front.Close(); all.Wait() })
	all.Go(func() {
		for {
			b := make([]byte, 4096)
			n, from, err := front.ReadFrom(b)
			if err != nil {
				return
			}
			r.count.Add(1)
			all.Go(func() {
				back, err := net.Dial("udp", to.String())
				if err != nil {
					return
				}
				defer back.Close()
				_ = back.SetDeadline(time.Now().Add(2 * time.Second))
				_, _ = back.Write(b[:n])
				if n, err := back.Read(b[:cap(b)]); err == nil {
					_, _ = front.WriteTo(b[:n], from)
				}
			})
		}
	})
	return r
}

// plain returns an unsigned NOTIFY.
func plain(zone string) []byte {
	m := new(mdns.Msg)
	m.SetNotify(mdns.Fqdn(zone))
	raw, _ := m.Pack()
	return raw
}

// sign returns a signed NOTIFY.
func sign(t *testing.T, key wire.Key, zone string) []byte {
	t.Helper()
	signer, err := wire.NewSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	m := new(mdns.Msg)
	m.SetNotify(mdns.Fqdn(zone))
	raw, err := signer.Sign(m)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// dial opens a socket to the core's listener at an address of this machine.
func (b *bed) dial(t *testing.T, from string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(from)}}
	c, err := d.DialContext(t.Context(), "udp", b.listen)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// send sends a message to the core's listener and expects an answer's code.
func (b *bed) send(t *testing.T, from string, raw []byte, want int) {
	t.Helper()
	c := b.dial(t, from)
	defer c.Close()
	answer := make([]byte, 1500)
	for range 3 {
		_, _ = c.Write(raw)
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		n, err := c.Read(answer)
		if err != nil {
			continue
		}
		if n < 12 || int(answer[3]&0xf) != want {
			t.Errorf("the answer is %s, want %s", mdns.RcodeToString[int(answer[3]&0xf)], mdns.RcodeToString[want])
		}
		return
	}
	t.Error("no answer")
}

// desired returns the zones that are desired.
func (b *bed) desired() []string {
	var rows []struct{ Zone, State string }
	raw, err := b.try("zone", "list", "--limit", "0")
	if err == nil {
		err = json.Unmarshal(raw, &rows)
	}
	if err != nil {
		return nil
	}
	var names []string
	for _, r := range rows {
		if r.State == "desired" {
			names = append(names, r.Zone)
		}
	}
	slices.Sort(names)
	return names
}
