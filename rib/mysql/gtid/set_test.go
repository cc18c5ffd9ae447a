package gtid_test

import (
	"strings"
	"testing"

	"kaname.dev/kaname/rib/mysql/gtid"
)

const (
	u1 = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
	u2 = "8a94f357-aab4-11df-86ab-c80aa9429562"
)

func set(t testing.TB, flavour, text string) gtid.Set {
	t.Helper()
	s, err := gtid.Parse(flavour, text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestCanonicalText(t *testing.T) {
	for _, c := range []struct{ flavour, in, want string }{
		{gtid.MySQL, "", ""},
		{gtid.MySQL, " \n", ""},
		{gtid.MySQL, u1 + ":1", u1 + ":1"},
		{gtid.MySQL, u1 + ":7-7:5:1-3", u1 + ":1-3:5:7"},
		{gtid.MySQL, u1 + ":1-3:4-5", u1 + ":1-5"},
		{gtid.MySQL, u1 + ":1-9:2-3:20", u1 + ":1-9:20"},
		{gtid.MySQL, strings.ToUpper(u1) + " : 1 - 3 ", u1 + ":1-3"},
		{gtid.MySQL, u2 + ":5,\n" + u1 + ":1-2", u1 + ":1-2,\n" + u2 + ":5"},
		{gtid.MySQL, u1 + ":2," + u1 + ":1", u1 + ":1-2"},
		{gtid.MySQL, u1 + ":Blue:1-2:green:4:7:blue:3", u1 + ":blue:1-3:green:4:7"},
		{gtid.MySQL, u1 + ":blue:1:2," + u1 + ":9", u1 + ":9:blue:1-2"},
		{gtid.MySQL, u1 + ":5-3", ""},
		{gtid.MySQL, u1 + ":tag:other:1:last", u1 + ":other:1"},
		{gtid.MySQL, strings.ReplaceAll(u1, "-", "") + ":1", u1 + ":1"},
		{gtid.MySQL, "," + u1 + ":1,,", u1 + ":1"},
		{gtid.MySQL, u1 + ":9223372036854775806", u1 + ":9223372036854775806"},
		{gtid.MariaDB, "", ""},
		{gtid.MariaDB, "0-1-100", "0-1-100"},
		{gtid.MariaDB, "1-2-3, 0-1-100\n", "0-1-100,1-2-3"},
		{gtid.MariaDB, "0-2-150,0-1-100", "0-1-100,0-2-150"},
		{gtid.MariaDB, "4294967295-4294967295-18446744073709551615", "4294967295-4294967295-18446744073709551615"},
	} {
		if got := set(t, c.flavour, c.in).String(); got != c.want {
			t.Errorf("Parse(%q) prints %q, want %q", c.in, got, c.want)
		}
	}
}

func TestBadTextIsNamed(t *testing.T) {
	for _, c := range []struct{ flavour, in, want string }{
		{"postgres", "", `flavour "postgres" is unknown`},
		{gtid.MySQL, "3e11fa47", "byte 0: want a uuid of 36 characters"},
		{gtid.MySQL, "3e11fa47-", "byte 0: want a uuid of 36 characters"},
		{gtid.MySQL, "3e11fa47_71ca-11e1-9e33-c80aa9429562:1", "byte 0: want a uuid as 8-4-4-4-12"},
		{gtid.MySQL, u1 + ":0", "byte 37: transaction numbers begin at 1"},
		{gtid.MySQL, u1 + ":1 2", `byte 39: want "," or ":", not "2"`},
		{gtid.MySQL, u1 + ":", "byte 37: want a transaction number, not the end"},
		{gtid.MySQL, u1 + ":1-", "byte 39: want the last number"},
		{gtid.MySQL, u1 + ":9223372036854775807", "byte 37: a transaction number is larger than"},
		{gtid.MySQL, u1 + ":99999999999999999999", "byte 37: a transaction number is larger than"},
		{gtid.MySQL, strings.Replace(u1, "-11e1-", "-11e10", 1) + ":1", "byte 0: want a uuid as 8-4-4-4-12"},
		{gtid.MySQL, u1 + ":" + strings.Repeat("x", 33) + ":1", "byte 37: a tag has at most 32"},
		{gtid.MySQL, "0-1-100", "want a uuid"},
		{gtid.MySQL, strings.Repeat(" ", 17<<20), "longer than"},
		{gtid.MariaDB, "0-1", `byte 3: want "-" and a sequence number, not the end`},
		{gtid.MariaDB, "0-1-2,", "byte 6: want a domain"},
		{gtid.MariaDB, "0-4294967296-2", "byte 2: a server id is larger than"},
		{gtid.MariaDB, "0-1-18446744073709551616", "byte 4: a sequence number is larger than"},
		{gtid.MariaDB, "0-1-2 3", `byte 6: want ",", not "3"`},
		{gtid.MariaDB, u1 + ":1", "byte 1: want"},
	} {
		_, err := gtid.Parse(c.flavour, c.in)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Parse(%s, %.60q): %v, want %q in it", c.flavour, c.in, err, c.want)
		}
	}
}

func TestArithmetic(t *testing.T) {
	for _, c := range []struct {
		flavour, a, b, union, minus string
		contains                    bool
	}{
		{gtid.MySQL, u1 + ":1-10", u1 + ":3-4:8", u1 + ":1-10", u1 + ":1-2:5-7:9-10", true},
		{gtid.MySQL, u1 + ":1-10", u1 + ":10-11", u1 + ":1-11", u1 + ":1-9", false},
		{gtid.MySQL, u1 + ":1-10", u1 + ":x:1", u1 + ":1-10:x:1", u1 + ":1-10", false},
		{gtid.MySQL, u1 + ":1-3:x:1-3," + u2 + ":1", u1 + ":x:2," + u2 + ":1", u1 + ":1-3:x:1-3,\n" + u2 + ":1", u1 + ":1-3:x:1:3", true},
		{gtid.MySQL, "", u1 + ":1", u1 + ":1", "", false},
		{gtid.MariaDB, "0-1-100", "0-1-90", "0-1-100", "0-1-100", true},
		{gtid.MariaDB, "0-1-100", "0-1-100", "0-1-100", "", true},
		{gtid.MariaDB, "0-1-100", "0-2-101", "0-2-101", "", false},
		{gtid.MariaDB, "0-2-101", "0-1-100", "0-2-101", "0-2-101", true},
		{gtid.MariaDB, "0-1-100", "0-2-100", "0-1-100,0-2-100", "0-1-100", false},
		{gtid.MariaDB, "0-1-100,1-1-5", "0-1-100", "0-1-100,1-1-5", "1-1-5", true},
		{gtid.MariaDB, "0-1-100,0-2-150", "0-3-150", "0-2-150,0-3-150", "0-2-150", false},
	} {
		a, b := set(t, c.flavour, c.a), set(t, c.flavour, c.b)
		if got := a.Union(b).String(); got != c.union {
			t.Errorf("%s with %s is %q, want %q", c.a, c.b, got, c.union)
		}
		if got := a.Minus(b).String(); got != c.minus {
			t.Errorf("%s without %s is %q, want %q", c.a, c.b, got, c.minus)
		}
		if got := a.Contains(b); got != c.contains {
			t.Errorf("%s contains %s: %t", c.a, c.b, got)
		}
	}
}

func TestCount(t *testing.T) {
	for _, c := range []struct {
		flavour, a, b string
		want          uint64
	}{
		{gtid.MySQL, u1 + ":1-10:20", u1 + ":1-2", 9},
		{gtid.MySQL, u1 + ":1-9223372036854775806:x:1-9223372036854775806:y:1-9223372036854775806", "", 1<<64 - 1},
		{gtid.MariaDB, "0-1-150,1-1-7", "0-1-100", 57},
		{gtid.MariaDB, "0-1-150", "0-2-150", 1},
		{gtid.MariaDB, "0-1-0", "0-2-0", 0},
	} {
		got, exact := set(t, c.flavour, c.a).Minus(set(t, c.flavour, c.b)).Count()
		if got != c.want || exact != (c.flavour == gtid.MySQL) {
			t.Errorf("%s without %s has %d (exact %t), want %d", c.a, c.b, got, exact, c.want)
		}
	}
}

func TestBest(t *testing.T) {
	for _, c := range []struct {
		flavour string
		sets    []string
		want    int
	}{
		{gtid.MySQL, nil, -1},
		{gtid.MySQL, []string{""}, 0},
		{gtid.MySQL, []string{u1 + ":1-5", u1 + ":1-7", u1 + ":1-7", u1 + ":2"}, 1},
		{gtid.MySQL, []string{u1 + ":1-5", u1 + ":2-7"}, -1},
		{gtid.MySQL, []string{u1 + ":1-5", u2 + ":1", u1 + ":1-5," + u2 + ":1-2"}, 2},
		{gtid.MariaDB, []string{"0-1-5", "0-2-7", "0-1-6"}, 1},
		{gtid.MariaDB, []string{"0-1-5", "0-2-5"}, -1},
		{gtid.MariaDB, []string{"0-1-5", "1-1-5"}, -1},
	} {
		sets := make([]gtid.Set, len(c.sets))
		for i, s := range c.sets {
			sets[i] = set(t, c.flavour, s)
		}
		if got := gtid.Best(sets...); got != c.want {
			t.Errorf("the best of %q is %d, want %d", c.sets, got, c.want)
		}
	}
}

func TestErrant(t *testing.T) {
	for _, c := range []struct{ name, flavour, replica, primary, self, all, own string }{
		{"a subset", gtid.MySQL, u1 + ":1-5", u1 + ":1-9", u2, "", ""},
		{"written on the replica", gtid.MySQL, u1 + ":1-5," + u2 + ":1", u1 + ":1-9", strings.ToUpper(u2), u2 + ":1", u2 + ":1"},
		{"from elsewhere", gtid.MySQL, u1 + ":1-11:x:1", u1 + ":1-9", u2, u1 + ":10-11:x:1", ""},
		{"behind", gtid.MariaDB, "0-1-100", "0-1-120", "2", "", ""},
		{"ahead of its own", gtid.MariaDB, "0-1-100,0-2-101", "0-1-100", "2", "0-2-101", "0-2-101"},
		{"the same number", gtid.MariaDB, "0-2-101", "0-1-101", "2", "0-2-101", "0-2-101"},
		{"a tail that the new primary's state lacks", gtid.MariaDB, "0-1-103", "0-1-100,0-2-150", "1", "0-1-103", "0-1-103"},
		{"a position that tells nothing", gtid.MariaDB, "0-2-150", "0-1-160", "2", "", ""},
		{"older than the primary's own state", gtid.MariaDB, "0-1-100,0-2-140", "0-2-150", "3", "", ""},
		{"an old primary below the new one", gtid.MariaDB, "0-1-100,0-2-140", "0-1-100,0-2-150", "1", "", ""},
		{"a domain of its own", gtid.MariaDB, "0-1-5,7-3-1", "0-1-5", "2", "7-3-1", ""},
	} {
		got := gtid.Errant(set(t, c.flavour, c.replica), set(t, c.flavour, c.primary), c.self)
		if got.All.String() != c.all || got.Own.String() != c.own {
			t.Errorf("%s: errant %q, own %q, want %q and %q", c.name, got.All, got.Own, c.all, c.own)
		}
	}
	for _, c := range []struct{ name, replica, primary, slavePos, self, all string }{
		{"its own, which the primary never saw", "0-3-1,0-4-2", "0-3-3", "", "4", "0-4-2"},
		{"its own, from when it was primary", "0-3-1,0-4-2", "0-4-2,0-3-3", "", "4", ""},
		{"its own, which came with the copy", "0-4-2", "0-3-3", "0-4-2", "4", ""},
		{"its own, and it went on with others", "0-4-2,0-1-9", "0-1-9,0-3-10", "", "4", ""},
		{"of another", "0-3-1,0-4-2", "0-3-3", "", "5", ""},
	} {
		p, err := gtid.ParseState(c.primary, c.slavePos)
		if err != nil {
			t.Fatal(err)
		}
		if got := gtid.Errant(set(t, gtid.MariaDB, c.replica), p, c.self).All.String(); got != c.all {
			t.Errorf("%s: errant %q, want %q", c.name, got, c.all)
		}
	}
	tail := gtid.Errant(set(t, gtid.MariaDB, "0-1-103"), set(t, gtid.MariaDB, "0-1-100,0-2-150"), "1")
	if n, _ := tail.All.Count(); n != 3 {
		t.Errorf("the tail has %d transactions, want 3", n)
	}
}

func TestUnlikeFlavoursShareNothing(t *testing.T) {
	a, b := set(t, gtid.MySQL, u1+":1"), set(t, gtid.MariaDB, "0-1-1")
	if a.Contains(b) || b.Contains(a) || a.Equal(b) || !a.Minus(b).Equal(a) {
		t.Error("sets of unlike flavours contain one another")
	}
}
