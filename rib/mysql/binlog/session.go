package binlog

import (
	"fmt"
	"strconv"
	"strings"

	"kaname.dev/kaname/rib/mysql/gtid"
)

// session is what statements depend on and what the log says of it: variables, the database,
// the clock. It remembers what has been set.
type session struct {
	flavour string
	emit    func(statement string) error
	known   map[string]string // what was emitted last, by its subject
}

// want emits a statement unless the last of this subject was the same.
func (s *session) want(subject, statement string) error {
	if s.known[subject] == statement {
		return nil
	}
	if err := s.emit(statement); err != nil {
		return err
	}
	s.known[subject] = statement
	return nil
}

// Bits of the flags of a statement that are bits of the servers' own options.
const (
	autoIsNull    = 1 << 14
	noForeignKeys = 1 << 26
	relaxedUnique = 1 << 27
)

// status is what a logged statement says of its session: the status variables of its event.
type status struct {
	micros   uint64
	settings []setting
}

type setting struct{ subject, statement string }

func set(subject, format string, a ...any) setting {
	return setting{subject, "SET " + fmt.Sprintf(format, a...)}
}

// statusOf reads status variables: a code, then a value whose form the code says. It ends at
// a code that it does not know, as servers do.
func statusOf(raw []byte, flavour string) status {
	var out status
	add := func(s setting) { out.settings = append(out.settings, s) }
	increment, offset, names, database, zone := uint16(1), uint16(1), uint16(0), "DEFAULT", ""
	for c := (&cursor{b: raw}); len(c.b) > 0 && !c.bad; {
		switch code := c.u8(); code {
		case 0:
			f := c.u32()
			add(set("flags", "@@session.foreign_key_checks=%d, @@session.unique_checks=%d, @@session.sql_auto_is_null=%d",
				off(f, noForeignKeys), off(f, relaxedUnique), 1-off(f, autoIsNull)))
		case 1:
			add(set("mode", "@@session.sql_mode=%d", c.uint(8)))
		case 3:
			increment, offset = c.u16(), c.u16()
		case 4:
			client, connection, server := c.u16(), c.u16(), c.u16()
			add(set("charset", "@@session.character_set_client=%d, @@session.collation_connection=%d, @@session.collation_server=%d",
				client, connection, server))
		case 5:
			zone = string(c.take(uint64(c.u8())))
		case 7:
			names = c.u16()
		case 8:
			database = strconv.Itoa(int(c.u16()))
		case 13, 128:
			out.micros = c.uint(3)
		case 16:
			add(set("defaults", "@@session.explicit_defaults_for_timestamp=%d", c.u8()))
		case 18:
			add(set("utf8mb4", "@@session.default_collation_for_utf8mb4=%d", c.u16()))
		case 19:
			add(set("primary key", "@@session.sql_require_primary_key=%d", c.u8()))
		case 20:
			add(set("encryption", "@@session.default_table_encryption=%d", c.u8()))
		default:
			if !skip(c, code) {
				c.b = nil
			}
		}
	}
	if zone != "" {
		add(set("zone", "@@session.time_zone=%s", quote(zone)))
	}
	add(set("increment", "@@session.auto_increment_increment=%d, @@session.auto_increment_offset=%d", increment, offset))
	add(set("names", "@@session.lc_time_names=%d", names))
	if flavour == gtid.MariaDB || database != "DEFAULT" {
		add(set("database", "@@session.collation_database=%s", database))
	}
	return out
}

// skip passes over status variables that do not matter, and reports whether it knows the code.
func skip(c *cursor, code byte) bool {
	switch code {
	case 2: // catalog, with a zero
		c.take(uint64(c.u8()) + 1)
	case 6: // catalog
		c.take(uint64(c.u8()))
	case 9, 17, 129: // table map, xid
		c.take(8)
	case 10: // length at the source
		c.take(4)
	case 11: // invoker: user, host
		c.take(uint64(c.u8()))
		c.take(uint64(c.u8()))
	case 12: // names of databases
		for n := c.u8(); n > 0 && n < 254 && !c.bad; n-- {
			for !c.bad && c.u8() != 0 {
				continue
			}
		}
	default:
		return false
	}
	return true
}

// off returns 0 when the bit is set.
func off(flags, bit uint32) int {
	if flags&bit != 0 {
		return 0
	}
	return 1
}

// prepare emits what a statement depends on.
func (s *session) prepare(e Event, q query) error {
	if len(q.schema) > 0 && e.flags()&flagSuppressUse == 0 {
		if err := s.want("use", "USE "+name(string(q.schema))); err != nil {
			return err
		}
	}
	if e.flags()&flagThreadSpecific != 0 {
		if err := s.want("thread", fmt.Sprintf("SET @@session.pseudo_thread_id=%d", q.thread)); err != nil {
			return err
		}
	}
	st := statusOf(q.status, s.flavour)
	for _, x := range st.settings {
		if err := s.want(x.subject, x.statement); err != nil {
			return err
		}
	}
	return s.want("time", fmt.Sprintf("SET TIMESTAMP=%d.%06d", e.timestamp(), st.micros))
}

// quote writes text as a string constant that means the same under each sql_mode.
func quote(text string) string {
	if strings.ContainsAny(text, `'\`) || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
		return fmt.Sprintf("0x%x", text)
	}
	return "'" + text + "'"
}

// name quotes a name.
func name(n string) string { return "`" + strings.ReplaceAll(n, "`", "``") + "`" }
