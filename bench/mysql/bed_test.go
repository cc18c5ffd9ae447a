// Package mysql puts the rib mysql to work on real servers, each on a host of its own in
// network namespaces, with the built kaname as processes: small in the tests, in full size
// when KANAME_BENCH names the file for the figures (make bench).
package mysql

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"kaname.dev/kaname/lab"
	labmysql "kaname.dev/kaname/lab/mysql"
	"kaname.dev/kaname/lab/mysql/load"
	"kaname.dev/kaname/lab/netns"
)

// shop is the topology.
const shop = "shop"

var (
	calm  = flag.Duration("calm", 30*time.Minute, "how long TestCalm disturbs each flavour")
	round = flag.Int("rounds", 20, "rounds of TestKill and TestSwitchover; half as many of TestSilence")
)

// options of a bed.
type options struct {
	flavour  string
	cores    int      // 1 when 0; 3 are a cluster
	replicas int      // 2 when 0
	adopt    []string // further arguments of "mysql adopt"
	every    time.Duration
	args     []string // of the servers
	dir      func(i int, h *netns.Host) string
}

// bed is one or three cores, database hosts with an agent and a server each, and a host of
// clients with a router.
type bed struct {
	t     *testing.T
	dir   string
	net   *netns.Bridge
	cores []*process
	dbs   []*process         // agents of the database hosts
	db    []*labmysql.Server // their servers, db1 and on
	front *process           // the agent of the clients' host, with the router

	client *load.Client
	watch  *load.Watcher
}

