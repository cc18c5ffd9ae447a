package mha

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"kaname.dev/kaname/rib/mysql/topology"
)

// CommandLine reads the words of a command line of mysqlfailover or mysqlrpladmin, with or
// without the program's name: Words makes words of text. It always returns an Import; what
// cannot be understood is told in rows of level attention.
func CommandLine(words []string) *Import {
	u := &utilities{result: &Import{Policy: topology.DefaultPolicy()}}
	first := 1
	if len(words) > 0 && !strings.HasPrefix(words[0], "-") {
		switch program := strings.TrimSuffix(path.Base(words[0]), ".py"); program {
		case "mysqlfailover":
			words, first = words[1:], first+1
		case "mysqlrpladmin":
			u.admin = true
			words, first = words[1:], first+1
		}
	}
	// A command such as switchover is mysqlrpladmin's.
	u.admin = u.admin || slices.ContainsFunc(words, func(w string) bool { return commands[w] != "" })
	for n := 0; n < len(words); n++ {
		n += u.take(words[n:], fmt.Sprintf("argument %d", first+n))
	}
	u.members()
	return u.result
}

// utilities collects what a command line says.
type utilities struct {
	result     *Import
	admin      bool // mysqlrpladmin's
	primary    *connection
	replicas   []connection
	candidates []connection
	newPrimary *connection
	discover   bool
	elect      bool
}

// flag is an option of the utilities.
type flag struct {
	bare    bool // takes no value
	servers bool // takes connections
	short   byte // one letter, or 0
	admin   int  // 0: of both; 1: of mysqlrpladmin only; -1: of mysqlfailover only
	say     func(u *utilities, value string) (Level, string)
}

// take reads the option at the beginning of words and returns how many of the next words belong
// to it.
func (u *utilities) take(words []string, where string) int {
	word := words[0]
	r := Row{Where: where, Option: word}
	if !strings.HasPrefix(word, "-") || word == "-" || word == "--" {
		u.command(r)
		return 0
	}
	name, value, given := word, "", false
	if strings.HasPrefix(word, "--") {
		name, value, given = strings.Cut(word, "=")
	} else if len(word) > 2 {
		name, value, given = word[:2], word[2:], true
	}
	full, err := u.find(name)
	if err != nil {
		r.Option, r.Value = shown("", name), shown("", value)
		u.result.row(r, Attention, err.Error())
		return 0
	}
	f := flags[full]
	r.Option = full
	used := 0
	switch {
	case f.bare && given && !strings.HasPrefix(word, "--"): // -vvv
		value = ""
	case f.bare && given:
		r.Value = shown(full, value)
		u.result.row(r, Attention, "takes no value; the utility refuses it")
		return 0
	case !f.bare && !given && len(words) < 2:
		u.result.row(r, Attention, "has no value; the utility refuses it")
		return 0
	case !f.bare && !given:
		value, used = words[1], 1
	}
	r.Value = shown(full, value)
	level, becomes := f.say(u, value)
	u.result.row(r, level, becomes)
	return used
}

// find returns the option of a name, which may be shortened as far as it stays unique.
func (u *utilities) find(name string) (string, error) {
	var found []string
	for full, f := range flags {
		if f.admin == 1 && !u.admin || f.admin == -1 && u.admin {
			continue
		}
		if full == name || f.short != 0 && name == "-"+string(f.short) {
			return full, nil
		}
		if strings.HasPrefix(name, "--") && len(name) > 2 && strings.HasPrefix(full, name) {
			found = append(found, full)
		}
	}
	slices.Sort(found)
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return "", errors.New("means one of " + strings.Join(found, ", ") + "; the utility refuses it")
	}
	return "", fmt.Errorf("%s 1.6 has no such option", u.program())
}

func (u *utilities) program() string {
	if u.admin {
		return "mysqlrpladmin"
	}
	return "mysqlfailover"
}

// commands are mysqlrpladmin's.
var commands = map[string]string{
	"elect":      "kaname mysql failover --dry-run says who would be chosen, and why",
	"failover":   "kaname mysql failover; by itself it happens without",
	"gtid":       "kaname mysql topology",
	"health":     "kaname mysql status and kaname mysql topology",
	"switchover": "kaname mysql switchover",
}

func (u *utilities) command(r Row) {
	switch becomes := commands[r.Option]; {
	case becomes != "":
		u.result.row(r, OK, becomes)
	case slices.Contains([]string{"start", "stop", "reset"}, r.Option):
		u.result.row(r, Dropped, "kaname keeps replicas replicating; kaname mysql pause keeps its hands off for work on them")
	default:
		r.Option = shown("", r.Option)
		u.result.row(r, Attention, "is no option and no command")
	}
}

// members makes members of the connections.
func (u *utilities) members() {
	count := map[string]map[string]bool{}
	all := slices.Concat(u.replicas, u.candidates)
	for _, c := range []*connection{u.newPrimary, u.primary} {
		if c != nil {
			all = append([]connection{*c}, all...)
		}
	}
	all = slices.DeleteFunc(all, func(c connection) bool { return c.host == "" })
	for _, c := range all {
		if count[c.host] == nil {
			count[c.host] = map[string]bool{}
		}
		count[c.host][c.port] = true
	}
	preferred := map[string]bool{}
	for _, c := range u.candidates {
		preferred[c.address()] = true
	}
	seen := map[string]bool{}
	for _, c := range all {
		if seen[c.address()] {
			continue
		}
		seen[c.address()] = true
		m := topology.Member{Name: c.host, Host: c.host, Address: c.address(), Role: topology.Candidate}
		if len(count[c.host]) > 1 {
			m.Name += "-" + c.port
		}
		isPrimary := u.primary != nil && u.primary.address() == c.address()
		switch {
		case isPrimary:
			u.result.Primary = m.Name
		case preferred[c.address()]:
			m.Role = topology.Preferred
		case u.elect:
			m.Role = topology.Never
		}
		u.result.Members = append(u.result.Members, m)
	}
	if u.primary == nil && !u.admin {
		u.result.row(Row{Where: "command line", Option: "--master"}, Attention, "is missing; mysqlfailover needs it")
	}
	if len(u.replicas) == 0 && !u.discover {
		u.result.row(Row{Where: "command line", Option: "--slaves"}, Attention, "is missing, and --discover-slaves-login too; name the replicas when you adopt")
	}
}

// shown returns an option's value without passwords. An option that nobody knows may have any
// kind of value.
func shown(option, value string) string {
	switch option {
	case "--rpl-user", "--discover-slaves-login":
		user, _, has := strings.Cut(value, ":")
		if has {
			return user + ":" + mask
		}
		return value
	}
	if f, known := flags[option]; known && !f.servers {
		return secrets.ReplaceAllString(value, "${1}"+mask)
	}
	parts := strings.Split(value, ",")
	for i, p := range parts {
		account, place, at := cutLast(p, "@")
		user, rest, has := strings.Cut(account, ":")
		switch {
		case has && at:
			parts[i] = user + ":" + mask + "@" + place
		case has && strings.Trim(rest, "0123456789") != "" && !strings.HasPrefix(rest, "/"):
			parts[i] = user + ":" + mask // half of something with a comma in its password, perhaps
		}
	}
	return secrets.ReplaceAllString(strings.Join(parts, ","), "${1}"+mask)
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
