package plan

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"kaname.dev/kaname/rib/zone/name"
)

// open lets every removal through.
var open = Policy{Share: 1}

func TestMakeDecidesOneZone(t *testing.T) {
	const n = name.Name("a.test.")
	want := Want{Name: n, Template: "default-1"}
	with := func(f func(*Want)) []Want { w := want; f(&w); return []Want{w} }
	there := Have{Name: n, Present: true, Owned: true, Template: "default-1"}
	other := Have{Name: n, Present: true, Owned: true, Template: "default-2"}
	foreign := Have{Name: n, Present: true}
	for _, c := range []struct {
		text      string
		want      []Want
		have      []Have
		done      string
		ops       []OpKind
		conflicts int
		foreign   int
	}{
		{text: "missing", want: []Want{want}, ops: []OpKind{Add}},
		{text: "listed as not present", want: []Want{want}, have: []Have{{Name: n, Owned: true}}, ops: []OpKind{Add}},
		{text: "there", want: []Want{want}, have: []Have{there}},
		{text: "another template", want: []Want{want}, have: []Have{other}, ops: []OpKind{Change}},
		{text: "a template that the server cannot tell", want: []Want{want}, have: []Have{{Name: n, Present: true, Owned: true}}},
		{text: "not desired", have: []Have{there}, ops: []OpKind{Remove}},
		{text: "foreign, not desired", have: []Have{foreign}, foreign: 1},
		{text: "foreign, desired", want: []Want{want}, have: []Have{foreign}, conflicts: 1},
		{text: "foreign, adopted", want: with(func(w *Want) { w.Adopt = true }), have: []Have{foreign}, ops: []OpKind{Change}},
		{text: "ours, adopted before", want: with(func(w *Want) { w.Adopt = true }), have: []Have{there}},
		{text: "pinned, missing", want: with(func(w *Want) { w.Pin = true })},
		{text: "pinned, foreign", want: with(func(w *Want) { w.Pin = true }), have: []Have{foreign}},
		{text: "pinned, another template and a reset", want: with(func(w *Want) { w.Pin, w.Reset = true, "r" }), have: []Have{other}},
		{text: "reset", want: with(func(w *Want) { w.Reset = "r" }), have: []Have{there}, ops: []OpKind{Reset}},
		{text: "reset, another done before", want: with(func(w *Want) { w.Reset = "r" }), have: []Have{there}, done: "q", ops: []OpKind{Reset}},
		{text: "reset, done", want: with(func(w *Want) { w.Reset = "r" }), have: []Have{there}, done: "r"},
		{text: "reset of a missing zone", want: with(func(w *Want) { w.Reset = "r" }), ops: []OpKind{Add}},
		{text: "reset and another template", want: with(func(w *Want) { w.Reset = "r" }), have: []Have{other}, ops: []OpKind{Change, Reset}},
		{text: "rescue, missing", want: with(func(w *Want) { w.Rescue = true }), ops: []OpKind{Add}},
		{text: "rescue, there from its primary", want: with(func(w *Want) { w.Rescue = true }), have: []Have{there}, ops: []OpKind{Change}},
		{text: "rescue, there", want: with(func(w *Want) { w.Rescue = true }), have: []Have{{Name: n, Present: true, Owned: true, Template: "rescue-9"}}},
		{text: "back from rescue", want: []Want{want}, have: []Have{{Name: n, Present: true, Owned: true, Template: "rescue-9"}}, ops: []OpKind{Change}},
		{text: "twice desired, twice there", want: []Want{want, want}, have: []Have{there, other}},
	} {
		policy := open
		if c.done != "" {
			policy.Resets = map[name.Name]string{n: c.done}
		}
		p := Make(slices.Values(c.want), slices.Values(c.have), policy)
		var kinds []OpKind
		for _, op := range p.Ops {
			kinds = append(kinds, op.Kind)
			if op.Name != n || op.Why == "" {
				t.Errorf("%s: %+v lacks its name or reason", c.text, op)
			}
		}
		if !slices.Equal(kinds, c.ops) || len(p.Conflicts) != c.conflicts || p.Foreign != c.foreign || len(p.Held) != 0 {
			t.Errorf("%s: %+v", c.text, p)
		}
	}
}