// newBed starts all of it, adopts the topology, and has a client write through the router.
func newBed(t *testing.T, o options) *bed {
	t.Helper()
	lab.NeedRoot(t)
	cores, n := max(o.cores, 1), 1+max(o.replicas, 2)
	dir, err := os.MkdirTemp("", "kbm") //nolint:usetesting // short, as a socket's name must be
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	b := &bed{t: t, dir: dir, net: netns.New(t, cores+n+1, 0)}
	b.servers(o, b.net.Hosts[cores:cores+n])
	b.startCores(b.net.Hosts[:cores])
	for i, s := range b.db {
		b.dbs = append(b.dbs, b.join(s.Name, b.net.Hosts[cores+i], fmt.Sprintf(
			"mysql:\n  servers:\n    - name: %s\n      address: %q\n      socket: %s\n      credentials: %s\n      replication: %s\n      start: [%q]\n",
			s.Name, s.Address(), s.Socket, s.AdminFile, s.ReplFile, s.StartFile)))
	}
	users := filepath.Join(b.dir, "users")
	if err := os.WriteFile(users, []byte(labmysql.UserApp+" = "+labmysql.PasswordApp+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.front = b.join("app", b.net.Hosts[cores+n], fmt.Sprintf(
		"mysql:\n  routers:\n    - topology: %s\n      listen: \"127.0.0.1:%d\"\n      users: %s\n", shop, routerPort, users))
	b.adopt(o)
	every := 20 * time.Millisecond
	if o.flavour == labmysql.FlavourMySQL {
		every *= 4 // on a busy machine its replicas, that sync each transaction, do not keep up with more
	}
	b.client = b.newClient(load.Options{Every: cmp.Or(o.every, every)})
	b.watch = load.Watch(t, b.db...)
	b.until("the client writes", 30*time.Second, func() bool { return b.client.Acks() > 50 })
	return b
}

// servers starts the database servers: a replicating topology.
func (b *bed) servers(o options, hosts []*netns.Host) {
	b.t.Helper()
	args := o.args
	if o.flavour == labmysql.FlavourMariaDB {
		// As one runs MariaDB for this: replicas that keep up with many writers, and a killed
		// primary that drops at its start what no replica has acknowledged (MDEV-21117).
		args = append([]string{"--slave-parallel-threads=4", "--init-rpl-role=SLAVE"}, args...)
	}
	var each []labmysql.Options
	for i, h := range hosts {
		so := labmysql.Options{Host: h, ID: i + 1, Name: fmt.Sprintf("db%d", i+1), Args: args}
		if o.dir != nil {
			so.Dir = o.dir(i, h)
		}
		each = append(each, so)
	}
	b.db = labmysql.Topology(b.t, o.flavour, len(hosts), each...).Servers
}

// startCores starts one core, or three as a cluster: the first makes the plane's authority,
// which the others get.
func (b *bed) startCores(hosts []*netns.Host) {
	b.t.Helper()
	single := fmt.Sprintf("plane:\n  listen: \"%s:%d\"\n", hosts[0].IP, planePort)
	first := b.newProcess("core1", "up", hosts[0], single)
	first.start()
	if len(hosts) == 1 {
		b.cores = []*process{first}
		return
	}
	first.end(syscall.SIGTERM)
	state := func(core string, path ...string) string {
		return filepath.Join(append([]string{b.dir, core, "plane"}, path...)...)
	}
	for _, d := range []string{"store", "seal"} {
		if err := os.RemoveAll(state("core1", d)); err != nil {
			b.t.Fatal(err)
		}
	}
	authority, err := os.ReadFile(state("core1", "trust", "authority.pem"))
	if err != nil {
		b.t.Fatal(err)
	}
	for i, h := range hosts {
		name := fmt.Sprintf("core%d", i+1)
		var peers []string
		for k, other := range hosts {
			if k != i {
				peers = append(peers, fmt.Sprintf("%q", fmt.Sprintf("%s:%d", other.IP, clusterPort)))
			}
		}
		b.cores = append(b.cores, b.newProcess(name, "up", h, fmt.Sprintf(
			"plane:\n  mode: cluster\n  listen: \"%s:%d\"\n  cluster:\n    listen: \"%s:%d\"\n    peers: [%s]\n",
			h.IP, planePort, h.IP, clusterPort, strings.Join(peers, ", "))))
		if err := os.MkdirAll(state(name, "trust"), 0o700); err != nil {
			b.t.Fatal(err)
		}
		if err := os.WriteFile(state(name, "trust", "authority.pem"), authority, 0o600); err != nil {
			b.t.Fatal(err)
		}
	}
	for _, c := range b.cores {
		c.launch()
	}
	for _, c := range b.cores {
		c.await()
	}
}

// join makes a host of the plane and starts its agent.
func (b *bed) join(name string, host *netns.Host, section string) *process {
	b.t.Helper()
	p := b.newProcess(name, "agent", host, section)
	var token struct{ Token string }
	b.cli(&token, "token", "create", "--role", "agent", "--host", name, "--yes")
	core := fmt.Sprintf("%s:%d", b.cores[0].host.IP, apiPort)
	out, err := host.Command(b.t.Context(), bin, "join", token.Token, "--core", core, "--name", name, "--config", p.config).CombinedOutput()
	if err != nil {
		b.t.Fatalf("join %s: %v: %s", name, err, out)
	}
	p.start()
	return p
}

// adopt takes charge of the topology and waits until all is well.
func (b *bed) adopt(o options) {
	b.t.Helper()
	var names []string
	for _, s := range b.db[1:] {
		names = append(names, s.Name)
	}
	b.until("the database servers are known", time.Minute, func() bool {
		var rows []struct{ Server string }
		raw, err := b.try("mysql", "servers")
		return err == nil && json.Unmarshal(raw, &rows) == nil && len(rows) == len(b.db)
	})
	b.cli(nil, slices.Concat([]string{"mysql", "adopt", shop, "--primary", b.db[0].Name, "--replicas", strings.Join(names, ","), "--yes"}, o.adopt)...)
	b.fine(time.Minute)
}

// status is a line of "mysql status".
type status struct {
	Topology, State, Primary, Members, Routers, Note string
	Epoch                                            uint64
	Reasons                                          []string
}

// status returns how the topology stands; the zero status when nobody tells.
func (b *bed) status() status {
	var rows []status
	raw, err := b.try("mysql", "status")
	if err != nil || json.Unmarshal(raw, &rows) != nil || len(rows) == 0 {
		return status{}
	}
	return rows[0]
}

// fine waits until every member is well, the router follows and nothing moves.
func (b *bed) fine(within time.Duration) status {
	b.t.Helper()
	var s status
	b.until("the topology is well", within, func() (well bool) {
		s, well = b.well()
		return well
	})
	return s
}

// well returns how the topology stands, and whether nothing is left to be wished for.
func (b *bed) well() (status, bool) {
	b.t.Helper()
	s := b.status()
	n := len(b.db)
	return s, s.State == "fine" && s.Members == fmt.Sprintf("%d/%d", n, n) && s.Routers == "1/1" && !strings.Contains(s.Note, "at step") && b.replicating(s.Primary)
}

// home waits until all is well after an old primary is back. One that has transactions of
// its own, which nobody acknowledged, is made a copy of another, as a person would do then.
func (b *bed) home(old *labmysql.Server) status {
	b.t.Helper()
	var s status
	copied := false
	b.until("the topology is well again", 3*time.Minute, func() (well bool) {
		if s, well = b.well(); !well && !copied && b.errant(old.Name) {
			copied = true
			start := time.Now()
			b.cli(nil, "mysql", "reclone", shop, old.Name, "--yes")
			b.t.Logf("%s had transactions of its own, and was made a copy of another in %s", old.Name, time.Since(start).Round(time.Millisecond))
		}
		return well
	})
	return s
}

// errant reports whether kaname says of a server that it has what the primary has not.
func (b *bed) errant(name string) bool {
	var rows []struct{ Server, Note string }
	raw, err := b.try("mysql", "topology", shop)
	if err != nil || json.Unmarshal(raw, &rows) != nil {
		return false
	}
	return slices.ContainsFunc(rows, func(r struct{ Server, Note string }) bool {
		return r.Server == name && strings.Contains(r.Note, "transactions that the primary has not")
	})
}

// replicating reports whether all servers but the primary replicate from it and have caught
// up, as they themselves say.
func (b *bed) replicating(primary string) bool {
	p := b.server(primary)
	for _, s := range b.db {
		if s.PID() == 0 {
			return false
		}
		if s == p {
			continue
		}
		st := s.Replica(b.t)
		if st["Seconds_Behind_Master"]+st["Seconds_Behind_Source"] != "0" {
			return false
		}
		if st["Master_Host"]+st["Source_Host"] != p.IP || st["Slave_IO_Running"]+st["Replica_IO_Running"] != "Yes" || st["Slave_SQL_Running"]+st["Replica_SQL_Running"] != "Yes" {
			return false
		}
	}
	return true
}

// replication says how each server replicates, and what kaname finds.
func (b *bed) replication() string {
	var s strings.Builder
	for _, v := range b.db {
		if v.PID() == 0 {
			fmt.Fprintf(&s, "%s does not run\n", v.Name)
			continue
		}
		st := v.Replica(b.t)
		fmt.Fprintf(&s, "%s: from %s, %s s behind, receives %s, applies %s, %s %s, read_only %s\n", v.Name, st["Master_Host"]+st["Source_Host"], st["Seconds_Behind_Master"]+st["Seconds_Behind_Source"],
			st["Slave_IO_Running"]+st["Replica_IO_Running"], st["Slave_SQL_Running"]+st["Replica_SQL_Running"],
			st["Last_IO_Error"], st["Last_SQL_Error"], v.Value(b.t, "SELECT @@read_only"))
	}
	if b.watch != nil {
		fmt.Fprintf(&s, "open were %s\n", strings.Join(b.watch.Sight(time.Time{}).Story, ", "))
	}
	var rows []struct{ Server, State, Position, Note string }
	raw, err := b.try("mysql", "topology", shop)
	if err == nil {
		err = json.Unmarshal(raw, &rows)
	}
	fmt.Fprintf(&s, "%+v %v\n", rows, err)
	return s.String()
}

// server returns the server of a name.
func (b *bed) server(name string) *labmysql.Server {
	b.t.Helper()
	i := slices.IndexFunc(b.db, func(s *labmysql.Server) bool { return s.Name == name })
	if i < 0 {
		b.t.Fatalf("no server has the name %q", name)
	}
	return b.db[i]
}

// agent returns the agent beside a server.
func (b *bed) agent(s *labmysql.Server) *process {
	b.t.Helper()
	return b.dbs[slices.Index(b.db, s)]
}

// newClient starts a client that writes through the router. Its times are those of an
// application that waits for a router rather than give up.
func (b *bed) newClient(o load.Options) *load.Client {
	b.t.Helper()
	address := fmt.Sprintf("127.0.0.1:%d", routerPort)
	o.Dial = func(ctx context.Context) (net.Conn, error) { return b.front.host.Dial(ctx, "tcp", address) }
	o.Connect, o.Timeout = 10*time.Second, 10*time.Second
	c, err := load.Start(b.t.Context(), o)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { c.Stop() })
	return c
}

func (b *bed) until(what string, within time.Duration, cond func() bool) {
	b.t.Helper()
	deadline := time.Now().Add(within)
	for !cond() {
		if time.Now().After(deadline) {
			b.t.Fatalf("waited %s in vain until %s: %+v\n%s%s", within, what, b.status(), b.replication(), b.story())
		}
		<-time.After(50 * time.Millisecond)
	}
}

// story is what kaname has done to the topology.
func (b *bed) story() string {
	var rows []struct{ Time, What, Text string }
	var s strings.Builder
	for _, args := range [][]string{{"mysql", "history", shop}, {"mysql", "history", shop, "--moves"}} {
		raw, err := b.try(args...)
		if err != nil || json.Unmarshal(raw, &rows) != nil {
			return fmt.Sprint("no history: ", err)
		}
		for _, r := range rows[max(0, len(rows)-30):] {
			fmt.Fprintf(&s, "%s %s: %s\n", r.Time, r.What, r.Text)
		}
	}
	return s.String()
}
