package binlog

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"kaname.dev/kaname/rib/mysql/gtid"
)

// SQL says how WriteSQL writes.
type SQL struct {
	Flavour string
	// GTIDs: replayed, the transactions get their own GTIDs, for a server that has
	// everything before them. Else they become new transactions, as is right for what
	// was written on a server that was not, or no longer, the primary.
	GTIDs bool
}

// WriteSQL writes transactions as text for the client of their flavour, mariadb or mysql with
// --binary-mode: changes of rows as BINLOG statements, with what they do as comments. It
// returns how many it wrote. A transaction that cannot be replayed (a step of XA, LOAD DATA
// logged as a statement) is named in a comment and in the error, and the next are
// written.
func WriteSQL(w io.Writer, txs iter.Seq2[Transaction, error], o SQL) (n int, err error) {
	s := &script{w: bufio.NewWriter(w)}
	r := newReplay(o.Flavour, o.GTIDs, s.statement)
	r.seen = s.rows
	s.head(o.Flavour)
	var left error
	for t, err := range txs {
		if err != nil {
			return n, errors.Join(left, err, s.w.Flush())
		}
		s.line(fmt.Sprintf("# %s, %s, began on server %d at %s", t.GTID, t.Kind, t.Server, t.Time.UTC().Format(time.RFC3339Nano)))
		if err := r.transaction(t); err != nil {
			err = fmt.Errorf("write transaction %s as SQL: %w", t.GTID, err)
			s.line("# NOT ALL IS HERE: " + oneLine([]byte(err.Error())))
			if e := s.statement("ROLLBACK"); e != nil {
				return n, errors.Join(left, err, e)
			}
			left = errors.Join(left, err)
			continue
		}
		n++
	}
	if o.GTIDs && o.Flavour == gtid.MySQL {
		_ = s.statement("SET @@session.gtid_next='AUTOMATIC'") // the error stays in w
	}
	s.line("DELIMITER ;")
	if err := s.w.Flush(); err != nil {
		return n, errors.Join(left, fmt.Errorf("write SQL: %w", err))
	}
	return n, left
}

type script struct {
	w     *bufio.Writer
	table map[uint64]table
}

const delimiter = "/*!*/;"

func (s *script) head(flavour string) {
	client := map[string]string{gtid.MariaDB: "mariadb", gtid.MySQL: "mysql"}[flavour]
	s.line("# Transactions of a binary log. To replay them: " + client + " --binary-mode < this file")
	s.line("DELIMITER " + delimiter)
}

// line writes a line; an error stays in w.
func (s *script) line(text string) { _, _ = s.w.WriteString(text + "\n") }

func (s *script) statement(text string) error {
	if _, err := s.w.WriteString(text + "\n" + delimiter + "\n"); err != nil {
		return fmt.Errorf("write SQL: %w", err)
	}
	return nil
}

// rows writes what an event does as a comment.
func (s *script) rows(e Event) error {
	if e.Type == typeTableMap {
		if s.table == nil || len(s.table) > 1000 {
			s.table = map[uint64]table{}
		}
		if t, ok := tableOf(e); ok {
			s.table[t.id] = t
		}
		return nil
	}
	t, ok := s.table[e.fields().uint(6)]
	if !ok {
		s.line("# rows of a table that cannot be shown")
		return nil
	}
	return t.describe(e, func(text string) error {
		_, err := s.w.WriteString("# " + text + "\n")
		return err
	})
}
