package binlog

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"kaname.dev/kaname/rib/mysql/gtid"
)

// replay turns transactions into statements that do the same.
type replay struct {
	session
	gtids bool              // under the same GTIDs, else under new ones
	limit int               // bytes of events that go into one BINLOG statement, if there are several
	most  int               // bytes that a statement may have
	seen  func(Event) error // of rows and table maps, before their statement; may be nil

	origin     origin   // of the transaction in progress
	staged     *staged  // its table, when it makes one
	maps, rows [][]byte // of the statement in progress
	size       int
}

func newReplay(flavour string, gtids bool, emit func(string) error) *replay {
	return &replay{
		session: session{flavour: flavour, emit: emit, known: map[string]string{}},
		gtids:   gtids, limit: 512 << 10, most: math.MaxInt,
	}
}

// transaction emits the statements of a transaction.
func (r *replay) transaction(t Transaction) error {
	if t.Flavour != r.flavour {
		return fmt.Errorf("it is of flavour %q, not %q; replay it on a server of its own flavour", t.Flavour, r.flavour)
	}
	if t.Kind == Prepared {
		return errors.New("it is a step of a distributed transaction (XA), which has no outcome of its own; decide it by hand")
	}
	r.maps, r.rows, r.size, r.staged = nil, nil, 0, nil
	for e, err := range t.Events() {
		if err == nil {
			err = r.event(t, e)
		}
		if err != nil {
			return err
		}
	}
	if len(r.rows) > 0 {
		return errors.New("its last rows are not said to end their statement; the log is corrupt")
	}
	return nil
}

func (r *replay) event(t Transaction, e Event) error {
	switch {
	case e.isGTID():
		if t.Kind == Rows {
			if err := r.describe(t.format); err != nil {
				return err
			}
		}
		return r.begin(e)
	case e.Type == typeTableMap:
		if r.staged != nil && r.staged.table == "" {
			if err := r.fill(e); err != nil {
				return err
			}
		}
		r.maps = append(r.maps, e.Raw)
		return r.look(e)
	case e.isRows():
		if err := r.look(e); err != nil {
			return err
		}
		return r.change(e)
	case e.Type == typeQuery:
		return r.query(e)
	case e.Type == typeXID:
		return r.commit("COMMIT")
	case e.Type == typeIntVar, e.Type == typeRand, e.Type == typeUserVar:
		return r.context(e)
	case e.Type == typeBeginLoad, e.Type == typeExecuteLoad:
		return errors.New("it is LOAD DATA logged as a statement, whose file is elsewhere; replicate with binlog_format=ROW")
	}
	return nil
}

// describe emits the format of the rows that follow. For MySQL the statement is one that a
// GTID which has been used up does not allow.
func (r *replay) describe(format []byte) error {
	text := "BINLOG " + encoded(format)
	if r.gtids && r.flavour == gtid.MySQL && r.known["format"] != text {
		if err := r.emit("SET @@session.gtid_next='AUTOMATIC'"); err != nil {
			return err
		}
	}
	return r.want("format", text)
}

func (r *replay) commit(w string) error {
	if r.staged != nil {
		return r.finish()
	}
	return r.emit(w)
}

func (r *replay) look(e Event) error {
	if r.seen == nil {
		return nil
	}
	return r.seen(e)
}

// begin emits the GTID and, for MariaDB, whose log has no BEGIN, the begin.
func (r *replay) begin(e Event) error {
	o, err := originOf(e)
	if err != nil {
		return err
	}
	r.origin = o
	if r.gtids && o.flavour == gtid.MySQL && o.commit > 0 {
		err = r.emit(fmt.Sprintf("SET @@session.original_commit_timestamp=%d", o.commit))
	}
	if r.gtids && err == nil {
		err = r.emit(o.next())
	}
	if err != nil || o.flavour != gtid.MariaDB || o.flags&standalone != 0 {
		return err
	}
	return r.emit("START TRANSACTION")
}

func (r *replay) query(e Event) error {
	q, err := queryOf(e)
	if err != nil {
		return err
	}
	for _, w := range []string{"COMMIT", "ROLLBACK"} {
		if word(q.text, w) {
			return r.commit(w)
		}
	}
	if err := r.prepare(e, q); err != nil {
		return err
	}
	if len(q.text) >= r.most {
		return r.tooLarge(len(q.text))
	}
	if r.gtids && r.origin.flags&standalone == 0 && creates(r.flavour, q.text) {
		r.staged = &staged{create: string(q.text), origin: r.origin}
		return nil
	}
	return r.emit(string(q.text))
}

