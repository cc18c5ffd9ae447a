package zone

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"kaname.dev/kaname/lab/dns"
)

// TestTroublesAreNamed gives servers zones whose transfers go wrong, each in its way:
// the status names the cause, and other zones come and stay.
func TestTroublesAreNamed(t *testing.T) {
	bad := badPrimary(t)
	refuses := start(t, "bind", dns.Options{Primary: true})
	silent := dns.AddressOf(t).String()
	b := newBed(t, options{primaries: []string{"bind"}, servers: []string{"bind", "knot"}, extra: fmt.Sprintf(
		"  groups:\n    keyed: {primaries: [\"%s xfr\"]}\n", bad)})
	b.primaries[0].AddZones("first.test")
	b.await("first.test", true, time.Now(), time.Minute)
	stop := b.guardZone("first.test")

	b.cli(nil, "zone", "add", "nothere.test", "--primary", refuses.Address.String())
	b.cli(nil, "zone", "add", "silent.test", "--primary", silent)
	b.cli(nil, "zone", "add", "cut.test", "--primary", bad)
	b.cli(nil, "zone", "add", "clock.test", "badkey.test", "--group", "keyed")
	for zone, words := range map[string]string{
		"nothere.test": "refused (key", "silent.test": "does not answer", "cut.test": "cut in the middle", "clock.test": "the clock is off", "badkey.test": "the TSIG key is wrong",
	} {
		b.until(zone+" is explained with: "+words, time.Minute, func() bool { return strings.Count(b.status(zone), words) >= len(b.servers) })
	}
	b.primaries[0].AddZones("later.test")
	b.await("later.test", true, time.Now(), 20*time.Second)
	if lost := stop(); lost != "" {
		t.Errorf("a zone that was well suffered: %s", lost)
	}
}

// badPrimary runs a primary that cuts transfers of cut.test, whose clock is an hour
// behind for clock.test, and that has another secret for badkey.test.
func badPrimary(t *testing.T) string {
	t.Helper()
	at := dns.AddressOf(t).String()
	handler := mdns.HandlerFunc(func(w mdns.ResponseWriter, q *mdns.Msg) {
		m := new(mdns.Msg)
		m.SetReply(q)
		zone := strings.ToLower(q.Question[0].Name)
		sig := q.IsTsig()
		switch {
		case sig != nil && zone == "clock.test.":
			now := make([]byte, 8)
			binary.BigEndian.PutUint64(now, uint64(time.Now().Add(-time.Hour).Unix())) //nolint:gosec // after 1970
			m.Rcode = mdns.RcodeNotAuth
			m.SetTsig(sig.Hdr.Name, sig.Algorithm, 300, int64(sig.TimeSigned)) //nolint:gosec // the asker's own time
			e := m.IsTsig()
			e.Error, e.OtherLen, e.OtherData = mdns.RcodeBadTime, 6, hex.EncodeToString(now[2:])
		case sig != nil:
			m.Rcode = mdns.RcodeNotAuth
			m.Extra = append(m.Extra, &mdns.TSIG{
				Hdr: mdns.RR_Header{Name: sig.Hdr.Name, Rrtype: mdns.TypeTSIG, Class: mdns.ClassANY}, Algorithm: sig.Algorithm,
				TimeSigned: sig.TimeSigned, Fudge: 300, OrigId: q.Id, Error: mdns.RcodeBadSig,
			})
			raw, err := m.Pack()
			if err == nil {
				_, _ = w.Write(raw) // unsigned, as RFC 8945 section 5.3.2 says
			}
			return
		default:
			m.Authoritative = true
			soa, err := mdns.NewRR(zone + " 300 IN SOA ns1." + zone + " h." + zone + " 5 3600 600 604800 60")
			if err != nil {
				return
			}
			m.Answer = []mdns.RR{soa}
			if q.Question[0].Qtype == mdns.TypeAXFR {
				a, err := mdns.NewRR("www." + zone + " 300 IN A 192.0.2.1")
				if err != nil {
					return
				}
				m.Answer = append(m.Answer, a)
				_ = w.WriteMsg(m)
				_ = w.Close()
				return
			}
		}
		_ = w.WriteMsg(m)
	})
	for _, network := range []string{"udp", "tcp"} {
		up := make(chan struct{})
		s := &mdns.Server{
			Addr: at, Net: network, Handler: handler, TsigSecret: map[string]string{dns.KeyName + ".": dns.KeySecret}, NotifyStartedFunc: func() { close(up) },
		}
		go func() { _ = s.ListenAndServe() }()
		<-up
		t.Cleanup(func() { _ = s.Shutdown() })
	}
	return at
}
