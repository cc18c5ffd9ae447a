package agent

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/config"
	"kaname.dev/kaname/door/api"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/lab"
	"kaname.dev/kaname/rib"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo is a rib that counts its lives.
func echo(runs chan<- string) func() []rib.Rib {
	return func() []rib.Rib {
		var node rib.Node
		cfg := &struct {
			Limit int `yaml:"limit"`
		}{Limit: 1}
		return []rib.Rib{{
			Name: "echo", Config: cfg,
			Attach: func(n rib.Node) error { node = n; return nil },
			Run:    func(ctx context.Context) error { runs <- node.Host; <-ctx.Done(); return nil },
			Checks: []rib.Check{{Name: "voice", Look: func(context.Context) rib.Verdict { return rib.Verdict{OK: true, Evidence: "heard"} }}},
		}}
	}
}

// alive starts an agent and returns its addresses and how to stop it.
func alive(t *testing.T, o Options) (Addresses, func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ready, ended := make(chan Addresses, 1), make(chan error, 1)
	o.Ready, o.Log = func(a Addresses) { ready <- a }, t.Output()
	go func() { ended <- Run(ctx, o) }()
	stop := func() error { cancel(); err := <-ended; ended <- err; return err }
	t.Cleanup(func() { _ = stop() })
	select {
	case a := <-ready:
		return a, stop
	case err := <-ended:
		ended <- err
		t.Fatal(err)
	case <-time.After(time.Minute):
		t.Fatal("not ready after a minute")
	}
	return Addresses{}, nil
}

// empty writes an empty configuration file into a new folder.
func empty(t *testing.T) (dir, file string) {
	t.Helper()
	dir = t.TempDir()
	file = filepath.Join(dir, "kaname.yaml")
	if err := os.WriteFile(file, []byte("# test\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, file
}

// loopback are the settings of an agent in a folder.
func loopback(dir, name string) map[string]string {
	return map[string]string{
		"host.dir": filepath.Join(dir, "state"), "host.name": name, "peer.listen": "127.0.0.1:0", "metrics.listen": "127.0.0.1:0",
		"plane.listen": "127.0.0.1:0", "api.listen": "127.0.0.1:0", "api.socket": filepath.Join(dir, "s"),
	}
}

func call(t *testing.T, c *api.Client, id string, values map[string]any, out any) error {
	t.Helper()
	in := action.Inputs{Values: map[string]json.RawMessage{}}
	for k, v := range values {
		in.Values[k], _ = json.Marshal(v)
	}
	raw, err := c.Call(t.Context(), id, in, api.CallOptions{}, nil)
	if err == nil && out != nil {
		err = json.Unmarshal(raw, out)
	}
	return err
}

func TestCoreAndHostLiveTogether(t *testing.T) {
	runs := make(chan string, 10)
	ribs := echo(runs)
	coreDir, coreFile := empty(t)
	core, stopCore := alive(t, Options{Config: config.Options{File: coreFile, Flags: loopback(coreDir, "core1")}, Ribs: ribs, Core: true})
	client, err := api.NewClient(api.ClientOptions{Socket: core.Socket, Door: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var token struct{ Token string }
	if err := call(t, client, "token.create", map[string]any{"role": "agent"}, &token); err != nil {
		t.Fatal(err)
	}

	dir, file := empty(t)
	in := joinIn{Token: action.Secret(token.Token), Name: "web1", Labels: []string{"role=web"}, settingsIn: settingsIn{Config: file, Set: []string{"host.dir=" + filepath.Join(dir, "state")}}}
	if _, err := (local{ribs}).join(t.Context(), nil, in); err != nil {
		t.Fatal(err)
	}
	if _, err := (local{ribs}).join(t.Context(), nil, in); !fault.Is(err, fault.KindExists) {
		t.Errorf("a second join: %v", err)
	}
	flags := map[string]string{"peer.listen": "127.0.0.1:0", "metrics.listen": "127.0.0.1:0"}
	host, stopHost := alive(t, Options{Config: config.Options{File: file, Flags: flags}, Ribs: ribs})

	state := func() HostDetail {
		var d HostDetail
		if err := call(t, client, "host.show", map[string]any{"host": "web1"}, &d); err != nil && !fault.Is(err, fault.KindNotFound) {
			t.Fatal(err)
		}
		return d
	}
	lab.Eventually(t, "web1 is alive", func() bool { return state().State == "alive" })
	lab.Eventually(t, "both loops run", func() bool { return len(runs) == 2 })

	checkDoctor(t, ribs, file, host)
	checkLabels(t, client, state)
	checkReload(t, file, state)

	if err := call(t, client, "host.revoke", map[string]any{"host": "web1", "why": "test"}, nil); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, "the revoked host is not ready", func() bool {
		var r Readiness
		return getJSON(t.Context(), host.Private, "/readyz", &r) == nil && !r.Ready
	})
	for _, stop := range []func() error{stopHost, stopCore} {
		if err := stop(); err != nil {
			t.Error(err)
		}
	}
}

func checkDoctor(t *testing.T, ribs func() []rib.Rib, file string, a Addresses) {
	t.Helper()
	lines, err := local{ribs}.doctor(t.Context(), nil, settingsIn{Config: file, Set: []string{"metrics.listen=" + a.Private}})
	if err != nil {
		t.Errorf("doctor: %v", err)
	}
	seen := map[string]string{}
	for _, l := range lines {
		seen[l.Check] = l.Verdict
	}
	for _, check := range []string{"configuration", "agent", "parts", "certificate", "permissions", "rib echo: voice"} {
		if seen[check] != "ok" {
			t.Errorf("check %q is %q", check, seen[check])
		}
	}
}

func checkLabels(t *testing.T, client *api.Client, state func() HostDetail) {
	t.Helper()
	if err := call(t, client, "host.label", map[string]any{"host": "web1", "labels": []string{"canary=yes"}}, nil); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, "the label is told", func() bool { return state().Labels["canary"] == "yes" && state().Labels["role"] == "web" })
	if err := call(t, client, "host.drain", map[string]any{"host": "web1", "for": "1h"}, nil); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, "the host is drained", func() bool { return state().State == "drained" })
	if err := call(t, client, "host.drain", map[string]any{"host": "web1", "for": "0s"}, nil); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, "the drain is over", func() bool { return state().State == "alive" })
}

