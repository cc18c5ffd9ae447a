package binlog

import (
	"bytes"
	"fmt"

	"kaname.dev/kaname/rib/mysql/gtid"
)

// MariaDB logs CREATE TABLE ... SELECT as one transaction of a CREATE TABLE and rows. As
// statements these would be two, for the first commits. So the table is made and filled out of
// the log, set aside, and made once more from there, which logs what was logged.

// staged is such a table on its way.
type staged struct {
	create string // the statement, not executed yet
	origin origin
	table  string // quoted; known with the first table map
	aside  string
}

// creates reports whether a statement within a transaction makes a table.
func creates(flavour string, text []byte) bool {
	words := bytes.Fields(text[:min(len(text), 64)])
	return flavour == gtid.MariaDB && len(words) > 2 && bytes.EqualFold(words[0], []byte("CREATE")) &&
		(bytes.EqualFold(words[1], []byte("TABLE")) || bytes.EqualFold(words[1], []byte("OR")))
}

// fill makes the table out of the log, when rows for it come.
func (r *replay) fill(e Event) error {
	t, ok := tableOf(e)
	if !ok {
		return fmt.Errorf("event %s of %d bytes makes no sense", e.Type, len(e.Raw))
	}
	r.staged.table = t.name
	r.staged.aside = t.schema + "." + name(fmt.Sprintf("kaname_%d_%d", r.staged.origin.domain, r.staged.origin.seq))
	return r.emitAll("COMMIT", "SET SESSION sql_log_bin=0", "DROP TABLE IF EXISTS "+t.name+", "+r.staged.aside, r.staged.create, "START TRANSACTION")
}

// finish makes the table for good, at the end of its transaction.
func (r *replay) finish() error {
	s := r.staged
	r.staged = nil
	if s.table == "" { // no rows came
		return r.emitAll(s.create, "COMMIT")
	}
	return r.emitAll("COMMIT", "RENAME TABLE "+s.table+" TO "+s.aside, "SET SESSION sql_log_bin=1", s.origin.next(),
		s.create+" SELECT * FROM "+s.aside,
		"SET SESSION sql_log_bin=0", "DROP TABLE "+s.aside, "SET SESSION sql_log_bin=1")
}

func (r *replay) emitAll(statements ...string) error {
	for _, s := range statements {
		if err := r.emit(s); err != nil {
			return err
		}
	}
	return nil
}
