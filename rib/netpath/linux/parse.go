package linux

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Filters is what iptables-save writes, parsed: tables by name ("raw", "mangle", "nat",
// "filter", "security").
type Filters struct {
	Tables map[string]*Table
}

// Chain returns a chain, nil if there is none.
func (f *Filters) Chain(table, name string) *Chain {
	if f == nil || f.Tables[table] == nil {
		return nil
	}
	return f.Tables[table].Chains[name]
}

// Table is a table of iptables.
type Table struct {
	Name   string
	Chains map[string]*Chain
	Order  []string // names of chains as written
}

// Chain is a chain of a table.
type Chain struct {
	Name           string
	Policy         string // "ACCEPT", "DROP"; "" of a user's own chain
	Packets, Bytes uint64
	Rules          []*Rule
}

// Rule is a rule of a chain.
type Rule struct {
	Table, Chain   string
	Line           string // "-A CHAIN ...", without counters
	Packets, Bytes uint64
	Comment        string
	Matches        []Option // in the order written; modules and comments are none
	Target         string   // "ACCEPT", "DNAT", a chain's name, ...; "" only counts
	Goto           bool     // -g: the chain that is left is not come back to
	Args           []Option // of the target
	Broken         string   // why the line cannot be read, "" if it can
}

// Option is an option of a rule.
type Option struct {
	Module string // "tcp", "physdev", "set", ...; "" of iptables itself
	Name   string // "--dport", "-s"
	Not    bool
	Args   []string
}

// String writes the option as iptables-save does.
func (o Option) String() string {
	var b strings.Builder
	if o.Module != "" {
		b.WriteString("-m " + o.Module + " ")
	}
	if o.Not {
		b.WriteString("! ")
	}
	b.WriteString(o.Name)
	for _, a := range o.Args {
		b.WriteString(" " + a)
	}
	return b.String()
}

// Find returns the first match of that name, nil if the rule has none.
func (r *Rule) Find(name string) *Option { return find(r.Matches, name) }

func find(options []Option, name string) *Option {
	for i := range options {
		if options[i].Name == name {
			return &options[i]
		}
	}
	return nil
}

// ParseFilters reads what iptables-save writes, with -c or without. A rule that cannot be read
// is an error and stays in its chain, Broken; what a rule says is not judged here.
func ParseFilters(text string) (*Filters, []error) {
	f := &Filters{Tables: map[string]*Table{}}
	var errs []error
	var t *Table
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimRight(line, "\r\n")
		switch {
		case line == "" || line[0] == '#' || line == "COMMIT":
		case line[0] == '*':
			t = &Table{Name: strings.TrimSpace(line[1:]), Chains: map[string]*Chain{}}
			f.Tables[t.Name] = t
		case t == nil:
			errs = append(errs, fmt.Errorf("iptables line %d: %q stands before any table", n, clip(line)))
		default:
			if err := t.read(line); err != nil {
				errs = append(errs, fmt.Errorf("iptables line %d: %w", n, err))
			}
		}
	}
	return f, errs
}

func clip(s string) string {
	if len(s) > 200 {
		return s[:200] + "..."
	}
	return s
}

// read takes a line that declares a chain or appends a rule.
func (t *Table) read(line string) error {
	if line[0] == ':' {
		name, rest, _ := strings.Cut(line[1:], " ")
		policy, counts, _ := strings.Cut(rest, " ")
		if policy == "-" {
			policy = ""
		}
		c := t.chain(name)
		c.Policy = policy
		c.Packets, c.Bytes, _ = counters(counts)
		return nil
	}
	r := &Rule{Table: t.Name, Line: line}
	if line[0] == '[' {
		counts, rest, _ := strings.Cut(line, " ")
		var ok bool
		if r.Packets, r.Bytes, ok = counters(counts); !ok {
			return fmt.Errorf("%q has no counters that can be read", clip(line))
		}
		r.Line = rest
	}
	words, err := split(r.Line)
	if len(words) < 2 || words[0].text != "-A" && words[0].text != "--append" {
		return fmt.Errorf("%q is no rule", clip(line))
	}
	r.Chain = words[1].text
	c := t.chain(r.Chain)
	c.Rules = append(c.Rules, r)
	if err == nil {
		err = r.options(words[2:])
	}
	if err != nil {
		r.Broken = err.Error()
		return fmt.Errorf("%q: %w", clip(r.Line), err)
	}
	return nil
}

