package rollout

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// play runs a deploy against hosts that answer by script: "web1 health fail". What
// is not in it succeeds. It returns the orders.
func play(t *testing.T, s *State, script ...string) (orders []string) {
	t.Helper()
	for range 100 {
		o := s.Next()
		if o.Do == NothingYet {
			return orders
		}
		orders = append(orders, fmt.Sprintf("%s %s", o.Do, strings.Join(o.Hosts, " ")))
		for _, h := range o.Hosts {
			e := Evidence{Host: h, Do: o.Do, OK: true}
			for _, line := range script {
				if f := strings.Fields(line); f[0] == h && Do(f[1]) == o.Do {
					e.OK, e.Silent, e.Flipped, e.Why = false, f[2] == "silent", f[2] == "flipped", f[2]
				}
			}
			s.Observe(e)
		}
	}
	t.Fatalf("it does not end: %v", orders)
	return nil
}

func TestDeploys(t *testing.T) {
	waves := [][]string{{"a"}, {"b", "c"}, {"d"}}
	for _, c := range []struct {
		name   string
		o      Options
		absent []string
		script []string
		orders string
		phase  Phase
		hosts  string // name=stage of those that are not healthy
	}{
		{
			"all is well",
			Options{Gate: true},
			nil, nil,
			"stage a b c d|activate a|health a|activate b c|health b c|activate d|health d", Done, "",
		},
		{
			"without a gate",
			Options{},
			nil, nil,
			"stage a b c d|activate a|activate b c|activate d", Done, "",
		},
		{
			"staging fails: nothing is live",
			Options{},
			nil,
			[]string{"c stage full"},
			"stage a b c d", Halted, "a=staged b=staged c=failed d=staged",
		},
		{
			"one may fail at staging",
			Options{MaxFailures: 1},
			nil,
			[]string{"c stage full"},
			"stage a b c d|activate a|activate b|activate d", Done, "c=failed",
		},
		{
			"health of the second wave: all go back",
			Options{Gate: true},
			nil,
			[]string{"c health 503"},
			"stage a b c d|activate a|health a|activate b c|health b c|rollback c|rollback a b", Halted, "a=rolled_back b=rolled_back c=rolled_back d=staged",
		},
		{
			"only the failed wave goes back",
			Options{Gate: true, Scope: Wave},
			nil,
			[]string{"c health 503"},
			"stage a b c d|activate a|health a|activate b c|health b c|rollback c|rollback b", Halted, "b=rolled_back c=rolled_back d=staged",
		},
		{
			"only the failed host goes back",
			Options{Gate: true, Scope: None},
			nil,
			[]string{"c health 503"},
			"stage a b c d|activate a|health a|activate b c|health b c|rollback c", Halted, "c=rolled_back d=staged",
		},
		{
			"a failed host goes back alone when that is allowed",
			Options{Gate: true, MaxFailures: 1},
			nil,
			[]string{"b health 503"},
			"stage a b c d|activate a|health a|activate b c|health b c|rollback b|activate d|health d", Done, "b=rolled_back",
		},
		{
			"a hook failed and the host took itself back",
			Options{},
			nil,
			[]string{"a activate post"},
			"stage a b c d|activate a", Halted, "a=failed b=staged c=staged d=staged",
		},
		{
			"a hook failed and it stayed",
			Options{},
			nil,
			[]string{"a activate flipped"},
			"stage a b c d|activate a|rollback a", Halted, "a=rolled_back b=staged c=staged d=staged",
		},
		{
			"silent at activation, and at rollback",
			Options{},
			nil,
			[]string{"a activate silent", "a rollback silent"},
			"stage a b c d|activate a|rollback a", Halted, "a=lost b=staged c=staged d=staged",
		},
		{
			"absent hosts do not count",
			Options{},
			[]string{"x"},
			nil,
			"stage a b c d|activate a|activate b c|activate d", Done, "x=absent",
		},
		{
			"nobody stages it",
			Options{MaxFailures: 9},
			nil,
			[]string{"a stage x", "b stage x", "c stage x", "d stage x"},
			"stage a b c d", Halted, "a=failed b=failed c=failed d=failed",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := New(waves, c.absent, c.o)
			if got := strings.Join(play(t, &s, c.script...), "|"); got != c.orders {
				t.Errorf("orders\n%s, want\n%s", got, c.orders)
			}
			var hosts []string
			for _, h := range s.Hosts {
				if h.Stage != Healthy {
					hosts = append(hosts, h.Name+"="+string(h.Stage))
				}
			}
			slices.Sort(hosts)
			if got := strings.Join(hosts, " "); got != c.hosts || s.Phase != c.phase {
				t.Errorf("%s with %q, want %s with %q (%s)", s.Phase, got, c.phase, c.hosts, s.Reason)
			}
			if s.Phase == Halted && s.Reason == "" {
				t.Error("it halted without a reason")
			}
		})
	}
}

func TestAbortTakesBackWhatIsLive(t *testing.T) {
	s := New([][]string{{"a"}, {"b"}}, nil, Options{})
	for s.Wave == 0 {
		o := s.Next()
		if o.Wave == 1 {
			break
		}
		for _, h := range o.Hosts {
			s.Observe(Evidence{Host: h, Do: o.Do, OK: true})
		}
	}
	s.Next() // b is being activated; whether it was done is not known
	s.Abort("stopped by alice")
	s.Observe(Evidence{Host: "b", Do: Activates, Silent: true})
	if o := s.Next(); o.Do != TakesBack || strings.Join(o.Hosts, " ") != "a b" {
		t.Fatalf("got %+v", o)
	}
	s.Abort("again")
	play(t, &s)
	if s.Phase != Halted || s.Reason != "stopped by alice" || s.Count(RolledBack) != 2 {
		t.Fatalf("got %+v", s)
	}
}

