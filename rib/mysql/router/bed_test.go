package router_test

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	labmysql "kaname.dev/kaname/lab/mysql"
	"kaname.dev/kaname/rib/mysql/endpoint"
	"kaname.dev/kaname/rib/mysql/router"
	"kaname.dev/kaname/rib/mysql/topology"
)

// bed is two real servers and a router before them.
type bed struct {
	*labmysql.Bed
	r     *router.Router
	addr  string
	epoch uint64
	p     int // the primary's index
}

// on puts a router before the servers, until the test ends.
func (b *bed) on(t *testing.T, o router.Options) *bed {
	t.Helper()
	b.Servers[b.p].Exec(t, "DELETE FROM app.acks")
	b.epoch = 0
	b.r, b.addr = serve(t, o)
	b.publish(t)
	return b
}

// serve runs a router until the test ends.
func serve(t *testing.T, o router.Options) (*router.Router, string) {
	t.Helper()
	o.Topology, o.Listen = "shop", "127.0.0.1:0"
	o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	r, err := router.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Error("the router does not end")
		}
	})
	addr, err := r.Address(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r, addr
}

// usersFile has the lab's accounts.
func usersFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "users.cnf")
	text := fmt.Sprintf("# accounts\n[users]\n%s = %s\n%s = \"%s\"\n", labmysql.UserApp, labmysql.PasswordApp, labmysql.UserAdmin, labmysql.PasswordAdmin)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (b *bed) member(i int) *topology.Member {
	s := b.Servers[i]
	return &topology.Member{Name: s.Name, Address: s.Address()}
}

func (b *bed) publish(t *testing.T) {
	t.Helper()
	if err := b.r.Publish(t.Context(), endpoint.Target{Topology: "shop", Epoch: b.epoch, Primary: b.member(b.p)}); err != nil {
		t.Fatal(err)
	}
}

// handover moves the primary by hand, as a controller would, and returns how long new work
// was held.
func (b *bed) handover(t *testing.T) time.Duration {
	t.Helper()
	from, to := b.Servers[b.p], b.Servers[1-b.p]
	b.epoch++
	start := time.Now()
	if err := b.r.Withdraw(t.Context(), endpoint.Target{Topology: "shop", Epoch: b.epoch}); err != nil {
		t.Fatal(err)
	}
	from.SemiSync(t, false)
	from.Writable(t, false)
	if from.Flavour == labmysql.FlavourMySQL {
		to.Value(t, "SELECT WAIT_FOR_EXECUTED_GTID_SET(?, 10)", from.Value(t, "SELECT @@gtid_executed"))
	} else {
		to.Value(t, "SELECT MASTER_GTID_WAIT(?, 10)", from.Value(t, "SELECT @@gtid_binlog_pos"))
	}
	to.Promote(t, true)
	b.p = 1 - b.p
	b.publish(t)
	took := time.Since(start)
	from.Follow(t, to)
	return took
}

// open returns a pool of connections through the router.
func (b *bed) open(t *testing.T, user, password string, set ...func(*mysql.Config)) *sql.DB {
	t.Helper()
	c := mysql.NewConfig()
	c.User, c.Passwd, c.Net, c.Addr, c.DBName = user, password, "tcp", b.addr, "app"
	c.Logger, c.Timeout = &mysql.NopLogger{}, 20*time.Second
	for _, f := range set {
		f(c)
	}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() { db.Close() })
	return db
}

// writers write increasing ids until stop is called, which returns what went wrong.
type writers struct {
	wg     sync.WaitGroup
	cancel context.CancelFunc
	acked  atomic.Int64
	mu     sync.Mutex
	errs   []error
}

func write(t *testing.T, n int, one func(ctx context.Context, writer int, id int64) error) *writers {
	w := &writers{}
	ctx, cancel := context.WithCancel(t.Context())
	w.cancel = cancel
	t.Cleanup(func() {
		if errs := w.stop(); t.Failed() && len(errs) > 0 {
			t.Logf("%d errors, the first: %v", len(errs), errs[:min(8, len(errs))])
		}
	})
	for i := range n {
		w.wg.Go(func() {
			for id := int64(i); ctx.Err() == nil; id += int64(n) {
				if err := one(t.Context(), i, id); err != nil {
					w.mu.Lock()
					w.errs = append(w.errs, err)
					w.mu.Unlock()
					select { // a client would wait a little, too
					case <-time.After(20 * time.Millisecond):
					case <-ctx.Done():
					}
					continue
				}
				w.acked.Add(1)
			}
		})
	}
	return w
}

func (w *writers) stop() []error {
	w.cancel()
	w.wg.Wait()
	return w.errs
}

func insert(ctx context.Context, c interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}, writer int, id int64,
) error {
	_, err := c.ExecContext(ctx, "INSERT INTO acks (id, writer) VALUES (?, ?)", id, writer)
	return err
}
