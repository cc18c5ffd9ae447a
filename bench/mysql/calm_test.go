package mysql

import (
	"context"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	labmysql "kaname.dev/kaname/lab/mysql"
	"kaname.dev/kaname/lab/mysql/load"
)

// disturbance is what happens to a healthy topology, and is no reason for a failover.
type disturbance struct {
	name string
	do   func(b *bed, p *labmysql.Server)
}

// disturbances are of the primary p and of others; none is longer than the detection time.
var disturbances = []disturbance{
	{"the primary pauses", func(b *bed, p *labmysql.Server) {
		p.Stop()
		<-time.After(time.Duration(200+rand.IntN(700)) * time.Millisecond)
		p.Cont()
	}},
	{"the primary's agent pauses", func(b *bed, p *labmysql.Server) {
		b.agent(p).signal(syscall.SIGSTOP)
		<-time.After(time.Duration(200+rand.IntN(700)) * time.Millisecond)
		b.agent(p).signal(syscall.SIGCONT)
	}},
	{"the primary's network is gone for a moment", func(b *bed, p *labmysql.Server) {
		p.Host.CutSilently()
		<-time.After(time.Duration(100+rand.IntN(600)) * time.Millisecond)
		p.Host.Restore()
	}},
	{"the core pauses", func(b *bed, _ *labmysql.Server) {
		b.cores[0].signal(syscall.SIGSTOP)
		<-time.After(time.Duration(500+rand.IntN(4000)) * time.Millisecond)
		b.cores[0].signal(syscall.SIGCONT)
	}},
	{"slow queries", func(b *bed, p *labmysql.Server) {
		b.both(p, "SELECT BENCHMARK(30000000, SHA1('x'))", "SELECT SLEEP(5)", "SELECT COUNT(*) FROM app.acks a JOIN app.acks b ON a.id % 97 = b.id % 89 LIMIT 1")
	}},
	{"a replica restarts", func(b *bed, p *labmysql.Server) {
		r := b.other(p)
		r.Shutdown()
		b.back(r) // its agent may be quicker than we
	}},
	{"a replica is killed", func(b *bed, p *labmysql.Server) {
		r := b.other(p)
		r.Kill()
		b.back(r)
	}},
	{"a replica pauses", func(b *bed, p *labmysql.Server) {
		r := b.other(p)
		r.Stop()
		<-time.After(3 * time.Second)
		r.Cont()
	}},
	{"a replica lags", func(b *bed, p *labmysql.Server) {
		c, err := b.other(p).DB().Conn(b.t.Context())
		if err != nil {
			b.t.Fatal(err)
		}
		_, _ = c.ExecContext(b.t.Context(), "LOCK TABLES app.acks READ")
		<-time.After(5 * time.Second)
		_, _ = c.ExecContext(b.t.Context(), "UNLOCK TABLES")
		_ = c.Close()
	}},
	{"DDL", func(b *bed, p *labmysql.Server) {
		p.Exec(b.t, "ALTER TABLE app.acks ADD COLUMN extra INT NULL", "ALTER TABLE app.acks ADD INDEX w (writer)",
			"ALTER TABLE app.acks DROP INDEX w, DROP COLUMN extra")
	}},
	{"a large transaction", func(b *bed, p *labmysql.Server) {
		p.Exec(b.t, "CREATE TABLE IF NOT EXISTS app.big (id BIGINT PRIMARY KEY, w INT)", "DELETE FROM app.big",
			"INSERT INTO app.big SELECT id, writer FROM app.acks LIMIT 20000", "UPDATE app.big SET w = w + 1")
	}},
	{"a table is locked for a while", func(b *bed, p *labmysql.Server) {
		c, err := p.DB().Conn(b.t.Context())
		if err != nil {
			b.t.Fatal(err)
		}
		_, _ = c.ExecContext(b.t.Context(), "LOCK TABLES app.acks WRITE")
		<-time.After(4 * time.Second)
		_, _ = c.ExecContext(b.t.Context(), "UNLOCK TABLES")
		_ = c.Close()
	}},
	{"too many connections", (*bed).crowd},
	{"the primary's agent restarts", func(b *bed, p *labmysql.Server) {
		b.agent(p).end(syscall.SIGTERM)
		b.agent(p).start()
	}},
	{"the core restarts", func(b *bed, _ *labmysql.Server) {
		b.cores[0].end(syscall.SIGKILL)
		b.cores[0].start()
	}},
}

