package config

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/printer"
	"github.com/goccy/go-yaml/token"

	"kaname.dev/kaname/fault"
)

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	Where   string `json:"where"`             // "kaname.yaml:12:3", "KANAME_PLANE_MODE", "--mode"
	Line    int    `json:"line,omitempty"`    // from 1; 0 outside the file
	Column  int    `json:"column,omitempty"`  // from 1; 0 outside the file
	Text    string `json:"text"`              // "plane has no key \"moed\"; did you mean \"mode\"?"
	Excerpt string `json:"excerpt,omitempty"` // the lines around it, with a caret under the word
}

// String returns the problem as compilers write it, with the excerpt below.
func (p Problem) String() string {
	s := p.Where + ": " + p.Text
	if p.Excerpt != "" {
		s += "\n" + p.Excerpt
	}
	return s
}

// Problems are all that is wrong with a configuration.
type Problems []Problem //nolint:errname // a list of findings first, an error second

// Error lists the problems, each with its place.
func (ps Problems) Error() string {
	var b strings.Builder
	for i, p := range ps {
		if i > 0 {
			b.WriteString("\n")
		}
		b.WriteString(strings.TrimRight(p.String(), "\n"))
	}
	return b.String()
}

// Fault returns the problems as a fault of kind invalid, nil when there are none.
func (ps Problems) Fault() error {
	switch len(ps) {
	case 0:
		return nil
	case 1:
		text := ps[0].Text
		if ps[0].Excerpt != "" {
			text += "\n" + strings.TrimRight(ps[0].Excerpt, "\n")
		}
		return fault.Invalid(text).At(ps[0].Where)
	default:
		return fault.Invalid(fmt.Sprintf("%d things are wrong with the configuration:\n%s", len(ps), ps.Error()))
	}
}

// at makes a problem at a token of a file.
func at(file string, tk *token.Token, text string) Problem {
	if tk == nil || tk.Position == nil {
		return Problem{Where: file, Text: text}
	}
	var pr printer.Printer
	return Problem{
		Where: fmt.Sprintf("%s:%d:%d", file, tk.Position.Line, tk.Position.Column),
		Line:  tk.Position.Line, Column: tk.Position.Column, Text: text,
		Excerpt: pr.PrintErrorToken(tk, false),
	}
}

// nearest returns the candidate that word most probably was meant to be, or "".
func nearest(word string, candidates []string) string {
	best, name := len(word)/2+1, ""
	for _, c := range candidates {
		if d := distance(word, c); d < best {
			best, name = d, c
		}
	}
	return name
}

// distance counts insertions, deletions, replacements and swaps of neighbours
// (optimal string alignment).
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
