package demo

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/door/api"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/host"
)

// fleet is a core and some hosts in a temporary folder.
type fleet struct {
	binary, dir string
	core        *process
	at          addresses // of the core
	hosts       []*process
	names       []string
	client      *api.Client
	run         *action.Run
}

// openFleet starts a core and n hosts, joined with tokens.
func openFleet(ctx context.Context, run *action.Run, n int) (*fleet, error) {
	binary, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "kaname-demo-")
	if err != nil {
		return nil, err
	}
	f := &fleet{binary: binary, dir: dir, run: run}
	if err := f.start(ctx, n); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

func (f *fleet) start(ctx context.Context, n int) (err error) {
	if err := f.configure("core"); err != nil {
		return err
	}
	args := append([]string{"up"}, f.settings("core", "plane.listen=127.0.0.1:0", "api.listen=127.0.0.1:0", "api.socket="+filepath.Join(f.dir, "sock"))...)
	if f.core, err = launch(ctx, f.binary, "core", f.log("core"), args...); err != nil {
		return err
	}
	if f.at, err = f.core.await(ctx); err != nil {
		return err
	}
	if f.client, err = api.NewClient(api.ClientOptions{Socket: f.at.Socket, Door: "demo"}); err != nil {
		return err
	}
	for i := range n {
		name := fmt.Sprintf("web%d", i+1)
		if err := f.join(ctx, name, "abc"[i%3:i%3+1]); err != nil {
			return err
		}
	}
	for _, p := range f.hosts {
		if _, err := p.await(ctx); err != nil {
			return err
		}
	}
	return f.seen(ctx)
}

func (f *fleet) log(name string) string { return filepath.Join(f.dir, name+".log") }

// configure makes an empty configuration file, so that the machine's own is not
// read.
func (f *fleet) configure(name string) error {
	return os.WriteFile(filepath.Join(f.dir, name+".yaml"), []byte("# of kaname demo\n"), 0o600)
}

// root is where a host has its releases.
func (f *fleet) root(name string) string { return filepath.Join(f.dir, name, "srv") }

// settings are the flags of a process that keep it on loopback and in its folder.
func (f *fleet) settings(name string, more ...string) []string {
	set := append([]string{
		"host.name=" + name, "host.dir=" + filepath.Join(f.dir, name, "state"), "peer.listen=127.0.0.1:0",
		"metrics.listen=127.0.0.1:0", "release.root=" + f.root(name),
	}, more...)
	return []string{"--config", filepath.Join(f.dir, name+".yaml"), "--set", strings.Join(set, ",")}
}

// join lets one more host in, as an operator would, and starts its agent.
func (f *fleet) join(ctx context.Context, name, zone string) error {
	var token struct{ Token string }
	if err := f.call(ctx, "token.create", map[string]any{"role": "agent", "ttl": "10m", "host": name}, &token); err != nil {
		return err
	}
	if err := f.configure(name); err != nil {
		return err
	}
	settings := f.settings(name)
	args := append([]string{f.binary, "join", "-", "--name", name, "--labels", "role=web,zone=" + zone}, settings...)
	if _, err := host.Run(ctx, host.Command{Args: args, Stdin: strings.NewReader(token.Token + "\n"), Timeout: time.Minute}); err != nil {
		return fault.Internal("host " + name + " could not join").Because(err)
	}
	p, err := launch(ctx, f.binary, name, f.log(name), append([]string{"agent"}, settings...)...)
	if err != nil {
		return err
	}
	f.hosts, f.names = append(f.hosts, p), append(f.names, name)
	return nil
}

// seen waits until the core has heard of every host.
func (f *fleet) seen(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		var list []struct{ State string }
		if err := f.call(ctx, "host.list", map[string]any{"select": []string{"role=web"}}, &list); err != nil {
			return err
		}
		alive := 0
		for _, h := range list {
			if h.State == "alive" {
				alive++
			}
		}
		if alive == len(f.names) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fault.Timeout(fmt.Sprintf("only %d of %d hosts came", alive, len(f.names)))
		case <-tick.C:
		}
	}
}

// call runs an action on the core; its events go to our own run.
func (f *fleet) call(ctx context.Context, id string, values map[string]any, out any) error {
	return f.send(ctx, id, values, nil, out)
}

func (f *fleet) send(ctx context.Context, id string, values map[string]any, files map[string]action.File, out any) error {
	in := action.Inputs{Values: map[string]json.RawMessage{}, Files: files}
	for k, v := range values {
		raw, err := json.Marshal(v)
		if err != nil {
			return err
		}
		in.Values[k] = raw
	}
	quiet := id == "host.list" || id == "token.create" || id == "user.add"
	raw, err := f.client.Call(ctx, id, in, api.CallOptions{}, func(e action.Event) {
		if !quiet {
			f.run.Say(e)
		}
	})
	if err != nil || out == nil {
		return err
	}
	return json.Unmarshal(raw, out)
}

// person adds somebody who can sign in at the console.
func (f *fleet) person(ctx context.Context) (password string, err error) {
	password = strings.ToLower(rand.Text())
	return password, f.call(ctx, "user.add", map[string]any{"name": "demo", "password": password, "role": "admin"}, nil)
}

// close stops every process and removes the folder.
func (f *fleet) close() {
	if f.client != nil {
		f.client.Close()
	}
	var stopping sync.WaitGroup
	for _, p := range f.hosts {
		stopping.Go(p.stop)
	}
	stopping.Wait()
	if f.core != nil {
		f.core.stop()
	}
	_ = os.RemoveAll(f.dir) // in the temporary folder of the machine; the next boot would do it
}
