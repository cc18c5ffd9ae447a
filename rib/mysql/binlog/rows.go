package binlog

import (
	"fmt"
	"math/bits"
	"strings"
)

// table is what a table map says.
type table struct {
	id      uint64
	schema  string // quoted
	name    string // quoted, with the schema
	columns []column
}

// tableOf reads a table map.
func tableOf(e Event) (table, bool) {
	c := e.fields()
	t := table{id: c.uint(6)}
	c.u16()
	schema := c.take(uint64(c.u8()))
	c.u8()
	t.schema = name(string(schema))
	relation := c.take(uint64(c.u8()))
	t.name = t.schema + "." + name(string(relation))
	c.u8()
	kinds := c.take(c.packed())
	meta := &cursor{b: c.take(c.packed())}
	for _, k := range kinds {
		t.columns = append(t.columns, column{kind: k, meta: metaOf(meta, k)})
	}
	c.take(uint64(len(kinds)+7) / 8)
	for len(c.b) > 0 && !c.bad { // what newer servers add
		kind := c.u8()
		value := &cursor{b: c.take(c.packed())}
		switch kind {
		case 1:
			t.signs(value)
		case 4:
			for i := range t.columns {
				t.columns[i].name = oneLine(value.take(value.packed()))
			}
		}
	}
	return t, !c.bad && !meta.bad
}

// signs reads which of the numeric columns are unsigned.
func (t *table) signs(c *cursor) {
	i := 0
	for n := range t.columns {
		switch t.columns[n].kind {
		case colTiny, colShort, colInt24, colLong, colLongLong, colFloat, colDouble, colDecimal, colYear:
			if i/8 < len(c.b) {
				t.columns[n].unsigned = c.b[i/8]&(0x80>>(i%8)) != 0
			}
			i++
		}
	}
}

// metaOf reads what a table map says of a column besides its type.
func metaOf(c *cursor, kind byte) uint16 {
	switch kind {
	case colString, colDecimal, colEnum, colSet:
		return uint16(c.big(2)) //nolint:gosec // two bytes
	case colVarchar, colVarString, colBit, colVarcharPacked:
		return c.u16()
	case colBlob, colDouble, colFloat, colGeometry, colVector, colJSON, colTime2, colDateTime2, colTimestamp2, colBlobPacked:
		return uint16(c.u8())
	}
	return 0
}

// describe calls line for each line that says what an event of rows does.
func (t table) describe(e Event, line func(string) error) error {
	c := e.fields()
	c.take(8)
	if e.Type >= typeWriteV2 { // with room for extras, its own two bytes counted
		c.take(max(c.uint(2), 2) - 2)
	}
	width := c.packed()
	if width != uint64(len(t.columns)) {
		return line("rows of another table")
	}
	before, after := c.take((width+7)/8), []byte(nil)
	verb := map[Type]string{typeWriteV1: "INSERT INTO", typeWriteV2: "INSERT INTO", typeDeleteV1: "DELETE FROM", typeDeleteV2: "DELETE FROM"}[e.Type]
	if verb == "" {
		verb, after = "UPDATE", c.take((width+7)/8)
	}
	if e.Type == typePartial {
		return line("UPDATE " + oneLine([]byte(t.name)) + ", parts of JSON documents")
	}
	for len(c.b) > 0 && !c.bad {
		left := len(c.b)
		text := verb + " " + oneLine([]byte(t.name)) + " (" + t.row(c, before) + ")"
		if verb == "UPDATE" {
			text += " TO (" + t.row(c, after) + ")"
		}
		if c.bad = c.bad || len(c.b) == left; c.bad { // a row of nothing would never end
			text = "a row of " + oneLine([]byte(t.name)) + " that cannot be shown"
		}
		if err := line(text); err != nil {
			return err
		}
	}
	return nil
}

// row reads the columns of a row that are there.
func (t table) row(c *cursor, there []byte) string {
	if c.bad || len(there) < (len(t.columns)+7)/8 {
		c.bad = true
		return ""
	}
	present := 0
	for _, b := range there {
		present += bits.OnesCount8(b)
	}
	nulls := c.take(uint64(present+7) / 8)
	var out []string
	i := 0
	for n, k := range t.columns {
		if there[n/8]&(1<<(n%8)) == 0 {
			continue
		}
		label := k.name
		if label == "" {
			label = fmt.Sprintf("@%d", n+1)
		}
		value := "NULL"
		if i/8 < len(nulls) && nulls[i/8]&(1<<(i%8)) == 0 {
			value = k.show(c)
		}
		if i++; c.bad {
			return ""
		}
		out = append(out, label+"="+value)
	}
	return strings.Join(out, ", ")
}

// oneLine makes bytes fit into a comment.
func oneLine(b []byte) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, string(b))
}
