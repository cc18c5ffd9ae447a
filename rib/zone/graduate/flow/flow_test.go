package flow

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
)

var begin = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func at(h float64) time.Time { return begin.Add(time.Duration(h * float64(time.Hour))) }

func run(h float64, differences int) Run {
	return Run{At: at(h), Began: at(h - 0.1), Zones: 10, Differences: differences, Differing: min(differences, 1), Complete: true}
}

func shadow(t *testing.T, blockers int) Graduation {
	t.Helper()
	g, err := Start("g1", "192.0.2.1:53", "192.0.2.2:53", 10, blockers, Policy{}, begin)
	if err != nil {
		t.Fatal(err)
	}
	if g, err = g.Provisioned(at(0), "me"); err != nil {
		t.Fatal(err)
	}
	return g
}

func TestWholeWay(t *testing.T) {
	g := shadow(t, 2)
	var err error
	for _, h := range []float64{1, 12, 26} {
		if g, err = g.Compared(run(h, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if g.State != Green {
		t.Fatalf("%s after three green runs in 25 hours", g.State)
	}
	if _, err = g.Switched(at(26), "me", false, ""); !errors.Is(err, ErrGate) || !strings.Contains(err.Error(), "2 findings") {
		t.Errorf("blockers: %v", err)
	}
	if g, err = g.Accepted(at(26), "me", "no client uses them"); err != nil {
		t.Fatal(err)
	}
	if _, err = g.Switched(at(28), "me", false, ""); !errors.Is(err, ErrGate) || !strings.Contains(err.Error(), "old") {
		t.Errorf("a stale comparison: %v", err)
	}
	if g, err = g.Switched(at(26.5), "me", false, "planned"); err != nil || g.State != CutOver {
		t.Fatalf("%s, %v", g.State, err)
	}
	back, err := g.RolledBack(at(27), "me", "wrong ACL")
	if err != nil || back.State != Shadow || back.GreenRuns != 0 || back.Rollbacks != 1 {
		t.Errorf("rolled back: %+v, %v", back, err)
	}
	if ok, why := back.Ready(at(27)); ok || !strings.Contains(why, "since clients were sent back") {
		t.Errorf("ready %t after the rollback: %s", ok, why)
	}
	if g, err = g.Released(at(99), "me"); err != nil || g.State != Released {
		t.Fatalf("%s, %v", g.State, err)
	}
	if _, err = g.RolledBack(at(100), "me", ""); !errors.Is(err, ErrOrder) {
		t.Errorf("rolled back after the release: %v", err)
	}
	if len(g.Steps) != 5 {
		t.Errorf("%d steps: %+v", len(g.Steps), g.Steps)
	}
	text, _ := json.Marshal(g)
	var again Graduation
	if err := json.Unmarshal(text, &again); err != nil || !reflect.DeepEqual(g, again) {
		t.Errorf("stored and read: %v\n%+v\n%+v", err, g, again)
	}
}

func TestWhatIsNotEnough(t *testing.T) {
	for what, c := range map[string]struct {
		runs []Run
		want string
	}{
		"nothing compared":    {nil, "nothing was compared"},
		"differences":         {[]Run{run(1, 3)}, "3 differences in 1 zones"},
		"too few runs":        {[]Run{run(1, 0), run(30, 0)}, "2 of 3"},
		"too short":           {[]Run{run(1, 0), run(2, 0), run(3, 0)}, "green for"},
		"a difference amid":   {[]Run{run(1, 0), run(20, 0), run(21, 1), run(28, 0), run(28.5, 0), run(29, 0)}, "green for"},
		"not all zones":       {[]Run{{At: at(1), Zones: 9, Complete: true}}, "9 of 10 zones"},
		"an ended comparison": {[]Run{{At: at(1), Zones: 10}}, "compare all"},
		"guessed names":       {[]Run{{At: at(1), Zones: 10, Weak: 4, Complete: true}}, "4 zones could only be guessed"},
	} {
		g := shadow(t, 0)
		for _, r := range c.runs {
			g, _ = g.Compared(r)
		}
		ok, why := g.Ready(at(30))
		if ok || !strings.Contains(why, c.want) || g.State != Shadow {
			t.Errorf("%s: %s: ready %t: %s", what, g.State, ok, why)
		}
		forced, err := g.Switched(at(30), "me", true, "night shift")
		if err != nil || !strings.Contains(forced.Steps[len(forced.Steps)-1].Why, c.want) {
			t.Errorf("%s: forced: %v", what, err)
		}
	}
	g := shadow(t, 0)
	for _, h := range []float64{1, 20, 26} {
		g, _ = g.Compared(run(h, 0))
	}
	if g, _ = g.Compared(run(27, 1)); g.State != Shadow {
		t.Errorf("%s after a difference", g.State)
	}
}

func TestStartRefuses(t *testing.T) {
	if _, err := Start("g", "a", "a", 1, 0, Policy{}, begin); err == nil {
		t.Error("the same server twice")
	}
	if _, err := Start("g", "a", "b", 0, 0, Policy{}, begin); err == nil {
		t.Error("no zones")
	}
	if _, err := Start("g", "a", "b", 1, 0, Policy{Hours: -1}, begin); err == nil {
		t.Error("negative hours")
	}
}

// TestNeverOverWithoutGreen walks at random: clients are never moved unforced without
// enough green runs, a release follows only a cutover, events never change an older
// document, and every state has a plan.
func TestNeverOverWithoutGreen(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		g := shadow(t, r.IntN(2))
		for h := 1.0; h < 80; h += 1 + 5*r.Float64() {
			before, _ := json.Marshal(g)
			var next Graduation
			var err error
			ready, _ := g.Ready(at(h))
			switch r.IntN(9) {
			case 0:
				next, err = g.Switched(at(h), "me", false, "")
				if (err == nil) != ready {
					t.Fatalf("switched %v though ready is %t", err, ready)
				}
			case 1:
				next, err = g.RolledBack(at(h), "me", "")
			case 2:
				if next, err = g.Released(at(h), "me"); err == nil && g.State != CutOver {
					t.Fatalf("released from %s", g.State)
				}
			case 3:
				next, err = g.Accepted(at(h), "me", "")
			case 4:
				next, err = g.Compared(run(h, 1))
			default:
				next, err = g.Compared(run(h, 0))
			}
			if after, _ := json.Marshal(g); string(before) != string(after) {
				t.Fatal("an event changed the document that it was given")
			}
			if err != nil && next.State != g.State {
				t.Fatal("an error moved the state")
			}
			if g = next; len(g.Plan()) == 0 {
				t.Fatalf("no plan for %s", g.State)
			}
		}
	}
}
