package move_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestSchedulesCatch breaks one rule after the other. A simulation that does not notice
// would prove nothing. The search begins at a seed shortly before the first that noticed when
// the test was written, to save time; it still has as many as TestSchedules.
func TestSchedulesCatch(t *testing.T) {
	for name, c := range map[string]struct {
		bug  bugs
		from uint64
	}{
		"opening before the lease of the old primary is over": {bug: bugs{noLease: true}},
		"freezing one replica too few":                        {bug: bugs{oneTooFew: true}},
		"following before what was received is applied":       {bug: bugs{early: true}},
		"stopping both threads before the applier is started": {bug: bugs{stopFirst: true}, from: 200},
		"obeying an epoch that is over":                       {bug: bugs{anyEpoch: true}},
		"choosing without a look at positions":                {bug: bugs{byName: true}},
		"counting a replica that has lost its relay log":      {bug: bugs{neverShort: true}, from: 900},
		"dropping a relay log that the source may lack":       {bug: bugs{dropAny: true}, from: 600},
		"freezing and granting all the same":                  {bug: bugs{stillGrants: true}, from: 60},
		"forgetting what the primary had when it was opened":  {bug: bugs{noFloor: true}, from: 1150},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(defaultSchedules) {
				if w := simulate(t, c.from+seed, c.bug); len(w.broken) > 0 {
					t.Logf("seed %d: %s", c.from+seed, w.broken[0])
					return
				}
			}
			t.Errorf("%d schedules did not notice", defaultSchedules)
		})
	}
}

// TestSeedsMeanTheSame runs schedules twice.
func TestSeedsMeanTheSame(t *testing.T) {
	for seed := range uint64(40) {
		a, b := simulate(t, seed, bugs{}), simulate(t, seed, bugs{})
		if diff := cmp.Diff(a.story, b.story); diff != "" {
			t.Fatalf("seed %d: %s", seed, diff)
		}
	}
}
