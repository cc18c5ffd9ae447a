package binlog

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"kaname.dev/kaname/rib/mysql/gtid"
)

// origin is what the event at the beginning of a transaction says.
type origin struct {
	flavour string
	gtid    string
	flags   byte   // MariaDB
	commit  uint64 // MySQL: microseconds since 1970 of the commit on the server where it began; 0: not told
	version uint32 // MySQL: of that server, as 80036; 0: not told

	domain, server uint32 // MariaDB
	seq            uint64 // MariaDB
}

// standalone is the flag of MariaDB's event that no commit follows.
const standalone = 1

// undefined is MySQL's word for a version that is not known.
const undefined = 999999

func originOf(e Event) (o origin, err error) {
	c := e.fields()
	switch e.Type {
	case typeMariaGTID:
		o = origin{flavour: gtid.MariaDB, seq: c.uint(8), domain: c.u32(), flags: c.u8(), server: e.server()}
		o.gtid = fmt.Sprintf("%d-%d-%d", o.domain, o.server, o.seq)
	case typeGTID:
		o = plainOrigin(c)
	case typeTagged:
		o = taggedOrigin(c)
	default:
		return o, errors.New("a transaction has no GTID, so that it cannot be told from others; replicate with gtid_mode=ON")
	}
	if c.bad {
		return o, fmt.Errorf("event %s of %d bytes ends early", e.Type, len(e.Raw))
	}
	if o.version == undefined {
		o.version = 0
	}
	return o, nil
}

// next returns the statement that gives the next transaction of a session this GTID.
func (o origin) next() string {
	if o.flavour == gtid.MariaDB {
		return fmt.Sprintf("SET @@session.gtid_domain_id=%d, @@session.server_id=%d, @@session.gtid_seq_no=%d", o.domain, o.server, o.seq)
	}
	return "SET @@session.gtid_next='" + o.gtid + "'"
}

// plainOrigin reads MySQL's GTID event. What comes after the number is optional, from the end.
func plainOrigin(c *cursor) origin {
	c.u8()
	o := origin{flavour: gtid.MySQL, gtid: uuid(c.take(16)) + ":" + strconv.FormatUint(c.uint(8), 10)}
	more := &cursor{b: c.b}
	if more.u8() != 2 { // no logical clock, nothing further
		return o
	}
	more.take(16)
	immediate := more.uint(7)
	if o.commit = immediate; immediate>>55 != 0 {
		o.commit = more.uint(7)
	}
	more.packed()
	version := more.u32()
	if o.version = version; version>>31 != 0 {
		o.version = more.u32()
	}
	if more.bad {
		o.version = 0 // an older server, which says less
	}
	return o
}

// taggedOrigin reads MySQL's GTID event with a tag (8.3), a message of its serialization
// library: numbered fields, of which some may be missing.
func taggedOrigin(c *cursor) origin {
	o := origin{flavour: gtid.MySQL}
	var id, tag string
	var number int64
	c.varlen() // version
	c.varlen() // size
	c.varlen() // the last field that must be understood
	for len(c.b) > 0 && !c.bad {
		switch c.varlen() {
		case 0:
			c.varlen() // flags
		case 1:
			var raw [16]byte
			for i := range raw {
				raw[i] = byte(c.varlen())
			}
			id = uuid(raw[:])
		case 2:
			number = c.signed()
		case 3:
			tag = string(c.take(c.varlen()))
		case 4, 5:
			c.signed() // the logical clock
		case 6, 7: // where it was committed last, and where first if that is another
			o.commit = c.varlen()
		case 8:
			c.varlen() // length of the transaction
		case 9, 10:
			o.version = uint32(c.varlen()) //nolint:gosec // four bytes
		default: // group tickets and what comes in later versions
			c.b = nil
		}
	}
	if tag != "" {
		tag += ":"
	}
	o.gtid = id + ":" + tag + strconv.FormatInt(number, 10)
	return o
}

func uuid(b []byte) string {
	if len(b) != 16 {
		return ""
	}
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// transaction returns what is known when it begins.
func (o origin) transaction(e Event) (Transaction, error) {
	id, err := gtid.Parse(o.flavour, o.gtid)
	t := Transaction{Flavour: o.flavour, GTID: id, Kind: Statements, Time: time.Unix(int64(e.timestamp()), 0), Server: e.server()}
	if o.commit > 0 {
		t.Time = time.UnixMicro(int64(o.commit)) //nolint:gosec // 7 bytes
	}
	return t, err
}

// before reads what was committed before a log began.
func before(e Event) (gtid.Set, error) {
	c := e.fields()
	flavour, text := gtid.MySQL, previous
	if e.Type == typeGTIDList {
		flavour, text = gtid.MariaDB, list
	}
	set, err := gtid.Parse(flavour, text(c))
	if c.bad {
		return gtid.Set{}, fmt.Errorf("event %s of %d bytes ends early", e.Type, len(e.Raw))
	}
	return set, err
}

func list(c *cursor) string {
	var parts []string
	for n := c.u32() & (1<<28 - 1); n > 0 && !c.bad; n-- {
		domain, server := c.u32(), c.u32()
		parts = append(parts, fmt.Sprintf("%d-%d-%d", domain, server, c.uint(8)))
	}
	return strings.Join(parts, ",")
}

func previous(c *cursor) string {
	var b strings.Builder
	n := c.uint(8)
	tagged := n>>56 == 1
	if tagged {
		n = n << 8 >> 16
	}
	for ; n > 0 && !c.bad; n-- {
		b.WriteString(uuid(c.take(16)))
		if tagged {
			if tag := c.take(c.varlen()); len(tag) > 0 {
				b.WriteString(":" + string(tag))
			}
		}
		for runs := c.uint(8); runs > 0 && !c.bad; runs-- {
			lo := c.uint(8)
			fmt.Fprintf(&b, ":%d-%d", lo, c.uint(8)-1)
		}
		b.WriteString(",")
	}
	return b.String()
}
