package site_test

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"kaname.dev/kaname/lab"
	labmysql "kaname.dev/kaname/lab/mysql"
	"kaname.dev/kaname/rib/mysql/lease"
	"kaname.dev/kaname/rib/mysql/order"
	"kaname.dev/kaname/rib/mysql/server"
	"kaname.dev/kaname/rib/mysql/site"
	"kaname.dev/kaname/rib/mysql/topology"
)

// bed is a topology of real servers with a site each, wired in this process: the calls
// that go over the network elsewhere are functions here, and can be cut.
type bed struct {
	t       *testing.T
	flavour string
	servers []*labmysql.Server
	sites   map[string]*agent

	copied func(io.ReadCloser, topology.Member) io.ReadCloser // what becomes of a copy under way

	mu       sync.Mutex
	record   *topology.Record
	revision uint64
	cut      map[string]bool // "db1>db2", "db1>controller"
	heard    []heard
	led      []string // "db1 closed", as those are told who lead clients
}

// note notes what those are told who lead clients to a server.
func (b *bed) note(member, what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.led = append(b.led, member+" "+what)
}

type heard struct {
	at time.Time
	topology.Report
}

// agent is a site that runs.
type agent struct {
	*site.Site
	server *labmysql.Server
	root   *os.Root
	stop   func()
}

func newBed(t *testing.T, flavour string, n int) *bed {
	t.Helper()
	if flavour == labmysql.FlavourMariaDB {
		lab.Need(t, "mariadbd")
	}
	return newBedOf(t, labmysql.Topology(t, flavour, n), flavour)
}

// newBedOf starts a site beside each server of a topology.
func newBedOf(t *testing.T, servers *labmysql.Bed, flavour string) *bed {
	t.Helper()
	b := &bed{t: t, flavour: flavour, sites: map[string]*agent{}, cut: map[string]bool{}}
	b.servers = servers.Servers
	rec := &topology.Record{Name: "shop", Flavour: flavour, Epoch: 1, Primary: b.servers[0].Name, Policy: topology.DefaultPolicy()}
	for _, s := range b.servers {
		rec.Members = append(rec.Members, topology.Member{Name: s.Name, Host: s.Name, Address: s.Address(), Role: topology.Candidate})
	}
	b.record, b.revision = rec, 1
	for _, s := range b.servers {
		root, err := os.OpenRoot(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = root.Close() })
		b.sites[s.Name] = b.start(s, root)
	}
	for _, s := range b.servers {
		b.order(s.Name, order.Order{Verb: order.Prepare, Record: rec})
	}
	lab.Eventually(t, "the lease is held", func() bool {
		r := b.site(0).Report()
		return r.Lease.Held && r.Self.Commit != nil
	})
	b.complete()
	return b
}

// complete waits until the replicas have all that they acknowledged before their start.
func (b *bed) complete() {
	b.t.Helper()
	for i := range b.servers[1:] {
		lab.Eventually(b.t, "a replica is complete", func() bool { return b.site(i + 1).Complete() })
	}
}

func (b *bed) site(i int) *agent { return b.sites[b.servers[i].Name] }

func account(user, password string) func() (string, string, error) {
	return func() (string, string, error) { return user, password, nil }
}

func (b *bed) options(s *labmysql.Server, root *os.Root) (site.Options, *server.Server) {
	b.t.Helper()
	admin := account(labmysql.UserAdmin, labmysql.PasswordAdmin)
	own, err := server.Open(server.Options{Name: s.Name, Socket: s.Socket, Credentials: admin})
	if err != nil {
		b.t.Fatal(err)
	}
	return site.Options{
		Member: s.Name, Server: own, Socket: s.Socket, Root: root, Start: []string{s.StartFile},
		Remote: func(m topology.Member) (*server.Server, error) {
			return server.Open(server.Options{Name: m.Name, Address: m.Address, Credentials: admin})
		},
		Account: admin,
		Copy: func(ctx context.Context, from topology.Member, want site.Want) (io.ReadCloser, error) {
			r, w := io.Pipe()
			go func() { // ends when one of the two ends is closed
				_ = w.CloseWithError(b.sites[from.Name].Donate(ctx, want, w))
			}()
			first := bufio.NewReader(r)
			if _, err := first.Peek(1); err != nil { // a refusal comes before the first byte
				return nil, err
			}
			body := io.ReadCloser(struct {
				io.Reader
				io.Closer
			}{first, r})
			if b.copied != nil {
				body = b.copied(body, from)
			}
			return body, nil
		},
		Closed:      func(context.Context, *topology.Record) { b.note(s.Name, "closed") },
		Opened:      func(context.Context, *topology.Record) { b.note(s.Name, "opened") },
		Replication: account(labmysql.UserRepl, labmysql.PasswordRepl),
		Controller:  b.controller,
		Ask: func(ctx context.Context, m topology.Member, a lease.Ask) (lease.Answer, error) {
			b.mu.Lock()
			cut, to := b.cut[s.Name+">"+m.Name], b.sites[m.Name]
			b.mu.Unlock()
			if cut || to == nil {
				<-ctx.Done()
				return lease.Answer{}, ctx.Err()
			}
			return to.Vote(a), nil
		},
		Rescue: func(ctx context.Context, from topology.Member, have string) (io.ReadCloser, error) {
			r, w := io.Pipe()
			go func() { // ends when one of the two ends is closed
				_, err := b.sites[from.Name].Tail(ctx, have, w)
				_ = w.CloseWithError(err)
			}()
			return r, nil
		},
		Log: slog.New(slog.NewTextHandler(b.t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo})).With("site", s.Name),
	}, own
}

