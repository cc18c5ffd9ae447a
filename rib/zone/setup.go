package zone

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/host"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/rib/office"
	"kaname.dev/kaname/rib/zone/exchange"
	"kaname.dev/kaname/rib/zone/server"
)

// setupIn names a server.
type setupIn struct {
	Server string `name:"nameserver" arg:"" required:"" help:"host/server" ja:"ホスト/サーバー" complete:"servers"`
	Apply  bool   `name:"apply" help:"write the files and run the commands" ja:"ファイルを書き、コマンドを実行する"`
}

// setupOrder is what a host is told.
type setupOrder struct {
	Server    string            `json:"server"`
	Apply     bool              `json:"apply"`
	Templates []server.Template `json:"templates"`
}

// setupResult is what a server's configuration needs, and what was done.
type setupResult struct {
	Files    []server.File `json:"files,omitempty"`
	Commands []string      `json:"commands,omitempty"`
	Notes    []string      `json:"notes,omitempty"`
	Problems []string      `json:"problems,omitempty"` // what the server's configuration lacks now
	Applied  bool          `json:"applied"`
}

// setup tells the server's host what is to be set up, or to do it.
func (r *service) setup(ctx context.Context, run *action.Run, in setupIn) (setupResult, error) {
	hostname, server, ok := strings.Cut(in.Server, "/")
	if !ok {
		return setupResult{}, fault.Invalid(fmt.Sprintf("server %q is not of the form host/server", in.Server)).Try("see: kaname zone servers")
	}
	templates, err := r.templates(ctx)
	if err != nil {
		return setupResult{}, err
	}
	spec := plane.CallSpec{Command: commandSetup, In: setupOrder{server, in.Apply, templates}, Timeout: 2 * time.Minute, Actor: run.Actor}
	return plane.CallOne[setupResult](ctx, r.node.Plane, hostname, spec, nil)
}

func (r *service) planSetup(ctx context.Context, in setupIn) (action.Plan, error) {
	apply := in.Apply
	in.Apply = false
	out, err := r.setup(ctx, &action.Run{}, in)
	if err != nil {
		return action.Plan{}, err
	}
	p := action.Plan{Summary: "print what " + in.Server + " needs"}
	if !apply {
		return p, nil
	}
	p.Summary = "set " + in.Server + " up for kaname"
	for _, f := range out.Files {
		p.Steps = append(p.Steps, action.Step{Host: in.Server, What: "write " + f.Path + ": " + f.Why})
	}
	for _, c := range out.Commands {
		p.Steps = append(p.Steps, action.Step{Host: in.Server, What: "run " + c})
	}
	p.Warnings = out.Notes
	return p, nil
}

// templates returns those that the desired zones use now, or the groups' if there are
// none yet.
func (r *service) templates(ctx context.Context) ([]server.Template, error) {
	f, err := office.Do[exchange.Feed](ctx, r.client, exchange.PathDesired, exchange.Ask{Server: "setup", Kind: "setup"})
	if err != nil || len(f.Templates) > 0 {
		return f.Templates, err
	}
	var out []server.Template
	for group, g := range r.settings().Groups {
		if t, err := g.template(group); err == nil && len(t.Primaries) > 0 {
			out = append(out, t)
		}
	}
	return out, nil
}

// setUp is the host's part.
func (r *service) setUp(ctx context.Context, in setupOrder) (setupResult, error) {
	var conf *Server
	set := r.settings()
	for i := range set.Servers {
		if set.Servers[i].Name == in.Server {
			conf = &set.Servers[i]
		}
	}
	if conf == nil {
		return setupResult{}, fault.NotFound("server " + in.Server + " is not among zone.servers of this host").At(r.node.Host)
	}
	kind, err := kindOf(conf.Kind)
	if err != nil {
		return setupResult{}, err
	}
	recipe := kind.setup(server.Setup{Options: r.driverOptions(conf), Templates: in.Templates, Keys: r.keys, Address: addr(conf.Address)})
	out := setupResult{Files: slices.Clone(recipe.Files), Notes: recipe.Notes}
	for i := range out.Files {
		out.Files[i].Text = r.masked(out.Files[i].Text)
	}
	for _, c := range recipe.Commands {
		out.Commands = append(out.Commands, r.masked(strings.Join(c, " ")))
	}
	if in.Apply {
		if err := applyRecipe(ctx, &recipe); err != nil {
			return out, err
		}
		out.Applied = true
	}
	if s, err := r.site(in.Server); err == nil {
		out.Problems = s.Problems(ctx)
	}
	return out, nil
}

// masked hides the secrets of keys in what people are shown; what is written has them.
func (r *service) masked(text string) string {
	for i := range r.keys {
		text = strings.ReplaceAll(text, r.keys[i].Secret, "SECRET-OF-"+strings.ToUpper(strings.TrimSuffix(r.keys[i].Name, ".")))
	}
	return text
}

// applyRecipe writes the files and runs the commands. A file that is there with other
// contents is put aside as .before-kaname first.
func applyRecipe(ctx context.Context, recipe *server.Recipe) error {
	for _, f := range recipe.Files {
		if !filepath.IsAbs(f.Path) {
			return fault.Unsupported("the path of " + f.Path + " is not known").Try("set the server's config in zone.servers to the absolute path of its configuration file")
		}
		if err := writeAside(f); err != nil {
			return fault.Denied("file " + f.Path + " cannot be written").Because(err)
		}
	}
	for _, c := range recipe.Commands {
		if _, err := host.Run(ctx, host.Command{Args: c, Timeout: time.Minute}); err != nil {
			return fault.Internal("command of the setup did not succeed: " + c[0]).Because(err).Try("the files are written; run it by hand")
		}
	}
	return nil
}

func writeAside(f server.File) error {
	old, err := os.ReadFile(f.Path)
	if err == nil && string(old) == f.Text {
		return nil
	}
	dir := filepath.Dir(f.Path)
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // a server's configuration directory
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	base := filepath.Base(f.Path)
	if old != nil {
		if err := host.WriteBytes(root, base+".before-kaname", 0o640, old); err != nil {
			return err
		}
	}
	return host.WriteBytes(root, base, fs.FileMode(f.Mode), []byte(f.Text))
}
