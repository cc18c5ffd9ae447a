package move_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"kaname.dev/kaname/rib/mysql/gtid"
	"kaname.dev/kaname/rib/mysql/move"
	"kaname.dev/kaname/rib/mysql/topology"
)

const (
	uuid1 = "00000000-0000-0000-0000-000000000001"
	uuid2 = "00000000-0000-0000-0000-000000000002"
	uuid3 = "00000000-0000-0000-0000-000000000003"
)

// bed is what Choose is asked about: db1 is gone, db2 and db3 have received all.
type bed struct {
	r       *topology.Record
	frozen  map[string]topology.Frozen
	facts   map[string]move.Fact
	without []string
}

func (b *bed) member(name string) *topology.Member { return b.r.Member(name) }

func (b *bed) has(name, received, executed string) {
	f := b.frozen[name]
	f.Received, f.Executed, f.Applies = received, executed, true
	b.frozen[name] = f
}

func (b *bed) set(name string, change func(*topology.Frozen)) {
	f := b.frozen[name]
	change(&f)
	b.frozen[name] = f
}

func (b *bed) fact(name string, change func(*move.Fact)) {
	f := b.facts[name]
	change(&f)
	b.facts[name] = f
}

func newBed(flavour string) *bed {
	r := three()
	r.Flavour, r.Primary = flavour, ""
	r.Move = &topology.Move{From: "db1"}
	b := &bed{r: r, frozen: map[string]topology.Frozen{}, facts: map[string]move.Fact{
		"db1": {Self: []string{uuid1, "1"}}, "db2": {Self: []string{uuid2, "2"}}, "db3": {Self: []string{uuid3, "3"}},
	}}
	all := uuid1 + ":1-100"
	if flavour == gtid.MariaDB {
		all = "0-1-100"
	}
	b.has("db2", all, all)
	b.has("db3", all, all)
	return b
}