func TestMakeHoldsRemovals(t *testing.T) {
	var have []Have
	var want []Want
	for i := range 100 {
		n := name.Name(fmt.Sprintf("z%02d.test.", i))
		have = append(have, Have{Name: n, Present: true, Owned: true, Template: "t-1"})
		want = append(want, Want{Name: n, Template: "t-1"})
	}
	added := Want{Name: "new.test.", Template: "t-1"}
	guarded := Policy{Share: 0.1, Least: 5}
	make := func(left int, p Policy) Plan {
		return Make(slices.Values(append(slices.Clone(want[:left]), added)), slices.Values(have), p)
	}
	if p := make(90, guarded); len(p.Held) != 0 || len(p.Ops) != 11 || p.Hash != "" {
		t.Errorf("a tenth goes: %+v", p)
	}
	p := make(89, guarded)
	if len(p.Held) != 11 || len(p.Ops) != 1 || p.Ops[0].Kind != Add || p.Hash == "" || p.Why == "" {
		t.Fatalf("more than a tenth goes: %+v", p)
	}
	if again := make(89, guarded); !cmp.Equal(again, p) {
		t.Error("the same input gives another plan")
	}
	accepted := guarded
	accepted.Accepted = []string{"other", p.Hash}
	if q := make(89, accepted); len(q.Held) != 0 || len(q.Ops) != 12 {
		t.Errorf("accepted, and held: %+v", q)
	}
	if q := make(88, accepted); len(q.Held) != 12 {
		t.Errorf("more than was accepted goes: %+v", q)
	}
	// What was accepted and half done goes on, whatever else is held.
	let := guarded
	let.Let = func(n name.Name) bool { return n >= "z89." }
	if q := make(89, let); len(q.Held) != 0 || len(q.Ops) != 12 {
		t.Errorf("let through before, and held: %+v", q)
	}
	recent := guarded
	recent.Recent = 10
	if q := make(98, recent); len(q.Held) != 2 {
		t.Errorf("small steps go through: %+v", q)
	}
	if q := Make(slices.Values(want[:1]), slices.Values(have[:5]), guarded); len(q.Held) != 0 {
		t.Errorf("four are held: %+v", q)
	}
	if q := Make(slices.Values(want[:0]), slices.Values(have[:1]), Policy{}); len(q.Held) != 1 {
		t.Errorf("without a policy a removal goes through: %+v", q)
	}
}

// model is a server, and what an agent keeps of it.
type model struct {
	zones  map[name.Name]Have
	resets map[name.Name]string
	let    map[name.Name]bool
}

func (m *model) plan(want map[name.Name]Want, p Policy) Plan {
	p.Resets = m.resets
	p.Let = func(n name.Name) bool { return m.let[n] }
	return Make(maps.Values(want), maps.Values(m.zones), p)
}

func (m *model) do(t *rapid.T, op Op) {
	z, there := m.zones[op.Name]
	if there && !z.Owned && !op.Want.Adopt {
		t.Fatalf("%+v touches a foreign zone", op)
	}
	if op.Want.Pin {
		t.Fatalf("%+v touches a pinned zone", op)
	}
	switch op.Kind {
	case Add, Change:
		template := op.Want.Template
		if op.Want.Rescue {
			template = RescueTemplate + "-1"
		}
		m.zones[op.Name] = Have{Name: op.Name, Present: true, Owned: true, Template: template}
		if op.Kind == Add && op.Want.Reset != "" {
			m.resets[op.Name] = op.Want.Reset
		}
	case Reset:
		m.resets[op.Name] = op.Want.Reset
	case Remove:
		delete(m.zones, op.Name)
		delete(m.resets, op.Name)
	}
}

func wants(t *rapid.T) map[name.Name]Want {
	want := map[name.Name]Want{}
	for _, i := range rapid.SliceOfNDistinct(rapid.IntRange(0, 40), 0, 30, rapid.ID).Draw(t, "want") {
		n := name.Name(fmt.Sprintf("z%d.test.", i))
		want[n] = Want{
			Name: n, Template: rapid.SampledFrom([]string{"a-1", "b-2"}).Draw(t, "template"), Adopt: rapid.Bool().Draw(t, "adopt"),
			Pin: rapid.IntRange(0, 4).Draw(t, "pin") == 0, Rescue: rapid.IntRange(0, 4).Draw(t, "rescue") == 0,
			Reset: rapid.SampledFrom([]string{"", "", "r", "s"}).Draw(t, "reset"),
		}
	}
	return want
}

func serving(t *rapid.T) *model {
	m := &model{zones: map[name.Name]Have{}, resets: map[name.Name]string{}, let: map[name.Name]bool{}}
	for _, i := range rapid.SliceOfNDistinct(rapid.IntRange(0, 40), 0, 30, rapid.ID).Draw(t, "have") {
		n := name.Name(fmt.Sprintf("z%d.test.", i))
		z := Have{Name: n, Present: true, Owned: rapid.IntRange(0, 3).Draw(t, "owned") > 0}
		if z.Owned {
			z.Template = rapid.SampledFrom([]string{"a-1", "b-2", "rescue-1"}).Draw(t, "at")
		}
		m.zones[n] = z
	}
	return m
}

