package cli

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"sort"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"charm.land/lipgloss/v2/table"
)

// named is one column of a row, or one line of a struct.
type named struct {
	name  string // as in JSON
	value reflect.Value
}

func (n named) text() string { return cell(n.value) }

// cellsOf returns the fields of a struct under their JSON names, those of embedded
// structs among them.
func cellsOf(v reflect.Value) []named {
	var cells []named
	t := v.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" || !f.IsExported() && !f.Anonymous {
			continue
		}
		if f.Anonymous && name == "" {
			if inner := reflect.Indirect(v.Field(i)); inner.Kind() == reflect.Struct {
				cells = append(cells, cellsOf(inner)...)
			}
			continue
		}
		if name == "" {
			name = f.Name
		}
		cells = append(cells, named{name, v.Field(i)})
	}
	return cells
}

// render draws a result for people: a list of structs as a table, a struct as
// lines of "key: value" followed by its lists as tables.
func (c *CLI) render(v reflect.Value, columns []string) string {
	v = reflect.Indirect(v)
	switch {
	case !v.IsValid():
		return ""
	case isRows(v.Type()):
		return c.table(v, columns)
	case v.Kind() == reflect.Struct && !isScalar(v.Type()):
		return c.lines(v)
	default:
		if text := cell(v); text != "-" {
			return text + "\n"
		}
		return ""
	}
}

func isRows(t reflect.Type) bool {
	if t.Kind() != reflect.Slice {
		return false
	}
	e := t.Elem()
	if e.Kind() == reflect.Pointer {
		e = e.Elem()
	}
	return e.Kind() == reflect.Struct && !isScalar(e)
}

// isScalar reports whether a struct is shown as one text.
func isScalar(t reflect.Type) bool {
	return t == reflect.TypeFor[time.Time]() || t.Implements(reflect.TypeFor[fmt.Stringer]())
}

// lines draws a struct.
func (c *CLI) lines(v reflect.Value) string {
	cells := cellsOf(v)
	width := 0
	for _, cl := range cells {
		if !isRows(cl.value.Type()) {
			width = max(width, lipgloss.Width(title(cl.name)))
		}
	}
	var b, tables strings.Builder
	dim := c.style(c.o.Stdout, styleDim)
	line := func(name string, v reflect.Value) {
		key := title(name) + ":"
		fmt.Fprintf(&b, "%s%s %s\n", dim(key), strings.Repeat(" ", width+1-lipgloss.Width(key)), strings.ReplaceAll(cell(v), "\n", "\n"+strings.Repeat(" ", width+2)))
	}
	for _, cl := range cells {
		switch t := reflect.Indirect(cl.value); {
		case !t.IsValid():
		case cl.value.Type().Implements(reflect.TypeFor[error]()):
			line(cl.name, cl.value)
		case isRows(t.Type()):
			if t.Len() > 0 {
				fmt.Fprintf(&tables, "\n%s\n%s", dim(title(cl.name)+":"), c.table(t, nil))
			}
		case t.Kind() == reflect.Struct && !isScalar(t.Type()):
			fmt.Fprintf(&tables, "\n%s\n%s", dim(title(cl.name)+":"), indent(c.lines(t)))
		default:
			line(cl.name, t)
		}
	}
	return b.String() + strings.TrimPrefix(tables.String(), onlyIf(b.Len() == 0, "\n"))
}

func onlyIf(cond bool, s string) string {
	if cond {
		return s
	}
	return ""
}

func indent(s string) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n  ") + "\n"
}

// title is a JSON name for people.
func title(name string) string { return strings.ReplaceAll(name, "_", " ") }

// table draws a list of structs with the columns named, or with all.
func (c *CLI) table(v reflect.Value, columns []string) string {
	if v.Len() == 0 {
		return ""
	}
	wide := c.set.format() == formatWide
	var heads []string
	var rows [][]string
	for i := range v.Len() {
		row := reflect.Indirect(v.Index(i))
		if !row.IsValid() {
			continue
		}
		cells := pick(cellsOf(row), columns, wide)
		var line []string
		for _, cl := range cells {
			if len(rows) == 0 {
				heads = append(heads, strings.ToUpper(title(cl.name)))
			}
			line = append(line, strings.ReplaceAll(cl.text(), "\n", " "))
		}
		rows = append(rows, line)
	}
	return c.draw(heads, rows)
}

// pick chooses and orders the columns.
func pick(cells []named, columns []string, wide bool) []named {
	if len(columns) == 0 {
		if wide {
			return cells
		}
		return slices.DeleteFunc(slices.Clone(cells), func(n named) bool {
			return isRows(n.value.Type()) || n.value.Kind() == reflect.Struct && !isScalar(n.value.Type())
		})
	}
	var out []named
	for _, want := range columns {
		if i := slices.IndexFunc(cells, func(n named) bool { return n.name == want }); i >= 0 {
			out = append(out, cells[i])
		}
	}
	if wide {
		for _, n := range cells {
			if !slices.Contains(columns, n.name) {
				out = append(out, n)
			}
		}
	}
	return out
}

// draw lays out a table without lines, its columns two spaces apart.
func (c *CLI) draw(heads []string, rows [][]string) string {
	dim := c.style(c.o.Stdout, styleDim)
	pad := lipgloss.NewStyle().PaddingRight(2)
	t := table.New().Headers(heads...).Rows(rows...).Wrap(false).
		BorderTop(false).BorderBottom(false).BorderLeft(false).BorderRight(false).
		BorderColumn(false).BorderHeader(false).BorderRow(false).
		StyleFunc(func(int, int) lipgloss.Style { return pad })
	var b strings.Builder
	for i, line := range strings.Split(t.Render(), "\n") {
		line = strings.TrimRight(line, " ")
		if i == 0 {
			line = dim(line)
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

// cell is a value as one text.
func cell(v reflect.Value) string {
	if v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		if v.IsNil() {
			return "-"
		}
		switch x := v.Interface().(type) { // methods of the pointer
		case error:
			return dash(x.Error())
		case fmt.Stringer:
			return dash(x.String())
		}
		v = v.Elem()
	}
	switch x := v.Interface().(type) {
	case time.Time:
		if x.IsZero() {
			return "-"
		}
		return x.Local().Format(time.DateTime)
	case json.RawMessage:
		return dash(string(x))
	case fmt.Stringer:
		return dash(x.String())
	}
	switch v.Kind() {
	case reflect.String:
		return dash(v.String())
	case reflect.Bool:
		if v.Bool() {
			return "yes"
		}
		return "no"
	case reflect.Slice, reflect.Array:
		return joined(v)
	case reflect.Map:
		return pairs(v)
	case reflect.Struct:
		b, err := json.Marshal(v.Interface())
		if err != nil {
			return "?"
		}
		return string(b)
	default:
		return fmt.Sprint(v.Interface())
	}
}

func joined(v reflect.Value) string {
	parts := make([]string, 0, v.Len())
	for i := range v.Len() {
		parts = append(parts, cell(v.Index(i)))
	}
	return dash(strings.Join(parts, ","))
}

func pairs(v reflect.Value) string {
	var parts []string
	for it := v.MapRange(); it.Next(); {
		parts = append(parts, cell(it.Key())+"="+cell(it.Value()))
	}
	sort.Strings(parts)
	return dash(strings.Join(parts, ","))
}

// dash stands for nothing, and control characters of others for a question mark:
// a result must not drive the terminal.
func dash(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
	if s == "" {
		return "-"
	}
	return s
}
