package serve

import (
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/source"
	"kaname.dev/kaname/rib/zone/wire"
)

const secret = "a2FuYW1lIGxhYiB0cmFuc2ZlciBrZXksIDI1NiBiaXQ="

var (
	testKey = wire.Key{Name: "xfr", Algorithm: "hmac-sha256", Secret: secret}
	other   = wire.Key{Name: "other.", Algorithm: "hmac-sha512", Secret: "b3RoZXIgb3RoZXIgb3RoZXIgb3RoZXI="}
	local   = netip.MustParsePrefix("127.0.0.0/8")
)

// serving runs a server on loopback until the test ends.
func serving(t testing.TB, o Options) (*Server, wire.Peer) {
	t.Helper()
	if o.Listen == nil {
		o.Listen = []string{"127.0.0.1:0"}
	}
	o.Keys = append(o.Keys, testKey, other)
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(t.Context()) }()
	t.Cleanup(func() { // the test's context has ended
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s, wire.Peer{Address: s.Addresses()[0], Key: &testKey}
}

// members are the records of a catalog of RFC 9432 with the members.
func members(zone string, serial uint32, names ...string) iter.Seq[dns.RR] {
	return func(yield func(dns.RR) bool) {
		h := func(owner string, kind uint16) dns.RR_Header {
			return dns.RR_Header{Name: owner, Rrtype: kind, Class: dns.ClassINET, Ttl: 0}
		}
		if !yield(&dns.SOA{Hdr: h(zone, dns.TypeSOA), Ns: "invalid.", Mbox: "invalid.", Serial: serial, Refresh: 3600, Retry: 600, Expire: 2147483646, Minttl: 0}) ||
			!yield(&dns.NS{Hdr: h(zone, dns.TypeNS), Ns: "invalid."}) ||
			!yield(&dns.TXT{Hdr: h("version."+zone, dns.TypeTXT), Txt: []string{"2"}}) {
			return
		}
		for _, n := range names {
			if !yield(&dns.PTR{Hdr: h(name.Hash(name.Name(n))[:16]+".zones."+zone, dns.TypePTR), Ptr: n}) {
				return
			}
		}
	}
}

// many are n member names.
func many(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("z%06d.example.", i)
	}
	return all
}

func take(t testing.TB, p wire.Peer, zone name.Name) ([]string, error) {
	t.Helper()
	var all []string
	err := new(wire.Client).Transfer(t.Context(), p, zone, func(rr dns.RR) error {
		all = append(all, rr.String())
		return nil
	})
	slices.Sort(all)
	return all, err
}

func publish(t testing.TB, s *Server, z Zone) {
	t.Helper()
	if err := s.Publish(z); err != nil {
		t.Fatal(err)
	}
}

