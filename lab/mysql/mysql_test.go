package mysql_test

import (
	"testing"

	"kaname.dev/kaname/lab"
	"kaname.dev/kaname/lab/mysql"
)

func TestTopology(t *testing.T) {
	for _, flavour := range []string{mysql.FlavourMariaDB, mysql.FlavourMySQL} {
		t.Run(flavour, func(t *testing.T) {
			b := mysql.Topology(t, flavour, 3)
			p, r := b.Primary(), b.Replicas()
			r[0].Kill()
			p.Exec(t, "INSERT INTO app.acks (id, writer) VALUES (1, 0)")
			r[0].Start(t)
			lab.Eventually(t, "the restarted replica has caught up", func() bool { return r[0].Has(t, 1) })

			p.Kill()
			r[0].Promote(t, true)
			r[1].Follow(t, r[0])
			p.Start(t)
			p.Follow(t, r[0])
			b.Prove(t, r[0])
			if ro := p.Value(t, "SELECT @@read_only"); ro != "1" {
				t.Errorf("the old primary has read_only %s", ro)
			}
		})
	}
}
