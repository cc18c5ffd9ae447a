package mysql

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	lab "kaname.dev/kaname/lab/mysql"
	"kaname.dev/kaname/rib/mysql/judge"
)

// A replica with data of its own becomes a copy of another, follows and acknowledges, and
// its old data go.
func TestReclone(t *testing.T) {
	for _, flavour := range []string{lab.FlavourMariaDB, lab.FlavourMySQL} {
		t.Run(flavour, func(t *testing.T) { recloned(t, newBed(t, flavour), flavour) })
	}
}

func recloned(t *testing.T, b *bed, flavour string) {
	t.Helper()
	b.adopt(nil)
	old := b.server("db2")
	super := []string{}
	if flavour == lab.FlavourMySQL {
		super = []string{"SET GLOBAL super_read_only=0"}
	}
	old.Exec(t, append(super, fmt.Sprintf("INSERT INTO app.acks (id, writer) VALUES (%d, 1)", tailID))...)
	primary := b.server("db1")
	for i := range 20 {
		primary.Exec(t, fmt.Sprintf("INSERT INTO app.acks (id, writer) VALUES (%d, 1)", 880000+i))
	}
	start := time.Now()
	b.must("mysql reclone", map[string][]string{"topology": {"shop"}, "server-name": {"db2"}})
	t.Logf("recloned in %v", time.Since(start))
	b.fine(time.Minute)
	b.eventually(time.Minute, func() string {
		v := b.look()
		for _, f := range v.Verdict.Findings {
			if f.Member == "db2" && f.Kind == judge.Errant {
				return "it is errant still: " + f.Why
			}
		}
		switch left, _ := filepath.Glob(old.DataDir + ".*"); {
		case len(left) > 0:
			return "old data: " + strings.Join(left, ", ")
		case !old.Has(t, 880019):
			return "it has not the last row"
		case old.Has(t, tailID):
			t.Fatal("it has a row of its own still")
		}
		return ""
	})
	primary.Exec(t, "INSERT INTO app.acks (id, writer) VALUES (880100, 1)")
	b.eventually(10*time.Second, func() string {
		if old.Has(t, 880100) {
			return ""
		}
		return "it does not apply"
	})
}