// start starts the agent of a server.
func (b *bed) start(s *labmysql.Server, root *os.Root) *agent {
	b.t.Helper()
	o, own := b.options(s, root)
	x, err := site.New(o)
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = x.Run(ctx) })
	var once sync.Once
	a := &agent{Site: x, server: s, root: root, stop: func() {
		once.Do(func() { cancel(); wg.Wait(); _ = own.Close() })
	}}
	b.t.Cleanup(a.stop)
	return a
}

// controller is the controller's end of reports.
func (b *bed) controller(ctx context.Context, r topology.Report) (site.Answer, error) {
	b.mu.Lock()
	if b.cut[r.Member+">controller"] {
		b.mu.Unlock()
		<-ctx.Done()
		return site.Answer{}, ctx.Err()
	}
	defer b.mu.Unlock()
	b.heard = append(b.heard, heard{time.Now(), r})
	a := site.Answer{Revision: b.revision, Granted: b.record.Primary == r.Member && b.record.Epoch == r.Epoch && b.record.Move == nil}
	if r.Have != b.revision {
		a.Record = b.record.Clone()
	}
	return a, nil
}

// set changes the record as a controller does, and returns it.
func (b *bed) set(change func(*topology.Record)) *topology.Record {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.record = b.record.Clone()
	change(b.record)
	b.revision++
	return b.record
}

func (b *bed) cuts(on bool, links ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, l := range links {
		b.cut[l] = on
	}
}

// told waits for a report of a member and returns how long after since it came.
func (b *bed) told(member, what string, since time.Time, is func(topology.Report) bool) time.Duration {
	b.t.Helper()
	var took time.Duration
	lab.Eventually(b.t, member+" reports: "+what, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		i := slices.IndexFunc(b.heard, func(h heard) bool { return h.Member == member && h.at.After(since) && is(h.Report) })
		if i >= 0 {
			took = b.heard[i].at.Sub(since)
		}
		return i >= 0
	})
	return took
}

// try gives an order with the record's epoch.
func (b *bed) try(member string, o order.Order) (order.Done, error) {
	b.mu.Lock()
	if o.Record == nil {
		o.Record = b.record
	}
	to := b.sites[member]
	b.mu.Unlock()
	o.Topology, o.Member = "shop", member
	if o.Epoch == 0 {
		o.Epoch = o.Record.Epoch
	}
	ctx, cancel := context.WithTimeout(b.t.Context(), 10*time.Second)
	defer cancel()
	return to.Order(ctx, o)
}

func (b *bed) order(member string, o order.Order) order.Done {
	b.t.Helper()
	d, err := b.try(member, o)
	if err != nil {
		b.t.Fatalf("order %s to %s: %v", o.Verb, member, err)
	}
	return d
}

// writable asks a server itself, again if it cuts the connection meanwhile.
func (b *bed) writable(i int) bool {
	b.t.Helper()
	var closed bool
	var err error
	for range 3 {
		ctx, cancel := context.WithTimeout(b.t.Context(), 5*time.Second)
		err = b.servers[i].DB().QueryRowContext(ctx, "SELECT @@global.read_only").Scan(&closed)
		cancel()
		if err == nil {
			return !closed
		}
	}
	b.t.Errorf("%s: %v", b.servers[i].Name, err)
	return false
}

// insert writes a row and returns when it is acknowledged, or an error.
func (b *bed) insert(i int, id int64) error {
	ctx, cancel := context.WithTimeout(b.t.Context(), 5*time.Second)
	defer cancel()
	_, err := b.servers[i].DB(labmysql.UserApp).ExecContext(ctx, "INSERT INTO app.acks (id, writer) VALUES (?, 1)", id)
	return err
}
