package server_test

import (
	"testing"
	"time"

	labmysql "kaname.dev/kaname/lab/mysql"
)

func TestSmoke(t *testing.T) {
	flavours(t, func(t *testing.T, flavour string) {
		bed := labmysql.Topology(t, flavour, 2)
		p, r := open(t, bed.Servers[0]), open(t, bed.Servers[1])
		ctx := within(t, 20*time.Second)
		ok(t, p.Ping(ctx))
		self, err := p.Look(ctx)
		ok(t, err)
		t.Logf("%+v", self)
		self, err = r.Look(ctx)
		ok(t, err)
		t.Logf("%+v %+v", self, self.Replica)
		e, rcv, err := r.Positions(ctx)
		ok(t, err)
		t.Log(e, rcv)
		began := time.Now()
		end, err := p.CloseWrites(ctx, time.Second)
		ok(t, err)
		t.Log("closed", time.Since(began), end)
		fz, err := r.Freeze(ctx)
		ok(t, err)
		t.Logf("%+v", fz)
		ok(t, r.Drain(ctx, end))
		ok(t, r.Detach(ctx))
		ok(t, r.SemiSync(ctx, true, 1, false))
		ok(t, r.Writable(ctx))
		ok(t, p.Follow(ctx, source(t, bed.Servers[1]), true))
		bed.Prove(t, bed.Servers[1])
	})
}
