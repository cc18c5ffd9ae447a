package hook_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kaname.dev/kaname/rib/mysql/endpoint"
	"kaname.dev/kaname/rib/mysql/endpoint/endpointtest"
	"kaname.dev/kaname/rib/mysql/endpoint/hook"
	"kaname.dev/kaname/rib/mysql/topology"
)

// script writes an executable script.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hook")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// conform runs the suite with a script that writes the primary's name to a file.
func conform(t *testing.T, settings map[string]string, dir, broken string) {
	settings["state"] = filepath.Join(dir, "state.json")
	gone := map[string]string{"command": filepath.Join(dir, "nothing"), "state": filepath.Join(dir, "other.json")}
	endpointtest.Conform(t, endpointtest.Bench{
		New:      hook.New,
		Settings: settings,
		Members:  []topology.Member{{Name: "db1", Host: "db1", Address: "192.0.2.1:3306"}, {Name: "db2", Host: "db2", Address: "192.0.2.2:3307"}},
		Reach: func(context.Context) (string, error) {
			b, err := os.ReadFile(filepath.Join(dir, "led"))
			return strings.TrimSpace(string(b)), err
		},
		Epochs:      endpointtest.Kept,
		Unreachable: gone,
		Where:       gone["command"],
		Break: func(t *testing.T) func() {
			if err := os.WriteFile(broken, []byte("1"), 0o600); err != nil {
				t.Fatal(err)
			}
			return func() { os.Remove(broken) }
		},
	})
}

func TestConforms(t *testing.T) {
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken")
	path := script(t, `if [ -e `+broken+` ]; then echo "`+filepath.Join(dir, "nothing")+` is broken"; exit 1; fi
case $KANAME_COMMAND in
publish) echo "$KANAME_PRIMARY" > `+dir+`/led.new && mv `+dir+`/led.new `+dir+`/led;;
withdraw) rm -f `+dir+`/led;;
*) exit 2;;
esac`)
	conform(t, map[string]string{"command": path}, dir, broken)
}

const mha = `for a; do case $a in --command=*) c=${a#*=};; --new_master_host=*) n=${a#*=};; esac; done
[ -e $0.log ] || : > $0.log
echo "$@" >> $0.log
case $c in
stop|stopssh) rm -f DIR/led;;
start) echo "$n" > DIR/led;;
status) ;;
esac
[ ! -e DIR/broken ] || { echo "DIR/nothing is broken"; exit $(cat DIR/broken); }
`

func TestConformsAsMHA(t *testing.T) {
	dir := t.TempDir()
	path := script(t, strings.ReplaceAll(mha, "DIR", dir))
	broken := filepath.Join(dir, "broken")
	conform(t, map[string]string{"failover": path}, dir, broken)
}

