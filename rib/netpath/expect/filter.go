package expect

import "strings"

// filters is a dump of iptables-save, cut into words: table, chain, rules.
type filters map[string]map[string][]filterRule

// filterRule is a rule: its words behind the chain's name.
type filterRule struct {
	words []string
	line  string // without the counters
}

func parseFilters(dump string) filters {
	out := filters{}
	table := ""
	for line := range strings.Lines(dump) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "*"):
			table = line[1:]
			out[table] = map[string][]filterRule{}
		case strings.HasPrefix(line, ":"):
			chain, _, _ := strings.Cut(line[1:], " ")
			if out[table] != nil && out[table][chain] == nil {
				out[table][chain] = []filterRule{}
			}
		default:
			if strings.HasPrefix(line, "[") { // counters
				_, line, _ = strings.Cut(line, "] ")
			}
			rest, ok := strings.CutPrefix(line, "-A ")
			if !ok || out[table] == nil {
				continue
			}
			chain, rule, _ := strings.Cut(rest, " ")
			out[table][chain] = append(out[table][chain], filterRule{words: words(rule), line: line})
		}
	}
	return out
}

// words cuts a rule at its blanks; quoted comments stay whole.
func words(s string) []string {
	var out []string
	for s = strings.TrimSpace(s); s != ""; s = strings.TrimLeft(s, " ") {
		if s[0] == '"' {
			if end := strings.IndexByte(s[1:], '"'); end >= 0 {
				out = append(out, s[1:end+1])
				s = s[end+2:]
				continue
			}
		}
		w, rest, _ := strings.Cut(s, " ")
		out = append(out, w)
		s = rest
	}
	return out
}

// get returns the word behind an option; "" if the rule has it not.
func (r *filterRule) get(option string) string {
	for i, w := range r.words {
		if w == option && i+1 < len(r.words) {
			return r.words[i+1]
		}
	}
	return ""
}

// translation returns the first rule of table nat, in any chain, for which ok says so.
func (f filters) translation(ok func(*filterRule) bool) *filterRule {
	for _, rules := range f["nat"] {
		for i := range rules {
			if ok(&rules[i]) {
				return &rules[i]
			}
		}
	}
	return nil
}

// chainEnding returns the name of the chain of a table that ends so, "" if there is none:
// agents put their own name before it.
func (f filters) chainEnding(table, suffix string) string {
	best := ""
	for name := range f[table] {
		if strings.HasSuffix(name, suffix) && (best == "" || len(name) < len(best)) {
			best = name
		}
	}
	return best
}

// uncounted takes the counters from the beginning of a rule.
func uncounted(line string) string {
	if _, rule, is := strings.Cut(line, "] "); is && strings.HasPrefix(line, "[") {
		return rule
	}
	return line
}

// insertRule puts a rule before the first one of its chain for which before says so, else
// behind its last, else at the table's end.
func insertRule(dump, table, rule string, before func(line string) bool) string {
	lines := strings.Split(dump, "\n")
	chain, _, _ := strings.Cut(strings.TrimPrefix(rule, "-A "), " ")
	at, in, declared, declareAt := -1, false, false, -1
	for i, raw := range lines {
		line := strings.TrimSpace(raw)
		if strings.HasPrefix(line, "*") {
			in = line == "*"+table
			if in {
				declareAt = i + 1
			}
			continue
		}
		if !in {
			continue
		}
		if strings.HasPrefix(line, ":"+chain+" ") {
			declared = true
		}
		line = uncounted(line)
		if strings.HasPrefix(line, "-A "+chain+" ") {
			if before != nil && before(line) {
				at = i
				break
			}
			at = i + 1
		}
		if line == "COMMIT" {
			if at < 0 {
				at = i
			}
			break
		}
	}
	if at < 0 {
		return dump + "*" + table + "\n:" + chain + " - [0:0]\n" + rule + "\nCOMMIT\n"
	}
	out := append([]string{}, lines[:at]...)
	out = append(out, rule)
	out = append(out, lines[at:]...)
	if !declared && declareAt >= 0 {
		out = append(out[:declareAt], append([]string{":" + chain + " - [0:0]"}, out[declareAt:]...)...)
	}
	return strings.Join(out, "\n")
}

// removeRule takes a rule out, whatever its counters.
func removeRule(dump, rule string) string {
	var b strings.Builder
	for line := range strings.Lines(dump) {
		bare := strings.TrimSpace(line)
		if strings.HasPrefix(bare, "[") {
			_, bare, _ = strings.Cut(bare, "] ")
		}
		if bare != rule {
			b.WriteString(line)
		}
	}
	return b.String()
}
