package move_test

import (
	"testing"
)

// TestScheduleCatch breaks one rule after the other. A simulation that does not notice
// would prove nothing.
func TestSchedulesCatch(t *testing.T) {
	for name, bug := range map[string]bugs{
		"opening before the lease of the old primary is over": {noLease: true},
		"freezing one replica too few":                        {oneTooFew: true},
		"following before what was received is applied":       {early: true},
		"stopping both threads before the applier is started": {stopFirst: true},
		"obeying an epoch that is over":                       {anyEpoch: true},
		"choosing without a look at positions":                {byName: true},
		"counting a replica that has lost its relay log":      {neverShort: true},
		"dropping a relay log that the source may lack":       {dropAny: true},
		"an agent that forgets what it promised":              {forget: true},
		"forgetting what the primary had when it was opened":  {noFloor: true},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range schedules() {
				if w := simulate(t, seed, bug); len(w.broken) > 0 {
					t.Logf("seed %d: %s", seed, w.broken[0])
					return
				}
			}
			t.Errorf("%d schedules did not notice", defaultSchedules)
		})
	}
}
