package picture

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kaname.dev/kaname/rib/mysql/judge"
	"kaname.dev/kaname/rib/mysql/order"
	"kaname.dev/kaname/rib/mysql/topology"
)

// scene is a primary db1 with db2 and db4 below it, and db3 below db2.
func scene() Scene {
	r := &topology.Record{Name: "shop", Flavour: "mariadb", Epoch: 7, Primary: "db1", Policy: topology.DefaultPolicy()}
	s := Scene{Record: r, Members: map[string]judge.Known{}, Details: map[string]order.Details{}}
	for _, m := range []topology.Member{
		{Name: "db1"}, {Name: "db2", Role: topology.Preferred}, {Name: "db3", Source: "db2"}, {Name: "db4", Role: topology.Observer},
	} {
		m.Host, m.Address = m.Name, m.Name+":3306"
		if m.Role == "" {
			m.Role = topology.Candidate
		}
		r.Members = append(r.Members, m)
		rep := &topology.Report{Member: m.Name, Epoch: 7}
		rep.Self = topology.Self{Process: topology.Running, Answers: true, ReadOnly: true, Version: "10.11.9", SemiSync: topology.SemiSync{Loaded: true, Replies: m.Name == "db2"}}
		from := "db1:3306"
		if m.Source != "" {
			from = m.Source + ":3306"
		}
		rep.Self.Replica = &topology.Replica{Source: from, Channels: 1, Receiving: true, Receiver: "Yes", Applying: true, ByGTID: true, NoNews: 100 * time.Millisecond}
		if m.Name == "db1" {
			rep.Self.ReadOnly, rep.Self.Replica = false, nil
			rep.Self.SemiSync = topology.SemiSync{Loaded: true, Waits: true, Active: true, Acks: 1, Clients: 1}
			rep.Lease.Held = true
		}
		for _, o := range []string{"db1", "db2", "db3", "db4"} {
			if o != m.Name {
				rep.Sights = append(rep.Sights, topology.Sight{Of: o, Answers: true, Agent: true, For: time.Hour})
			}
		}
		s.Members[m.Name] = judge.Known{Report: rep, Age: 100 * time.Millisecond}
		s.Details[m.Name] = order.Details{Executed: "0-1-1234"}
	}
	delayed := s.Members["db4"].Report.Self.Replica
	delayed.Delay, delayed.Lag = time.Hour, time.Hour+2*time.Second
	s.Details["db4"] = order.Details{Executed: "0-1-1000"}
	return s
}

// judged adds the verdict, with what the members' details say.
func judged(s Scene) Scene {
	for name, d := range s.Details {
		k := s.Members[name]
		k.Look = &judge.Look{Contained: true, Below: d.Below}
		s.Members[name] = k
	}
	s.Verdict = judge.Judge(judge.View{Record: s.Record, Members: s.Members, Now: time.Hour, Watched: 1})
	return s
}

