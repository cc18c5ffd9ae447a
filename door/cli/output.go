package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
)

// print writes the result to standard output: raw as it came for programs, out
// with its own methods for people.
func (c *CLI) print(a action.Action, raw json.RawMessage, out any) error {
	switch c.set.format() {
	case formatJSON, formatYAML:
		return c.printData(raw)
	case formatName:
		return c.printNames(a, out)
	}
	if s, ok := out.(fmt.Stringer); ok {
		if text := strings.TrimRight(s.String(), "\n"); text != "" {
			fmt.Fprintln(c.o.Stdout, text)
		}
		return nil
	}
	text := c.render(reflect.ValueOf(out), a.Columns)
	_, err := io.WriteString(c.o.Stdout, text)
	return err
}

// printData writes JSON, indented, or the same as YAML. Fields that this version
// does not know are kept.
func (c *CLI) printData(raw json.RawMessage) error {
	if c.set.format() == formatYAML {
		b, err := yaml.JSONToYAML(raw)
		if err != nil {
			return fault.Internal("result cannot be written as YAML").Because(err)
		}
		_, err = c.o.Stdout.Write(b)
		return err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, raw, "", "  "); err != nil {
		return fault.Internal("result is not JSON").Because(err)
	}
	b.WriteByte('\n')
	_, err := c.o.Stdout.Write(b.Bytes())
	return err
}

// printNames writes one name a line: the column name, id, host or key, else the
// first.
func (c *CLI) printNames(a action.Action, out any) error {
	v := reflect.Indirect(reflect.ValueOf(out))
	rows := []reflect.Value{v}
	if v.Kind() == reflect.Slice {
		rows = rows[:0]
		for i := range v.Len() {
			rows = append(rows, reflect.Indirect(v.Index(i)))
		}
	}
	for _, r := range rows {
		if name := nameOf(r, a.Columns); name != "" {
			fmt.Fprintln(c.o.Stdout, name)
		}
	}
	return nil
}

func nameOf(row reflect.Value, columns []string) string {
	if row.Kind() != reflect.Struct {
		return cell(row)
	}
	cells := cellsOf(row)
	for _, want := range append([]string{"name", "id", "host", "key"}, columns...) {
		for _, cl := range cells {
			if cl.name == want {
				return cl.text()
			}
		}
	}
	if len(cells) > 0 {
		return cells[0].text()
	}
	return ""
}

// writeLine writes a value as one line of JSON.
func writeLine(w io.Writer, v any) {
	b, err := json.Marshal(v)
	if err != nil { // nothing that is told here holds what JSON has not
		b, _ = json.Marshal(err.Error())
	}
	_, _ = w.Write(append(b, '\n')) // nobody listens: then nobody needs to be told
}

// printValue prints a result that no action made.
func (c *CLI) printValue(v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return fault.Internal("result cannot be written as JSON").Because(err)
	}
	return c.print(action.Action{}, raw, v)
}
