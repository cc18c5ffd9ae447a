package lease_test

import (
	"fmt"
	"math/bits"
	"testing"
	"time"

	"kaname.dev/kaname/rib/mysql/lease"
	"kaname.dev/kaname/rib/mysql/topology"
)

func record(d topology.Durability, replicas, acks int) *topology.Record {
	r := &topology.Record{Name: "shop", Epoch: 7, Primary: "db0", Policy: topology.DefaultPolicy()}
	r.Policy.Durability, r.Policy.Acks = d, acks
	for i := range replicas + 1 {
		r.Members = append(r.Members, topology.Member{Name: fmt.Sprintf("db%d", i), Role: topology.Candidate})
	}
	return r
}

// in returns a function that reports whether the bit of a replica (db1 is bit 0) is set.
func in(set uint) func(string) bool {
	return func(name string) bool { return set&(1<<(name[2]-'1')) != 0 }
}

// TestEnoughAndFrozenExcludeEachOther goes through every number of replicas up to 5,
// every k up to one too many, every set that is frozen and every set that still grants.
func TestEnoughAndFrozenExcludeEachOther(t *testing.T) {
	for _, d := range []topology.Durability{topology.Lossless, topology.Async} {
		for n := range 6 {
			for k := 1; k <= n+1; k++ {
				r := record(d, n, k)
				rule := lease.Of(r, "db0")
				minimal := false
				for frozen := range uint(1) << n {
					rest := ^frozen & (1<<n - 1)
					enough := rule.Enough(in(rest), false)
					over := rule.Impossible(in(frozen))
					if over == enough {
						t.Errorf("%s n=%d k=%d frozen %0*b: the others suffice: %v, impossible: %v", d, n, k, n, frozen, enough, over)
					}
					if bits.OnesCount(frozen) >= rule.ToFreeze() && enough {
						t.Errorf("%s n=%d k=%d: %d frozen of %d needed, and the others suffice", d, n, k, bits.OnesCount(frozen), rule.ToFreeze())
					}
					minimal = minimal || enough && bits.OnesCount(frozen) == rule.ToFreeze()-1
					if !rule.Enough(in(0), true) {
						t.Error("the controller's grant does not suffice")
					}
				}
				if k <= n && !minimal {
					t.Errorf("%s n=%d k=%d: one less than %d frozen would do", d, n, k, rule.ToFreeze())
				}
				if d == topology.Lossless && rule.ToFreeze() != r.ToFreeze("db0") {
					t.Errorf("n=%d k=%d: %d to freeze, the record says %d", n, k, rule.ToFreeze(), r.ToFreeze("db0"))
				}
			}
		}
	}
}

// TestFrozenCoverEveryAcknowledgement: whoever k ackers acknowledged a write, one of them
// is among the frozen, so that their union has the write.
func TestFrozenCoverEveryAcknowledgement(t *testing.T) {
	for n := 1; n <= 5; n++ {
		for k := 1; k <= n; k++ {
			f := lease.Of(record(topology.Lossless, n, k), "db0").ToFreeze()
			for frozen := range uint(1) << n {
				for ackers := range uint(1) << n {
					if bits.OnesCount(frozen) >= f && bits.OnesCount(ackers) >= k && frozen&ackers == 0 {
						t.Errorf("n=%d k=%d: %b acknowledged, %b frozen", n, k, ackers, frozen)
					}
				}
			}
		}
	}
}

// TestAsyncMajority: a majority of the replicas and the controller always suffices.
func TestAsyncMajority(t *testing.T) {
	for n := range 6 {
		rule := lease.Of(record(topology.Async, n, 1), "db0")
		for set := range uint(1) << n {
			for _, controller := range []bool{false, true} {
				have := bits.OnesCount(set)
				if controller {
					have++
				}
				if have > (n+1)/2 && !rule.Enough(in(set), controller) {
					t.Errorf("n=%d: a majority of %d does not suffice", n, have)
				}
			}
		}
	}
}

func TestObserversDoNotCountUnderLossless(t *testing.T) {
	r := record(topology.Lossless, 3, 1)
	r.Members[3].Role = topology.Observer
	if got := lease.Of(r, "db0"); len(got.Voters) != 2 || got.ToFreeze() != 2 {
		t.Errorf("rule %+v", got)
	}
}

func TestEnds(t *testing.T) {
	const s = time.Second
	rule := lease.Rule{Voters: []string{"db1", "db2", "db3"}, Need: 2}
	at := func(d time.Duration) *time.Duration { return &d }
	for _, c := range []struct {
		name       string
		asked      map[string]time.Duration
		controller *time.Duration
		end        time.Duration
		ok         bool
	}{
		{"nobody", nil, nil, 0, false},
		{"too few", map[string]time.Duration{"db1": 5 * s}, nil, 0, false},
		{"the second latest counts", map[string]time.Duration{"db1": 5 * s, "db2": 3 * s, "db3": 4 * s}, nil, 6 * s, true},
		{"a stranger does not", map[string]time.Duration{"db1": 5 * s, "dbx": 9 * s}, nil, 0, false},
		{"the controller alone", nil, at(5 * s), 7 * s, true},
		{"the controller is later", map[string]time.Duration{"db1": 5 * s, "db2": 3 * s}, at(4 * s), 6 * s, true},
		{"the controller is earlier", map[string]time.Duration{"db1": 5 * s, "db2": 4 * s}, at(3 * s), 6 * s, true},
	} {
		if end, ok := rule.Ends(c.asked, c.controller, 2*s); end != c.end || ok != c.ok {
			t.Errorf("%s: ends %v %v, not %v %v", c.name, end, ok, c.end, c.ok)
		}
	}
}
