package mysql

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	lab "kaname.dev/kaname/lab/mysql"
)

// With a resolver that does not answer, a killed primary is replaced as ever: members are known
// by address, and nobody is asked for a name. What is asked for all the same waits for 5 s, as
// for a resolver that is gone.
func TestADeadResolverKeepsNobodyFromFailingOver(t *testing.T) {
	asked := deadResolver(t)
	b := newBed(t, lab.FlavourMariaDB)
	b.adopt(nil)
	c := b.load()
	old, fault := b.server("db1"), time.Now()
	old.Kill()
	b.eventually(10*time.Second, func() string {
		if _, ok := c.Elsewhere(fault, old.ID); ok {
			return ""
		}
		v := b.look()
		return fmt.Sprintf("no write elsewhere: %s %s %+v", v.Verdict.State, v.Doing, v.Record.Move)
	})
	c.Stop()
	if n := asked.Load(); n > 0 {
		t.Errorf("the resolver was asked %d times", n)
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := net.DefaultResolver.LookupHost(short, "db1.example"); err == nil || asked.Load() == 0 {
		t.Errorf("the resolver is not dead: %v", err)
	}
}

// deadResolver has this process ask a resolver that does not answer, until the test ends, and
// counts how often.
func deadResolver(t *testing.T) *atomic.Int64 {
	t.Helper()
	var asked atomic.Int64
	before := net.DefaultResolver
	t.Cleanup(func() { net.DefaultResolver = before })
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		asked.Add(1)
		within, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		<-within.Done()
		return nil, errors.New("i/o timeout")
	}}
	return &asked
}
