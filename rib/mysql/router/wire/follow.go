package wire

import "encoding/binary"

// phase is where a connection stands.
type phase int

const (
	greeting phase = iota // the server speaks first
	login                 // the client's answer
	auth                  // either side, until OK or an error
	idle                  // between commands
	first                 // the first packet of an answer
	columns               // definitions; left to come
	colsEnd               // the EOF after them
	rows                  // until EOF, OK or an error
	counted               // left packets, then idle
	local                 // the client sends a file, then the server answers
	fields                // of COM_FIELD_LIST
	single                // any one packet
	ended                 // COM_QUIT
	opaque                // cannot be followed
)

// Follower watches a connection and knows when it is between commands, and whether a
// transaction is open. It must see each packet of both sides, in the order in which they
// are passed on. The zero value stands before the server's first packet.
type Follower struct {
	at     phase
	caps   uint64
	cmd    byte
	stmt   uint32
	left   int
	status uint16
	ok     bool // the last packet of the server was an OK packet that ended a result
	// a packet of full length is continued by the next one of the same side
	moreC, moreS bool
	// statements with an open cursor, or with parts of their parameters at the server
	open map[uint32]bool
}

// Follow returns a follower of a connection whose login is over.
func Follow(caps uint64, status uint16) *Follower {
	return &Follower{at: idle, caps: caps, status: status}
}

// Idle reports whether the connection is between commands.
func (f *Follower) Idle() bool { return f.at == idle }

// Client reports whether it is the client's turn to speak, or may be.
func (f *Follower) Client() bool {
	return f.at == idle || f.at == local || f.at == login || f.at == auth || f.moreC
}

// LoggedIn reports whether the login is over.
func (f *Follower) LoggedIn() bool { return f.at > auth && f.at != opaque }

// Opaque reports whether the connection can no longer be followed: it is encrypted,
// compressed, a replica's, or speaks what the follower does not know.
func (f *Follower) Opaque() bool { return f.at == opaque }

// InTransaction reports whether a transaction is open, or a cursor, or parameters are
// being sent in parts: whether more than settings is lost with the connection.
func (f *Follower) InTransaction() bool { return f.status&StatusInTrans != 0 || len(f.open) > 0 }

// Status returns the flags that the server sent last.
func (f *Follower) Status() uint16 { return f.status }

// Ended reports whether the client has said goodbye.
func (f *Follower) Ended() bool { return f.at == ended }

// Worked reports whether the last command was work, and not one that only prepares it: a
// statement to be executed next, a database, settings of the connection.
func (f *Follower) Worked() bool {
	return f.cmd == ComQuery || f.cmd == ComExecute || f.cmd == ComBulkExecute
}

// OK reports whether the last packet of the server was an OK packet that ended a result.
func (f *Follower) OK() bool { return f.ok }

// Answers reports whether a packet of the server that comes now is the first one of an
// answer, and to which command.
func (f *Follower) Answers() (cmd byte, ok bool) { return f.cmd, f.at == first && !f.moreS }

// FromClient follows a packet of the client.
func (f *Follower) FromClient(h Head) {
	more := f.moreC
	f.moreC = h.Len == MaxPayload
	switch {
	case more || f.at == auth || f.at == opaque:
	case f.at == login:
		f.login(h.Start)
	case f.at == local:
		if h.Len == 0 {
			f.at = single
		}
	case f.at == idle && h.Len > 0 && h.Seq == 0:
		f.command(h.Start)
	default:
		f.at = opaque
	}
}

func (f *Follower) login(b []byte) {
	if len(b) < 32 {
		f.at = opaque
		return
	}
	f.caps = clientCaps(b)
	const cannot = CapTLS | CapCompress | CapZstd | CapOptionalMeta
	f.at = auth
	if f.caps&cannot != 0 || f.caps&CapProtocol41 == 0 {
		f.at = opaque
	}
}

// clientCaps returns the capabilities in a login of at least 32 bytes: four bytes, and
// MariaDB's in the last four of the filler when the client is one of MariaDB.
func clientCaps(b []byte) uint64 {
	caps := uint64(binary.LittleEndian.Uint32(b))
	if caps&CapLongPassword == 0 {
		caps |= uint64(binary.LittleEndian.Uint32(b[28:])) << 32
	}
	return caps
}

func (f *Follower) command(b []byte) {
	f.cmd, f.stmt = b[0], 0
	if len(b) >= 5 {
		f.stmt = binary.LittleEndian.Uint32(b[1:])
	}
	switch f.cmd {
	case ComQuit:
		f.at = ended
	case ComLongData:
		f.opens(f.stmt)
	case ComStmtClose:
		delete(f.open, f.stmt)
	case ComBinlogDump, ComTableDump, ComDumpGTID:
		f.at = opaque
	case ComChangeUser:
		clear(f.open)
		f.at = auth
	case ComFieldList:
		f.at = fields
	case ComFetch:
		f.at = rows
	case ComReset:
		clear(f.open)
		f.at = first
	default:
		if f.cmd > ComReset && f.cmd != ComBulkExecute {
			f.at = opaque
			return
		}
		f.at = first
	}
}

func (f *Follower) opens(stmt uint32) {
	if f.open == nil {
		f.open = map[uint32]bool{}
	}
	f.open[stmt] = true
}