// change takes rows, and emits what there is when their statement ends or there is enough. A
// statement of rows may be cut anywhere between events: each part brings its table maps.
func (r *replay) change(e Event) error {
	const flagsAt, end = headerSize + 6, 1
	if len(e.Raw) <= flagsAt || len(r.maps) == 0 {
		return errors.New("rows have no table map; the log is corrupt")
	}
	ends := e.Raw[flagsAt]&end != 0
	r.rows = append(r.rows, e.Raw)
	if r.size += len(e.Raw); !ends && r.size < r.limit {
		return nil
	}
	if !ends {
		r.rows[len(r.rows)-1] = bytes.Clone(e.Raw)
		r.rows[len(r.rows)-1][flagsAt] |= end
	}
	text := "BINLOG " + encoded(append(bytes.Join(r.maps, nil), bytes.Join(r.rows, nil)...))
	if r.rows, r.size = nil, 0; ends {
		r.maps = nil
	}
	if len(text) >= r.most {
		return r.tooLarge(len(text))
	}
	return r.emit(text)
}

func (r *replay) tooLarge(n int) error {
	return fmt.Errorf("a statement of %d bytes is above max_allowed_packet (%d bytes); raise it on this server to %d and try again", n, r.most, n+1024)
}

// encoded writes events as BINLOG takes them: in base64, in lines.
func encoded(raw []byte) string {
	const width = 76
	text := base64.StdEncoding.EncodeToString(raw)
	var b strings.Builder
	b.Grow(len(text) + len(text)/width + 8)
	b.WriteString("'\n")
	for len(text) > width {
		b.WriteString(text[:width] + "\n")
		text = text[width:]
	}
	b.WriteString(text + "\n'")
	return b.String()
}

// context emits what the next statement takes from outside of it.
func (r *replay) context(e Event) error {
	c := e.fields()
	var text string
	switch e.Type { //nolint:exhaustive // only these come here
	case typeIntVar:
		kind := map[byte]string{1: "LAST_INSERT_ID", 2: "INSERT_ID"}[c.u8()]
		text = fmt.Sprintf("SET %s=%d", kind, c.uint(8))
		c.bad = c.bad || kind == ""
	case typeRand:
		text = fmt.Sprintf("SET @@session.rand_seed1=%d, @@session.rand_seed2=%d", c.uint(8), c.uint(8))
	default:
		variable := name(string(c.take(uint64(c.u32()))))
		value, err := userValue(c)
		if err != nil {
			return err
		}
		text = "SET @" + variable + ":=" + value
	}
	if c.bad {
		return fmt.Errorf("event %s of %d bytes makes no sense", e.Type, len(e.Raw))
	}
	return r.emit(text)
}

// collations are those of strings in user variables that can be written down.
var collations = map[uint32]string{
	8: "latin1 latin1_swedish_ci", 33: "utf8mb3 utf8mb3_general_ci", 45: "utf8mb4 utf8mb4_general_ci",
	46: "utf8mb4 utf8mb4_bin", 83: "utf8mb3 utf8mb3_bin", 224: "utf8mb4 utf8mb4_unicode_ci", 255: "utf8mb4 utf8mb4_0900_ai_ci",
}

func userValue(c *cursor) (string, error) {
	if c.u8() != 0 {
		return "NULL", nil
	}
	kind, collation := c.u8(), c.u32()
	raw := c.take(uint64(c.u32()))
	v := &cursor{b: raw}
	switch kind {
	case 0:
		if charset, order, found := strings.Cut(collations[collation], " "); found {
			return fmt.Sprintf("_%s 0x%x COLLATE %s", charset, raw, order), nil
		} else if collation == 63 {
			return quote(string(raw)), nil
		}
		return "", fmt.Errorf("a statement uses a user variable of collation %d; replicate with binlog_format=ROW", collation)
	case 1:
		return fmt.Sprintf("%.17g", math.Float64frombits(v.uint(8))), nil
	case 2:
		n := v.uint(8)
		if c.u8()&1 != 0 {
			return strconv.FormatUint(n, 10), nil
		}
		return strconv.FormatInt(int64(n), 10), nil //nolint:gosec // its sign is in it
	case 4:
		precision, scale := v.u8(), v.u8()
		return decimal(v, int(precision), int(scale)), nil
	}
	return "", fmt.Errorf("a statement uses a user variable of type %d; replicate with binlog_format=ROW", kind)
}
