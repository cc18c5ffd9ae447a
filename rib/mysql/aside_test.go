package mysql

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"kaname.dev/kaname/lab"
	labmysql "kaname.dev/kaname/lab/mysql"
	"kaname.dev/kaname/rib/mysql/judge"
)

// A former primary that has a transaction which nobody acknowledged does not follow the new
// one, however far that has gone on: the transaction is written to a file, and people are told.
func TestAnOldPrimaryWithItsOwnIsSetAside(t *testing.T) {
	flavours := []string{labmysql.FlavourMariaDB}
	if lab.Soak() {
		flavours = append(flavours, labmysql.FlavourMySQL)
	}
	for _, flavour := range flavours {
		t.Run(flavour, func(t *testing.T) { setAside(t, newBed(t, flavour), flavour) })
	}
}

// tailID is the row that only the old primary has.
const tailID = 770077

func setAside(t *testing.T, b *bed, flavour string) {
	t.Helper()
	b.adopt(nil)
	b.load().Stop()
	old := b.server("db1")
	b.must("mysql pause", map[string][]string{"topology": {"shop"}}) // or it has the replicas receive again
	stop := "STOP REPLICA IO_THREAD"
	if flavour == labmysql.FlavourMariaDB {
		stop = "STOP SLAVE IO_THREAD"
	}
	for _, name := range []string{"db2", "db3"} {
		b.server(name).Exec(t, stop)
	}
	done := b.hang()
	old.Kill()
	if err := <-done; err == nil {
		t.Fatal("a write was acknowledged that no replica has")
	}
	b.must("mysql resume", map[string][]string{"topology": {"shop"}})
	b.eventually(30*time.Second, func() string {
		if v := b.look(); v.Record.Primary == "db1" || v.Record.Move != nil {
			return fmt.Sprintf("the primary has not moved: %s %s", v.Verdict.State, v.Doing)
		}
		return ""
	})
	primary := b.server(b.look().Record.Primary)
	for i := range 30 { // beyond the number of that transaction
		primary.Exec(t, fmt.Sprintf("INSERT INTO app.acks (id, writer) VALUES (%d, 1)", 880000+i))
	}
	path := b.aside()
	text, err := os.ReadFile(path) //nolint:gosec // named by the finding that is tested
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), strconv.Itoa(tailID)) || strings.Contains(string(text), "880001") {
		t.Errorf("%s has not the one transaction:\n%s", path, text)
	}
	if !old.Has(t, tailID) || primary.Has(t, tailID) {
		t.Errorf("row %d: old primary %t, new one %t", tailID, old.Has(t, tailID), primary.Has(t, tailID))
	}
	out := b.must("mysql status", map[string][]string{"topology": {"shop"}}).([]statusOut)
	if len(out) != 1 || out[0].Members != "2/3" || !strings.Contains(out[0].Note, "findings") {
		t.Errorf("status %+v", out)
	}
}

// hang begins a write on db1 that waits for acknowledgements, and returns how it ends.
func (b *bed) hang() <-chan error {
	b.t.Helper()
	old := b.server("db1")
	db := old.DB()
	b.t.Cleanup(func() { _ = db.Close() })
	done := make(chan error, 1)
	go func() {
		_, err := db.ExecContext(context.WithoutCancel(b.t.Context()), "INSERT INTO app.acks (id, writer) VALUES (?, 1)", tailID)
		done <- err
	}()
	b.eventually(10*time.Second, func() string {
		if old.Value(b.t, "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'INSERT INTO app.acks%' AND state LIKE '%emi-sync%'") == "1" {
			return ""
		}
		return "the write does not wait: " + old.Value(b.t, "SELECT GROUP_CONCAT(CONCAT_WS(' ', state, info) SEPARATOR '; ') FROM information_schema.processlist")
	})
	return done
}

// aside waits until db1 is back with its transaction set aside, and returns the file. It may
// not follow meanwhile.
func (b *bed) aside() string {
	b.t.Helper()
	named := regexp.MustCompile(`they are in (\S+\.sql) on db1 \((\d+) transactions\): .*kaname mysql reclone shop db1`)
	var path string
	b.eventually(60*time.Second, func() string {
		v := b.look()
		r := v.Members["db1"].Report
		if r != nil && r.Self.Answers && r.Self.Replica != nil {
			b.t.Fatalf("it was made a replica: %+v", r.Self.Replica)
		}
		i := slices.IndexFunc(v.Verdict.Findings, func(f judge.Finding) bool { return f.Member == "db1" && f.Kind == judge.Errant })
		if i < 0 {
			return fmt.Sprintf("nothing is found errant: %+v; db1 %+v", v.Verdict.Findings, r)
		}
		m := named.FindStringSubmatch(v.Verdict.Findings[i].Try)
		if m == nil {
			return "no file is named: " + v.Verdict.Findings[i].Try
		}
		if path = m[1]; m[2] != "1" {
			b.t.Errorf("%s transactions are set aside, want the one", m[2])
		}
		return ""
	})
	return path
}
