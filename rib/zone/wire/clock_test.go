package wire

import (
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
)

// TestClock has a server that says BADTIME, its clock ten minutes ahead. It is a fake:
// the clock of a real one cannot be turned in a test.
func TestClock(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0") //nolint:noctx // closed with the test
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = conn.Close(); <-done })
	go func() {
		defer close(done)
		b := make([]byte, 512)
		n, from, err := conn.ReadFrom(b)
		if err != nil {
			return
		}
		m := new(mdns.Msg)
		_ = m.Unpack(b[:n])
		r := new(mdns.Msg)
		r.SetRcode(m, mdns.RcodeNotAuth)
		q := m.IsTsig()
		other := hex.EncodeToString(time48(time.Now().Add(10 * time.Minute)))
		r.Extra = []mdns.RR{&mdns.TSIG{
			Hdr: q.Hdr, Algorithm: q.Algorithm, TimeSigned: q.TimeSigned, Fudge: 300, OrigId: m.Id,
			Error: mdns.RcodeBadTime, OtherLen: 6, OtherData: other, MACSize: 32, MAC: strings.Repeat("00", 32),
		}}
		raw, _ := r.Pack()
		_, _ = conn.WriteTo(raw, from)
	}()
	_, err = new(Client).SOA(t.Context(), Peer{Address: netip.MustParseAddrPort(conn.LocalAddr().String()), Key: &labKey}, "a.test.")
	if !errors.Is(err, ErrClock) || !strings.Contains(err.Error(), "ahead of this host's") || !strings.Contains(err.Error(), "m") {
		t.Errorf("the error is %v", err)
	}
	t.Log(err)
}
