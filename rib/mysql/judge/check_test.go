package judge

import (
	"strings"
	"testing"
	"time"

	"kaname.dev/kaname/rib/mysql/gtid"
	"kaname.dev/kaname/rib/mysql/topology"
)

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name   string
		n      int
		change change
		says   []string // none: all is well
	}{
		{"the default policy, one replica", 1, all(), nil},
		{"the default policy", 2, all(), nil},
		{"the default policy, many", 6, all(), nil},
		{"asynchronous", 2, async, nil},
		{"impatient", 2, policy(func(p *topology.Policy) { p.Silence = 500 * ms }), []string{"policy: silence is 500ms", "choose 1.5s or more"}},
		{"too many acknowledgements", 2, policy(func(p *topology.Policy) { p.Acks = 3 }), []string{"policy of shop: acks is 3, but 2 replicas acknowledge"}},
		{"more than a MariaDB can wait for", 2, func(v *View) { v.Record.Flavour, v.Record.Policy.Acks = gtid.MariaDB, 2 }, []string{"acks is 2, but a MariaDB waits for one"}},
		{"none", 2, policy(func(p *topology.Policy) { p.Acks = 0 }), []string{"acks is 0"}},
		{"no acker", 1, func(v *View) { v.Record.Members[1].Role = topology.Observer }, []string{"0 replicas acknowledge"}},
		{"words", 2, policy(func(p *topology.Policy) { p.Durability, p.Unprovable = "strict", "hope" }), []string{`durability is "strict"`, `unprovable is "hope"`}},
		{"times", 2, policy(func(p *topology.Policy) { p.Stuck, p.Lease, p.Drain, p.Cooldown = time.Second, 500*ms, 0, -1 }), []string{"stuck is 1s", "lease is 500ms", "drain is 0s", "cooldown is -1ns"}},
		{"promote at once", 2, policy(func(p *topology.Policy) { p.Unprovable = topology.PromoteAfter }), []string{"promote-after is 0s"}},
	} {
		v := peace(c.n)
		c.change(&v)
		err := CheckRecord(v.Record)
		if (err != nil) != (len(c.says) > 0) {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		for _, s := range c.says {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("%s: %v; does not say %q", c.name, err, s)
			}
		}
	}
}
