package rollout

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Waves says how many hosts are live after each wave: "1,10%,100%" means one host,
// then a tenth of all (rounded up), then all. It always ends with all: "1" means one
// host, then the rest.
type Waves []size

// size is one figure of Waves.
type size struct {
	n       int
	percent bool
}

// ParseWaves reads a comma-separated list of host counts and percentages, each of
// them cumulative and, compared with those of its own sort, rising.
func ParseWaves(text string) (Waves, error) {
	var w Waves
	for s := range strings.SplitSeq(text, ",") {
		digits, percent := strings.CutSuffix(strings.TrimSpace(s), "%")
		n, err := strconv.Atoi(digits)
		if err != nil || n < 1 || percent && n > 100 {
			return nil, fmt.Errorf("%q is neither a number of hosts nor a percentage from 1%% to 100%%", strings.TrimSpace(s))
		}
		for _, before := range w {
			if before.percent == percent && before.n >= n {
				return nil, fmt.Errorf("%q does not rise: each wave names how many hosts are live after it", text)
			}
		}
		w = append(w, size{n, percent})
	}
	return w, nil
}

// String returns the text form.
func (w Waves) String() string {
	var parts []string
	for _, s := range w {
		part := strconv.Itoa(s.n)
		if s.percent {
			part += "%"
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ",")
}

// Place is a host and where it stands, the widest first: "tokyo/rack7".
type Place struct{ Host, Place string }

// Split deals the hosts to waves. Each wave is spread over the places as evenly as
// their sizes allow, so that a bad release does not take a whole rack. A wave that
// would be empty is left out.
func (w Waves) Split(hosts []Place) [][]string {
	order := Spread(hosts)
	var waves [][]string
	done := 0
	for _, s := range append(slices.Clone(w), size{100, true}) {
		until := s.n
		if s.percent {
			until = (len(order)*s.n + 99) / 100
		}
		until = min(until, len(order))
		if until > done {
			waves = append(waves, order[done:until])
			done = until
		}
	}
	return waves
}

// Spread orders hosts so that each first part of the list is spread over zones, and
// within them over racks. The order depends on the set of hosts only.
func Spread(hosts []Place) []string {
	sorted := slices.SortedFunc(slices.Values(hosts), func(a, b Place) int {
		return cmp.Or(slices.Compare(strings.Split(a.Place, "/"), strings.Split(b.Place, "/")), strings.Compare(a.Host, b.Host))
	})
	return deal(sorted, 0)
}

// deal groups sorted hosts by the part of their place at depth, and takes turns
// among the groups.
func deal(hosts []Place, depth int) (names []string) {
	type group struct {
		part string
		in   []Place
	}
	var groups []group
	deeper := false
	for _, h := range hosts {
		parts := strings.Split(h.Place, "/")
		part := ""
		if depth < len(parts) {
			part, deeper = parts[depth], true
		}
		if i := len(groups) - 1; i >= 0 && groups[i].part == part {
			groups[i].in = append(groups[i].in, h)
		} else {
			groups = append(groups, group{part, []Place{h}})
		}
	}
	if !deeper {
		for _, h := range hosts {
			names = append(names, h.Host)
		}
		return names
	}
	var lists [][]string
	for _, g := range groups {
		lists = append(lists, deal(g.in, depth+1))
	}
	for turn := 0; len(names) < len(hosts); turn++ {
		for _, l := range lists {
			if turn < len(l) {
				names = append(names, l[turn])
			}
		}
	}
	return names
}
