package judge

import (
	"fmt"
	"math"
	"time"

	"kaname.dev/kaname/rib/mysql/topology"
)

// Budget is how often a healthy primary may be taken for a silent one, and what the
// network and the machines are assumed to do to observations. Misses derives from it how
// many observations in a row must be missing.
//
// The model. Each observer looks once in Interval. A look at a healthy primary is missed
// (lost, or later than Interval) with probability Miss; directly after a miss, with
// probability Repeat, which is higher, for losses and overload come in bursts. So one observer
// misses K looks in a row, from a given one on, with probability
//
//	Miss * Repeat^(K-1)
//
// and is within such a run at a given look with that, divided by 1-Repeat. Observers miss
// independently of each other: they are different machines that look over different
// links. A verdict begins when one of them comes to K while the others are there already,
// and there are Year/Interval looks in a year:
//
//	false verdicts a year <= Year/Interval * Observers * (Miss * Repeat^(K-1))^Observers / (1-Repeat)^(Observers-1)
//
// K is the least number with which that is at most PerYear, and at least Least.
//
// What the model leaves out, and what stands for it: a cause that is common to all
// observers is no chance. The primary's own pauses (a snapshot, a move of the virtual
// machine, a stalled disk) silence it for all: Pause says up to what length they are to
// be lived through. A network that fails for many topologies at once is the breaker's
// matter, a controller that does not come to read that of View.Late. That replicas
// receive no events is asked for besides and not counted here: the estimate is too high,
// not too low.
type Budget struct {
	PerYear   float64       // false verdicts that one topology may have in a year; above 0
	Miss      float64       // 0 to below 1
	Repeat    float64       // 0 to below 1, not below Miss
	Observers int           // that must agree; at least 1
	Interval  time.Duration // between two looks of an observer
	Pause     time.Duration // of a healthy primary that must not matter
}

// Least is the least number of looks that must be missing, whatever a budget says: two
// losses in a row are nothing in a network.
const Least = 3

// year is the mean one of the Gregorian calendar.
const year = 31_556_952 * time.Second

// DefaultBudget is the budget against which policies are checked, for so many observers:
// one false verdict in twenty years of a topology, one look in ten thousand missed, a
// third of those followed by another miss, one look each topology.Beat, pauses of a
// second. With the default Policy.Silence, three looks, two observers come to one in 45
// years, three to one in 1.8 million.
func DefaultBudget(observers int) Budget {
	return Budget{PerYear: 0.05, Miss: 1e-4, Repeat: 0.33, Observers: observers, Interval: topology.Beat, Pause: time.Second}
}

// Misses returns how many looks in a row must be missing at each of the observers. An error
// says what in the budget is out of its range.
func (b Budget) Misses() (int, error) {
	switch {
	case !(b.PerYear > 0):
		return 0, fmt.Errorf("budget: %v false verdicts a year; it must be above 0", b.PerYear)
	case !(b.Miss >= 0 && b.Miss < 1), !(b.Repeat >= b.Miss && b.Repeat < 1):
		return 0, fmt.Errorf("budget: misses %v, again after a miss %v; both must be from 0 to below 1, the second not below the first", b.Miss, b.Repeat)
	case b.Observers < 1:
		return 0, fmt.Errorf("budget: %d observers; at least one must look", b.Observers)
	case b.Interval <= 0:
		return 0, fmt.Errorf("budget: a look each %v; it must be above 0", b.Interval)
	}
	if b.Miss == 0 {
		return Least, nil
	}
	// The largest probability of a run at one observer that is still within the budget.
	run := math.Pow(b.PerYear/b.looks(), 1/float64(b.Observers))
	k := 1 + math.Log(run/b.Miss)/math.Log(b.Repeat)
	return max(Least, int(math.Ceil(k-1e-9))), nil // what is exact must not be rounded up
}

// looks is what the probability of a run at all observers is multiplied with, for a year.
func (b Budget) looks() float64 {
	return float64(year) / float64(b.Interval) * float64(b.Observers) / math.Pow(1-b.Repeat, float64(b.Observers-1))
}

// False returns how many false verdicts a year are to be expected, at most, with so many
// misses in a row.
func (b Budget) False(misses int) float64 {
	run := b.Miss * math.Pow(b.Repeat, float64(misses-1))
	return b.looks() * math.Pow(run, float64(b.Observers))
}

// Silence returns the least Policy.Silence that keeps the budget.
func (b Budget) Silence() (time.Duration, error) {
	k, err := b.Misses()
	if err != nil {
		return 0, err
	}
	return max(time.Duration(k)*b.Interval, b.Pause), nil
}
