package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kaname.dev/kaname/action"
)

// completePatience is how long a shell waits for live values; after that it gets
// none, and nothing is said about it.
const completePatience = 300 * time.Millisecond

// candidates returns what may stand for the field.
func (c *CLI) candidates(ctx context.Context, f action.Field, typed string) ([]string, cobra.ShellCompDirective) {
	switch {
	case f.Kind == action.KindFile || f.Complete == "files":
		return nil, cobra.ShellCompDirectiveDefault
	case len(f.Enum) > 0:
		return c.listed(f, f.Enum, typed), cobra.ShellCompDirectiveNoFileComp
	case f.Complete == "roles":
		return c.listed(f, []string{"viewer", "operator", "admin"}, typed), cobra.ShellCompDirectiveNoFileComp
	case f.Complete == "":
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	client, err := c.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer client.Close()
	if ctx == nil {
		ctx = context.Background() //nolint:forbidigo // cobra has none when a shell asks
	}
	ctx, cancel := context.WithTimeout(ctx, completePatience)
	defer cancel()
	_, last := cutList(f, typed)
	values, err := client.Complete(ctx, f.Complete, last)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return c.listed(f, values, typed), cobra.ShellCompDirectiveNoFileComp
}

// listed puts what is already typed of a list before each candidate.
func (c *CLI) listed(f action.Field, values []string, typed string) []string {
	before, last := cutList(f, typed)
	var out []string
	for _, v := range values {
		if strings.HasPrefix(v, last) {
			out = append(out, before+v)
		}
	}
	return out
}

// cutList splits "role=web,zo" into "role=web," and "zo".
func cutList(f action.Field, typed string) (before, last string) {
	if f.Kind != action.KindList {
		return "", typed
	}
	i := strings.LastIndexByte(typed, ',')
	return typed[:i+1], typed[i+1:]
}

func (c *CLI) completeFlag(cmd *cobra.Command, f action.Field) {
	err := cmd.RegisterFlagCompletionFunc(f.Name, func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		return c.candidates(cmd.Context(), f, typed)
	})
	if err != nil {
		panic(err) // a field twice: a bug, found by the first test
	}
}

func (c *CLI) completeArgs(a action.Action) cobra.CompletionFunc {
	var args []action.Field
	for _, f := range a.Fields {
		if f.Arg {
			args = append(args, f)
		}
	}
	return func(cmd *cobra.Command, given []string, typed string) ([]string, cobra.ShellCompDirective) {
		n := len(given)
		if len(args) > 0 && args[len(args)-1].Kind == action.KindList {
			n = min(n, len(args)-1)
		}
		if n >= len(args) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return c.candidates(cmd.Context(), args[n], typed)
	}
}

func (c *CLI) completeGlobals() {
	for name, values := range map[string][]string{"output": formats, "progress": talks} {
		err := c.root.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
		if err != nil {
			panic(err) // the flag is not there: a bug, found by the first test
		}
	}
}
