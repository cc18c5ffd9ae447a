package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
)

// build draws the command tree.
func (c *CLI) build() {
	c.root = &cobra.Command{
		Use: "kaname", Short: c.say("Releases, zones, databases and network paths of a private cloud, from one binary", "プライベートクラウドのリリース、ゾーン、データベース、経路をひとつのバイナリで"),
		Args: cobra.ArbitraryArgs, RunE: c.group, SilenceErrors: true, SilenceUsage: true, SuggestionsMinimumDistance: 2,
		PersistentPreRunE: func(*cobra.Command, []string) error { return c.set.check() },
	}
	c.root.SetIn(c.o.Stdin) // before the completion command, which keeps the stream
	c.root.SetOut(c.o.Stdout)
	c.root.SetErr(c.o.Stderr)
	c.helpFlag(c.root)
	c.set.global(c.root.PersistentFlags(), c.o.Env, c.say)
	c.root.SetFlagErrorFunc(wrongFlag)
	c.root.SetUsageTemplate(usageTemplate(c.lang))
	c.completeGlobals()
	for _, a := range c.o.Catalog.All() {
		c.hang(a)
	}
	c.root.AddCommand(c.versionCommand())
	c.topics()
	c.root.InitDefaultHelpCmd()
	c.root.InitDefaultCompletionCmd()
	child(c.root, "help").Short = c.say("Help about a command", "コマンドの説明を表示する")
	child(c.root, "completion").Short = c.say("Print the completion script of a shell", "シェルの補完スクリプトを出力する")
}

// say returns the text in the language of the user.
func (c *CLI) say(en, ja string) string { return action.Text{EN: en, JA: ja}.In(c.lang) }

// hang adds the command of an action, and the groups that its words need.
func (c *CLI) hang(a action.Action) {
	words := strings.Fields(a.Name)
	parent := c.root
	for i, w := range words[:len(words)-1] {
		parent = c.groupCommand(parent, w, i == 0)
	}
	cmd := c.command(a)
	if have := child(parent, cmd.Name()); have != nil { // a group of the same name becomes a command
		for _, sub := range have.Commands() {
			have.RemoveCommand(sub)
			cmd.AddCommand(sub)
		}
		parent.RemoveCommand(have)
	}
	parent.AddCommand(cmd)
}

func child(parent *cobra.Command, name string) *cobra.Command {
	i := slices.IndexFunc(parent.Commands(), func(cmd *cobra.Command) bool { return cmd.Name() == name })
	if i < 0 {
		return nil
	}
	return parent.Commands()[i]
}

func (c *CLI) groupCommand(parent *cobra.Command, word string, first bool) *cobra.Command {
	if have := child(parent, word); have != nil {
		return have
	}
	short := c.say("Actions on "+word, word+" の操作")
	if t, ok := c.o.Groups[word]; ok && first {
		short = t.In(c.lang)
	}
	cmd := &cobra.Command{Use: word, Short: short, Args: cobra.ArbitraryArgs, RunE: c.group, SuggestionsMinimumDistance: 2}
	c.helpFlag(cmd)
	parent.AddCommand(cmd)
	return cmd
}

func (c *CLI) helpFlag(cmd *cobra.Command) {
	cmd.Flags().BoolP("help", "h", false, c.say("show this help", "このヘルプを表示する"))
}

// group is what a command without an action of its own does: it shows help, or
// says that there is no such command.
func (c *CLI) group(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	f := fault.Invalid("there is no command \"" + cmd.CommandPath() + " " + args[0] + "\"")
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return f.Try("did you mean: " + cmd.CommandPath() + " " + strings.Join(near, ", or "+cmd.CommandPath()+" "))
	}
	return f.Try("see: " + cmd.CommandPath() + " --help")
}

// command draws one action.
func (c *CLI) command(a action.Action) *cobra.Command {
	words := strings.Fields(a.Name)
	use := []string{words[len(words)-1], c.say("[FLAGS]", "[フラグ]")}
	for _, f := range a.Fields {
		if f.Arg {
			use = append(use, argUsage(f))
		}
	}
	values := newTexts(a.Fields)
	cmd := &cobra.Command{
		Use: strings.Join(use, " "), Short: a.Summary.In(c.lang), Long: longText(a, c.lang), Example: examples(a),
		DisableFlagsInUseLine: true,
		Args:                  func(_ *cobra.Command, args []string) error { return fits(a, args) },
		ValidArgsFunction:     c.completeArgs(a),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.call(cmd.Context(), a, values.with(args))
		},
	}
	c.helpFlag(cmd)
	for _, f := range a.Fields {
		if slices.Contains(reserved, f.Name) {
			panic(fmt.Sprintf("action %q: field %q has the name of a flag that every command has", a.Name, f.Name))
		}
		if !f.Arg {
			c.flag(cmd, f, values)
		}
	}
	if a.Effect != action.Reads {
		c.set.changing(cmd.Flags(), c.say)
	}
	return cmd
}

func argUsage(f action.Field) string {
	name := strings.ToUpper(f.Name)
	if f.Kind == action.KindList {
		name += "..."
	}
	if !f.Required {
		name = "[" + name + "]"
	}
	return name
}

func wrongFlag(cmd *cobra.Command, err error) error {
	return fault.Invalid(strings.TrimPrefix(err.Error(), "flag: ")).Try("see: " + cmd.CommandPath() + " --help")
}

func longText(a action.Action, lang string) string {
	text := a.Summary.In(lang) + "."
	if lang == "ja" && a.Summary.JA != "" {
		text = a.Summary.JA + "。"
	}
	if a.Long != "" {
		text += "\n\n" + a.Long
	}
	return text
}

func examples(a action.Action) string {
	var lines []string
	for _, e := range a.Examples {
		lines = append(lines, "  "+e.Line)
		if e.Text != "" {
			lines = append(lines, "      "+e.Text)
		}
	}
	return strings.Join(lines, "\n")
}