func TestTransfers(t *testing.T) {
	s, peer := serving(t, Options{})
	const zone = "cat.test."
	names := many(3000)
	publish(t, s, Zone{Name: zone, Records: members(zone, 1, names...), Keys: []string{"XFR"}})
	got, err := take(t, peer, zone)
	if err != nil || len(got) != 3003 {
		t.Fatalf("a transfer has %d records, %v", len(got), err)
	}
	c := new(wire.Client)
	soa, err := c.SOA(t.Context(), peer, zone)
	if err != nil || soa.Serial != 1 || soa.Refresh != 3600 {
		t.Fatalf("SOA is %+v, %v", soa, err)
	}
	// Additions, a removal and a change of order arrive as differences that lead to the same zone.
	publish(t, s, Zone{Name: zone, Records: members(zone, 2, append([]string{"new.example."}, names...)...), Keys: []string{"xfr"}})
	publish(t, s, Zone{Name: zone, Records: members(zone, 7, append([]string{"new.example."}, names[1:]...)...), Keys: []string{"xfr"}})
	inc, err := c.Incremental(t.Context(), peer, zone, 1, func(dns.RR) error { return errors.New("whole") })
	if err != nil || inc.Full || len(inc.Steps) != 2 || inc.Serial != 7 {
		t.Fatalf("increment is %+v, %v", inc, err)
	}
	if a := inc.Steps[0]; len(a.Added) != 1 || len(a.Removed) != 0 || a.Added[0].(*dns.PTR).Ptr != "new.example." || a.From.Serial != 1 || a.To.Serial != 2 {
		t.Errorf("the first step is %+v", a)
	}
	if b := inc.Steps[1]; len(b.Added) != 0 || len(b.Removed) != 1 || b.Removed[0].(*dns.PTR).Ptr != names[0] {
		t.Errorf("the second step is %+v", b)
	}
	if inc, err = c.Incremental(t.Context(), peer, zone, 7, nil); err != nil || inc.Full || len(inc.Steps) != 0 || inc.Serial != 7 {
		t.Errorf("an increment of nothing is %+v, %v", inc, err)
	}
	n := 0
	if inc, err = c.Incremental(t.Context(), peer, zone, 5, func(dns.RR) error { n++; return nil }); err != nil || !inc.Full || n != 3003 || inc.Serial != 7 {
		t.Errorf("an increment from an unknown serial is %+v with %d records, %v", inc, n, err)
	}
	for what, z := range map[string]Zone{
		"serial":  {Records: members(zone, 6)},
		"same":    {Records: members(zone, 7, "a.")},
		"no SOA":  {Records: func(y func(dns.RR) bool) { y(&dns.TXT{Hdr: dns.RR_Header{Name: zone}}) }},
		"outside": {Records: members("t.", 8)},
		"key":     {Records: members(zone, 8), Keys: []string{"nobody"}},
	} {
		z.Name = zone
		if err := s.Publish(z); err == nil {
			t.Errorf("%s: it was published", what)
		}
	}
	if serial, ok := s.Serial(zone); !ok || serial != 7 {
		t.Errorf("serial is %d", serial)
	}
	s.Withdraw(zone)
	if _, err := c.SOA(t.Context(), peer, zone); !errors.Is(err, wire.ErrRefused) {
		t.Errorf("after withdrawal: %v", err)
	}
}

func TestQuestions(t *testing.T) {
	s, peer := serving(t, Options{})
	const zone = "cat.test."
	publish(t, s, Zone{Name: zone, Records: members(zone, 1, "a.example."), Keys: []string{"xfr"}})
	c := new(wire.Client)
	for _, q := range []struct {
		name string
		kind uint16
		want string
	}{
		{"CAT.test.", dns.TypeSOA, "NOERROR 1"},
		{zone, dns.TypeNS, "NOERROR 1"},
		{"version.cat.test.", dns.TypeTXT, "NOERROR 1"},
		{name.Hash("a.example.")[:16] + ".zones.cat.test.", dns.TypePTR, "NOERROR 1"},
		{"zones.cat.test.", dns.TypePTR, "NOERROR 0"},
		{"nothing.cat.test.", dns.TypeTXT, "NXDOMAIN 0"},
		{zone, dns.TypeA, "REFUSED 0"},
		{zone, dns.TypeANY, "REFUSED 0"},
		{"other.test.", dns.TypeSOA, "REFUSED 0"},
		{"test.", dns.TypeSOA, "REFUSED 0"},
		{".", dns.TypeNS, "REFUSED 0"},
		{"version.cat.test.", dns.TypeAXFR, "NOTAUTH 0"},
	} {
		m := new(dns.Msg)
		m.SetQuestion(q.name, q.kind)
		m.SetEdns0(1232, false)
		r, err := c.Ask(t.Context(), peer, m)
		if r == nil {
			t.Errorf("%s: %v", q.name, err)
			continue
		}
		if got := fmt.Sprintf("%s %d", dns.RcodeToString[r.Rcode], len(r.Answer)); got != q.want || r.IsEdns0() == nil || r.IsTsig() == nil {
			t.Errorf("%s %s: %s, want %s (%v)", q.name, dns.TypeToString[q.kind], got, q.want, r)
		}
	}
}

