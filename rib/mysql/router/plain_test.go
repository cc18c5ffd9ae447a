package router_test

import (
	"context"
	"testing"
	"time"

	"kaname.dev/kaname/lab"
	labmysql "kaname.dev/kaname/lab/mysql"
	"kaname.dev/kaname/rib/mysql/router"
)

func TestPlainPool(t *testing.T) {
	lab.Need(t, "mariadbd")
	b := start(t, labmysql.FlavourMariaDB, router.Options{})
	db := b.open(t, labmysql.UserApp, labmysql.PasswordApp)
	w := write(t, 8, func(ctx context.Context, i int, id int64) error { return insert(ctx, db, i, id) })
	var took []time.Duration
	for range 10 {
		before := w.acked.Load()
		took = append(took, b.handover(t))
		lab.Eventually(t, "writes go on", func() bool { return w.acked.Load() > before+20 })
	}
	errs := w.stop()
	t.Logf("held %v, %d writes, %d errors", took, w.acked.Load(), len(errs))
	for _, err := range errs {
		t.Error(err)
	}
}
