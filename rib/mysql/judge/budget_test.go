package judge

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestBudget(t *testing.T) {
	for _, c := range []struct {
		observers    int
		miss, repeat float64
		want         int
	}{
		// By hand: 6.3e7 looks a year. One observer: 1e-4 * 0.33^(K-1) <= 7.9e-10, K-1 >= 10.6.
		{1, 1e-4, 0.33, 12},
		// Two: (1e-3 * 0.5^(K-1))^2 * 4 <= 7.9e-10, K-1 >= 6.1.
		{2, 1e-3, 0.5, 8},
		{2, 1e-4, 0.33, 3},
		{3, 1e-4, 0.33, 3},
		{3, 1e-3, 0.5, 3},
		{2, 1e-2, 0.5, 11},
		{3, 1e-2, 0.5, 6},
		{2, 0, 0, 3},
	} {
		b := DefaultBudget(c.observers)
		b.Miss, b.Repeat = c.miss, c.repeat
		got, err := b.Misses()
		if err != nil || got != c.want {
			t.Errorf("%+v: %d misses, %v; want %d", b, got, err, c.want)
		}
	}
	if two, three := 1/DefaultBudget(2).False(Least), 1/DefaultBudget(3).False(Least); two < 44 || two > 46 || three < 1.8e6 || three > 1.9e6 {
		t.Errorf("a false verdict in %.0f and %.0f years; the comment says otherwise", two, three)
	}
	for _, b := range []Budget{
		{},
		{PerYear: math.NaN(), Observers: 1, Interval: 1},
		{PerYear: 1, Miss: 1, Repeat: 1, Observers: 1, Interval: 1},
		{PerYear: 1, Miss: 0.2, Repeat: 0.1, Observers: 1, Interval: 1},
		{PerYear: 1, Interval: 1},
		{PerYear: 1, Observers: 1},
	} {
		if got, err := b.Misses(); err == nil {
			t.Errorf("%+v: %d, no error", b, got)
		}
	}
}

// K keeps the budget, and one less would not.
func TestBudgetIsKeptAndNotOverfulfilled(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		miss := rapid.Float64Range(1e-6, 0.3).Draw(t, "miss")
		b := Budget{
			PerYear: math.Pow(10, rapid.Float64Range(-4, 1).Draw(t, "log per year")), Miss: miss, Repeat: rapid.Float64Range(miss, 0.9).Draw(t, "repeat"),
			Observers: rapid.IntRange(1, 6).Draw(t, "observers"), Interval: time.Duration(rapid.IntRange(10, 5000).Draw(t, "ms")) * time.Millisecond,
		}
		k, err := b.Misses()
		if err != nil {
			t.Fatal(err)
		}
		if got := b.False(k); got > b.PerYear*1.000001 {
			t.Fatalf("%d misses: %g a year", k, got)
		}
		if got := b.False(k - 1); k > Least && got <= b.PerYear*0.999999 {
			t.Fatalf("%d misses would do: %g a year", k-1, got)
		}
	})
}

// The formula against the process that it describes, counted: observers that miss in
// bursts, at rates so high that runs are seen.
func TestBudgetAgainstSimulation(t *testing.T) {
	const looks, observers, k = 4_000_000, 2, 3
	b := Budget{Miss: 0.05, Repeat: 0.3, Observers: observers, Interval: time.Second}
	rnd := rand.New(rand.NewPCG(1, 2))
	var run [observers]int
	verdicts := 0
	for range looks {
		all, begins := true, false
		for o := range run {
			p := b.Miss
			if run[o] > 0 {
				p = b.Repeat
			}
			if rnd.Float64() < p {
				run[o]++
			} else {
				run[o] = 0
			}
			all = all && run[o] >= k
			begins = begins || run[o] == k
		}
		if all && begins {
			verdicts++
		}
	}
	want := b.False(k) / (float64(year) / float64(b.Interval)) * looks
	t.Logf("%d verdicts in %d looks, the formula says at most %.1f", verdicts, looks, want)
	if got := float64(verdicts); got < want*0.4 || got > want {
		t.Errorf("%g verdicts in %d looks, the formula says %g", got, looks, want)
	}
}
