package mysql

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"strings"
	"testing"
	"time"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	lab "kaname.dev/kaname/lab/mysql"
	"kaname.dev/kaname/lab/mysql/load"
	"kaname.dev/kaname/rib"
	"kaname.dev/kaname/rib/mysql/controller"
	"kaname.dev/kaname/rib/mysql/exchange"
	"kaname.dev/kaname/rib/mysql/judge"
	"kaname.dev/kaname/rib/office"
	"kaname.dev/kaname/rib/ribtest"
)

// bed is a core, three hosts with real servers, and one with a router, in this process.
type bed struct {
	t       *testing.T
	core    rib.Node
	actions action.Catalog
	servers *lab.Bed
	router  string // address
	client  *office.Client
}

func newBed(t *testing.T, flavour string) *bed {
	t.Helper()
	b := &bed{t: t, core: ribtest.Core(t, "core1"), servers: lab.Topology(t, flavour, 3)}
	b.client = exchange.NewClient(b.core.Plane, b.core.PeerClient, 5*time.Second)
	r := b.run(b.core, Config{})
	b.actions = action.NewCatalog(r.Actions...)
	for i, s := range b.servers.Servers {
		n := ribtest.Host(t, b.core, []string{"db1", "db2", "db3"}[i], nil)
		b.run(n, Config{Servers: []Server{{
			Address: s.Address(), Socket: s.Socket, Credentials: s.AdminFile, Replication: s.ReplFile, Start: []string{s.StartFile},
		}}})
	}
	b.router = free(t)
	b.run(ribtest.Host(t, b.core, "web1", nil), Config{Routers: []Router{{Topology: "shop", Listen: b.router}}})
	return b
}

// free returns a free address.
func free(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// run runs the rib on a node until the test ends.
func (b *bed) run(n rib.Node, c Config) rib.Rib {
	b.t.Helper()
	if testing.Verbose() {
		n.Log = slog.New(slog.NewTextHandler(b.t.Output(), nil)).With("host", n.Host)
	}
	r := Rib()
	*r.Config.(*Config) = c
	if err := c.Check(); err != nil {
		b.t.Fatal(err)
	}
	if err := r.Attach(n); err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	b.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Errorf("rib on %s: %v", n.Host, err)
		}
	})
	return r
}

// do runs an action as a person would, "mysql adopt" with its inputs as text.
func (b *bed) do(name string, inputs map[string][]string) (any, error) {
	b.t.Helper()
	a, err := b.actions.Find(name)
	if err != nil {
		b.t.Fatal(err)
	}
	run := &action.Run{ID: "test", Actor: action.Actor{Name: "alice"}, Emit: func(e action.Event) { b.t.Logf("%s: %s", name, e.Text) }}
	return a.Run(b.t.Context(), run, action.TextInputs(inputs))
}

func (b *bed) must(name string, inputs map[string][]string) any {
	b.t.Helper()
	out, err := b.do(name, inputs)
	if err != nil {
		b.t.Fatalf("%s: %v", name, err)
	}
	return out
}

// eventually polls until a condition holds, which says what is missing otherwise.
func (b *bed) eventually(within time.Duration, cond func() string) {
	b.t.Helper()
	for deadline := time.Now().Add(within); ; {
		missing := cond()
		if missing == "" {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("after %v still: %s", within, missing)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// adopt takes charge of the servers and waits until all is fine.
func (b *bed) adopt(more map[string][]string) {
	b.t.Helper()
	in := map[string][]string{"topology": {"shop"}, "primary": {"db1"}, "replicas": {"db2,db3"}, "lease": {"6s"}} // other tests run beside this one
	maps.Copy(in, more)
	b.eventually(20*time.Second, func() string { // agents have only begun to look
		_, err := b.do("mysql adopt", in)
		if err != nil && !fault.Is(err, fault.KindUnavailable) {
			b.t.Fatalf("mysql adopt: %v", err)
		}
		if err != nil {
			return err.Error()
		}
		return ""
	})
	b.fine(20 * time.Second)
}

// fine waits until the verdict is fine and all replicas acknowledge.
func (b *bed) fine(within time.Duration) {
	b.t.Helper()
	b.eventually(within, func() string {
		t := b.look()
		p := t.Members[t.Record.Primary].Report
		if t.Verdict.State == judge.Fine && t.Record.Move == nil && p != nil && p.Lease.Held && p.Self.SemiSync.Active && p.Self.SemiSync.Clients == 2 {
			return ""
		}
		return fmt.Sprintf("%s: %s; primary %+v", t.Verdict.State, strings.Join(t.Verdict.Reasons, "; "), p)
	})
}

// look returns what the controller knows.
func (b *bed) look() controller.TopologyView {
	b.t.Helper()
	v, err := office.Do[controller.View](b.t.Context(), b.client, exchange.PathView, controller.Query{Topology: "shop"})
	if err != nil {
		b.t.Fatal(err)
	}
	return v.Topologies[0]
}

// load starts a client that writes through the router.
func (b *bed) load() *load.Client {
	b.t.Helper()
	c, err := load.Start(b.t.Context(), load.Options{Dial: func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", b.router)
	}})
	if err != nil {
		b.t.Fatal(err)
	}
	b.eventually(20*time.Second, func() string {
		if n := c.Acks(); n < 1500 { // until then agents know that replicas have caught up since their start
			return fmt.Sprintf("only %d writes were acknowledged through the router", n)
		}
		return ""
	})
	return c
}

// server returns the lab's server of a member.
func (b *bed) server(member string) *lab.Server {
	return b.servers.Servers[int(member[2]-'1')]
}
