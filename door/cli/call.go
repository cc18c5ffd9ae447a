package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os/user"
	"strings"

	"github.com/oklog/ulid/v2"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/door/api"
	"kaname.dev/kaname/fault"
)

// call does what one command line asks of an action: it plans, asks, runs and
// prints.
func (c *CLI) call(ctx context.Context, a action.Action, t *texts) error {
	in, closeAll, err := c.inputs(a, t)
	defer closeAll()
	if err != nil {
		return err
	}
	if err := a.Check(in); err != nil {
		return err
	}
	d, err := c.doer(a, in)
	if err != nil {
		return err
	}
	if c.set.dryRun {
		return c.showPlan(ctx, a, d, in)
	}
	ground, err := c.agree(ctx, a, d, in)
	if err != nil {
		return err
	}
	return d.do(ctx, a, in, ground)
}

// doer is where an action is done: in this process or on a core.
type doer interface {
	plan(ctx context.Context, a action.Action, in action.Inputs) (action.Plan, error)
	do(ctx context.Context, a action.Action, in action.Inputs, ground string) error
}

func (c *CLI) doer(a action.Action, in action.Inputs) (doer, error) {
	if a.Local || in.Has(a.LocalWith) {
		return here{c}, nil
	}
	client, err := c.client()
	return there{c, client}, err
}

// here does Local actions.
type here struct{ *CLI }

func (h here) plan(ctx context.Context, a action.Action, in action.Inputs) (action.Plan, error) {
	return a.Plan(ctx, in)
}

func (h here) do(ctx context.Context, a action.Action, in action.Inputs, _ string) error {
	if h.set.detach {
		return fault.Invalid(a.Name + " runs in this process and cannot be left").Try("leave --detach out")
	}
	t := h.talker()
	run := &action.Run{ID: ulid.Make().String(), Actor: action.Actor{Name: localUser(), Door: "cli"}, Emit: t.event}
	out, err := a.Run(ctx, run, in)
	t.end(err)
	if err != nil {
		if ctx.Err() != nil {
			return (&fault.Fault{Kind: fault.KindCanceled, What: a.Name + " was interrupted"}).Because(err)
		}
		return err
	}
	raw, err := json.Marshal(out)
	if err != nil {
		return fault.Internal("result of " + a.Name + " cannot be written as JSON").Because(err)
	}
	return h.print(a, raw, out)
}

func localUser() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "unknown"
}

// there does actions on a core.
type there struct {
	*CLI
	client *api.Client
}

func (t there) plan(ctx context.Context, a action.Action, in action.Inputs) (action.Plan, error) {
	return t.client.Plan(ctx, a.ID(), in)
}

func (t there) do(ctx context.Context, a action.Action, in action.Inputs, ground string) error {
	defer t.client.Close()
	talk := t.talker()
	raw, err := t.client.Call(ctx, a.ID(), in, api.CallOptions{Ground: ground, Detach: t.set.detach}, talk.event)
	talk.end(err)
	if err != nil {
		return err
	}
	if t.set.detach {
		return t.printDetached(raw)
	}
	out, err := a.DecodeOut(raw)
	if err != nil && t.set.format() != formatJSON && t.set.format() != formatYAML {
		return err
	}
	return t.print(a, raw, out)
}

func (t there) printDetached(raw json.RawMessage) error {
	var run struct {
		Run string `json:"run"`
	}
	if err := json.Unmarshal(raw, &run); err != nil {
		return fault.Unsupported("answer of " + t.client.At() + " names no run").Because(err)
	}
	if f := t.set.format(); f == formatJSON || f == formatYAML {
		return t.printData(raw)
	}
	fmt.Fprintln(t.o.Stdout, run.Run)
	return nil
}

// showPlan is --dry-run.
func (c *CLI) showPlan(ctx context.Context, a action.Action, d doer, in action.Inputs) error {
	p, err := d.plan(ctx, a, in)
	if err != nil {
		return err
	}
	switch c.set.format() {
	case formatJSON, formatYAML:
		raw, err := json.Marshal(p)
		if err != nil {
			return fault.Internal("plan of " + a.Name + " cannot be written as JSON").Because(err)
		}
		if err := c.printData(raw); err != nil {
			return err
		}
	default:
		fmt.Fprint(c.o.Stdout, c.planText(p))
	}
	if c.set.exitPlan && len(p.Steps) > 0 {
		return exitCode(2) // as terraform plan -detailed-exitcode
	}
	return nil
}

// planText is a plan for people.
func (c *CLI) planText(p action.Plan) string {
	var b strings.Builder
	fmt.Fprintln(&b, p.Summary)
	for _, s := range p.Steps {
		if s.Host != "" {
			fmt.Fprintf(&b, "  %s: %s\n", s.Host, s.What)
		} else {
			fmt.Fprintf(&b, "  %s\n", s.What)
		}
	}
	for _, w := range p.Warnings {
		fmt.Fprintf(&b, "%s %s\n", c.say("warning:", "警告:"), w)
	}
	if len(p.Steps) == 0 {
		fmt.Fprintln(&b, c.say("nothing to do", "変更はありません"))
	}
	return b.String()
}

// agree shows the plan of what destroys or can be planned, and asks. It returns
// the ground of the plan that was agreed to. --yes agrees beforehand; with no
// terminal there is nobody to ask, and the call is refused.
func (c *CLI) agree(ctx context.Context, a action.Action, d doer, in action.Inputs) (ground string, err error) {
	if !a.Asks() || c.set.yes {
		return "", nil
	}
	if !terminal(c.o.Stdin) || !terminal(c.o.Stderr) {
		return "", fault.Invalid(a.Name + " asks before it " + a.Effect.String() + ", and here is no terminal to ask on").
			Try("add --yes, or look first with --dry-run")
	}
	p, err := d.plan(ctx, a, in)
	if err != nil {
		return "", err
	}
	fmt.Fprint(c.o.Stderr, c.planText(p))
	if len(p.Steps) == 0 {
		return "", exitCode(fault.ExitOK)
	}
	fmt.Fprint(c.o.Stderr, c.say("Go ahead? [y/N] ", "実行しますか? [y/N] "))
	line, _ := readLine(c.o.Stdin) // no answer is a no
	if l := strings.ToLower(strings.TrimSpace(line)); l != "y" && l != "yes" {
		return "", (&fault.Fault{Kind: fault.KindCanceled, What: a.Name + ": not agreed to, nothing was done"})
	}
	return p.Ground, nil
}
