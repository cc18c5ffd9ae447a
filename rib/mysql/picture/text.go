package picture

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Text returns the picture for a terminal: a line about the topology, a line for each server
// with its columns aligned, and below each what does not fit there.
func Text(s Scene) string {
	if s.Record == nil {
		return ""
	}
	rows := Rows(s)
	table := make([][]string, len(rows))
	var width [6]int
	for i := range rows {
		table[i] = columns(&rows[i])
		for c, text := range table[i] {
			width[c] = max(width[c], utf8.RuneCountInString(text))
		}
	}
	var b strings.Builder
	b.WriteString(headline(s) + "\n")
	for i, line := range table {
		var out strings.Builder
		for c, text := range line {
			if width[c] > 0 {
				out.WriteString(text + strings.Repeat(" ", width[c]-utf8.RuneCountInString(text)+2))
			}
		}
		b.WriteString(strings.TrimRight(out.String(), " ") + "\n")
		for _, f := range rows[i].Findings {
			fmt.Fprintf(&b, "%s  ! %s: %s\n", rows[i].below, f.What, f.Why)
		}
	}
	return b.String()
}

// columns are what is shown of a server in its line.
func columns(r *Row) []string {
	position := r.Position
	if r.Missing > 0 {
		position += fmt.Sprintf(" (-%d)", r.Missing)
	}
	return []string{r.Tree, r.Role, r.State, position, lag(r), r.SemiSync}
}

// headline says how the topology stands.
func headline(s Scene) string {
	r := s.Record
	parts := []string{r.Name + ": " + string(s.Verdict.State), fmt.Sprintf("epoch %d", r.Epoch), string(r.Policy.Durability)}
	if m := r.Move; m != nil {
		parts = append(parts, fmt.Sprintf("%s from %s at step %s", m.Kind, m.From, m.Step))
	}
	if p := r.Paused; p != nil {
		parts = append(parts, "paused by "+p.By)
	}
	if s.Verdict.Blocked != "" {
		parts = append(parts, "failover blocked: "+s.Verdict.Blocked)
	}
	return strings.Join(parts, ", ")
}
