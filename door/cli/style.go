package cli

import (
	"io"

	"charm.land/lipgloss/v2"
)

// The few looks that text has.
const (
	styleDim  = iota // heads and keys
	styleBad         // faults
	styleGood        // done
)

// style returns what dresses a text for the stream: nothing when it has no colour.
func (c *CLI) style(w io.Writer, which int) func(string) string {
	if !c.coloured(w) {
		return func(s string) string { return s }
	}
	s := lipgloss.NewStyle()
	switch which {
	case styleDim:
		s = s.Faint(true)
	case styleBad:
		s = s.Bold(true).Foreground(lipgloss.Red)
	case styleGood:
		s = s.Foreground(lipgloss.Green)
	}
	return func(text string) string { return s.Render(text) }
}

// coloured follows NO_COLOR (no-color.org) and CLICOLOR_FORCE (bixense.com/clicolors);
// without them only a terminal is coloured.
func (c *CLI) coloured(w io.Writer) bool {
	switch {
	case c.o.Env("NO_COLOR") != "":
		return false
	case c.o.Env("CLICOLOR_FORCE") != "" && c.o.Env("CLICOLOR_FORCE") != "0":
		return true
	default:
		return terminal(w) && c.o.Env("TERM") != "dumb"
	}
}