// settled fails unless the server has what is desired, and nothing of others changed.
func settled(t *rapid.T, m *model, before map[name.Name]Have, want map[name.Name]Want) {
	for n, w := range want {
		z, there := m.zones[n]
		was, had := before[n]
		switch {
		case w.Pin || had && !was.Owned && !w.Adopt:
			if there != had || !cmp.Equal(z, was) {
				t.Fatalf("%s was to be left as it is: was %+v, is %+v", n, was, z)
			}
		case !there || !z.Owned || !fits(w, z.Template):
			t.Fatalf("%s is %+v, desired %+v", n, z, w)
		case w.Reset != "" && m.resets[n] != w.Reset:
			t.Fatalf("%s was not reset", n)
		}
	}
	for n, z := range m.zones {
		if _, ok := want[n]; !ok && z.Owned {
			t.Fatalf("%s is there, and not desired", n)
		}
	}
	for n, z := range before {
		if _, ok := want[n]; !ok && !z.Owned && !cmp.Equal(m.zones[n], z) {
			t.Fatalf("foreign %s was touched", n)
		}
	}
}

func TestPlansConvergeWhateverIsKilled(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want, m := wants(t), serving(t)
		before := maps.Clone(m.zones)
		for rounds := 0; ; rounds++ {
			p := m.plan(want, open)
			if len(p.Ops) == 0 {
				break
			}
			kill := rapid.IntRange(1, len(p.Ops)).Draw(t, "killed after")
			if rounds > 5 {
				kill = len(p.Ops)
			}
			removing := false
			for _, op := range p.Ops[:kill] {
				removing = removing || op.Kind == Remove
				if removing && op.Kind != Remove {
					t.Fatalf("%s of %s after a removal", op.Kind, op.Name)
				}
				if _, both := want[op.Name]; both && op.Kind == Remove {
					t.Fatalf("%s is desired and removed", op.Name)
				}
				m.do(t, op)
			}
			if rounds > 7 {
				t.Fatal("it does not converge")
			}
		}
		settled(t, m, before, want)
		if p := m.plan(want, Policy{}); len(p.Ops)+len(p.Held) != 0 {
			t.Fatalf("settled, and there is more to do: %+v", p)
		}
	})
}

func TestHeldPlansConvergeOnceAccepted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want, m := wants(t), serving(t)
		before := maps.Clone(m.zones)
		policy := Policy{Share: 0.1, Least: rapid.IntRange(0, 5).Draw(t, "least"), Recent: rapid.IntRange(0, 3).Draw(t, "recent")}
		for range 8 {
			p := m.plan(want, policy)
			if len(p.Held) > 0 && slices.ContainsFunc(p.Ops, func(op Op) bool { return op.Kind == Remove && !m.let[op.Name] }) {
				t.Fatal("some removals are held and others done")
			}
			if len(p.Held) > 0 { // an operator reads it, and accepts
				policy.Accepted = append(policy.Accepted, p.Hash)
				for _, op := range p.Held {
					m.let[op.Name] = true
				}
				continue
			}
			for _, op := range p.Ops[:rapid.IntRange(0, len(p.Ops)).Draw(t, "killed after")] {
				m.do(t, op)
			}
		}
		for _, op := range m.plan(want, policy).Ops {
			m.do(t, op)
		}
		settled(t, m, before, want)
	})
}

func TestThePlanDoesNotDependOnOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, h := slices.Collect(maps.Values(wants(t))), slices.Collect(maps.Values(serving(t).zones))
		p := Make(slices.Values(w), slices.Values(h), Policy{Share: 0.1, Least: 2})
		w, h = rapid.Permutation(w).Draw(t, "want again"), rapid.Permutation(h).Draw(t, "have again")
		if q := Make(slices.Values(w), slices.Values(h), Policy{Share: 0.1, Least: 2}); !cmp.Equal(p, q) {
			t.Fatal(cmp.Diff(p, q))
		}
	})
}

func BenchmarkMake(b *testing.B) {
	const n = 100_000
	want, have := map[name.Name]Want{}, map[name.Name]Have{}
	for i := range n {
		z := name.Name(fmt.Sprintf("zone-%06d.example.", i))
		want[z] = Want{Name: z, Template: "default-1a2b3c4d"}
		have[z] = Have{Name: z, Present: true, Owned: true, Template: "default-1a2b3c4d", Loaded: true, Serial: 1}
	}
	for _, c := range []struct {
		text string
		have map[name.Name]Have
		want map[name.Name]Want
	}{{"same", have, want}, {"all new", nil, want}, {"all gone", have, nil}} {
		b.Run(c.text, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p := Make(maps.Values(c.want), maps.Values(c.have), open)
				if len(p.Ops) != n && c.text != "same" {
					b.Fatal(len(p.Ops))
				}
			}
		})
	}
}
