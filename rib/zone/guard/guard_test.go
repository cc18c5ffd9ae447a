package guard

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"kaname.dev/kaname/rib/zone/name"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func gone(n int) []name.Name {
	var list []name.Name
	for i := range n {
		list = append(list, name.Name(fmt.Sprintf("z%04d.test.", i)))
	}
	return list
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		text string
		p    Policy
		s    State
		c    Change
		held string // part of the reason; empty: let through
	}{
		{"nothing goes", Default(), State{}, Change{Had: 10, Next: 12}, ""},
		{"nothing goes, without a policy", Policy{}, State{}, Change{Had: 10, Next: 12}, ""},
		{"four of five", Default(), State{}, Change{Had: 5, Next: 1, Gone: gone(4)}, ""},
		{"five of six", Default(), State{}, Change{Had: 6, Next: 1, Gone: gone(5)}, "5 of 6"},
		{"a tenth", Default(), State{}, Change{Had: 100, Next: 90, Gone: gone(10)}, ""},
		{"more than a tenth", Default(), State{}, Change{Had: 100, Next: 89, Gone: gone(11)}, "11 of 100"},
		{"more than a tenth, and as many come", Default(), State{}, Change{Had: 100, Next: 100, Gone: gone(11)}, "11 of 100"},
		{"the only one", Default(), State{}, Change{Had: 1, Next: 0, Gone: gone(1)}, "all 1"},
		{"all", Default(), State{}, Change{Had: 1000, Next: 0, Gone: gone(1000)}, "all 1000"},
		{"all, and the guard is off", Policy{Limit: Limit{Share: 1}}, State{}, Change{Had: 1000, Next: 0, Gone: gone(1000)}, ""},
		{"one, without a policy", Policy{}, State{}, Change{Had: 1000, Next: 999, Gone: gone(1)}, "1 of 1000"},
		{"empty before and after", Default(), State{}, Change{}, ""},
		{"serial back, one goes", Default(), State{Serial: new(uint32(9))}, Change{Had: 9, Next: 8, Gone: gone(1), Serial: new(uint32(8))}, "from 9 to 8"},
		{"serial back, and the guard is off", Policy{Limit: Limit{Share: 1}}, State{Serial: new(uint32(9))}, Change{Had: 9, Next: 8, Gone: gone(1), Serial: new(uint32(8))}, "from 9 to 8"},
		{"serial back, none goes", Default(), State{Serial: new(uint32(9))}, Change{Had: 9, Next: 10, Serial: new(uint32(8))}, ""},
		{"serial the same", Default(), State{Serial: new(uint32(9))}, Change{Had: 9, Next: 8, Gone: gone(1), Serial: new(uint32(9))}, ""},
		{"serial around the end", Default(), State{Serial: new(uint32(1<<32 - 1))}, Change{Had: 9, Next: 8, Gone: gone(1), Serial: new(uint32(3))}, ""},
		{"serial half around", Default(), State{Serial: new(uint32(0))}, Change{Had: 9, Next: 8, Gone: gone(1), Serial: new(uint32(1 << 31))}, "went back"},
		{"serial back around the end", Default(), State{Serial: new(uint32(3))}, Change{Had: 9, Next: 8, Gone: gone(1), Serial: new(uint32(1<<32 - 1))}, "went back"},
	} {
		v := Judge(c.p, c.s, noon, c.c, Ack{})
		if v.Held != (c.held != "") || !strings.Contains(v.Why, c.held) || (v.Hash != "") != v.Held {
			t.Errorf("%s: %+v", c.text, v)
		}
		if v.Count != len(c.c.Gone) || len(v.Names) != min(len(c.c.Gone), 10) {
			t.Errorf("%s: names %d of %d", c.text, len(v.Names), v.Count)
		}
		if v.Held && !cmp.Equal(v.State, c.s) {
			t.Errorf("%s: held, and remembered as if done: %+v", c.text, v.State)
		}
		if !v.Held && c.c.Serial != nil && *v.State.Serial != *c.c.Serial {
			t.Errorf("%s: done, and its serial not remembered", c.text)
		}
	}
}

func TestAnOperatorsWordIsForOneChangeAndATime(t *testing.T) {
	c := Change{Had: 100, Next: 50, Gone: gone(50), Serial: new(uint32(7))}
	held := Judge(Default(), State{}, noon, c, Ack{})
	if !held.Held {
		t.Fatal("half goes, and is not held")
	}
	if again := Judge(Default(), State{}, noon.Add(time.Minute), c, Ack{}); again.Hash != held.Hash {
		t.Error("the same change is called otherwise later")
	}
	word := Ack{held.Hash, noon}
	if v := Judge(Default(), State{}, noon.Add(59*time.Minute), c, word); v.Held || !v.Acked || len(v.State.Losses) != 0 || *v.State.Serial != 7 {
		t.Errorf("an hour's word: %+v", v)
	}
	if v := Judge(Default(), State{}, noon.Add(61*time.Minute), c, word); !v.Held {
		t.Error("the word holds for ever")
	}
	more := c
	more.Gone = gone(51)
	if v := Judge(Default(), State{}, noon, more, word); !v.Held {
		t.Error("the word is good for another change")
	}
	back := State{Serial: new(uint32(9))}
	if v := Judge(Default(), back, noon, c, word); !v.Held {
		t.Error("the word is good for a serial that goes back besides")
	}
	old := Judge(Default(), back, noon, c, Ack{})
	if v := Judge(Default(), back, noon, c, Ack{old.Hash, noon}); v.Held || *v.State.Serial != 7 {
		t.Errorf("an old set is accepted, and held: %+v", v)
	}
}

func TestLossesAreForgottenAfterTheWindow(t *testing.T) {
	v := Judge(Default(), State{}, noon, Change{Had: 100, Next: 90, Gone: gone(10)}, Ack{})
	next := Change{Had: 90, Next: 85, Gone: gone(5)}
	if !Judge(Default(), v.State, noon.Add(59*time.Minute), next, Ack{}).Held {
		t.Error("15 of 100 within an hour are let through")
	}
	if Judge(Default(), v.State, noon.Add(61*time.Minute), next, Ack{}).Held {
		t.Error("what went more than an hour ago still counts")
	}
}

// Whatever the steps, restarts and clocks, no window sees a larger loss than the limit.
func TestTricklingDoesNotDodge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type done struct {
			at    time.Time
			zones int
		}
		p, now, had, s := Default(), noon, rapid.IntRange(20, 2000).Draw(t, "zones"), State{}
		var dones []done
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 600).Draw(t, "pause")) * time.Second)
			n := rapid.IntRange(1, max(1, had/50)).Draw(t, "go")
			if n >= had {
				break
			}
			v := Judge(p, s, now, Change{Had: had, Next: had - n, Gone: gone(n)}, Ack{})
			raw, err := json.Marshal(v.State) // a restart
			if err != nil {
				t.Fatal(err)
			}
			s = State{}
			if err := json.Unmarshal(raw, &s); err != nil {
				t.Fatal(err)
			}
			if v.Held {
				continue
			}
			had -= n
			dones = append(dones, done{now, n})
			if len(s.Losses) > 62 {
				t.Fatalf("%d losses are kept", len(s.Losses))
			}
			sum := 0
			for _, d := range dones {
				if now.Sub(d.at) < time.Hour {
					sum += d.zones
				}
			}
			if p.Exceeded(sum, had+sum) {
				t.Fatalf("%d of %d went within an hour", sum, had+sum)
			}
		}
	})
}
