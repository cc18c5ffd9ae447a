package binlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"kaname.dev/kaname/rib/mysql/gtid"
)

// group follows the events of a transaction to its end.
type group struct {
	Transaction
	open bool // it ends with a commit, not with its first statement
}

// read yields the transactions of one log that are wanted. Last: it is the newest. more is
// false when the caller wants no more.
func (l Logs) read(ctx context.Context, name string, last bool, want func(gtid.Set) bool, yield func(Transaction, error) bool) (more bool, err error) {
	f, err := open(name)
	if err != nil {
		if last && errors.Is(err, errTorn) {
			return true, nil
		}
		return false, err
	}
	defer f.close()
	for {
		g, err := l.transaction(ctx, f, last)
		if g == nil || err != nil {
			return err == nil, err
		}
		if want(g.GTID) && !yield(g.Transaction, nil) {
			return false, nil
		}
	}
}

// transaction reads the next transaction of a log; nil at its end.
func (l Logs) transaction(ctx context.Context, f *file, last bool) (*group, error) {
	var g *group
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		at := f.at
		e, err := f.next(false)
		switch {
		case last && (errors.Is(err, io.EOF) || errors.Is(err, errTorn)), errors.Is(err, io.EOF) && g == nil:
			return nil, nil //nolint:nilnil // there is none
		case errors.Is(err, io.EOF):
			return nil, f.bad("the log ends within transaction %s that began at %d; the server has more to say in its error log", g.GTID, g.At)
		case err != nil:
			return nil, err
		case e.isGTID() && g != nil:
			f.at = at
			return nil, f.bad("a transaction begins within %s, which began at %d; the log is corrupt here", g.GTID, g.At)
		}
		var done bool
		if e.isGTID() {
			g, err = l.begin(f, e, at)
		} else {
			done, err = g.follow(e)
		}
		if err != nil {
			f.at = at
			return nil, f.bad("%w", err)
		}
		if done {
			g.Size = f.at - g.At
			return g, nil
		}
	}
}

func (l Logs) begin(f *file, e Event, at int64) (*group, error) {
	o, err := originOf(e)
	if err != nil {
		return nil, err
	}
	t, err := o.transaction(e)
	if err != nil {
		return nil, err
	}
	if t.Flavour != l.Flavour {
		return nil, fmt.Errorf("transaction %s is of %s, not of %s", t.GTID, t.Flavour, l.Flavour)
	}
	t.File, t.At, t.format = f.name, at, f.format
	g := &group{Transaction: t, open: o.flavour == gtid.MariaDB && o.flags&standalone == 0}
	g.events = func(yield func(Event, error) bool) { reread(f.name, g.At, g.Size, yield) }
	return g, nil
}

// follow looks at the next event and reports whether the transaction ends with it.
func (g *group) follow(e Event) (done bool, err error) {
	switch {
	case e.Type == typeIncident:
		return false, errors.New("the server says that events are lost here (incident); copy the data from a server instead")
	case e.Type == typeEncryption:
		return false, errors.New("it is encrypted from here on (encrypt_binlog); let its server send it, or start the server")
	case g == nil: // between transactions: nothing that changes data
		if e.isRows() || e.isQuery() || e.Type == typeXID {
			return false, errors.New("a change has no GTID; it cannot be told from others: replicate with GTIDs only")
		}
	case e.isRows() || e.Type == typePayload:
		g.Kind = Rows
		return e.Type == typePayload, nil
	case e.Type == typeXAPrepare:
		g.Kind = Prepared
		return true, nil
	case e.Type == typeXID:
		return true, nil
	case e.isQuery():
		return g.statement(e)
	}
	return false, nil
}

func (g *group) statement(e Event) (done bool, err error) {
	q, err := queryOf(e)
	if err != nil {
		return false, err
	}
	xa := bytes.HasPrefix(q.text, []byte("XA "))
	switch {
	case g.open:
		return word(q.text, "COMMIT") || word(q.text, "ROLLBACK"), nil
	case word(q.text, "BEGIN") || xa && bytes.HasPrefix(q.text, []byte("XA START")):
		g.open = true
		return false, nil
	case xa:
		g.Kind = Prepared
	default:
		g.Kind = Definition
	}
	return true, nil
}

// reread yields the events of a transaction once more, whole and plain.
func reread(name string, at, size int64, yield func(Event, error) bool) {
	f, err := open(name)
	if err != nil {
		yield(Event{}, err)
		return
	}
	defer f.close()
	if err := f.seek(at); err != nil {
		yield(Event{}, err)
		return
	}
	for f.at < at+size {
		e, err := f.next(true)
		if errors.Is(err, io.EOF) {
			err = f.bad("%w", errTorn)
		}
		if err != nil {
			yield(Event{}, err)
			return
		}
		for p, err := range plain(e) {
			if !yield(p, err) || err != nil {
				return
			}
		}
	}
}
