package binlog

import "fmt"

// query is a statement that was logged as text.
type query struct {
	thread uint32
	status []byte
	schema []byte
	text   []byte
}

func queryOf(e Event) (query, error) {
	c := e.fields()
	q := query{thread: c.u32()}
	c.u32() // seconds it took
	schema := c.u8()
	c.u16() // error
	q.status = c.take(uint64(c.u16()))
	q.schema = c.take(uint64(schema))
	c.u8()
	q.text = c.b
	if c.bad {
		return q, fmt.Errorf("event %s of %d bytes ends early", e.Type, len(e.Raw))
	}
	return q, nil
}