func checkReload(t *testing.T, file string, state func() HostDetail) {
	t.Helper()
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	change := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	change(strings.Replace(string(good), `"web"`, `"api"`, 1))
	lab.Eventually(t, "the new label is told", func() bool { return state().Labels["role"] == "api" })
	change("plan:\n  mode: nonsense\n")
	change(string(good)) // after the refused one, the agent still listens
	lab.Eventually(t, "the old label is back", func() bool { return state().Labels["role"] == "web" })
}

func TestStartIsRefusedWithAWord(t *testing.T) {
	dir, file := empty(t)
	ribs := echo(make(chan string, 1))
	o := Options{Config: config.Options{File: file, Flags: loopback(dir, "h")}, Ribs: ribs, Log: t.Output()}
	o.Config.Flags["plane.mode"] = "host"
	o.Config.Flags["plane.cores"] = "127.0.0.1:1"
	if err := Run(t.Context(), o); !fault.Is(err, fault.KindNotFound) || !strings.Contains(err.Error(), "kaname join") {
		t.Errorf("a host that has not joined: %v", err)
	}
	o.Core = true
	if err := Run(t.Context(), o); !fault.Is(err, fault.KindInvalid) || !strings.Contains(err.Error(), "--plane-mode") {
		t.Errorf("a core with mode host: %v", err)
	}
	o.Config.Flags["plane.mode"] = "embedded"
	delete(o.Config.Flags, "plane.cores")
	_, stop := alive(t, o)
	if err := Run(t.Context(), o); !fault.Is(err, fault.KindConflict) {
		t.Errorf("a second agent in one directory: %v", err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}
