package main

import (
	"fmt"
	"strings"

	"github.com/cpuguy83/go-md2man/v2/md2man"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/door/cli"
)

// manual returns the manual pages, one for each command.
func (b book) manual() map[string][]byte {
	pages := map[string][]byte{}
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Name() == "help" || cmd.IsAdditionalHelpTopicCommand() {
			return
		}
		pages[pageName(cmd)+".1"] = md2man.Render([]byte(b.manPage(cmd)))
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(b.root)
	return pages
}

func pageName(cmd *cobra.Command) string {
	return strings.ReplaceAll(cmd.CommandPath(), " ", "-")
}

// manPage writes a page in the Markdown that md2man reads.
func (b book) manPage(cmd *cobra.Command) string {
	var p strings.Builder
	fmt.Fprintf(&p, "%% \"%s\" \"1\" \"\" \"kaname\" \"kaname manual\"\n\n", strings.ToUpper(pageName(cmd)))
	fmt.Fprintf(&p, "# NAME\n\n%s - %s\n\n", pageName(cmd), lower(cmd.Short))
	fmt.Fprintf(&p, "# SYNOPSIS\n\n**%s**", cmd.CommandPath())
	if _, rest, ok := strings.Cut(cmd.Use, " "); ok {
		p.WriteString(" " + escape(rest))
	} else if cmd.HasAvailableSubCommands() {
		p.WriteString(" COMMAND [FLAGS]")
	}
	p.WriteString("\n\n# DESCRIPTION\n\n")
	if cmd.Long != "" {
		p.WriteString(escape(cmd.Long) + "\n\n")
	} else {
		p.WriteString(escape(cmd.Short) + ".\n\n")
	}
	if a, err := b.catalog.Find(strings.TrimPrefix(cmd.CommandPath(), "kaname ")); err == nil {
		arguments(&p, a)
	}
	subCommands(&p, cmd)
	flags(&p, "# OPTIONS", cmd.NonInheritedFlags())
	flags(&p, "# OPTIONS OF EVERY COMMAND", cmd.InheritedFlags())
	if cmd.Example != "" {
		fmt.Fprintf(&p, "# EXAMPLES\n\n```\n%s\n```\n\n", dedent(cmd.Example))
	}
	tail(&p, cmd)
	return p.String()
}

func lower(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}

// escape keeps md2man from reading mark-up into plain text.
func escape(s string) string {
	return strings.NewReplacer("_", "\\_", "*", "\\*", "<", "\\<", "[", "\\[", "]", "\\]").Replace(s)
}

func dedent(s string) string { return strings.ReplaceAll("\n"+s, "\n  ", "\n")[1:] }

func arguments(p *strings.Builder, a action.Action) {
	first := true
	for _, f := range a.Fields {
		if !f.Arg {
			continue
		}
		if first {
			p.WriteString("# ARGUMENTS\n\n")
			first = false
		}
		fmt.Fprintf(p, "**%s**\n:   %s\n\n", strings.ToUpper(f.Name), escape(meaning(f)))
	}
}

func subCommands(p *strings.Builder, cmd *cobra.Command) {
	if !cmd.HasAvailableSubCommands() {
		return
	}
	p.WriteString("# COMMANDS\n\n")
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			fmt.Fprintf(p, "**%s**\n:   %s\n\n", sub.CommandPath(), escape(sub.Short))
		}
	}
}

func flags(p *strings.Builder, head string, set *pflag.FlagSet) {
	if !set.HasAvailableFlags() {
		return
	}
	p.WriteString(head + "\n\n")
	set.VisitAll(func(f *pflag.Flag) {
		name := "**--" + f.Name + "**"
		if f.Shorthand != "" {
			name = "**-" + f.Shorthand + "**, " + name
		}
		if f.Value.Type() != "bool" {
			name += " *" + f.Value.Type() + "*"
		}
		fmt.Fprintf(p, "%s\n:   %s", name, escape(f.Usage))
		if f.DefValue != "" && f.DefValue != "false" {
			fmt.Fprintf(p, " (default %s)", escape(f.DefValue))
		}
		p.WriteString("\n\n")
	})
}

// tail is what every page ends with.
func tail(p *strings.Builder, cmd *cobra.Command) {
	p.WriteString("# EXIT STATUS\n\n")
	for _, e := range cli.ExitCodes() {
		fmt.Fprintf(p, "**%d**\n:   %s\n\n", e.Code, escape(e.Meaning.EN))
	}
	p.WriteString("# ENVIRONMENT\n\n")
	for _, e := range cli.Environment() {
		fmt.Fprintf(p, "**%s**\n:   %s\n\n", escape(e.Name), escape(e.Meaning.EN))
	}
	p.WriteString("# FILES\n\n**/etc/kaname/kaname.yaml**\n:   configuration of the host\n\n**/run/kaname/kaname.sock**\n:   local socket of the core\n\n**/var/lib/kaname**\n:   state\n\n")
	p.WriteString("# SEE ALSO\n\n")
	var see []string
	if cmd.HasParent() {
		see = append(see, "**"+pageName(cmd.Parent())+"**(1)")
	}
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "help" {
			see = append(see, "**"+pageName(sub)+"**(1)")
		}
	}
	p.WriteString(strings.Join(see, ", ") + "\n")
}
