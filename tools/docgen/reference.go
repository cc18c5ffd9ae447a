package main

import (
	"fmt"
	"strings"

	"kaname.dev/kaname/access"
	"kaname.dev/kaname/action"
	"kaname.dev/kaname/door/cli"
	"kaname.dev/kaname/fault"
)

const written = "<!-- written by tools/docgen from the declarations; do not edit -->\n\n"

// reference returns the pages of docs/reference.
func (b book) reference() map[string]string {
	words, actions := b.byGroup()
	pages := map[string]string{}
	var index strings.Builder
	index.WriteString(written + "# Reference\n\nEvery command, drawn from the actions that this version declares. `kaname COMMAND --help` says the same.\n\n")
	index.WriteString("| command | what it does | role |\n|---|---|---|\n")
	for _, w := range words {
		var page strings.Builder
		title := w
		if t, ok := b.groups[w]; ok {
			title = w + ": " + t.EN
		}
		fmt.Fprintf(&page, "%s# %s\n", written, title)
		for _, a := range actions[w] {
			fmt.Fprintf(&index, "| [`kaname %s`](%s.md#kaname-%s) | %s | %s |\n", a.Name, w, strings.ReplaceAll(a.Name, " ", "-"), a.Summary.EN, role(a))
			page.WriteString(actionPage(a))
		}
		pages[w+".md"] = page.String()
	}
	index.WriteString("\nBesides: [exit codes, environment and faults](conventions.md), [the HTTP API](openapi.json).\n")
	pages["README.md"] = index.String()
	pages["conventions.md"] = conventions()
	return pages
}

func role(a action.Action) string {
	if a.Local {
		return "(runs here)"
	}
	return string(access.Least(a.Effect))
}

func actionPage(a action.Action) string {
	var p strings.Builder
	fmt.Fprintf(&p, "\n## kaname %s\n\n%s.\n", a.Name, a.Summary.EN)
	if a.Summary.JA != "" {
		fmt.Fprintf(&p, "%s。\n", a.Summary.JA)
	}
	if a.Long != "" {
		fmt.Fprintf(&p, "\n%s\n", a.Long)
	}
	if a.Local {
		p.WriteString("\nRuns in the process of the command line; it has no other door.\n")
	} else {
		fmt.Fprintf(&p, "\nEffect: %s; least role: %s; asks first: %s. HTTP: `POST /v1/actions/%s`.\n", a.Effect, access.Least(a.Effect), yesNo(a.Asks()), a.ID())
	}
	if len(a.Fields) > 0 {
		p.WriteString("\n| input | kind | default | meaning |\n|---|---|---|---|\n")
		for _, f := range a.Fields {
			fmt.Fprintf(&p, "| %s | %s | %s | %s |\n", inputName(f), f.Kind, code(f.Default), bar(meaning(f)))
		}
	}
	if len(a.Examples) > 0 {
		p.WriteString("\n```sh\n")
		for _, e := range a.Examples {
			if e.Text != "" {
				fmt.Fprintf(&p, "# %s\n", e.Text)
			}
			p.WriteString(e.Line + "\n")
		}
		p.WriteString("```\n")
	}
	if !a.Local {
		fmt.Fprintf(&p, "\n```sh\ncurl --unix-socket /run/kaname/kaname.sock http://kaname/v1/actions/%s%s\n```\n", a.ID(), sample(a))
	}
	return p.String()
}

// sample is the end of a curl command that gives the required inputs.
func sample(a action.Action) string {
	values, files := []string{}, ""
	for _, f := range a.Fields {
		switch {
		case !f.Required:
		case f.Kind == action.KindFile:
			files += fmt.Sprintf(" -F %s=@FILE", f.Name)
		case len(f.Enum) > 0:
			values = append(values, fmt.Sprintf("%q: %q", f.Name, f.Enum[0]))
		case f.Kind == action.KindList:
			values = append(values, fmt.Sprintf("%q: [%q]", f.Name, "…"))
		case f.Kind == action.KindInt, f.Kind == action.KindBytes:
			values = append(values, fmt.Sprintf("%q: 1", f.Name))
		case f.Kind == action.KindBool:
			values = append(values, fmt.Sprintf("%q: true", f.Name))
		default:
			values = append(values, fmt.Sprintf("%q: %q", f.Name, "…"))
		}
	}
	body := "{" + strings.Join(values, ", ") + "}"
	if files != "" {
		return " -F 'input=" + body + "'" + files
	}
	return " --json '" + body + "'"
}

