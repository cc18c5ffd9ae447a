// Package binlog reads the binary logs of MySQL and MariaDB by GTID: what a server that has
// died, or diverged, has and others have not. Tail and Extra read it from the files of a
// server on this host, Send and Receive carry it to another, Apply executes it there under
// the same GTIDs, and WriteSQL writes it for a person to read and replay.
//
// Transactions are not held in memory: their events are read when they are asked for, one
// at a time. An event may be up to MaxEvent bytes.
//
// Sources: MySQL Internals, "Binary Log Event"; MariaDB Knowledge Base, "Replication
// Protocol"; mysqlbinlog(1), mariadb-binlog(1).
package binlog

import (
	"bytes"
	"encoding/binary"
	"iter"
	"time"

	"kaname.dev/kaname/rib/mysql/gtid"
)

// MaxEvent is the size in bytes above which an event is refused: it would be held in memory
// as a whole, and no server would take it as a statement. max_allowed_packet is 64 MiB by
// default in MySQL, 16 MiB in MariaDB.
const MaxEvent = 256 << 20

// Kind says what a transaction consists of.
type Kind string

// The kinds of transactions.
const (
	Rows       Kind = "rows"       // changes of rows; possibly some statements too
	Statements Kind = "statements" // INSERT and the like, as text
	Definition Kind = "definition" // CREATE, ALTER, GRANT and the like: one statement
	Prepared   Kind = "prepared"   // a step of a distributed transaction (XA)
)

// Transaction is what a server commits under one GTID.
type Transaction struct {
	Flavour string
	GTID    gtid.Set // just this one
	Kind    Kind
	Time    time.Time // of its commit, by the clock of the server on which it began
	Server  uint32    // server_id of that server
	File    string    // in which it stands; empty when it came from elsewhere
	At      int64     // offset in File, bytes
	Size    int64     // bytes, as logged; 0 when it came from elsewhere
	format  []byte    // the format description event of the log, as plain as the others
	events  iter.Seq2[Event, error]
}

// Events reads the transaction's events, beginning with that of its GTID, without checksums
// and uncompressed. For a transaction from Tail or Extra this works as often as one likes
// while the files are there; for one from Receive once, before the next is asked for.
func (t Transaction) Events() iter.Seq2[Event, error] { return t.events }

// Event is one event of a binary log.
type Event struct {
	Type Type
	Raw  []byte // header and body, without checksum
}

const headerSize = 19

func eventOf(raw []byte) Event { return Event{Type: Type(raw[4]), Raw: raw} }

func (e Event) body() []byte      { return e.Raw[headerSize:] }
func (e Event) fields() *cursor   { return &cursor{b: e.body()} }
func (e Event) timestamp() uint32 { return binary.LittleEndian.Uint32(e.Raw) }
func (e Event) server() uint32    { return binary.LittleEndian.Uint32(e.Raw[5:]) }
func (e Event) size() uint32      { return binary.LittleEndian.Uint32(e.Raw[9:]) }
func (e Event) flags() uint16     { return binary.LittleEndian.Uint16(e.Raw[17:]) }

// sized sets the size in the header to what it is.
func (e Event) sized() Event {
	binary.LittleEndian.PutUint32(e.Raw[9:], uint32(len(e.Raw))) //nolint:gosec // bounded by MaxEvent
	return e
}

func (e Event) isQuery() bool { return e.Type == typeQuery || e.Type == typeQueryPacked }

// isGTID reports whether the event begins a transaction.
func (e Event) isGTID() bool {
	return e.Type == typeGTID || e.Type == typeTagged || e.Type == typeAnonymous || e.Type == typeMariaGTID
}

// isRows reports whether the event has changes of rows.
func (e Event) isRows() bool {
	return e.Type >= typeWriteV1 && e.Type <= typeDeleteV1 || e.Type >= typeWriteV2 && e.Type <= typeDeleteV2 ||
		e.Type == typePartial || e.Type >= typeWritePacked && e.Type <= typeDeletePacked
}

// word reports whether a statement is just this word.
func word(text []byte, w string) bool { return bytes.EqualFold(bytes.TrimSpace(text), []byte(w)) }