// What scripts made for MHA are called with, word for word.
func TestArguments(t *testing.T) {
	dir := t.TempDir()
	path := script(t, strings.ReplaceAll(mha, "DIR", dir))
	o := endpoint.Options{Topology: "shop", Settings: map[string]string{
		"failover": path + " --vip=192.0.2.9", "online": path + " --online", "user": "mha user", "ssh_user": "root", "ssh_port": "1",
	}}
	d, err := hook.New(o)
	if err != nil {
		t.Fatal(err)
	}
	db1 := &topology.Member{Name: "db1", Host: "db1.example", Address: "127.0.0.1:3306"}
	db2 := &topology.Member{Name: "db2", Host: "db2.example", Address: "127.0.0.2:3307"}
	if err := hook.Status(t.Context(), o, *db1); err != nil {
		t.Error(err)
	}
	for i, step := range []struct {
		withdraw bool
		t        endpoint.Target
	}{
		{false, endpoint.Target{Epoch: 1, Primary: db1}},
		{true, endpoint.Target{Epoch: 2, Kind: topology.Failover}},
		{true, endpoint.Target{Epoch: 2, Kind: topology.Failover}}, // not run again
		{false, endpoint.Target{Epoch: 2, Kind: topology.Failover, Primary: db2}},
		{false, endpoint.Target{Epoch: 2, Kind: topology.Failover, Primary: db2}}, // not run again
		{true, endpoint.Target{Epoch: 3, Kind: topology.Switchover, Primary: db1}},
		{false, endpoint.Target{Epoch: 3, Kind: topology.Switchover, Primary: db1}},
	} {
		f := d.Publish
		if step.withdraw {
			f = d.Withdraw
		}
		if err := f(t.Context(), step.t); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
	}
	const (
		online = " --new_master_user=mha user --orig_master_ssh_user=root --new_master_ssh_user=root --orig_master_ssh_port=1 --new_master_ssh_port=1 --orig_master_is_new_slave"
	)
	db := func(who string, host, ip, port string) string {
		return " --" + who + "_host=" + host + " --" + who + "_ip=" + ip + " --" + who + "_port=" + port
	}
	o1, n1 := db("orig_master", "db1.example", "127.0.0.1", "3306"), db("new_master", "db1.example", "127.0.0.1", "3306")
	o2, n2 := db("orig_master", "db2.example", "127.0.0.2", "3307"), db("new_master", "db2.example", "127.0.0.2", "3307")
	want := []string{
		"--vip=192.0.2.9 --command=status --ssh_user=root" + o1,
		"--vip=192.0.2.9 --command=start --ssh_user=root" + o1 + n1 + " --new_master_user=mha user",
		"--vip=192.0.2.9" + o1 + " --command=stop",
		"--vip=192.0.2.9 --command=start --ssh_user=root" + o1 + n2 + " --new_master_user=mha user",
		"--online --command=stop" + o2 + " --orig_master_user=mha user" + n1 + online,
		"--online --command=start" + o2 + " --orig_master_user=mha user" + n1 + online,
	}
	got, err := os.ReadFile(path + ".log")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, strings.Split(strings.TrimSpace(string(got)), "\n")); diff != "" {
		t.Error(diff)
	}
}

// Exit code 10 goes on, any other fails; the output is in the error.
func TestExitCodes(t *testing.T) {
	dir := t.TempDir()
	path := script(t, strings.ReplaceAll(mha, "DIR", dir))
	db1 := &topology.Member{Name: "db1", Address: "127.0.0.1:3306"}
	for _, c := range []struct {
		setting, code string
		ok            bool
	}{{"failover", "0", true}, {"failover", "10", true}, {"failover", "1", false}, {"failover", "11", false}, {"command", "10", false}} {
		d, err := hook.New(endpoint.Options{Topology: "shop", Settings: map[string]string{c.setting: path}})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "broken"), []byte(c.code), 0o600); err != nil {
			t.Fatal(err)
		}
		err = d.Publish(t.Context(), endpoint.Target{Epoch: 1, Primary: db1})
		if (err == nil) != c.ok || err != nil && !strings.Contains(err.Error(), "is broken") {
			t.Errorf("%s, exit code %s: %v", c.setting, c.code, err)
		}
	}
}

// A script that hangs is stopped in time, with what it started.
func TestDeadline(t *testing.T) {
	path := script(t, "echo waiting; sleep 100 & wait")
	d, err := hook.New(endpoint.Options{Topology: "shop", Settings: map[string]string{"command": path, "timeout": "200ms"}})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	err = d.Publish(t.Context(), endpoint.Target{Epoch: 1, Primary: &topology.Member{Name: "db1", Address: "127.0.0.1:3306"}})
	if took := time.Since(start); err == nil || took > 3*time.Second || !strings.Contains(err.Error(), "waiting") {
		t.Errorf("after %v: %v", took, err)
	}
	if _, err := d.Current(t.Context()); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Current: %v", err)
	}
}

func TestSettings(t *testing.T) {
	for _, s := range []map[string]string{
		{}, {"command": "a", "failover": "b"}, {"online": "b"}, {"command": "a", "timeout": "soon"}, {"command": "a", "state": "/proc/self/cmdline"},
	} {
		if d, err := hook.New(endpoint.Options{Topology: "shop", Settings: s}); err == nil {
			d.Close()
			t.Errorf("settings %v are taken", s)
		}
	}
}