// Whatever hosts answer, repeat, or leave out, and however often the coordinator
// changes: the promises of the package comment hold.
func TestPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var hosts []Place
		for i := range rapid.IntRange(1, 12).Draw(t, "hosts") {
			hosts = append(hosts, Place{fmt.Sprintf("h%d", i), fmt.Sprintf("z%d", i%3)})
		}
		w, err := ParseWaves(rapid.SampledFrom([]string{"1,10%,100%", "100%", "2,50%", "1,2,3,4"}).Draw(t, "waves"))
		if err != nil {
			t.Fatal(err)
		}
		o := Options{
			MaxFailures: rapid.IntRange(0, 3).Draw(t, "max"), Gate: rapid.Bool().Draw(t, "gate"),
			Scope: rapid.SampledFrom([]Scope{All, Wave, None}).Draw(t, "scope"),
		}
		s := New(w.Split(hosts), []string{"away"}, o)
		m := model{live: map[string]bool{}, staged: map[string]bool{}}
		for n := 0; ; n++ {
			if n > 20*len(hosts)+50 {
				t.Fatalf("no end: %+v", s)
			}
			s = reload(t, s)
			order := s.Next()
			if order.Do == NothingYet {
				break
			}
			if again := s.Next(); fmt.Sprint(again) != fmt.Sprint(order) {
				t.Fatalf("asked twice: %v, then %v", order, again)
			}
			m.order(t, &s, order)
			if rapid.IntRange(0, 40).Draw(t, "abort") == 0 {
				s.Abort("abort")
			}
			for _, h := range order.Hosts {
				m.answer(t, &s, order, h)
			}
		}
		m.end(t, &s)
	})
}

// model is what the hosts really are.
type model struct{ live, staged map[string]bool }

func (m *model) order(t *rapid.T, s *State, o Order) {
	for _, name := range o.Hosts {
		h := s.Host(name)
		if h.Stage == Absent {
			t.Fatalf("%s is off and gets order %s", name, o.Do)
		}
		if o.Do != Activates {
			continue
		}
		if !m.staged[name] {
			t.Fatalf("%s goes live without the release", name)
		}
		if s.Failures() > s.MaxFailures {
			t.Fatalf("%s goes live after %d failures", name, s.Failures())
		}
		for _, other := range s.Hosts {
			if other.Stage == Pending || other.Wave < h.Wave && (other.Stage == Live || other.Stage == Staged) {
				t.Fatalf("%s goes live while %s is %s", name, other.Name, other.Stage)
			}
		}
	}
}

func (m *model) answer(t *rapid.T, s *State, o Order, host string) {
	e := Evidence{Host: host, Do: o.Do, Why: "why"}
	outcome := rapid.SampledFrom([]string{"ok", "ok", "ok", "ok", "ok", "fail", "flipped", "silent", "silent-done", "later"}).Draw(t, host+" "+string(o.Do))
	done := outcome == "ok" || outcome == "silent-done" || outcome == "flipped" && o.Do == Activates
	if outcome == "later" {
		return
	}
	e.OK, e.Silent, e.Flipped = outcome == "ok", strings.HasPrefix(outcome, "silent"), outcome == "flipped"
	switch {
	case o.Do == Stages && done:
		m.staged[host] = true
	case o.Do == Activates && done:
		m.live[host] = true
	case o.Do == TakesBack && done:
		delete(m.live, host)
	}
	s.Observe(e)
	s.Observe(Evidence{Host: "nobody", Do: o.Do, OK: true})
	if rapid.Bool().Draw(t, "repeat") {
		before := fmt.Sprint(*s)
		s.Observe(Evidence{Host: host, Do: Stages, OK: true})
		if fmt.Sprint(*s) != before {
			t.Fatalf("an old answer changed the state: %s to %v", before, *s)
		}
	}
}

func (m *model) end(t *rapid.T, s *State) {
	for _, h := range s.Hosts {
		if m.live[h.Name] && !h.Flipped {
			t.Fatalf("%s is live and nobody knows: %+v", h.Name, s)
		}
		good := h.Stage == Healthy || h.Stage == Lost || h.Stage == Absent
		switch {
		case s.Phase == Done && !good && h.Failure == "":
			t.Fatalf("done, and %s is %s without having failed", h.Name, h.Stage)
		case s.Phase == Done && s.Failures() > s.MaxFailures:
			t.Fatalf("done with %d failures", s.Failures())
		case h.Flipped && h.Failure != "" && h.Stage != Lost:
			t.Fatalf("%s failed and is live at the end", h.Name)
		case s.Phase == Halted && s.Scope == All && h.Flipped && h.Stage != Lost:
			t.Fatalf("halted, and %s is %s", h.Name, h.Stage)
		case h.Name == "away" && h.Stage != Absent:
			t.Fatalf("away is %s", h.Stage)
		}
	}
	if s.Phase == Halted && s.Reason == "" {
		t.Fatal("halted without a reason")
	}
}

// reload is what another core does that goes on from the document.
func reload(t *rapid.T, s State) State {
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var again State
	if err := json.Unmarshal(b, &again); err != nil {
		t.Fatal(err)
	}
	return again
}
