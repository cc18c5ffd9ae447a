package router

import (
	"encoding/binary"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"kaname.dev/kaname/rib/mysql/router/wire"
)

// session is what a client's session consists of, as far as it can be set up again on
// another server. It is used with the conn's mu held.
type session struct {
	login    wire.Login // as the client said it; Caps are those to ask a server for
	password string
	tracks   bool // the client itself gets what the session tracker says
	db       string
	vars     map[string]string
	next     string // statements that set up the next transaction
	lastID   uint64
	pins     map[string]bool
	stmts    map[uint32]*stmt // by the client's number
	made     uint32           // the client's number of the statement made last
	moved    bool             // nothing has been executed since it was carried over

	sent struct { // the command under way
		cmd       byte
		text      []byte // of a statement, or a database
		collation string // that SET NAMES asks for
		stale     bool   // answers nothing the client should see
	}
	retrack bool // the server has forgotten to track the session
}

// stmt is a prepared statement.
type stmt struct {
	text   []byte
	id     uint32 // at the server that it is prepared on
	params int
	types  []byte // of the parameters, as the client said them last
	told   bool   // to the present server
}

// movable reports whether nothing keeps the session where it is.
func (s *session) movable() bool { return len(s.pins) == 0 }

func (s *session) pin(why string) {
	if s.pins == nil {
		s.pins = map[string]bool{}
	}
	s.pins[why] = true
}

// why returns what keeps the session.
func (s *session) why() string { return strings.Join(slices.Sorted(maps.Keys(s.pins)), " ") }

// command notes a command, and changes it to what the server understands. looks is true
// for one that asks about a statement that another server has executed.
func (s *session) command(p []byte) (out []byte, looks bool) {
	s.sent.cmd, s.sent.text, s.sent.collation = p[0], nil, ""
	switch p[0] {
	case wire.ComInitDB:
		s.sent.text = p[1:]
	case wire.ComQuery, wire.ComPrepare:
		looks = s.statement(p[1:])
		s.sent.text = p[1:]
	case wire.ComExecute, wire.ComLongData, wire.ComStmtClose, wire.ComStmtReset, wire.ComFetch, wire.ComBulkExecute:
		p = s.prepared(p)
	}
	if w := p[0]; w == wire.ComQuery || w == wire.ComExecute || w == wire.ComBulkExecute {
		looks, s.moved = looks && s.moved, false
		return p, looks
	}
	return p, false
}

func (s *session) statement(text []byte) (looks bool) {
	seen := read(text)
	if seen.unlocks {
		delete(s.pins, pinLock)
	}
	for _, why := range seen.pins {
		s.pin(why)
	}
	if m := collate.FindSubmatch(text); m != nil {
		s.sent.collation = string(m[1])
	}
	if counts.Match(text) {
		s.pin(pinLastID)
	}
	return seen.looks
}

// nobody is the number of a statement that does not exist.
const nobody = 0x7fffffff

// prepared changes the number of a statement from the client's to the server's. 1<<32-1 is
// MariaDB's for the one made last.
func (s *session) prepared(p []byte) []byte {
	if len(p) < 5 {
		return p
	}
	id := binary.LittleEndian.Uint32(p[1:])
	if id == 1<<32-1 {
		id = s.made
	}
	st := s.stmts[id]
	if st == nil {
		binary.LittleEndian.PutUint32(p[1:], nobody)
		return p
	}
	binary.LittleEndian.PutUint32(p[1:], st.id)
	switch p[0] {
	case wire.ComStmtClose:
		delete(s.stmts, id)
	case wire.ComExecute:
		return st.execute(p)
	}
	return p
}

// execute keeps the types of parameters, and tells them to a server that has not heard
// them: a client tells them only the first time. After the number of the statement come a
// byte of flags, a number of iterations, a bit for each parameter that is NULL, and a
// byte that says whether types follow, two bytes each.
func (st *stmt) execute(p []byte) []byte {
	at := 10 + (st.params+7)/8
	if st.params == 0 || len(p) <= at {
		return p
	}
	if p[at] == 1 {
		if end := at + 1 + 2*st.params; len(p) >= end {
			st.types, st.told = slices.Clone(p[at+1:end]), true
		}
		return p
	}
	if st.told || st.types == nil {
		return p
	}
	st.told = true
	out := append(slices.Clone(p[:at]), 1)
	return append(append(out, st.types...), p[at+1:]...)
}

