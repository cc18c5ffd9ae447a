package mha

import (
	"fmt"
	"regexp"
	"strings"
)

// File is a configuration file of MHA.
type File struct {
	Name string // as messages say it
	Data []byte
}

// line is an option as found.
type line struct {
	number        int
	section       string
	option, value string
}

// trouble is a line that is no option and no section.
type trouble struct {
	number    int
	text, why string
}

// The forms of lines as Perl's Config::Tiny takes them, which MHA reads its files with: comments
// begin with # or ; at a line's beginning, or with " ; " later; a section or an option that
// comes twice is one, and its last value holds. There are no includes and no continued lines.
var (
	empty    = regexp.MustCompile(`^\s*(?:[#;]|$)`)
	comment  = regexp.MustCompile(`\s;\s.+$`)
	heading  = regexp.MustCompile(`^\s*\[\s*(.+?)\s*\]\s*$`)
	property = regexp.MustCompile(`^\s*([^=]+?)\s*=\s*(.*?)\s*$`)
	quotes   = regexp.MustCompile(`^['"]?(.*)['"]$`)
)

// parse takes a file apart. Options before the first heading are in section "".
func parse(data []byte) (lines []line, troubles []trouble) {
	section := ""
	text := strings.TrimPrefix(string(data), "\ufeff")
	number := 0
	for l := range strings.SplitSeq(strings.ReplaceAll(text, "\r\n", "\n"), "\n") {
		number++
		l = strings.TrimRight(l, "\r")
		if empty.MatchString(l) {
			continue
		}
		l = comment.ReplaceAllString(l, "")
		if m := heading.FindStringSubmatch(l); m != nil {
			section = m[1]
			if section != defaults && !isServer(section) && !isBinlog(section) {
				troubles = append(troubles, trouble{number, "[" + section + "]", fmt.Sprintf("a section must be [%s], [server…] or [binlog…]; MHA refuses the file", defaults)})
			}
			continue
		}
		if m := property.FindStringSubmatch(l); m != nil {
			lines = append(lines, line{number, section, m[1], unquoted(m[2])})
			continue
		}
		troubles = append(troubles, trouble{number, "", "not a section, not an option, not a comment; MHA refuses the file"})
	}
	return lines, troubles
}

// unquoted takes off quotes as MHA does: one at the end, and one at the beginning.
func unquoted(s string) string {
	if m := quotes.FindStringSubmatch(s); m != nil {
		return m[1]
	}
	return s
}

const defaults = "server default"

func isServer(section string) bool {
	rest, ok := strings.CutPrefix(section, "server")
	return ok && rest != "" && !strings.ContainsAny(rest[:1], " \t")
}

func isBinlog(section string) bool {
	rest, ok := strings.CutPrefix(section, "binlog")
	return ok && rest != "" && !strings.ContainsAny(rest[:1], " \t")
}

// secrets is what looks like a password inside a value: --password=x, -px is left to people.
var secrets = regexp.MustCompile(`(?i)((?:pass(?:word|wd)?|pwd|secret|token)\s*[=: ]\s*)("[^"]*"|'[^']*'|\S+)`)

// masked returns a value without its secrets.
func masked(option, value string) string {
	if value != "" && strings.Contains(option, "password") {
		return mask
	}
	return secrets.ReplaceAllString(value, "${1}"+mask)
}

const mask = "***"