func TestText(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Scene)
		want   string
	}{
		{"peace", func(*Scene) {}, `
shop: fine, epoch 7, lossless-semisync
db1        primary                   open        0-1-1234                      waits for 1, 1 connected
├─ db2     intermediate (preferred)  replicates  0-1-1234         0s           acknowledges
│  └─ db3  replica                   replicates  0-1-1234         0s
└─ db4     replica (observer)        replicates  0-1-1000 (-234)  2s + 1h0m0s
     ! it is delayed on purpose, by 60 min: it is no measure of lag, and becomes primary only when it has caught up
`},
		{"broken below, and a stranger", func(s *Scene) {
			s.Members["db2"].Report.Self.Replica.ApplyErr = "error 1062: duplicate"
			s.Details["db2"] = order.Details{Executed: "0-1-1230", Below: []string{"db3:3306", "bi:3306"}}
			s.Record.Members = s.Record.Members[:3]
		}, `
shop: fine, epoch 7, lossless-semisync
db1            primary                   open          0-1-1234           waits for 1, 1 connected
└─ db2         intermediate (preferred)  broken        0-1-1230 (-4)  0s  acknowledges
   │    ! it cannot apply what it has received: error 1062: duplicate
   │    ! a replica below it is not a member: bi:3306 replicates from it, and will not be led to a new primary
   ├─ db3      replica                   replicates    0-1-1234       0s
   └─ bi:3306  stranger                  not a member
`},
		{"the primary is gone, nobody was asked", func(s *Scene) {
			p := &s.Members["db1"].Report.Self
			p.Process, p.Answers, p.GoneFor = topology.Gone, false, time.Second
			s.Members["db2"].Report.Self.Replica.Receiving, s.Members["db2"].Report.Self.Replica.Receiver = false, "Connecting"
			s.Record.Members, s.Details = s.Record.Members[:2], nil
			s.Record.Policy.Manual = true
		}, `
shop: dead, epoch 7, lossless-semisync, failover blocked: the policy leaves failover to an operator
db1     primary              gone            waits for 1, 1 connected
│    ! its process has ended: its agent saw it end 1.1 s ago
└─ db2  replica (preferred)  connecting  0s  acknowledges
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := scene()
			c.change(&s)
			if diff := cmp.Diff(strings.TrimPrefix(c.want, "\n"), Text(judged(s))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Each server is drawn once, whatever they say of each other.
func TestRowsHasEachServerOnce(t *testing.T) {
	for name, change := range map[string]func(*Scene){
		"two in a circle":       func(s *Scene) { s.Members["db2"].Report.Self.Replica.Source = "db3:3306" },
		"its own source":        func(s *Scene) { s.Members["db2"].Report.Self.Replica.Source = "db2:3306" },
		"the primary in a ring": func(s *Scene) { s.Members["db1"].Report.Self.Replica = &topology.Replica{Source: "db3:3306"} },
		"a source outside":      func(s *Scene) { s.Members["db2"].Report.Self.Replica.Source = "old:3306" },
		"no primary":            func(s *Scene) { s.Record.Primary = "" },
		"nothing known":         func(s *Scene) { s.Members, s.Details = nil, nil },
		"sets that are none":    func(s *Scene) { s.Details["db1"] = order.Details{Executed: "?"} },
	} {
		s := scene()
		change(&s)
		s.Verdict = judge.Judge(judge.View{Record: s.Record, Members: s.Members, Now: time.Hour})
		seen := map[string]int{}
		for _, r := range Rows(s) {
			seen[r.Server]++
		}
		if diff := cmp.Diff(map[string]int{"db1": 1, "db2": 1, "db3": 1, "db4": 1}, seen); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if got := Rows(Scene{}); got != nil {
		t.Errorf("of nothing: %v", got)
	}
}

func TestRowsForPrograms(t *testing.T) {
	rows := Rows(judged(scene()))
	text, err := json.Marshal(rows[3])
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"tree":"└─ db4","server":"db4","depth":1,"source":"db1","role":"replica (observer)","state":"replicates","read_only":true,"version":"10.11.9",` +
		`"position":"0-1-1000","executed":"0-1-1000","missing":234,"lag":2000000000,"delay":3600000000000,"findings":[{"member":"db4","kind":"delayed"`
	if !strings.HasPrefix(string(text), want) {
		t.Errorf("%s", text)
	}
	if rows[2].Depth != 2 || rows[2].Source != "db2" {
		t.Errorf("%+v", rows[2])
	}
}

func TestShort(t *testing.T) {
	const a, b = "3e11fa47-71ca-11e1-9e33-c80aa9429562", "4e11fa47-71ca-11e1-9e33-c80aa9429562"
	for _, c := range []struct{ set, want string }{
		{"", ""},
		{"0-1-7", "0-1-7"},
		{a + ":1-77", "3e11fa47:1-77"},
		{a + ":1-77:99,\n" + b + ":tag:1", "3e11fa47:1-77:99,4e11fa47:tag:1"},
		{"0-1-7,1-1-7,2-1-7,3-1-7,4-1-7", "0-1-7,1-1-7,2-1-7,+2"},
	} {
		if got := Short(c.set); got != c.want {
			t.Errorf("Short(%q) = %q; want %q", c.set, got, c.want)
		}
	}
}