// other returns a replica, another one each time.
func (b *bed) other(p *labmysql.Server) *labmysql.Server {
	for {
		if s := b.db[rand.IntN(len(b.db))]; s != p {
			return s
		}
	}
}

// both runs queries side by side, as an application with no thought for others.
func (b *bed) both(p *labmysql.Server, queries ...string) {
	ctx, cancel := context.WithTimeout(b.t.Context(), 6*time.Second)
	defer cancel()
	done := make(chan struct{})
	for _, q := range queries {
		go func() {
			_, _ = p.DB().ExecContext(ctx, q)
			done <- struct{}{}
		}()
	}
	for range queries {
		<-done
	}
}

// crowd takes all connections that the server has to give.
func (b *bed) crowd(p *labmysql.Server) {
	o := load.Options{Writers: 220, First: 1 << 50, Every: time.Hour}
	ctx, cancel := context.WithTimeout(b.t.Context(), 4*time.Second)
	defer cancel()
	o.Dial = p.Dial
	c, err := load.Start(ctx, o)
	if err != nil {
		b.t.Fatal(err)
	}
	<-ctx.Done()
	c.Stop()
}

// settled waits until kaname finds nothing wrong. Replicas may lag: on a busy machine they
// do, and it is no reason for a failover either.
func (b *bed) settled(within time.Duration) status {
	b.t.Helper()
	var s status
	b.until("nothing is wrong", within, func() bool {
		s = b.status()
		return s.State == "fine" && s.Members == fmt.Sprintf("%d/%d", len(b.db), len(b.db))
	})
	return s
}

// TestCalm disturbs a topology for a long time, and sees that its primary stays.
func TestCalm(t *testing.T) {
	full(t)
	moves := 0
	flavours(t, func(t *testing.T, flavour string) {
		b := newBed(t, options{flavour: flavour})
		before := b.fine(time.Minute)
		p := b.server(before.Primary)
		from := time.Now()
		for n := 0; time.Since(from) < *calm; n++ {
			d := disturbances[n%len(disturbances)]
			if n >= len(disturbances) {
				d = disturbances[rand.IntN(len(disturbances))]
			}
			began := time.Now()
			d.do(b, p)
			<-time.After(time.Duration(rand.IntN(3000)) * time.Millisecond)
			s := b.settled(3 * time.Minute)
			t.Logf("%s %s: %s", time.Since(from).Round(time.Second), d.name, time.Since(began).Round(time.Millisecond))
			if s.Epoch != before.Epoch || s.Primary != before.Primary {
				moves++
				t.Errorf("a false failover after %q: %s of epoch %d\n%s", d.name, s.Primary, s.Epoch, b.story())
				before, p = s, b.server(s.Primary)
				b.cli(nil, "mysql", "acknowledge", shop)
			}
		}
		history := b.client.Stop()
		result := load.Check(load.Evidence{History: history, Kept: load.IDs(t, p), Old: p.ID})
		t.Logf("after %s of %s: %s", time.Since(from).Round(time.Second), flavour, result)
		if len(result.Lost)+len(result.Doubles) > 0 {
			t.Errorf("lost %v, by two servers %v", result.Lost, result.Doubles)
		}
	})
	record("mysql.false_failovers", float64(moves), fmt.Sprintf("in %s of load, each flavour", *calm), "", 0)
}
