package config

import (
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/host"
)

// Edit sets keys ("plane.mode") in a file, which is made if it is missing, and
// leaves everything else in it, comments included, as it is. The values are YAML
// on one line. Only keys of the form section.key can be set; one whose present
// value spans several lines is refused with what to write by hand.
func Edit(file string, values map[string]string) error {
	raw, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		return fault.Denied("configuration file " + file + " cannot be read").Because(err)
	}
	text := string(raw)
	for _, key := range slices.Sorted(mapKeys(values)) {
		if text, err = set(text, key, values[key]); err != nil {
			return fault.Of(err).At(file)
		}
	}
	mode := os.FileMode(0o644)
	if info, err := os.Stat(file); err == nil {
		mode = info.Mode().Perm()
	}
	if err := host.WritePath(file, mode, []byte(text)); err != nil {
		return fault.Denied("configuration file " + file + " cannot be written").Because(err)
	}
	return nil
}

// set returns the text with one key set.
func set(text, key, value string) (string, error) {
	section, name, _ := strings.Cut(key, ".")
	places, err := places(text)
	if err != nil {
		return "", err
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if text == "" {
		lines = nil
	}
	line := "  " + name + ": " + value
	switch have, there := places[key]; {
	case there:
		if wide(lines, have.Line-1, have.Column-1) {
			return "", fault.Conflict(key + " is set on several lines").Try("write there: " + name + ": " + value)
		}
		lines[have.Line-1] = strings.Repeat(" ", have.Column-1) + name + ": " + value
	default:
		have, there = places[section]
		if !there {
			lines = append(lines, section+":", line)
			break
		}
		lines = slices.Insert(lines, have.Line, strings.Repeat(" ", indentOf(places, section))+name+": "+value)
	}
	return strings.Join(lines, "\n") + "\n", nil
}

// indentOf returns the column at which the keys of a section begin, from 0.
func indentOf(places map[string]*token.Position, section string) int {
	for key, p := range places {
		if rest, ok := strings.CutPrefix(key, section+"."); ok && !strings.Contains(rest, ".") {
			return p.Column - 1
		}
	}
	return 2
}

// places finds the sections and their keys.
func places(text string) (map[string]*token.Position, error) {
	f := &filer{file: "", tokens: map[string]*token.Token{}}
	l := &Loaded{Config: Default()}
	if _, err := parser.ParseBytes([]byte(text), 0); err != nil {
		return nil, fault.Invalid("the file is not YAML").Because(err)
	}
	f.read([]byte(text), l.sections())
	found := map[string]*token.Position{}
	for key, tk := range f.tokens {
		found[key] = tk.Position
	}
	return found, nil
}

// wide reports whether the value of the key on a line goes on below it, or whether
// the line holds more than the key (a flow mapping).
func wide(lines []string, at, indent int) bool {
	if strings.TrimSpace(lines[at][:min(indent, len(lines[at]))]) != "" {
		return true
	}
	for _, l := range lines[at+1:] {
		trimmed := strings.TrimLeft(l, " ")
		if trimmed == "" || strings.HasPrefix(trimmed, "#") {
			continue
		}
		deeper := len(l)-len(trimmed) > indent
		return deeper || strings.HasPrefix(trimmed, "- ")
	}
	return false
}