// learn takes what an OK packet says.
func (s *session) learn(o *wire.OK) {
	switch s.sent.cmd {
	case wire.ComInitDB:
		s.db = string(s.sent.text)
	case wire.ComReset:
		s.vars, s.next, s.lastID, s.pins, s.stmts = nil, "", 0, nil, nil
		s.retrack = true
		return
	}
	if o.LastID != 0 {
		s.lastID = o.LastID
	}
	if o.Schema != nil {
		s.db = *o.Schema
	}
	if o.Next != nil {
		s.next = *o.Next
	}
	if s.sent.collation != "" {
		s.set("collation_connection", s.sent.collation) // MariaDB tracks the character set only
	}
	for name, value := range o.Vars {
		if reports[name] || strings.HasPrefix(name, "session_track_") {
			continue
		}
		s.set(name, value)
	}
}

func (s *session) set(name, value string) {
	if s.vars == nil {
		s.vars = map[string]string{}
	}
	if name == "character_set_connection" && value != s.vars[name] && s.sent.collation == "" {
		delete(s.vars, "collation_connection") // it has that of the character set
	}
	s.vars[name] = value
}

// made notes a statement that the server has prepared, and changes its number in the
// answer to the client's.
func (s *session) prepare(answer []byte) {
	if len(answer) < 9 {
		return
	}
	if s.stmts == nil {
		s.stmts = map[uint32]*stmt{}
	}
	s.made++
	s.stmts[s.made] = &stmt{
		text: s.sent.text, id: binary.LittleEndian.Uint32(answer[1:]), params: int(binary.LittleEndian.Uint16(answer[7:])),
	}
	binary.LittleEndian.PutUint32(answer[1:], s.made)
}

// reports are variables that the server sets itself and tracks as if the client had.
var reports = map[string]bool{
	"last_gtid": true, "statement_id": true, "identity": true, "last_insert_id": true, "in_transaction": true,
	"error_count": true, "warning_count": true, "pseudo_thread_id": true,
}

const track = "SET SESSION session_track_schema=ON, " +
	"session_track_transaction_info='CHARACTERISTICS', session_track_system_variables='*'"

// setup returns the statements that make a fresh session like this one.
func (s *session) setup() []string {
	list := []string{track}
	var set []string
	for _, name := range slices.Sorted(maps.Keys(s.vars)) {
		if word.MatchString(name) {
			set = append(set, fmt.Sprintf("SESSION %s=%s", name, literal(s.vars[name])))
		}
	}
	if s.lastID != 0 {
		set = append(set, fmt.Sprintf("SESSION last_insert_id=%d", s.lastID))
	}
	if len(set) > 0 {
		list = append(list, "SET "+strings.Join(set, ", "))
	}
	for q := range strings.SplitSeq(s.next, ";") {
		if q = strings.TrimSpace(q); q != "" {
			list = append(list, q)
		}
	}
	return list
}

var (
	// In a SELECT, LAST_INSERT_ID(x) sets what no answer tells.
	counts  = regexp.MustCompile(`(?is)^\s*(select|do)\b.*\blast_insert_id\s*\(\s*[^)\s]`)
	collate = regexp.MustCompile(`(?is)^\s*set\s+names\s+\S+\s+collate\s+['"]?(\w+)`)
	word    = regexp.MustCompile(`^\w+$`)
	number  = regexp.MustCompile(`^-?\d+(\.\d+)?$`)
	plain   = regexp.MustCompile(`^[\w ,.:+/@%-]*$`)
)

// literal writes a value so that no mode of SQL and no set of characters changes it.
func literal(v string) string {
	switch {
	case number.MatchString(v):
		return v
	case plain.MatchString(v):
		return "'" + v + "'"
	}
	return fmt.Sprintf("CONVERT(0x%x USING utf8mb4)", v)
}