func TestWhoMay(t *testing.T) {
	s, peer := serving(t, Options{})
	publish(t, s, Zone{Name: "keyed.test.", Records: members("keyed.test.", 1), Keys: []string{"xfr"}})
	publish(t, s, Zone{Name: "near.test.", Records: members("near.test.", 1), AllowFrom: []netip.Prefix{local}})
	publish(t, s, Zone{Name: "nobody.test.", Records: members("nobody.test.", 1)})
	unsigned, wrong := peer, testKey
	unsigned.Key = nil
	wrong.Secret = other.Secret
	unknown := wire.Key{Name: "who", Algorithm: "hmac-sha256", Secret: secret}
	for _, x := range []struct {
		zone name.Name
		key  *wire.Key
		want error
	}{
		{"keyed.test.", &testKey, nil},
		{"keyed.test.", nil, wire.ErrRefused},
		{"keyed.test.", &other, wire.ErrRefused},
		{"keyed.test.", &wrong, wire.ErrKey},
		{"keyed.test.", &unknown, wire.ErrKey},
		{"near.test.", nil, nil},
		{"near.test.", &other, nil},
		{"near.test.", &wrong, wire.ErrKey},
		{"nobody.test.", nil, wire.ErrRefused},
		{"nobody.test.", &testKey, wire.ErrRefused},
	} {
		p := peer
		p.Key = x.key
		_, soa := new(wire.Client).SOA(t.Context(), p, x.zone)
		_, axfr := take(t, p, x.zone)
		if !errors.Is(soa, x.want) || !errors.Is(axfr, x.want) {
			t.Errorf("%s with %v: %v, %v; want %v", x.zone, x.key, soa, axfr, x.want)
		}
	}
}

func TestNotifyIn(t *testing.T) {
	heard := make(chan source.Notify, 100)
	_, peer := serving(t, Options{
		Notify: []Rule{
			{Zones: []name.Name{"signed.test."}, Keys: []string{"xfr"}},
			{Zones: []name.Name{"open.test."}, From: []netip.Prefix{local}},
			{From: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}},
			{Zones: []name.Name{"void.test."}},
		},
		OnNotify: func(n source.Notify) { heard <- n },
	})
	unsigned, wrong := peer, peer
	unsigned.Key, wrong.Key = nil, &other
	c := new(wire.Client)
	for _, x := range []struct {
		zone name.Name
		peer wire.Peer
		want error
	}{
		{"signed.test.", peer, nil},
		{"signed.test.", unsigned, wire.ErrRefused},
		{"signed.test.", wrong, wire.ErrRefused},
		{"open.test.", unsigned, nil},
		{"open.test.", peer, nil},
		{"else.test.", peer, wire.ErrRefused},
		{"else.test.", unsigned, wire.ErrRefused},
		{"void.test.", unsigned, wire.ErrRefused},
	} {
		if err := c.Notify(t.Context(), x.peer, x.zone, 42); !errors.Is(err, x.want) {
			t.Errorf("%s: %v, want %v", x.zone, err, x.want)
		}
	}
	var got []string
	for range len(heard) {
		n := <-heard
		got = append(got, fmt.Sprintf("%s %q %d", n.Zone, n.Key, *n.Serial))
	}
	if want := `signed.test. "xfr" 42, open.test. "" 42, open.test. "xfr" 42`; strings.Join(got, ", ") != want {
		t.Errorf("heard %v, want %s", got, want)
	}
}

func TestNotifyOut(t *testing.T) {
	heard := make(chan source.Notify, 100)
	_, consumer := serving(t, Options{Notify: []Rule{{Keys: []string{"xfr"}}}, OnNotify: func(n source.Notify) { heard <- n }})
	s, _ := serving(t, Options{})
	gone := consumer
	gone.Address = netip.MustParseAddrPort("127.0.0.1:1") // nothing there: tried on, and in nobody's way
	for serial := range uint32(3) {
		publish(t, s, Zone{Name: "cat.test.", Records: members("cat.test.", serial+1), Notify: []wire.Peer{gone, consumer}})
		select {
		case n := <-heard:
			if n.Zone != "cat.test." || *n.Serial != serial+1 {
				t.Errorf("heard %+v", n)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("the consumer was not told")
		}
	}
}
