package site_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/mysql/lease"
	"kaname.dev/kaname/rib/mysql/order"
	"kaname.dev/kaname/rib/mysql/server"
	"kaname.dev/kaname/rib/mysql/site"
	"kaname.dev/kaname/rib/mysql/topology"
)

// bare returns the site of a server that is not there, with its state in root.
func bare(t *testing.T, root *os.Root) (*site.Site, error) {
	t.Helper()
	none := account("u", "p")
	s, err := server.Open(server.Options{Name: "db2", Socket: "/nowhere/s.sock", Credentials: none})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return site.New(site.Options{Member: "db2", Server: s, Socket: "/nowhere/s.sock", Root: root, Replication: none})
}

func state(t *testing.T) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return root
}

func shop(epoch uint64, primary string) *topology.Record {
	return &topology.Record{
		Name: "shop", Flavour: "mariadb", Epoch: epoch, Primary: primary, Policy: topology.DefaultPolicy(),
		Members: []topology.Member{{Name: "db1", Address: "127.0.0.1:1"}, {Name: "db2", Address: "127.0.0.1:2"}, {Name: "db3", Address: "127.0.0.1:3"}},
	}
}

func give(t *testing.T, s *site.Site, verb order.Verb, rec *topology.Record, epoch uint64) error {
	t.Helper()
	_, err := s.Order(t.Context(), order.Order{Topology: "shop", Member: "db2", Epoch: epoch, Verb: verb, Record: rec, Within: 100 * time.Millisecond})
	return err
}

// TestPromisesSurvive: a site that is made anew from the files, as after kill -9, refuses
// what its predecessor would have refused.
func TestPromisesSurvive(t *testing.T) {
	root := state(t)
	s, err := bare(t, root)
	if err != nil {
		t.Fatal(err)
	}
	vote := func(s *site.Site, epoch uint64, primary string) bool {
		return s.Vote(lease.Ask{Topology: "shop", Epoch: epoch, Primary: primary}).Granted
	}
	if vote(s, 1, "db1") {
		t.Error("a grant for a topology that the site does not know")
	}
	// The server is down: the order fails, and its epoch is promised all the same.
	if err := give(t, s, order.Follow, shop(4, "db1"), 4); err == nil || fault.Is(err, fault.KindConflict) {
		t.Fatalf("follow with the server down: %v", err)
	}
	if !vote(s, 4, "db1") || vote(s, 3, "db1") || vote(s, 4, "db3") {
		t.Error("votes in epoch 4")
	}
	rec := shop(5, "")
	rec.Move = &topology.Move{Kind: topology.Failover, From: "db1", Step: topology.Freeze}
	if err := give(t, s, order.Freeze, rec, 5); err == nil {
		t.Error("frozen with the server down")
	}
	for _, again := range []bool{false, true} {
		if again {
			if s, err = bare(t, root); err != nil {
				t.Fatal(err)
			}
		}
		if vote(s, 4, "db1") || vote(s, 5, "db1") {
			t.Errorf("again %v: a grant to the primary that it was frozen against", again)
		}
		if err := give(t, s, order.Thaw, nil, 4); !fault.Is(err, fault.KindConflict) || !strings.Contains(err.Error(), "epoch 4 is over") {
			t.Errorf("again %v: an order of an epoch that is over: %v", again, err)
		}
		if r := s.Report(); r.Epoch != 5 || r.Topology != "shop" {
			t.Errorf("again %v: report %+v", again, r)
		}
	}
	if !vote(s, 6, "db3") || s.Report().Epoch != 6 {
		t.Error("an epoch that it had not heard of")
	}
	if _, err := s.Order(t.Context(), order.Order{Topology: "blog", Member: "db2", Epoch: 9, Verb: order.Thaw}); !fault.Is(err, fault.KindConflict) {
		t.Errorf("an order of another topology: %v", err)
	}
	if err := give(t, s, order.Leave, nil, 6); err != nil {
		t.Fatal(err)
	}
	if s, err = bare(t, root); err != nil || s.Report().Topology != "" {
		t.Errorf("after leaving: %v", err)
	}
}

func TestCorruptStateIsNamed(t *testing.T) {
	for _, name := range []string{"epoch.json", "record.json", "server.json"} {
		root := state(t)
		if err := root.WriteFile(name, []byte(`{"epoch":`), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := bare(t, root)
		if !fault.Is(err, fault.KindCorrupt) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
