package mysql

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kaname.dev/kaname/rib/mysql/controller"
	"kaname.dev/kaname/rib/mysql/topology"
)

func TestPolicyChangesWhatIsSaid(t *testing.T) {
	in := policyIn{
		Acks: 2, Manual: "yes", Kill: "no", Lease: 5 * time.Second, FenceCommand: []string{"/usr/sbin/ipmi", "off", "{host}"},
		// a list as the command line gives it: parted at commas
		Endpoint: []string{"proxysql address=192.0.2.1:6032", "192.0.2.2:6032 user=admin", "vip address=192.0.2.10/24"},
	}
	want := topology.DefaultPolicy()
	want.Acks, want.Manual, want.Kill, want.Lease = 2, true, false, 5*time.Second
	want.FenceCommand = in.FenceCommand
	want.Endpoints = []topology.Endpoint{
		{Kind: "proxysql", Settings: map[string]string{"address": "192.0.2.1:6032,192.0.2.2:6032", "user": "admin"}},
		{Kind: "vip", Settings: map[string]string{"address": "192.0.2.10/24"}},
	}
	got, err := in.apply(topology.DefaultPolicy())
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v\n%s", err, d)
	}
	if got, err = (&policyIn{}).apply(got); err != nil || cmp.Diff(want, got) != "" {
		t.Errorf("nothing said, and yet: %v\n%s", err, cmp.Diff(want, got))
	}
	none := policyIn{Endpoint: []string{"none"}, FenceCommand: []string{"none"}}
	if got, err = none.apply(got); err != nil || got.Endpoints != nil || got.FenceCommand != nil {
		t.Errorf("none left %v, %v, %v", got.Endpoints, got.FenceCommand, err)
	}
}

func TestPoliciesThatCannotBeAreRefused(t *testing.T) {
	for name, in := range map[string]policyIn{
		"lease":      {Lease: time.Millisecond},
		"silence":    {Silence: time.Millisecond},
		"key=value":  {Endpoint: []string{"vip 192.0.2.10"}},
		"acks is -1": {Acks: -1},
	} {
		if _, err := in.apply(topology.DefaultPolicy()); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%+v: %v; it should name %q", in, err, name)
		}
	}
}

func TestAdoptNamesEachServerOnce(t *testing.T) {
	base := func() adoptIn {
		return adoptIn{topologyIn: topologyIn{"shop"}, Primary: "db1", Replicas: []string{"db2", "db3"}, Observer: []string{"db4"}, Prefer: []string{"db2"}, Never: []string{"db3"}}
	}
	in := base()
	w, err := in.word()
	want := []topology.Member{
		{Name: "db1", Role: topology.Candidate}, {Name: "db2", Role: topology.Preferred}, {Name: "db3", Role: topology.Never}, {Name: "db4", Role: topology.Observer},
	}
	if d := cmp.Diff(want, w.Members); err != nil || d != "" || w.Verb != controller.Adopt {
		t.Errorf("%v\n%s", err, d)
	}
	for what, change := range map[string]func(*adoptIn){
		"named twice":      func(in *adoptIn) { in.Replicas = append(in.Replicas, "db1") },
		"two roles":        func(in *adoptIn) { in.Never = append(in.Never, "db2") },
		"is not among":     func(in *adoptIn) { in.Prefer = append(in.Prefer, "db9") },
		"not 1 to 63":      func(in *adoptIn) { in.Topology = "a/b" },
		"durability":       func(in *adoptIn) { in.Durability = "maybe" },
		"is not key=value": func(in *adoptIn) { in.Endpoint = []string{"hook script"} },
	} {
		in := base()
		change(&in)
		if _, err := in.word(); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestAccountsAreReadAsMySQLDoes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "my.cnf")
	write := func(text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	for text, want := range map[string][2]string{
		"[client]\nuser=kaname\npassword=se=cret\n":                                    {"kaname", "se=cret"},
		"# mine\n[mysql]\nuser=other\n[client]\nuser = 'kaname'\npassword = \"a b\"\n": {"kaname", "a b"},
		"user=kaname\n": {"kaname", ""},
	} {
		write(text, 0o600)
		user, password, err := readAccount(path)
		if err != nil || user != want[0] || password != want[1] {
			t.Errorf("%q is %q, %q, %v", text, user, password, err)
		}
	}
	write("[client]\nuser=kaname\npassword=secret\n", 0o644)
	if _, _, err := readAccount(path); err == nil || !strings.Contains(err.Error(), "chmod 600") || strings.Contains(err.Error(), "secret") {
		t.Errorf("a file that all can read: %v", err)
	}
	write("[mysqld]\nuser=mysql\n", 0o600)
	if _, _, err := readAccount(path); err == nil || !strings.Contains(err.Error(), "names no user") {
		t.Errorf("a file without an account: %v", err)
	}
}
