package console

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"strings"
	"time"
)

// value is a JSON value in a form that the templates can draw, object keys in the
// order in which they came. A new rib's results are drawn by it with no code of
// their own: an object as pairs, a list of objects as a table, a list of plain
// values as one line.
type value struct {
	Text  string       // a plain value; empty otherwise
	Class string       // css classes: "num", "good", "bad"
	Long  bool         // the text has lines, which are kept
	Image template.URL // a drawing, shown as an image: nothing in it can run
	Pairs []pair       // an object
	Rows  []row        // a list of objects
	Heads []string
	Items []value // any other list
}

type pair struct {
	Key   string
	Value value
}

type row []value

// newValue reads raw; what is not JSON is shown as text.
func newValue(raw json.RawMessage) value {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	v, err := readValue(d)
	if err != nil {
		return value{Text: string(raw)}
	}
	return v
}

func readValue(d *json.Decoder) (value, error) {
	t, err := d.Token()
	if err != nil {
		return value{}, err
	}
	switch t := t.(type) {
	case json.Delim:
		if t == '{' {
			return readObject(d)
		}
		return readList(d)
	case json.Number:
		return value{Text: t.String(), Class: "num"}, nil
	case bool:
		if t {
			return value{Text: "yes", Class: "good"}, nil
		}
		return value{Text: "no", Class: "soft"}, nil
	case nil:
		return value{}, nil
	default:
		return plain(fmt.Sprint(t)), nil
	}
}

// plain shows times in one short form and colours the words that every rib uses
// for good and bad.
func plain(s string) value {
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		if t.IsZero() {
			return value{}
		}
		return value{Text: t.UTC().Format("2006-01-02 15:04:05 UTC")}
	}
	if strings.HasPrefix(s, "<svg ") {
		return value{Image: template.URL("data:image/svg+xml;base64," + base64.StdEncoding.EncodeToString([]byte(s)))} //nolint:gosec // an image; the browser runs no scripts in it
	}
	return value{Text: s, Class: tone(s), Long: strings.Contains(s, "\n")}
}

// tone returns the css class of a word that says how something is.
func tone(word string) string {
	switch strings.ToLower(word) {
	case "done", "live", "ok", "alive", "ready", "healthy":
		return "good"
	case "failed", "dead", "refused", "denied", "corrupt", "rolled_back", "rolled back", "silent":
		return "bad"
	case "running", "staged", "skipped", "drained", "warning", "staging":
		return "warn"
	default:
		return ""
	}
}

func readObject(d *json.Decoder) (value, error) {
	v := value{Pairs: []pair{}}
	for d.More() {
		k, err := d.Token()
		if err != nil {
			return value{}, err
		}
		e, err := readValue(d)
		if err != nil {
			return value{}, err
		}
		v.Pairs = append(v.Pairs, pair{Key: fmt.Sprint(k), Value: e})
	}
	_, err := d.Token() // the closing brace
	return v, err
}

func readList(d *json.Decoder) (value, error) {
	var items []value
	objects := true
	for d.More() {
		e, err := readValue(d)
		if err != nil {
			return value{}, err
		}
		objects = objects && e.Pairs != nil
		items = append(items, e)
	}
	if _, err := d.Token(); err != nil { // the closing bracket
		return value{}, err
	}
	if len(items) == 0 || !objects {
		return value{Items: items}, nil
	}
	return table(items), nil
}

// table lays objects out by the union of their keys, in order of first appearance.
func table(items []value) value {
	v := value{}
	at := map[string]int{}
	for _, it := range items {
		for _, p := range it.Pairs {
			if _, ok := at[p.Key]; !ok {
				at[p.Key] = len(v.Heads)
				v.Heads = append(v.Heads, p.Key)
			}
		}
	}
	for _, it := range items {
		r := make(row, len(v.Heads))
		for _, p := range it.Pairs {
			r[at[p.Key]] = p.Value
		}
		v.Rows = append(v.Rows, r)
	}
	return v
}

// only keeps the named columns of a table, in that order; unknown names are passed
// over, and no names keep all.
func (v value) only(columns []string) value {
	if len(columns) == 0 || v.Rows == nil {
		return v
	}
	at := map[string]int{}
	for i, h := range v.Heads {
		at[h] = i
	}
	out := value{}
	for _, c := range columns {
		if _, ok := at[c]; ok {
			out.Heads = append(out.Heads, c)
		}
	}
	for _, r := range v.Rows {
		var kept row
		for _, h := range out.Heads {
			kept = append(kept, r[at[h]])
		}
		out.Rows = append(out.Rows, kept)
	}
	return out
}

// Line is the value on one line, for a cell of a table.
func (v value) Line() template.HTML {
	switch {
	case v.Pairs != nil:
		var parts []string
		for _, p := range v.Pairs {
			parts = append(parts, template.HTMLEscapeString(p.Key)+"="+string(p.Value.Line()))
		}
		return template.HTML(strings.Join(parts, " ")) //nolint:gosec // escaped part by part
	case v.Rows != nil:
		return template.HTML(fmt.Sprintf("%d rows", len(v.Rows))) //nolint:gosec // a number
	case v.Items != nil:
		var parts []string
		for _, i := range v.Items {
			parts = append(parts, string(i.Line()))
		}
		return template.HTML(strings.Join(parts, ", ")) //nolint:gosec // escaped part by part
	default:
		return template.HTML(template.HTMLEscapeString(v.Text)) //nolint:gosec // escaped here
	}
}

// Empty reports whether there is nothing to show.
func (v value) Empty() bool {
	return v.Text == "" && len(v.Pairs) == 0 && len(v.Rows) == 0 && len(v.Items) == 0
}