func inputName(f action.Field) string {
	if f.Arg {
		return "`" + strings.ToUpper(f.Name) + "`"
	}
	return "`--" + f.Name + "`"
}

func meaning(f action.Field) string {
	m := f.Help.EN
	if len(f.Enum) > 0 {
		m += ": " + strings.Join(f.Enum, ", ")
	}
	if f.Required {
		m += " (required)"
	}
	return m
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + bar(s) + "`"
}

// bar keeps a text from ending its table cell.
func bar(s string) string { return strings.ReplaceAll(s, "|", "\\|") }

// kindMeanings are the kinds of fault, in the order of the manual.
var kindMeanings = []struct {
	kind    fault.Kind
	meaning string
}{
	{fault.KindInvalid, "the input or the configuration is wrong; asking again will not help"},
	{fault.KindNotFound, "the named thing does not exist"},
	{fault.KindExists, "the thing to be created exists already"},
	{fault.KindDenied, "the asker may not do this"},
	{fault.KindNeedsApproval, "somebody else must agree first"},
	{fault.KindConflict, "the ground moved since it was looked at"},
	{fault.KindUnavailable, "a part that is needed does not answer; asking later may help"},
	{fault.KindTimeout, "the time given ran out; the outcome may be unknown"},
	{fault.KindPartial, "done on some hosts, not on others"},
	{fault.KindUnsupported, "this version cannot do it"},
	{fault.KindCorrupt, "stored or received bytes are not what they must be"},
	{fault.KindFull, "a quota or the disk leaves no room"},
	{fault.KindCanceled, "the asker went away, interrupted it, or did not agree"},
	{fault.KindInternal, "a bug, or an error that nobody has given a kind yet"},
}

func conventions() string {
	var p strings.Builder
	p.WriteString(written + "# Conventions of every command\n\nStandard output carries the result and nothing else; what happens meanwhile, questions and faults go to standard error.\n" +
		"On a terminal progress is drawn as bars; otherwise each event is a line of JSON (`--progress` chooses).\n" +
		"`-o json` is a contract: fields are only added, and readers ignore those they do not know.\n\n## Exit codes\n\n| code | meaning |\n|---|---|\n")
	for _, e := range cli.ExitCodes() {
		fmt.Fprintf(&p, "| %d | %s |\n", e.Code, e.Meaning.EN)
	}
	p.WriteString("\n## Environment\n\n| variable | meaning |\n|---|---|\n")
	for _, e := range cli.Environment() {
		fmt.Fprintf(&p, "| `%s` | %s |\n", e.Name, e.Meaning.EN)
	}
	p.WriteString("\n## Faults\n\nA fault has a kind, what happened, where, why, and what to do. The kind alone decides exit code and HTTP status.\n\n| kind | exit code | HTTP status | meaning |\n|---|---|---|---|\n")
	for _, k := range kindMeanings {
		f := &fault.Fault{Kind: k.kind}
		fmt.Fprintf(&p, "| `%s` | %d | %d | %s |\n", k.kind, fault.ExitCode(f), fault.HTTPStatus(f), k.meaning)
	}
	p.WriteString("\n## Questions\n\nAn action that destroys, or that changes something and can show a plan first, shows the plan and asks. `--yes` agrees beforehand.\n" +
		"Without a terminal and without `--yes` such an action is refused with exit code 2. `--dry-run` shows the plan alone;\n" +
		"with `--detailed-exitcode` it ends with 0 when nothing would change and 2 when something would.\n" +
		"A plan that was agreed to is carried out only on the ground that it was made on; otherwise exit code 6.\n" +
		"\n## Roles\n\nA viewer may call what reads, an operator also what changes, an admin also what destroys or says who may do what.\n" +
		"At the local socket root and the members of the group `kaname` are admins.\n")
	return p.String()
}