func (t *Table) chain(name string) *Chain {
	c := t.Chains[name]
	if c == nil {
		c = &Chain{Name: name}
		t.Chains[name] = c
		t.Order = append(t.Order, name)
	}
	return c
}

// counters reads "[packets:bytes]".
func counters(s string) (packets, bytes uint64, ok bool) {
	s, ok = strings.CutPrefix(s, "[")
	if !ok {
		return 0, 0, false
	}
	a, b, _ := strings.Cut(strings.TrimSuffix(s, "]"), ":")
	packets, err := strconv.ParseUint(a, 10, 64)
	if err != nil {
		return 0, 0, false
	}
	bytes, err = strconv.ParseUint(b, 10, 64)
	return packets, bytes, err == nil
}

// word is a word of a rule; one in quotes is never an option.
type word struct {
	text   string
	quoted bool
}

func (w word) option() bool {
	return !w.quoted && len(w.text) > 1 && w.text[0] == '-' && (w.text[1] == '-' || w.text[1] >= 'A')
}

// split cuts a line into words as iptables-restore does: quotes hold words together, a
// backslash in them takes the next character as it is.
func split(line string) ([]word, error) {
	var words []word
	for i := 0; i < len(line); {
		switch line[i] {
		case ' ', '\t':
			i++
		case '"':
			var b strings.Builder
			i++
			for i < len(line) && line[i] != '"' {
				if line[i] == '\\' && i+1 < len(line) {
					i++
				}
				b.WriteByte(line[i])
				i++
			}
			if i >= len(line) {
				return words, errors.New("a quote is not closed")
			}
			i++
			words = append(words, word{b.String(), true})
		default:
			end := i
			for end < len(line) && line[end] != ' ' && line[end] != '\t' {
				end++
			}
			words = append(words, word{line[i:end], false})
			i = end
		}
	}
	return words, nil
}

// options sorts the words of a rule into matches, modules and the target.
func (r *Rule) options(words []word) error {
	module, not := "", false
	for i := 0; i < len(words); {
		w := words[i]
		if w.text == "!" && !w.quoted {
			not = true
			i++
			continue
		}
		if !w.option() {
			return fmt.Errorf("%q stands where an option should", clip(w.text))
		}
		i++
		o := Option{Name: w.text, Not: not}
		not = false
		if i+1 < len(words) && words[i].text == "!" && !words[i].quoted && !words[i+1].option() {
			o.Not = true // "-s ! address", as before iptables 1.4.3
			i++
		}
		for i < len(words) && !words[i].option() && (words[i].quoted || words[i].text != "!") {
			o.Args = append(o.Args, words[i].text)
			i++
		}
		var err error
		if module, err = r.option(o, module); err != nil {
			return err
		}
	}
	if not {
		return errors.New("a ! stands at the end")
	}
	return nil
}

// option files one option and returns the module that is in force after it.
func (r *Rule) option(o Option, module string) (string, error) {
	one := ""
	if len(o.Args) > 0 {
		one = o.Args[0]
	}
	switch o.Name {
	case "-m", "--match", "-j", "--jump", "-g", "--goto":
		if len(o.Args) != 1 {
			return "", fmt.Errorf("%s has %d arguments instead of 1", o.Name, len(o.Args))
		}
	}
	switch o.Name {
	case "-m", "--match":
		if r.Target != "" {
			return "", fmt.Errorf("-m %s stands behind the target", one)
		}
		if bare[one] {
			r.Matches = append(r.Matches, Option{Module: one, Name: "-m"})
		}
		return one, nil
	case "-j", "--jump", "-g", "--goto":
		r.Target, r.Goto = one, o.Name == "-g" || o.Name == "--goto"
		return "", nil
	case "-c", "--set-counters":
		return module, nil
	}
	if r.Target != "" {
		r.Args = append(r.Args, o)
		return module, nil
	}
	if module == "comment" && o.Name == "--comment" {
		r.Comment = one
		return module, nil
	}
	if !own[o.Name] {
		o.Module = module
	}
	r.Matches = append(r.Matches, o)
	return module, nil
}

// own are options of iptables itself, whatever module stands before them.
var own = map[string]bool{"-s": true, "-d": true, "-i": true, "-o": true, "-p": true, "-f": true}

// bare are modules that match something without any option.
var bare = map[string]bool{"socket": true, "rpfilter": true, "limit": true, "eui64": true, "unclean": true, "rateest": true, "ipv6header": true}
