package gtid_test

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"kaname.dev/kaname/rib/mysql/gtid"
)

// someSet draws sets that overlap often: few sources, low numbers.
func someSet(flavour string, states bool) *rapid.Generator[gtid.Set] {
	return rapid.Custom(func(t *rapid.T) gtid.Set {
		var parts []string
		for range rapid.IntRange(0, 6).Draw(t, "members") {
			parts = append(parts, member(t, flavour))
		}
		s, err := gtid.Parse(flavour, strings.Join(parts, ","))
		if err != nil {
			t.Fatal(err)
		}
		if !states {
			s = s.Position()
		}
		return s
	})
}

func member(t *rapid.T, flavour string) string {
	small := rapid.Uint64Range(1, 12)
	if flavour == gtid.MariaDB {
		return fmt.Sprintf("%d-%d-%d", rapid.IntRange(0, 2).Draw(t, "domain"), rapid.IntRange(1, 3).Draw(t, "server"), small.Draw(t, "seq"))
	}
	return rapid.SampledFrom([]string{u1, u2, strings.ToUpper(u2)}).Draw(t, "uuid") +
		rapid.SampledFrom([]string{"", ":a", ":b_2", " : A"}).Draw(t, "tag") +
		fmt.Sprintf(":%d:%d-%d", small.Draw(t, "one"), small.Draw(t, "lo"), small.Draw(t, "hi"))
}

func TestLaws(t *testing.T) {
	for _, flavour := range []string{gtid.MySQL, gtid.MariaDB} {
		for _, states := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, states %t", flavour, states), rapid.MakeCheck(func(t *rapid.T) {
				some := someSet(flavour, states)
				laws(t, flavour, some.Draw(t, "a"), some.Draw(t, "b"), some.Draw(t, "c"))
			}))
		}
	}
}

func laws(t *rapid.T, flavour string, a, b, c gtid.Set) {
	hold := func(law string, ok bool) {
		t.Helper()
		if !ok {
			t.Fatalf("%s, for a=%q b=%q c=%q", law, a, b, c)
		}
	}
	again, err := gtid.Parse(flavour, a.String())
	hold("the text of a is read", err == nil)
	hold("the text of a is a", again.Equal(a) && again.String() == a.String())

	ab := a.Union(b)
	hold("a+b contains both", ab.Contains(a) && ab.Contains(b))
	hold("a+b is b+a", ab.Equal(b.Union(a)) && ab.String() == b.Union(a).String())
	hold("(a+b)+c is a+(b+c)", ab.Union(c).String() == a.Union(b.Union(c)).String())
	hold("a+a is a", a.Union(a).Equal(a))
	hold("a+b is the least", !c.Contains(a) || !c.Contains(b) || c.Contains(ab))

	hold("a contains a", a.Contains(a))
	hold("contains carries over", !a.Contains(b) || !b.Contains(c) || a.Contains(c))
	hold("a contains b when b-a is empty", a.Contains(b) == b.Minus(a).Empty())
	hold("a contains b when a+b is a", a.Contains(b) == ab.Equal(a))
	hold("(a-b)+b is a+b", a.Minus(b).Union(b).Equal(ab))
	hold("a contains a-b", a.Contains(a.Minus(b)))
	hold("a is empty when nothing contains it", a.Empty() == (gtid.Set{}).Contains(a))
	hold("the position of a is a", a.Position().Equal(a))
	if flavour == gtid.MySQL {
		exact(t, hold, a, b)
	}
	best := gtid.Best(a, b)
	hold("the best of a and b contains both", (best < 0) == (!a.Contains(b) && !b.Contains(a)))
	hold("a primary's errants are none", gtid.Errant(a, a).All.Empty())
	hold("a replica below its primary has none of the same state", flavour == gtid.MariaDB || gtid.Errant(a, ab).All.Empty())
	n, _ := gtid.Errant(a, b).All.Count()
	hold("errants are counted", (n == 0) == gtid.Errant(a, b).All.Empty())
}

// exact has the laws that only true sets keep.
func exact(t *rapid.T, hold func(string, bool), a, b gtid.Set) {
	t.Helper()
	common := a.Minus(a.Minus(b))
	hold("a-b has nothing of b", a.Minus(b).Minus(b).Equal(a.Minus(b)))
	hold("what is common lies in both", a.Contains(common) && b.Contains(common))
	na, _ := a.Count()
	nb, _ := b.Count()
	nu, _ := a.Union(b).Count()
	nc, _ := common.Count()
	hold("numbers add up", na+nb == nu+nc)
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"", u1 + ":1-3:5", u1 + ":a:1,\n" + u2 + ":9223372036854775806", "0-1-100,0-2-5", "1-2-18446744073709551615",
		u1 + ":1-2-3", ",,", "0-1-", u1 + ":x", strings.ToUpper(u1) + " : A_1 : 2 - 9 :3",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, flavour := range []string{gtid.MySQL, gtid.MariaDB} {
			s, err := gtid.Parse(flavour, text)
			if err != nil {
				continue
			}
			again, err := gtid.Parse(flavour, s.String())
			if err != nil || again.String() != s.String() || !again.Equal(s) {
				t.Errorf("%q prints %q, which reads as %q: %v", text, s, again, err)
			}
			if !s.Minus(s).Empty() || !s.Union(s).Equal(s) {
				t.Errorf("%q: the laws do not hold", text)
			}
		}
	})
}
