package linux

import (
	"slices"
	"strings"
)

// program is the filters of one address family, compiled.
type program struct {
	chains map[string]map[string]*chain // by table and name
}

type chain struct {
	*Chain
	rules []rule
}

type rule struct {
	*Rule
	tests  []test
	doubts []string // what of it is not understood
	target target
	to     *chain
}

// compile compiles what ParseFilters has read.
func compile(f *Filters) *program {
	g := &program{chains: map[string]map[string]*chain{}}
	for name, t := range f.Tables {
		chains := make(map[string]*chain, len(t.Chains))
		for n, c := range t.Chains {
			chains[n] = &chain{Chain: c}
		}
		for _, c := range chains {
			c.rules = make([]rule, len(c.Rules))
			for i, r := range c.Rules {
				c.rules[i] = compileRule(r, chains)
			}
		}
		g.chains[name] = chains
	}
	return g
}

func compileRule(r *Rule, chains map[string]*chain) rule {
	c := rule{Rule: r}
	if r.Broken != "" {
		c.doubts = append(c.doubts, r.Broken)
		c.target = target{kind: doubt, why: r.Broken}
		return c
	}
	for i := range r.Matches {
		t, err := compileMatch(&r.Matches[i])
		if err != nil {
			c.doubts = append(c.doubts, err.Error())
			t = unsure
		}
		c.tests = append(c.tests, t)
	}
	c.target = compileTarget(r, func(name string) bool { return chains[name] != nil })
	if c.target.kind == jump {
		c.to = chains[c.target.to]
	}
	return c
}

// match reports whether the rule matches; sure is false when that cannot be told.
func (r *rule) match(v *view) (yes, sure bool) {
	sure = true
	for _, t := range r.tests {
		y, s := t(v)
		if s && !y {
			return false, true
		}
		sure = sure && s
	}
	if len(r.doubts) > 0 {
		sure = false
	}
	return sure, sure
}

// verdict is what a table says about a packet.
type verdict struct {
	kind  kind    // accept, drop or doubt
	rules []*Rule // that led to it, in the order met
	chain *Chain  // whose policy it is; nil: the last rule's
	why   []string
}

// course is a packet on its way through the chains of a table.
type course struct {
	v      view
	base   *chain
	stack  []frame
	rules  []*Rule
	budget *budget
}

// budget bounds the work for one packet in one table.
type budget struct {
	rules  int // that are looked at
	splits int // where nobody knows whether a rule matches
}

type frame struct {
	c   *chain
	i   int
	met int // rules that were met when it was entered
}

// deepest is how deep chains may jump; the kernel refuses loops when rules are loaded.
const deepest = 64

// run passes the packet through a base chain. A chain that does not exist accepts.
func (g *program) run(table, name string, v *view) verdict {
	if g == nil || g.chains[table] == nil {
		return verdict{kind: accept}
	}
	base := g.chains[table][name]
	if base == nil {
		return verdict{kind: accept}
	}
	c := course{v: *v, base: base, stack: []frame{{c: base}}, budget: &budget{rules: 1 << 18, splits: 16}}
	out := c.run()
	*v = c.v
	return out
}

func (c *course) run() verdict {
	for {
		if len(c.stack) == 0 {
			return c.policy()
		}
		f := &c.stack[len(c.stack)-1]
		if f.i >= len(f.c.rules) {
			c.rules = c.rules[:f.met]
			c.stack = c.stack[:len(c.stack)-1]
			continue
		}
		r := &f.c.rules[f.i]
		f.i++
		if c.budget.rules--; c.budget.rules < 0 {
			return verdict{kind: doubt, rules: c.rules, why: []string{r.Line + ": more rules than can be followed"}}
		}
		yes, sure := r.match(&c.v)
		if !sure {
			return c.split(r)
		}
		if !yes {
			continue
		}
		if out, ended := c.apply(r); ended {
			return out
		}
	}
}

func (c *course) policy() verdict {
	out := verdict{kind: accept, rules: c.rules, chain: c.base.Chain}
	if c.base.Policy == "DROP" {
		out.kind = drop
	}
	return out
}

// split follows both ways where nobody knows whether a rule matches: if they end alike it does
// not matter, else the verdict is in doubt.
func (c *course) split(r *rule) verdict {
	why := r.doubts
	if len(why) == 0 {
		why = []string{"what it matches is not known"}
	}
	lost := verdict{kind: doubt, rules: append(c.rules, r.Rule), why: []string{r.Line + ": " + strings.Join(why, "; ")}}
	if c.budget.splits--; c.budget.splits < 0 {
		return lost
	}
	with := *c
	with.stack, with.rules = slices.Clone(c.stack), slices.Clone(c.rules)
	a, ended := with.apply(r)
	if !ended {
		a = with.run()
	}
	b := c.run()
	switch {
	case b.kind == doubt:
		return b
	case a.kind == doubt:
		lost.why = append(lost.why, a.why...)
		return lost
	case a.kind != b.kind, !with.v.same(&c.v):
		return lost
	}
	return b
}

// apply does what a rule that matches says.
func (c *course) apply(r *rule) (verdict, bool) {
	kind := r.target.kind
	if r.target.do != nil {
		if k := r.target.do(&c.v); k == drop {
			kind = drop
		}
	}
	switch kind { //nolint:exhaustive // the others are dealt with below, or need nothing
	case accept, drop:
		return verdict{kind: kind, rules: append(c.rules, r.Rule)}, true
	case doubt:
		return verdict{kind: doubt, rules: append(c.rules, r.Rule), why: []string{r.Line + ": " + r.target.why}}, true
	case back:
		c.rules = append(c.rules, r.Rule)
		c.stack = c.stack[:len(c.stack)-1]
	case jump:
		if len(c.stack) >= deepest {
			return verdict{kind: doubt, rules: c.rules, why: []string{r.Line + ": chains are nested too deep"}}, true
		}
		met := len(c.rules)
		if r.Goto {
			met = c.stack[len(c.stack)-1].met
			c.stack = c.stack[:len(c.stack)-1]
		}
		c.rules = append(c.rules, r.Rule)
		c.stack = append(c.stack, frame{c: r.to, met: met})
	}
	return verdict{}, false
}
