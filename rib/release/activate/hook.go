package activate

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/host"
)

// DefaultHookTimeout is how long a hook may take unless it says otherwise.
const DefaultHookTimeout = 5 * time.Minute

// keepOutput is how many bytes of a hook's output are kept.
const keepOutput = 16 << 10

// Hooks are command lines for /bin/sh -c, run one after the other in the release's
// directory. The first that does not exit with 0 fails its hook. Success and failure
// find what the others wrote on their standard input.
type Hooks struct {
	Pre     []string      `json:"pre,omitempty"`     // before the switch; a failure prevents it
	Post    []string      `json:"post,omitempty"`    // after the switch; a failure undoes it
	Success []string      `json:"success,omitempty"` // when all went well; a failure is told and changes nothing
	Failure []string      `json:"failure,omitempty"` // when it did not; likewise
	Timeout time.Duration `json:"timeout,omitempty"` // of each command line; DefaultHookTimeout when 0
	User    string        `json:"-"`                 // runs as that account; empty means as this process. Set by the host, not by who asks
}

// Any reports whether there is a command to run.
func (h *Hooks) Any() bool { return len(h.Pre)+len(h.Post)+len(h.Success)+len(h.Failure) > 0 }

// Ran is how a hook's command line ended.
type Ran struct {
	Hook   string        `json:"hook"` // pre, post, success, failure
	Line   string        `json:"line"`
	Error  string        `json:"error,omitempty"` // empty when it exited with 0
	Output string        `json:"output,omitempty"`
	Took   time.Duration `json:"took"`
}

// log returns the hooks that ran so far with their output: what success and failure
// hooks find on their standard input.
func (o *Outcome) log() string {
	var b strings.Builder
	for _, r := range o.Ran {
		fmt.Fprintf(&b, "%s: %s\n%s", r.Hook, r.Line, r.Output)
		if r.Error != "" {
			fmt.Fprintf(&b, "%s: %s\n", r.Hook, r.Error)
		}
	}
	return b.String()
}

// environment returns what a command line finds in its environment about a release
// that is, or is about to be, live.
func environment(app, dir string, x *Activation, hook, release, previous string) []string {
	reason := "deploy"
	if x.Back {
		reason = "rollback"
	}
	env := []string{
		"KANAME_APP=" + app, "KANAME_HOST=" + x.Host, "KANAME_DEPLOY=" + x.ID, "KANAME_HOOK=" + hook, "KANAME_REASON=" + reason,
		"KANAME_RELEASE=" + release, "KANAME_RELEASE_PATH=" + pathOrNone(dir, release),
		"KANAME_PREVIOUS=" + previous, "KANAME_PREVIOUS_PATH=" + pathOrNone(dir, previous),
		"KANAME_CURRENT=" + dir + "/" + currentLink, "KANAME_SHARED=" + dir + "/" + sharedDir,
		"KANAME_WAVE=" + strconv.Itoa(x.Wave), "KANAME_WAVES=" + strconv.Itoa(x.Waves),
	}
	return env
}

func pathOrNone(dir, version string) string {
	if version == "" {
		return ""
	}
	return filepath.Join(dir, releasesDir, version)
}

// hook runs the command lines of a hook until one fails, and adds them to out.
func (a *App) hook(ctx context.Context, x *Activation, out *Outcome, name string, lines []string, release, previous string) error {
	if len(lines) == 0 {
		return nil
	}
	user, err := account(x.Hooks.User)
	if err != nil {
		return err
	}
	c := host.Command{
		Dir: pathOrNone(a.dir, release), Env: environment(a.name, a.dir, x, name, release, previous), User: user, Keep: keepOutput,
		Timeout: x.Hooks.Timeout, Background: true,
	}
	if c.Timeout <= 0 {
		c.Timeout = DefaultHookTimeout
	}
	log := out.log() // as it is before this hook
	for _, line := range lines {
		c.Shell = line
		if name == "success" || name == "failure" {
			c.Stdin = strings.NewReader(log)
		}
		if x.Say != nil {
			x.Say(name, line)
		}
		a.at("hook " + name)
		res, err := host.Run(ctx, c)
		ran := Ran{Hook: name, Line: line, Output: res.Output, Took: res.Duration}
		if err != nil {
			ran.Error = err.Error()
		}
		out.Ran = append(out.Ran, ran)
		if err != nil {
			return hookFault(a.name, name, res, err)
		}
	}
	return nil
}

// Lines runs hooks that belong to no release, in "/": pre and post until one fails, then
// success or failure.
func Lines(ctx context.Context, x Activation) (out Outcome, err error) {
	a := &App{name: "", dir: "/"}
	if err = a.hook(ctx, &x, &out, "pre", x.Hooks.Pre, "", ""); err == nil {
		err = a.hook(ctx, &x, &out, "post", x.Hooks.Post, "", "")
	}
	after, name, lines := context.WithoutCancel(ctx), "success", x.Hooks.Success
	if err != nil {
		name, lines = "failure", x.Hooks.Failure
	}
	out.warn(a.hook(after, &x, &out, name, lines, "", ""))
	return out, err
}

// account finds the account with the name; nil for none.
func account(name string) (*host.User, error) {
	if name == "" {
		return nil, nil //nolint:nilnil // no account is a good answer: the command runs as this process
	}
	u, err := host.LookupUser(name)
	if err != nil {
		return nil, fault.Invalid("hooks cannot run as " + name).Because(err).Try("set release.hook_user in the configuration to an account that exists")
	}
	return u, nil
}

// hookFault says which hook failed, and how, with the end of its output.
func hookFault(app, hook string, res host.Result, err error) error {
	f := &fault.Fault{Kind: fault.KindInternal, What: fmt.Sprintf("app %s: hook %s failed", app, hook), Err: err}
	if _, ran := errors.AsType[*host.ExitError](err); !ran {
		f.Kind = fault.Of(err).Kind
	}
	if res.TimedOut {
		f.Kind = fault.KindTimeout
		f.Remedy = "give it longer: --hook-timeout"
	}
	return f
}
