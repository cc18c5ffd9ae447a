package path_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"kaname.dev/kaname/rib/netpath/bundle"
	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/path"
	"kaname.dev/kaname/rib/netpath/trace"
)

// world opens the recording of a healthy cloud (lab/neutron/real): two computes, c1 with the
// OVS firewall and c2 with iptables_hybrid, and the network node n1.
func world(t testing.TB) *path.World {
	t.Helper()
	b, err := bundle.Open("testdata/healthy.bundle.tar.zst", bundle.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	hosts := map[string]*facts.Host{}
	for _, name := range b.Names() {
		h, err := b.Host(name)
		if err != nil {
			t.Fatal(err)
		}
		hosts[name] = h
	}
	return path.NewWorld(b.Cloud, hosts)
}

// ask reads "FROM TO [PROTO [PORT]]".
func ask(s string) trace.Question {
	w := strings.Fields(s)
	q := trace.Question{From: w[0], To: w[1]}
	if len(w) > 2 {
		q.Proto = w[2]
	}
	if len(w) > 3 {
		_ = json.Unmarshal([]byte(w[3]), &q.Port)
	}
	return q
}

// healthy is what the lab's probes saw in the cloud when it was recorded.
var healthy = []struct {
	q    string
	want trace.Verdict
}{
	{"a1 a2", trace.Delivered},
	{"a2 a1", trace.Delivered},
	{"a1 b1", trace.Delivered},
	{"a1 b2", trace.Delivered},
	{"b2 a1", trace.Delivered},
	{"a1 a2 tcp 443", trace.Delivered},
	{"a2 a1 tcp 443", trace.Delivered},
	{"a1 a2 tcp 8080", trace.Dropped},
	{"a2 a1 tcp 8080", trace.Dropped},
	{"a1 b2 tcp 443", trace.Delivered},
	{"a2 internet", trace.Delivered},
	{"a1 internet", trace.Delivered},
	{"b1 internet tcp 80", trace.Delivered},
	{"internet a1", trace.Delivered},
	{"internet b2", trace.Delivered},
	{"internet a1 tcp 443", trace.Delivered},
	{"internet a1 tcp 8080", trace.Dropped},
	{"a2 203.0.113.62", trace.Delivered},
	{"g1 g2 tcp 22", trace.Delivered},
	{"g2 g1 tcp 22", trace.Delivered},
	{"a1 g2 tcp 22", trace.Dropped},
	{"a1 10.10.1.200", trace.Delivered},
	{"b1 10.10.1.200", trace.Delivered},
	{"o1 a2", trace.Delivered},
	{"a2 o1 tcp 8080", trace.Delivered},
	{"w1 w2", trace.Delivered},
	{"w1 internet", trace.Delivered},
	{"w2 internet", trace.Delivered},
	{"internet w1", trace.Delivered},
	{"v1 v2", trace.Delivered},
	{"v2 a1", trace.Delivered},
	{"a1 v2", trace.Delivered},
	{"v1 internet", trace.Delivered},
	{"e1 internet", trace.Delivered},
	{"a1 e1", trace.Delivered},
	{"internet e1", trace.Delivered},
	{"w1 a1", trace.Dropped},
	{"a1 dhcp", trace.Delivered},
	{"a2 dhcp", trace.Delivered},
	{"b2 dhcp", trace.Delivered},
	{"v1 dhcp", trace.Delivered},
	{"a1 metadata", trace.Delivered},
	{"a2 metadata", trace.Delivered},
	{"w1 metadata", trace.Delivered},
	{"a1 gateway", trace.Delivered},
	{"a2 gateway", trace.Delivered},
	{"w1 gateway", trace.Delivered},
	{"a1 10.10.1.99", trace.Dropped},
	{"a1 10.99.0.1", trace.Delivered},
	{"a2 10.99.0.1", trace.Delivered},
	{"a1 dns", trace.Delivered},
	{"a2 dns", trace.Delivered},
}

func TestHealthy(t *testing.T) {
	w := world(t)
	for _, c := range healthy {
		tr, err := w.Walk(ask(c.q))
		if err != nil {
			t.Errorf("%s: %v", c.q, err)
			continue
		}
		if tr.Verdict != c.want {
			t.Errorf("%s: %s, want %s\n%s", c.q, tr.Verdict, c.want, show(&tr))
		} else if os.Getenv("KANAME_SHOW") != "" {
			t.Logf("%s: %s\n%s", c.q, tr.Verdict, show(&tr))
		}
	}
}

func show(tr *trace.Trace) string {
	var b strings.Builder
	for _, leg := range []*trace.Leg{&tr.Forward, &tr.Back} {
		b.WriteString("  -- " + string(leg.Verdict) + "\n")
		for _, h := range leg.Hops {
			b.WriteString("  " + strings.Join([]string{h.Place, h.Host, h.Name, h.Does, h.From, ">", h.To, "|", h.Out.String()}, " ") + " " + string(h.Verdict) + " ")
			f, _ := json.Marshal(h.Facts)
			b.Write(f)
			b.WriteString("\n")
			if h.Verdict != trace.Delivered || os.Getenv("KANAME_SHOW") == "proof" {
				for _, p := range h.Proof {
					b.WriteString("        " + p.Where + ": " + p.Line + "\n")
				}
			}
		}
	}
	b.WriteString("  missing: " + strings.Join(tr.Missing, "; ") + "\n")
	return b.String()
}

// BenchmarkWalk walks one question over compiled hosts.
func BenchmarkWalk(b *testing.B) {
	w := world(b)
	for _, q := range []string{"a1 b2 tcp 443", "internet a1"} {
		b.Run(q, func(b *testing.B) {
			for b.Loop() {
				if _, err := w.Walk(ask(q)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