func TestChoose(t *testing.T) {
	for _, c := range []struct {
		name    string
		flavour string
		bed     func(b *bed)
		to      string
		need    string
		from    []string
		proven  bool
		missing string // part of
		reason  string // part of
	}{
		{name: "by name, when all else is alike", flavour: gtid.MySQL, to: "db2", need: uuid1 + ":1-100", proven: true},
		{
			name: "who has more, before who is preferred", flavour: gtid.MySQL, to: "db3", need: uuid1 + ":1-101", proven: true,
			bed: func(b *bed) {
				b.has("db3", uuid1+":1-101", uuid1+":1-90")
				b.member("db2").Role = topology.Preferred
			},
		},
		{
			name: "what is only received counts", flavour: gtid.MariaDB, to: "db3", need: "0-1-101", proven: true,
			bed: func(b *bed) { b.has("db3", "0-1-101", "0-1-9") },
		},
		{
			name: "the preferred one", flavour: gtid.MySQL, to: "db3", need: uuid1 + ":1-100", proven: true, reason: "db3: has received all that is needed, is preferred",
			bed: func(b *bed) { b.member("db3").Role = topology.Preferred },
		},
		{
			name: "the one in the zone of the old primary", flavour: gtid.MySQL, to: "db3", need: uuid1 + ":1-100", proven: true,
			bed: func(b *bed) { b.member("db1").Zone, b.member("db3").Zone = "east", "east" },
		},
		{
			name: "not the one whose version the others cannot replicate from", flavour: gtid.MySQL, to: "db3", need: uuid1 + ":1-100", proven: true, reason: "db2: has received all that is needed, stands in the zone of the old primary, runs 9.7.4, newer than another",
			bed: func(b *bed) {
				b.set("db2", func(f *topology.Frozen) { f.Version = "9.7.4" })
				b.set("db3", func(f *topology.Frozen) { f.Version = "8.4.2-log" })
			},
		},
		{
			name: "the one that is less behind", flavour: gtid.MySQL, to: "db3", need: uuid1 + ":1-100", proven: true,
			bed: func(b *bed) { b.set("db2", func(f *topology.Frozen) { f.Behind = 3 * time.Second }) },
		},
		{
			name: "not the preferred one when it takes longer than allowed to apply", flavour: gtid.MySQL, to: "db3", need: uuid1 + ":1-100", proven: true,
			bed: func(b *bed) {
				b.member("db2").Role = topology.Preferred
				b.set("db2", func(f *topology.Frozen) { f.Behind = time.Hour })
			},
		},
		{
			name: "who may is levelled from who may not", flavour: gtid.MySQL, to: "db3", need: uuid1 + ":1-120", from: []string{"db2"}, proven: true,
			bed: func(b *bed) { b.has("db2", uuid1+":1-120", uuid1+":1-90"); b.member("db2").Role = topology.Never },
		},
		{
			name: "an observer is no candidate, and its word proves nothing", flavour: gtid.MySQL, to: "db3", need: uuid1 + ":1-100", proven: true,
			bed: func(b *bed) { b.member("db2").Role = topology.Observer },
		},
		{
			name: "who is delayed comes last", flavour: gtid.MySQL, to: "db3", need: uuid1 + ":1-100", from: nil, proven: true, reason: "db2: has received all that is needed, stands in the zone of the old primary, is delayed by 1h0m0s on purpose",
			bed: func(b *bed) { b.fact("db2", func(f *move.Fact) { f.Delay = time.Hour }) },
		},
		{
			name: "who cannot apply is no candidate, and what only it has received is missing", flavour: gtid.MySQL, to: "db3", need: uuid1 + ":1-100", missing: "db3 cannot get " + uuid1 + ":101-120", reason: "db2: cannot apply what it has received: duplicate key",
			bed: func(b *bed) {
				b.has("db2", uuid1+":1-120", uuid1+":1-90")
				b.set("db2", func(f *topology.Frozen) { f.Applies, f.Trouble = false, "duplicate key" })
			},
		},
		{
			name: "errant comes last, and what it wrote itself is not needed", flavour: gtid.MySQL, to: "db3", need: uuid1 + ":1-100", proven: true, reason: "db2: has received all that is needed, stands in the zone of the old primary, has transactions of its own: " + uuid2 + ":1-3",
			bed: func(b *bed) { b.has("db2", uuid1+":1-100,"+uuid2+":1-3", uuid1+":1-100,"+uuid2+":1-3") },
		},
		{
			name: "what a former primary wrote is not its own when others have it", flavour: gtid.MySQL, to: "db2", need: uuid1 + ":1-100,\n" + uuid2 + ":1-3", proven: true,
			bed: func(b *bed) {
				b.has("db2", uuid1+":1-100,"+uuid2+":1-3", uuid1+":1-100,"+uuid2+":1-3")
				b.has("db3", uuid1+":1-90,"+uuid2+":1-3", uuid1+":1-90,"+uuid2+":1-3")
			},
		},
		{
			name: "nor when the old primary had it", flavour: gtid.MySQL, to: "db2", need: uuid1 + ":1-100,\n" + uuid2 + ":1-3", proven: true,
			bed: func(b *bed) {
				b.has("db2", uuid1+":1-100,"+uuid2+":1-3", uuid1+":1-100,"+uuid2+":1-3")
				b.fact("db1", func(f *move.Fact) { f.Executed = uuid2 + ":1-5" })
			},
		},
		{
			name: "MariaDB: errant by its position", flavour: gtid.MariaDB, to: "db3", need: "0-1-100", reason: "has transactions of its own: 0-2-105", missing: "db2 (transactions of its own hide",
			bed: func(b *bed) { b.has("db2", "0-2-105", "0-2-105") },
		},
		{
			name: "MariaDB: one transaction of its own hides nothing", flavour: gtid.MariaDB, to: "db3", need: "0-1-100", proven: true, reason: "has transactions of its own: 0-2-101",
			bed: func(b *bed) { b.has("db2", "0-2-101", "0-2-101") },
		},
		{
			name: "MariaDB: errant, although others are further", flavour: gtid.MariaDB, to: "db3", need: "0-1-100", missing: "db2 (transactions of its own hide",
			bed: func(b *bed) {
				b.has("db2", "0-2-90", "0-2-90")
				b.r.Last = &topology.Outcome{Move: topology.Move{To: "db1", Step: topology.Done, Need: "0-3-80"}}
			},
		},
		{
			name: "one acker of two is not enough", flavour: gtid.MySQL, to: "db3", need: uuid1 + ":1-100", missing: "with the help of db2 alone",
			bed: func(b *bed) { delete(b.frozen, "db2") },
		},
		{
			name: "of two acknowledgements one acker is enough", flavour: gtid.MySQL, to: "db3", need: uuid1 + ":1-100", proven: true,
			bed: func(b *bed) { delete(b.frozen, "db2"); b.r.Policy.Acks = 2 },
		},
		{
			name: "who was started again proves nothing", flavour: gtid.MariaDB, to: "db2", need: "0-1-100", missing: "db2 (started again)",
			bed: func(b *bed) { b.set("db2", func(f *topology.Frozen) { f.Short = "started again" }) },
		},
		{
			name: "what the primary had when it was opened is needed, whoever forgot it", flavour: gtid.MySQL, to: "db2", need: uuid1 + ":1-100", missing: "cannot get " + uuid1 + ":101-110",
			bed: func(b *bed) { b.r.Move.Need = uuid1 + ":1-110" },
		},
		{
			name: "a primary that did not wait for acknowledgements", flavour: gtid.MySQL, to: "db2", need: uuid1 + ":1-100", missing: "fallen back",
			bed: func(b *bed) { b.r.Move.Doubt = []string{"db1 had fallen back to asynchronous replication"} },
		},
		{
			name: "without acknowledgements nothing is proven", flavour: gtid.MySQL, to: "db3", need: uuid1 + ":1-105", missing: "no replica had received",
			bed: func(b *bed) { b.r.Policy.Durability = topology.Async; b.has("db3", uuid1+":1-105", uuid1+":1-100") },
		},
		{
			name: "not who did not get there before", flavour: gtid.MySQL, to: "db3", need: uuid1 + ":1-100", proven: true, reason: "db2: did not get as far",
			bed: func(b *bed) { b.without = []string{"db2"} },
		},
		{
			name: "not a replica of a replica", flavour: gtid.MySQL, to: "db2", need: uuid1 + ":1-100", proven: true, reason: "db3: replicates from db2",
			bed: func(b *bed) { b.member("db3").Source = "db2" },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBed(c.flavour)
			if c.bed != nil {
				c.bed(b)
			}
			got, err := move.Choose(b.r, b.frozen, func(m string) move.Fact { return b.facts[m] }, b.without...)
			if err != nil {
				t.Fatal(err, got.Reasons)
			}
			if got.To != c.to || got.Need != c.need || got.Proven != c.proven || !slices.Equal(got.From, c.from) {
				t.Errorf("chose %s, which needs %q from %v, proven %t, missing %q; because %q", got.To, got.Need, got.From, got.Proven, got.Missing, got.Reasons)
			}
			if !strings.Contains(strings.Join(got.Missing, "; "), c.missing) || c.missing == "" && len(got.Missing) > 0 {
				t.Errorf("missing %q, want %q", got.Missing, c.missing)
			}
			if !strings.Contains(strings.Join(got.Reasons, "; "), c.reason) {
				t.Errorf("reasons %q, want %q", got.Reasons, c.reason)
			}
		})
	}
}

func TestChooseNobody(t *testing.T) {
	b := newBed(gtid.MySQL)
	b.member("db2").Role = topology.Never
	delete(b.frozen, "db3")
	got, err := move.Choose(b.r, b.frozen, func(string) move.Fact { return move.Fact{} })
	if !errors.Is(err, move.ErrNobody) || !strings.Contains(strings.Join(got.Reasons, "; "), "db3: does not answer") {
		t.Errorf("%v, %q", err, got.Reasons)
	}
}

// Only an errant one is left: nobody opens it in silence.
func TestChooseErrantOnly(t *testing.T) {
	b := newBed(gtid.MySQL)
	b.has("db2", uuid1+":1-100,"+uuid2+":1-3", uuid1+":1-100,"+uuid2+":1-3")
	b.member("db3").Role = topology.Never
	got, err := move.Choose(b.r, b.frozen, func(m string) move.Fact { return b.facts[m] })
	if err != nil || got.To != "db2" || got.Own != uuid2+":1-3" {
		t.Errorf("%v, %+v", err, got)
	}
}
