package config

import (
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
)

// textOf writes a value in the form that setText reads, structured ones as flow
// YAML.
func textOf(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case time.Duration:
		return shortDuration(x)
	case fmt.Stringer:
		return x.String()
	case string:
		return x
	case []string:
		return strings.Join(x, ",")
	case map[string]string:
		pairs := make([]string, 0, len(x))
		for k, val := range x {
			pairs = append(pairs, k+"="+val)
		}
		slices.Sort(pairs)
		return strings.Join(pairs, ",")
	}
	if v.Kind() == reflect.Map || v.Kind() == reflect.Slice || v.Kind() == reflect.Struct {
		return flow(v)
	}
	return fmt.Sprint(v.Interface())
}

// shortDuration is Duration.String without the zero units: "1h" for "1h0m0s".
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// flow writes a value as one line of YAML.
func flow(v reflect.Value) string {
	if (v.Kind() == reflect.Map || v.Kind() == reflect.Slice) && v.Len() == 0 {
		return map[reflect.Kind]string{reflect.Map: "{}", reflect.Slice: "[]"}[v.Kind()]
	}
	out, err := yaml.MarshalWithOptions(v.Interface(), yaml.Flow(true))
	if err != nil {
		return "# " + err.Error()
	}
	return strings.TrimSpace(string(out))
}

// yamlOf writes a value as it stands behind "key: " in the file.
func yamlOf(v reflect.Value) string {
	switch {
	case v.Type() == reflect.TypeFor[time.Duration](), isText(v):
		return quote(textOf(v))
	case v.Kind() == reflect.String:
		return quote(v.String())
	case v.Kind() == reflect.Map || v.Kind() == reflect.Slice:
		return flow(v)
	default:
		return fmt.Sprint(v.Interface())
	}
}

func quote(s string) string {
	out, err := yaml.Marshal(s)
	if err != nil {
		return fmt.Sprintf("%q", s)
	}
	return strings.TrimSpace(string(out))
}

// Show writes the configuration as a file that Load reads back, each value with
// its origin behind it.
func (l *Loaded) Show(w io.Writer) error {
	return l.write(w, func(key string, _ field) (before, after string) { return "", "  # " + l.Origin(key) })
}

// Reference writes a commented file that holds every key with its default,
// commented out; Load reads it as the defaults.
func Reference(w io.Writer, sections map[string]any) error {
	l := &Loaded{Config: Default(), Sections: sections}
	if _, err := io.WriteString(w, referenceHead); err != nil {
		return err
	}
	return l.write(w, func(key string, f field) (before, after string) {
		help := f.help
		if len(f.enum) > 0 {
			help += " (" + strings.Join(f.enum, ", ") + ")"
		}
		return help, ""
	})
}

const referenceHead = `# kaname.yaml: the configuration of kaname, read from /etc/kaname/kaname.yaml.
#
# Every key is shown with its default and may be left out. A key that is not
# known is an error; "kaname config check" names line and column. An environment
# variable KANAME_SECTION_KEY overrides the file, a flag overrides both;
# "kaname config show --effective" tells where each value came from.
# Secrets never stand here, only the paths of files that hold them.
# SIGHUP ("systemctl reload kaname") reads the file again: labels, log level and
# limits apply at once, the rest at the next start.
`

// write writes all sections; note gives the comment before a key and after its
// value. With a comment before, the key itself is commented out.
func (l *Loaded) write(w io.Writer, note func(key string, f field) (before, after string)) error {
	var b strings.Builder
	for _, s := range l.sections() {
		before, _ := note(s.name, s)
		b.WriteString("\n")
		if before != "" {
			b.WriteString("# " + wrap(before, 96, "# ") + "\n")
		}
		b.WriteString(s.name + ":\n")
		writeKeys(&b, s.name, s.value, "  ", note)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func writeKeys(b *strings.Builder, path string, v reflect.Value, indent string, note func(string, field) (string, string)) {
	for _, f := range fieldsOf(v) {
		key := join(path, f.name)
		before, after := note(key, f)
		if before != "" {
			b.WriteString(indent + "# " + wrap(before, 96-len(indent), indent+"# ") + "\n")
		}
		if isSection(f.value) {
			b.WriteString(indent + f.name + ":\n")
			writeKeys(b, key, f.value, indent+"  ", note)
			continue
		}
		hash := ""
		if after == "" {
			hash = "#"
		}
		b.WriteString(indent + hash + f.name + ": " + yamlOf(f.value) + after + "\n")
	}
}

// wrap breaks text into lines of at most width columns.
func wrap(text string, width int, prefix string) string {
	var b strings.Builder
	column := 0
	for i, word := range strings.Fields(text) {
		if i > 0 && column+1+len(word) > width {
			b.WriteString("\n" + prefix)
			column = 0
		} else if i > 0 {
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
}
