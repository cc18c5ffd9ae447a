package openflow

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"kaname.dev/kaname/lab"
	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/packet"
)

// recorded reads the switch of a recorded host.
func recorded(t testing.TB, name string) *facts.OVS {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	o := new(facts.OVS)
	if err := json.Unmarshal(b, o); err != nil {
		t.Fatal(err)
	}
	return o
}

// told is a tracker that answers what it was told, as ofproto/trace does with --ct-next: the
// default is new.
type told struct{ states []uint32 }

func (c *told) track(_ int, p packet.Packet, t *track, _ uint32) tracked {
	k := tracked{state: stateTracked | stateNew, keep: true, after: p}
	if len(c.states) > 0 {
		k.state, c.states = c.states[0], c.states[1:]
	}
	if t.nat != nil {
		k.after = t.nat.apply(p)
	}
	return k
}

// TestOracle asks a real ovs-vswitchd what it would do with random packets, and compares.
func TestOracle(t *testing.T) {
	for _, host := range []string{"c1", "c2", "n1"} {
		t.Run(host, func(t *testing.T) { oracle(t, recorded(t, host)) })
	}
}

func oracle(t *testing.T, o *facts.OVS) {
	t.Helper()
	v := startVswitch(t, o)
	s := New(o)
	n, limit := 10000, time.Hour
	if !lab.Soak() {
		n, limit = 300, 4*time.Second
	}
	seed := uint64(time.Now().UnixNano())
	g := newGuesser(o, rand.New(rand.NewPCG(seed, 1)))
	begin, bad, leaving, tracked := time.Now(), 0, 0, 0
	i := 0
	for ; i < n && time.Since(begin) < limit && bad < 5; i++ {
		q := g.question()
		args := append(slices.Clone(q.options), q.bridge, q.flow)
		text, err := v.call(t, "ofproto/trace", args...)
		if err != nil {
			t.Fatalf("seed %d: trace %q: %v", seed, args, err)
		}
		want, err := v.outputs(text, q)
		if err != nil {
			t.Fatalf("seed %d: trace %q: %v\n%s", seed, args, err, text)
		}
		r := newRun(s)
		r.still = true
		tr := &told{slices.Clone(q.states)}
		r.tracker = tr
		r.start(s.bridge(q.bridge), q.port, q.packet)
		have := ours(r.res)
		if len(want) > 0 {
			leaving++
		}
		if strings.Contains(text, "recirc(") {
			tracked++
		}
		slices.Sort(have)
		slices.Sort(want)
		if !slices.Equal(have, want) || len(r.res.Unknown) > 0 {
			bad++
			t.Errorf("seed %d: %s %s\nours: %s\nwant: %s\nunknown: %q\nour steps:%s\n%s", seed, q.bridge, q.flow,
				strings.Join(have, "\n      "), strings.Join(want, "\n      "), r.res.Unknown, steps(r.res), text)
		}
	}
	t.Logf("%d packets in %.1f s, %d of them left, %d went through ct", i, time.Since(begin).Seconds(), leaving, tracked)
	if leaving == 0 {
		t.Error("no packet left: the test sees nothing")
	}
}

func steps(r Result) string {
	var b strings.Builder
	for i, s := range r.Steps {
		line := "-"
		if s.Flow != nil {
			line = s.Flow.Key() + " actions=" + joinActions(s.Flow.Actions)
		}
		fmt.Fprintf(&b, "\n  %d %s %d %s | %s | %s", i, s.Bridge, s.Table, line, s.Note, s.Packet)
	}
	return b.String()
}

func ours(r Result) []string {
	var list []string
	for _, o := range r.Outputs {
		if o.Controller {
			list = append(list, "controller "+describe(o.Packet))
			continue
		}
		list = append(list, fmt.Sprintf("%s:%d %s", o.Bridge, o.Port.OFPort, describe(o.Packet)))
	}
	return list
}

func describe(p packet.Packet) string {
	s := fmt.Sprintf("%s ttl=%d tos=%d", p, p.TTL, p.TOS)
	switch {
	case p.Type == packet.ARP:
		s += fmt.Sprintf(" op=%d sha=%s tha=%s spa=%s tpa=%s", p.Op, p.ARPSrc, p.ARPDst, p.IPSrc, p.IPDst)
	case p.Proto == packet.ICMPv6 && (p.ICMPType == 135 || p.ICMPType == 136):
		s += fmt.Sprintf(" target=%s sll=%s tll=%s", p.Target, p.ARPSrc, p.ARPDst)
	}
	return s
}
