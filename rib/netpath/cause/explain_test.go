package cause_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"kaname.dev/kaname/rib/netpath/bundle"
	"kaname.dev/kaname/rib/netpath/cause"
	"kaname.dev/kaname/rib/netpath/expect"
	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/intent"
	"kaname.dev/kaname/rib/netpath/path"
	"kaname.dev/kaname/rib/netpath/trace"
)

func recorded(t testing.TB) (*intent.Cloud, map[string]*facts.Host) {
	t.Helper()
	b, err := bundle.Open("../path/testdata/healthy.bundle.tar.zst", bundle.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	hosts := map[string]*facts.Host{}
	for _, name := range b.Names() {
		if hosts[name], err = b.Host(name); err != nil {
			t.Fatal(err)
		}
	}
	return b.Cloud, hosts
}

// ask reads "FROM TO [PROTO [PORT | big]]".
func ask(s string) trace.Question {
	w := strings.Fields(s)
	q := trace.Question{From: w[0], To: w[1]}
	if len(w) > 2 {
		q.Proto = w[2]
	}
	if len(w) > 3 && w[3] == "big" {
		q.Size = 1428
	} else if len(w) > 3 {
		n, _ := strconv.Atoi(w[3])
		q.Port = uint16(n)
	}
	return q
}

func explain(t testing.TB, c *intent.Cloud, hosts map[string]*facts.Host, q string) trace.Trace {
	t.Helper()
	x := expect.New(c, hosts)
	tr, err := cause.Explain(path.NewWorld(c, hosts), ask(q), x.Host)
	if err != nil {
		t.Fatalf("%s: %v", q, err)
	}
	return tr
}

// broken is the recorded hosts with a fault in one of them.
func broken(hosts map[string]*facts.Host, list ...fault) map[string]*facts.Host {
	out := map[string]*facts.Host{}
	for name, h := range hosts {
		out[name] = h.Clone()
	}
	for _, f := range list {
		f.do(out[f.host])
	}
	return out
}

// TestFaults: the fault that is there is the first one named.
func TestFaults(t *testing.T) {
	c, hosts := recorded(t)
	for _, f := range faults {
		if f.do == nil {
			continue
		}
		t.Run(f.id, func(t *testing.T) {
			begun := time.Now()
			tr := explain(t, c, broken(hosts, f), f.ask)
			took := time.Since(begun)
			first := ""
			switch {
			case len(tr.Causes) > 0:
				first = tr.Causes[0].ID
			case len(tr.Cautions) > 0:
				first = tr.Cautions[0].ID
			}
			t.Logf("%s: %s: %s %s %s latent %s %v", f.id, f.ask, tr.Verdict, list(tr.Causes), list(tr.Cautions), list(tr.Latent), took)
			if first == "cannot-tell" {
				t.Log(way(&tr))
			}
			switch {
			case f.want == "?":
			case f.want == "*" && (first == "" || first == "cannot-tell"), f.want != "*" && first != f.want:
				t.Errorf("%s: %q is named first, want %q; latent %s\n%s", f.id, first, f.want, list(tr.Latent), way(&tr))
			case f.want != "" && !slices.ContainsFunc(append(tr.Causes, tr.Cautions...), func(x trace.Finding) bool { return x.Host == f.host }):
				t.Errorf("%s is on %s, named are %s", f.id, f.host, list(tr.Causes))
			}
		})
	}
}

func list(all []trace.Finding) string {
	var s []string
	for _, f := range all {
		s = append(s, f.ID+"@"+f.Host+"#"+strconv.Itoa(f.Hop))
	}
	return "[" + strings.Join(s, " ") + "]"
}

func way(tr *trace.Trace) string {
	var b strings.Builder
	for _, leg := range []*trace.Leg{&tr.Forward, &tr.Back} {
		for _, h := range leg.Hops {
			f, _ := json.Marshal(h.Facts)
			b.WriteString("  " + h.Host + " " + h.Name + " " + h.Does + " " + h.To + " " + string(h.Verdict) + " " + string(f) + "\n")
		}
		b.WriteString("  --\n")
	}
	return b.String() + strings.Join(tr.Missing, "; ")
}

// TestHealthy: nothing is named where nothing is wrong.
func TestHealthy(t *testing.T) {
	c, hosts := recorded(t)
	for _, q := range []string{"a1 a2", "a1 b2 tcp 443", "a1 internet", "a2 internet", "internet b2", "internet w1", "v1 v2", "a1 dhcp", "a2 metadata", "w1 internet", "e1 internet"} {
		if tr := explain(t, c, hosts, q); tr.Verdict != trace.Delivered || len(tr.Causes)+len(tr.Cautions) > 0 {
			t.Errorf("%s: %s %s %s", q, tr.Verdict, list(tr.Causes), list(tr.Cautions))
		}
	}
}

// TestDenied: what no rule admits is said to be so, with the command that makes the rule.
func TestDenied(t *testing.T) {
	c, hosts := recorded(t)
	for _, q := range []string{"a1 a2 tcp 8080", "a2 a1 tcp 8080", "internet a1 tcp 8080", "a1 g2 tcp 22", "a1 g1 tcp 22"} {
		tr := explain(t, c, hosts, q)
		if tr.Verdict != trace.Dropped || len(tr.Causes) != 1 || tr.Causes[0].ID != "sg-no-rule" || !strings.Contains(tr.Causes[0].Fix[0].Command, "security group rule create --ingress") {
			t.Errorf("%s: %s %s\n%s", q, tr.Verdict, list(tr.Causes), way(&tr))
		}
	}
}

// TestTogether: two faults on one path are both named, in the order in which they are met.
func TestTogether(t *testing.T) {
	c, hosts := recorded(t)
	named := func(id string) fault {
		return faults[slices.IndexFunc(faults, func(f fault) bool { return f.id == id })]
	}
	for _, pair := range [][2]string{{"D01", "D02"}, {"D02", "D14"}, {"D11", "D12"}, {"D05", "D06"}} {
		a, b := named(pair[0]), named(pair[1])
		tr := explain(t, c, broken(hosts, a, b), b.ask)
		if len(tr.Causes) != 2 || !tr.Causes[0].Together {
			t.Errorf("%v: %s\n%s", pair, list(tr.Causes), way(&tr))
		}
	}
	tr := explain(t, c, broken(hosts, named("D02")), "a1 a2 tcp 8080")
	if len(tr.Causes) != 2 {
		t.Errorf("a tunnel and a rule: %s\n%s", list(tr.Causes), way(&tr))
	}
}

// TestSame: the same input gives the same bytes.
func TestSame(t *testing.T) {
	c, hosts := recorded(t)
	var first []byte
	for range 5 {
		b, err := json.Marshal(explain(t, c, broken(hosts, faults[1]), "a1 b2"))
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = b
		}
		if !bytes.Equal(first, b) {
			t.Fatalf("%s\n%s", first, b)
		}
	}
}
