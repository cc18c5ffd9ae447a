package server_test

import (
	"errors"
	"testing"
	"time"

	"kaname.dev/kaname/lab"
	labmysql "kaname.dev/kaname/lab/mysql"
)

// TestClone makes a server that has something of its own a copy of another.
func TestClone(t *testing.T) {
	if !lab.Soak() {
		t.Skip("takes long: make soak")
	}
	labmysql.NeedMySQL(t)
	f := &pair{bed: labmysql.Topology(t, labmysql.FlavourMySQL, 2)}
	f.p, f.r = f.open(t, f.bed.Servers[0]), f.open(t, f.bed.Servers[1])
	ctx := within(t, time.Minute)
	from := f.ready(t).write(t, 20)
	ok(t, f.r.Abandon(ctx))
	f.r.lab.Exec(t, superOff(f), "INSERT INTO app.acks (id, writer) VALUES (-7, 7)", superOn(f))
	ok(t, f.p.ClonePlugin(ctx))
	src := source(f.p)
	src.User, src.Password = labmysql.UserAdmin, labmysql.PasswordAdmin
	ok(t, f.r.Clone(ctx, src))
	lab.Eventually(t, "the copy has stopped", func() bool { return f.r.lab.PID() == 0 })
	f.r.lab.Start(t)
	ok(t, f.r.Follow(ctx, source(f.p), true))
	f.bed.Prove(t, f.p.lab)
	if n := count(t, f.r, from); n != 20 || f.r.lab.Has(t, -7) {
		t.Errorf("%d rows of 20; its own is there: %t", n, f.r.lab.Has(t, -7))
	}
}

func TestCloneOfMariaDB(t *testing.T) {
	if !lab.Soak() {
		t.Skip("a server of its own, to hear that it cannot: make soak")
	}
	lab.Need(t, "mariadbd")
	f := &pair{}
	s := f.open(t, labmysql.MariaDB(t, labmysql.Options{}))
	if err := s.Clone(within(t, 5*time.Second), source(s)); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("%v", err)
	}
}
