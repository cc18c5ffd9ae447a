package compare

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"kaname.dev/kaname/lab"
	labdns "kaname.dev/kaname/lab/dns"
	"kaname.dev/kaname/rib/zone/wire"
)

// viewSecret is of the key that chooses the view.
const viewSecret = "dmlldyBrZXkgb2YgdGhlIHRlc3QsIDI1NiBiaXRzIQ=="

// TestAViewIsChosenByKey compares one view of BIND with a server that has only that
// view's zone: it is asked for with signed questions, by UDP and TCP.
func TestAViewIsChosenByKey(t *testing.T) {
	lab.Need(t, "named")
	lab.Need(t, "nsd")
	d := folder(t)
	inside := zoneFile{"example.com", put(t, d, "inside", strings.Replace(rich, "192.0.2.80", "10.0.0.80", 1))}
	outside := zoneFile{"example.com", put(t, d, "outside", rich)}
	old := labdns.BIND(t, labdns.Options{Extra: fmt.Sprintf(`key "inside" { algorithm hmac-sha256; secret %q; };
view in { match-clients { key inside; }; allow-transfer { key inside; }; zone "example.com" { type primary; file %q; }; };
view out { match-clients { any; }; allow-transfer { none; }; zone "example.com" { type primary; file %q; }; };
`, viewSecret, inside.path, outside.path)})
	other := labdns.NSD(t, labdns.Options{Extra: fmt.Sprintf(`key:
 name: "inside"
 algorithm: hmac-sha256
 secret: %q
zone:
 name: "example.com"
 zonefile: %q
 provide-xfr: 127.0.0.0/8 inside
`, viewSecret, inside.path)})
	key := &wire.Key{Name: "inside", Algorithm: "hmac-sha256", Secret: viewSecret}
	ask := func(o Options) (Summary, []Difference) {
		o.Again = -1
		o.Old.Address, o.New.Address = old.Address, other.Address
		var diffs []Difference
		sum, err := Run(t.Context(), slices.Values([]Zone{{zone(t, "example.com"), []string{inside.path}}}), o,
			Sink{Difference: func(d Difference) { diffs = append(diffs, d) }})
		if err != nil {
			t.Fatal(err)
		}
		return sum, diffs
	}
	with := Options{Old: wire.Peer{Key: key}, New: wire.Peer{Key: key}, Sign: true}
	sum, diffs := ask(with)
	if !sum.Green() || sum.Records == 0 || sum.Questions == 0 {
		t.Errorf("the view's zone: %+v %+v", sum, diffs)
	}
	with.NoTransfer = true
	if sum, diffs = ask(with); !sum.Green() || sum.Questions < 500 {
		t.Errorf("by questions alone: %+v %+v", sum, diffs)
	}
	with.Sign = false
	if sum, diffs = ask(with); sum.Green() || !slices.ContainsFunc(diffs, func(d Difference) bool { return strings.Contains(d.What, "10.0.0.80") }) {
		t.Errorf("without signatures the other view answers, and is not seen: %+v %+v", sum, diffs)
	}
	wrong := *key
	wrong.Secret = labdns.KeySecret
	if sum, diffs = ask(Options{Old: wire.Peer{Key: key}, New: wire.Peer{Key: &wrong}, Sign: true, NoTransfer: true}); sum.Green() || len(diffs) == 0 {
		t.Errorf("a wrong key at the new server: %+v", sum)
	}
}

// TestASignerOfItsOwn compares a zone that BIND signs with one that Knot signs, with
// keys of its own: all but DNSSEC is the same.
func TestASignerOfItsOwn(t *testing.T) {
	lab.Need(t, "named")
	lab.Need(t, "knotd")
	d := folder(t)
	unsigned := zoneFile{"example.com", put(t, d, "unsigned", rich)}
	old := bind(t, sign(t, d, unsigned))
	other := labdns.Knot(t, labdns.Options{Extra: fmt.Sprintf(`policy:
  - id: own
    algorithm: ecdsap256sha256
    nsec3: on
zone:
  - domain: example.com
    file: %q
    acl: [near]
    zonefile-sync: -1
    dnssec-signing: on
    dnssec-policy: own
`, unsigned.path)})
	lab.Eventually(t, "knot has signed", func() bool { serial, _, ok := other.SOA("example.com"); return ok && serial > 2026010101 })
	one := Zone{zone(t, "example.com"), []string{unsigned.path}}
	for what, o := range map[string]Options{
		"transfers": {Again: -1, Sample: 1000, IgnoreDNSSEC: true, Serial: SerialAhead},
		"questions": {Again: -1, NoTransfer: true, IgnoreDNSSEC: true, Serial: SerialAhead},
	} {
		sum, diffs, _ := compared(t, old, other, o, one)
		for _, d := range diffs[:min(len(diffs), 10)] {
			t.Errorf("%s: %s: %s: %s", what, d.Kind, d.Question, d.What)
		}
		if !sum.Green() {
			t.Errorf("%s: not green: %+v", what, sum)
		}
	}
	sum, diffs, _ := compared(t, old, other, Options{Again: -1, Serial: SerialAhead}, one)
	if sum.Green() || !slices.ContainsFunc(diffs, func(d Difference) bool { return strings.Contains(d.Old+d.New, "DNSKEY") }) {
		t.Errorf("other keys are not seen: %+v", sum)
	}
}
