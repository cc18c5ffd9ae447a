package fleet

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/rib/release/manifest"
)

func member(name, labels string, alive bool) plane.Member {
	m := plane.Member{Host: name, Alive: alive, Labels: map[string]string{}, Commands: map[string]int{"release.stage": 1}}
	for l := range strings.FieldsSeq(labels) {
		k, v, _ := strings.Cut(l, "=")
		m.Labels[k] = v
	}
	return m
}

func TestSelectors(t *testing.T) {
	members := []plane.Member{
		member("web1", "role=web zone=a", true), member("web2", "role=web zone=b", true), member("api1", "role=api zone=a", true), member("db1", "", true),
	}
	for terms, want := range map[string]string{
		"role=web":                 "web1 web2",
		"role=web role=api":        "web1 web2 api1",
		"role=web zone=a":          "web1",
		"zone=a role!=api":         "web1",
		"web2 db1":                 "web2 db1",
		"web2 zone=a":              "",
		"all":                      "web1 web2 api1 db1",
		"role!=web":                "api1 db1",
		"all zone!=b":              "web1 api1 db1",
		"role=web zone!=a zone!=b": "",
	} {
		s, err := Parse(strings.Fields(terms))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(Names(s.Pick(members, "release.stage", time.Now()).There), " "); got != want {
			t.Errorf("%s picks %q, want %q", terms, got, want)
		}
	}
	for _, bad := range [][]string{nil, {}, {"=x"}, {""}, {"!=x"}} {
		if _, err := Parse(bad); !fault.Is(err, fault.KindInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestPickSetsHostsApart(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	old := member("old", "", true)
	old.Commands = nil
	s, err := Parse([]string{"all"})
	if err != nil {
		t.Fatal(err)
	}
	f := s.Pick([]plane.Member{
		member("here", "", true), member("dead", "", false), old, member("resting", "drain=2026-01-02T04:00:00Z", true),
		member("back", "drain=2026-01-02T03:00:00Z", true), member("forever", "drain=yes", true),
	}, "release.stage", now)
	got := fmt.Sprint(Names(f.There), Names(f.Off), f.Old)
	if want := "[here back] [dead resting forever] [old]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// of makes a manifest whose files are named and filled by "path=contents size" terms.
func of(version string, terms ...string) *manifest.Manifest {
	m := &manifest.Manifest{Header: manifest.Header{App: "shop", Version: version}}
	for _, term := range terms {
		var path, contents string
		var size int64
		if _, err := fmt.Sscanf(term, "%s %s %d", &path, &contents, &size); err != nil {
			panic(err)
		}
		d := manifest.Sum([]byte(contents))
		m.Entries = append(m.Entries, manifest.Entry{Path: path, Type: manifest.File, Size: size, Digest: &d})
	}
	m.Tally()
	return m
}

func TestChooseBases(t *testing.T) {
	next := of("3", "lib a 900", "app new 100")
	near, far, none := of("2", "lib a 900", "app old 100"), of("1", "lib z 900", "app old 90"), of("0", "other q 1000")
	known := map[manifest.Digest]*manifest.Manifest{near.ID(): near, far.ID(): far, none.ID(): none}
	got := ChooseBases(map[string][]Base{
		"both":    {{far.ID(), true}, {near.ID(), false}},
		"far":     {{far.ID(), true}},
		"none":    {{none.ID(), true}},
		"empty":   nil,
		"unknown": {{manifest.Sum([]byte("?")), true}},
	}, known, next)
	for host, want := range map[string]manifest.Digest{"both": near.ID(), "far": far.ID(), "none": {}, "empty": {}, "unknown": {}} {
		if got[host] != want {
			t.Errorf("%s gets the delta against %s, want %s", host, got[host].Short(), want.Short())
		}
	}
}

// Whatever hosts have: nobody is given a base that it lacks, and no more deltas are made
// than the bound says.
func TestChooseBasesKeepsItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		next := of("next", "a x 100", "b y 100", "c z 100")
		known := map[manifest.Digest]*manifest.Manifest{}
		var ids []manifest.Digest
		for i := range 8 {
			m := of(strconv.Itoa(i), "a x 100", fmt.Sprintf("b v%d %d", i, 50+i), "c z 100")
			known[m.ID()] = m
			ids = append(ids, m.ID())
		}
		hosts := map[string][]Base{}
		for i := range rapid.IntRange(1, 30).Draw(t, "hosts") {
			for _, id := range ids {
				if rapid.IntRange(0, 3).Draw(t, "has") == 0 {
					h := fmt.Sprintf("h%d", i)
					hosts[h] = append(hosts[h], Base{id, rapid.Bool().Draw(t, "live")})
				}
			}
		}
		used := map[manifest.Digest]bool{}
		for host, id := range ChooseBases(hosts, known, next) {
			if id.IsZero() {
				continue
			}
			used[id] = true
			found := false
			for _, b := range hosts[host] {
				found = found || b.ID == id
			}
			if !found {
				t.Fatalf("%s is given a base that it lacks", host)
			}
		}
		if len(used) > maxDeltas {
			t.Fatalf("%d deltas", len(used))
		}
	})
}
