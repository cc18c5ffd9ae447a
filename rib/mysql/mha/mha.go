// Package mha reads what people who come from MHA or mysqlfailover have: an application's
// configuration file and the global one, or a command line of mysqlfailover or mysqlrpladmin.
// It says what each option becomes in kaname, or why it is not needed, and proposes a topology.
// It asks nobody and runs nothing.
//
// Sources: MHA 0.58 (lib/MHA/Config.pm has the list of names, the wiki's page "Parameters" what
// they mean); the manual pages mysqlfailover(1) and mysqlrpladmin(1) of MySQL Utilities 1.6.
package mha

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"kaname.dev/kaname/rib/mysql/topology"
)

// Level says what a row asks of its reader.
type Level string

// The levels.
const (
	OK        Level = "ok"        // the same in kaname, or its way anyway
	Changed   Level = "changed"   // there is something of the kind, done otherwise: read the row
	Dropped   Level = "dropped"   // not needed, or without a counterpart that would be missed
	Attention Level = "attention" // somebody has to decide or to do something
)

// Row is what becomes of one option that was found.
type Row struct {
	Where   string `json:"where"`             // "app1.cnf:12", or "argument 3"
	Section string `json:"section,omitempty"` // of the file
	Option  string `json:"option"`
	Value   string `json:"value"` // secrets are masked
	Becomes string `json:"becomes"`
	Level   Level  `json:"level"`
}

// Import is what was read.
type Import struct {
	// Primary is the member that the command line names; MHA's files name none, it
	// looks.
	Primary string `json:"primary,omitempty"`
	// Members are proposed in the order found. Names are hosts' names, with the port where
	// a host has several servers; Address may have a name where kaname wants an IP address.
	Members []topology.Member `json:"members"`
	Policy  topology.Policy   `json:"policy"`
	// Observers are the hosts of masterha_secondary_check. Kaname's are the members' own
	// agents, so that they need not be there.
	Observers []string `json:"observers,omitempty"`
	Rows      []Row    `json:"rows"` // in the order found
}

// Unknown is what stands for a primary that nobody has named.
const Unknown = "PRIMARY"

// Adopt returns the command that takes charge of the proposed topology, as words for a shell.
// An empty primary means the one that was named, or Unknown.
func (i *Import) Adopt(name, primary string) string {
	if primary == "" {
		primary = i.Primary
	}
	if primary == "" {
		primary = Unknown
	}
	var replicas []string
	roles := map[topology.Role][]string{}
	for _, m := range i.Members {
		roles[m.Role] = append(roles[m.Role], m.Name)
		if m.Name != primary {
			replicas = append(replicas, m.Name)
		}
	}
	words := []string{"kaname", "mysql", "adopt", name, "--primary", primary}
	list := func(option string, names []string) {
		if len(names) > 0 {
			words = append(words, option, strings.Join(names, ","))
		}
	}
	list("--replicas", replicas)
	list("--prefer", roles[topology.Preferred])
	list("--never", roles[topology.Never])
	return quoted(append(words, i.policyWords()...))
}

// policyWords are the options for what differs from the default policy.
func (i *Import) policyWords() (words []string) {
	was, p := topology.DefaultPolicy(), i.Policy
	if p.Manual {
		words = append(words, "--manual", "yes")
	}
	for _, d := range []struct {
		option  string
		is, was fmt.Stringer
	}{{"--silence", p.Silence, was.Silence}, {"--drain", p.Drain, was.Drain}, {"--max-lag", p.MaxLag, was.MaxLag}, {"--cooldown", p.Cooldown, was.Cooldown}} {
		if d.is != d.was {
			words = append(words, d.option, d.is.String())
		}
	}
	for _, w := range p.FenceCommand {
		words = append(words, "--fence-command="+w)
	}
	for _, e := range p.Endpoints {
		text := []string{e.Kind}
		for _, key := range slices.Sorted(maps.Keys(e.Settings)) {
			text = append(text, key+"="+e.Settings[key])
		}
		words = append(words, "--endpoint", strings.Join(text, " "))
	}
	return words
}

// quoted joins words so that a shell takes them apart again.
func quoted(words []string) string {
	var b strings.Builder
	for n, w := range words {
		if n > 0 {
			b.WriteByte(' ')
		}
		if w != "" && strings.Trim(w, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/:,=@%+") == "" {
			b.WriteString(w)
			continue
		}
		b.WriteString("'" + strings.ReplaceAll(w, "'", `'\''`) + "'")
	}
	return b.String()
}

// isHost reports whether a text can be a name or address of a host.
func isHost(s string) bool { return host.MatchString(s) }

var host = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{0,252}$`)

// row adds one; whatever it is about, it shows no password.
func (i *Import) row(r Row, level Level, becomes string) {
	r.Value = masked(r.Option, r.Value)
	r.Level, r.Becomes = level, becomes
	i.Rows = append(i.Rows, r)
}

// hook adds a setting of the endpoint that runs scripts; there is at most one.
func (i *Import) hook(setting, script string) {
	n := slices.IndexFunc(i.Policy.Endpoints, func(e topology.Endpoint) bool { return e.Kind == "hook" })
	if n < 0 {
		n = len(i.Policy.Endpoints)
		i.Policy.Endpoints = append(i.Policy.Endpoints, topology.Endpoint{Kind: "hook", Settings: map[string]string{}})
	}
	i.Policy.Endpoints[n].Settings[setting] = script
}
