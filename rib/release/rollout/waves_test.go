package rollout

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func places(n int) (list []Place) {
	for i := range n {
		list = append(list, Place{Host: fmt.Sprintf("web%03d", i)})
	}
	return list
}

func TestSplit(t *testing.T) {
	for _, c := range []struct {
		waves string
		hosts int
		want  []int
	}{
		{"1,10%,100%", 300, []int{1, 29, 270}},
		{"1,10%,100%", 5, []int{1, 4}},
		{"1,10%,100%", 1, []int{1}},
		{"100%", 7, []int{7}},
		{"2", 7, []int{2, 5}},
		{"50%", 3, []int{2, 1}},
		{"1, 3, 20", 7, []int{1, 2, 4}},
		{"1%", 3, []int{1, 2}},
		{"100%", 0, nil},
	} {
		w, err := ParseWaves(c.waves)
		if err != nil {
			t.Fatal(err)
		}
		var got []int
		for _, wave := range w.Split(places(c.hosts)) {
			got = append(got, len(wave))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s over %d hosts: waves of %v, want %v", c.waves, c.hosts, got, c.want)
		}
	}
}

func TestParseWavesRefuses(t *testing.T) {
	for _, s := range []string{"", "0", "-1", "x", "101%", "0%", "10%,5%", "3,3", "1,,2", "10 %"} {
		if w, err := ParseWaves(s); err == nil {
			t.Errorf("%q was read as %v", s, w)
		}
	}
	w, err := ParseWaves("1, 10% ,100%")
	if err != nil || w.String() != "1,10%,100%" {
		t.Errorf("got %v, %v", w, err)
	}
}

func TestSpreadTakesTurnsAmongPlaces(t *testing.T) {
	got := Spread([]Place{
		{"a1", "tokyo/r1"},
		{"a2", "tokyo/r1"},
		{"a3", "tokyo/r2"},
		{"b1", "osaka/r9"},
		{"b2", "osaka/r9"},
		{"c", ""},
		{"d1", "tokyo-2/r1"},
	})
	want := "c b1 a1 d1 b2 a3 a2"
	if strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

// Each prefix of the order holds of every zone its share, give or take one, as long
// as the zones are of one size.
func TestSpreadIsEven(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		zones, each := rapid.IntRange(1, 5).Draw(t, "zones"), rapid.IntRange(1, 9).Draw(t, "each")
		var hosts []Place
		zone := map[string]int{}
		for z := range zones {
			for i := range each {
				p := Place{fmt.Sprintf("h%d-%d", z, i), fmt.Sprintf("z%d/r%d", z, i%3)}
				hosts, zone[p.Host] = append(hosts, p), z
			}
		}
		order := Spread(rapid.Permutation(hosts).Draw(t, "hosts"))
		if len(order) != len(hosts) {
			t.Fatalf("%d of %d hosts are left", len(order), len(hosts))
		}
		if !slices.Equal(order, Spread(hosts)) {
			t.Fatal("the order depends on that of the input")
		}
		seen := make([]int, zones)
		for _, h := range order {
			seen[zone[h]]++
			if slices.Max(seen)-slices.Min(seen) > 1 {
				t.Fatalf("uneven: %v at %s of %v", seen, h, order)
			}
		}
	})
}
