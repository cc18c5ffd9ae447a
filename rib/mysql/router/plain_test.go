package router_test

import (
	"context"
	"testing"
	"time"

	"kaname.dev/kaname/lab"
	labmysql "kaname.dev/kaname/lab/mysql"
	"kaname.dev/kaname/rib/mysql/router"
)

// switchovers moves the primary some times under the load of w, and returns the errors.
func (b *bed) switchovers(t *testing.T, w *writers) []error {
	t.Helper()
	var took []time.Duration
	for range rounds() {
		before := w.acked.Load()
		took = append(took, b.handover(t))
		lab.Eventually(t, "writes go on", func() bool { return w.acked.Load() > before+20 })
	}
	errs := w.stop()
	t.Logf("held %v, %d writes, %d errors", took, w.acked.Load(), len(errs))
	b.count(t, w.acked.Load()+int64(len(errs)))
	return errs
}

// A pool of connections of Go's driver does not notice either, without the router knowing
// a password.
func (b *bed) plainPool(t *testing.T) {
	b.on(t, router.Options{})
	db := b.open(t, labmysql.UserApp, labmysql.PasswordApp)
	db.SetMaxIdleConns(8)
	w := write(t, 8, func(ctx context.Context, i int, id int64) error { return insert(ctx, db, i, id) })
	for _, err := range b.switchovers(t, w) {
		t.Error(err)
	}
}

// Clients that connect for one statement do not notice in either mode.
func (b *bed) short(t *testing.T) {
	for _, o := range []router.Options{{}, {Users: usersFile(t)}} {
		b.on(t, o)
		db := b.open(t, labmysql.UserApp, labmysql.PasswordApp)
		db.SetMaxIdleConns(-1)
		w := write(t, 4, func(ctx context.Context, i int, id int64) error { return insert(ctx, db, i, id) })
		for _, err := range b.switchovers(t, w) {
			t.Error(err)
		}
	}
}

// A transaction that is under way ends where it began.
func (b *bed) plainTransaction(t *testing.T) {
	b.on(t, router.Options{Drain: 5 * time.Second})
	db := b.open(t, labmysql.UserApp, labmysql.PasswordApp)
	tx, err := db.BeginTx(t.Context(), nil)
	if err == nil {
		_, err = tx.Exec("INSERT INTO acks (id, writer) VALUES (1, 1)")
	}
	if err != nil {
		t.Fatal(err)
	}
	committed := make(chan error, 1)
	go func() {
		<-time.After(700 * time.Millisecond)
		_, err := tx.Exec("INSERT INTO acks (id, writer) VALUES (2, 1)")
		if err == nil {
			err = tx.Commit()
		}
		committed <- err
	}()
	took := b.handover(t)
	if err := <-committed; err != nil || took < 500*time.Millisecond {
		t.Errorf("the transaction: %v; new work was held for %v", err, took)
	}
	b.count(t, 2)
}