// FromServer follows a packet of the server.
func (f *Follower) FromServer(h Head) {
	more := f.moreS
	f.moreS, f.ok = h.Len == MaxPayload, false
	if more || f.at == opaque {
		return
	}
	if h.Len == 0 {
		f.at = opaque
		return
	}
	b := h.Start
	if b[0] == headErr && f.at >= auth {
		f.failed(b)
		return
	}
	switch f.at {
	case greeting:
		f.at = login
		if b[0] != 10 {
			f.at = opaque // an error, or a protocol of another time
		}
	case auth:
		if b[0] == headOK {
			f.finish(okStatus(b))
		}
	case first:
		f.answer(h)
	case columns, counted:
		f.count()
	case colsEnd:
		f.at = rows
		if s, ok := f.endStatus(b); ok && s&StatusCursor != 0 {
			f.finish(s, true) // the rows are fetched later
			f.ok = false
		}
	case rows, fields:
		if f.isEnd(h) {
			f.finish(f.endStatus(b))
			f.ok = f.caps&CapNoEOF != 0
		}
	case single:
		f.finish(okStatus(b))
	default:
		// In peace an idle server is silent; one that speaks says goodbye with an error.
		f.at = opaque
	}
}

// answer follows the first packet of an answer.
func (f *Follower) answer(h Head) {
	b := h.Start
	switch {
	case f.cmd == ComStatistics:
		f.at = idle
	case f.cmd == ComPrepare:
		f.prepared(b)
	case b[0] == headOK:
		f.finish(okStatus(b))
	case b[0] == headEOF && h.Len < 9:
		f.finish(f.endStatus(b))
		f.ok = f.caps&CapNoEOF != 0
	case b[0] == headLocal && f.cmd == ComQuery:
		f.at = local
	default:
		n, rest, ok := lenenc(b)
		if !ok || n == 0 || n > 1<<16 {
			f.at = opaque
			return
		}
		f.left, f.at = int(n), columns
		if f.caps&CapMariaMeta != 0 && len(rest) > 0 && rest[0] == 0 {
			f.left = 0
			f.afterColumns()
		}
	}
}

// prepared follows the answer to COM_STMT_PREPARE: status, statement, columns, parameters.
func (f *Follower) prepared(b []byte) {
	if b[0] != headOK || len(b) < 9 {
		f.at = opaque
		return
	}
	f.left = 0
	for _, n := range []int{int(binary.LittleEndian.Uint16(b[7:])), int(binary.LittleEndian.Uint16(b[5:]))} {
		if f.left += n; n > 0 && f.caps&CapNoEOF == 0 {
			f.left++
		}
	}
	if f.at = counted; f.left == 0 {
		f.at = idle
	}
}

func (f *Follower) count() {
	if f.left--; f.left > 0 {
		return
	}
	if f.at == counted {
		f.at = idle
		return
	}
	f.afterColumns()
}

func (f *Follower) afterColumns() {
	f.at = colsEnd
	if f.caps&CapNoEOF != 0 {
		f.at = rows
	}
}

// isEnd reports whether a packet ends a list of rows.
func (f *Follower) isEnd(h Head) bool {
	if h.Start[0] != headEOF {
		return false
	}
	if f.caps&CapNoEOF != 0 {
		return h.Len < MaxPayload
	}
	return h.Len < 9
}

func (f *Follower) endStatus(b []byte) (uint16, bool) {
	if f.caps&CapNoEOF != 0 {
		return okStatus(b)
	}
	if len(b) < 5 {
		return 0, false
	}
	return binary.LittleEndian.Uint16(b[3:]), true
}

// finish ends an answer, or one result of several.
func (f *Follower) finish(status uint16, known bool) {
	if !known {
		f.at = opaque
		return
	}
	f.status, f.ok = status, f.at != auth
	switch {
	case f.at == auth, f.cmd == ComReset:
	case f.cmd == ComFetch && status&StatusLastRow != 0, f.cmd == ComStmtReset:
		delete(f.open, f.stmt)
	case f.cmd == ComExecute && status&StatusCursor != 0:
		f.opens(f.stmt)
	case f.cmd == ComExecute, f.cmd == ComBulkExecute:
		delete(f.open, f.stmt) // parameters that were sent in parts are used up
	}
	if f.at = idle; status&StatusMore != 0 {
		f.at = first
	}
}

// failed follows an error packet. MariaDB sends its progress reports as errors 65535.
func (f *Follower) failed(b []byte) {
	if len(b) >= 3 && b[1] == 0xff && b[2] == 0xff && f.at != idle {
		return
	}
	if f.cmd == ComExecute || f.cmd == ComFetch {
		delete(f.open, f.stmt)
	}
	if f.at == idle || f.at == auth {
		f.at = opaque // the server closes the connection
		return
	}
	f.at = idle
}

// okStatus returns the flags of an OK packet.
func okStatus(b []byte) (uint16, bool) {
	if len(b) == 0 {
		return 0, false
	}
	_, rest, ok := lenenc(b[1:])
	if ok {
		_, rest, ok = lenenc(rest)
	}
	if !ok || len(rest) < 2 {
		return 0, false
	}
	return binary.LittleEndian.Uint16(rest), true
}
