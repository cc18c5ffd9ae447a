package router

import (
	"iter"
	"slices"
	"strings"
)

// Why a session cannot be carried over, as in metrics and logs.
const (
	pinUserVar  = "user-variable"
	pinTemp     = "temporary-table"
	pinLock     = "lock-tables"
	pinGetLock  = "get-lock"
	pinPrepare  = "prepared-in-sql"
	pinHandler  = "handler"
	pinXA       = "xa"
	pinRole     = "role"
	pinTracking = "tracking"
	pinLong     = "long-statement"
	pinLastID   = "last-insert-id"
	pinCall     = "call" // no server tells what a procedure has done to the session
	pinState    = "unknown-state"
)

// sight is what a statement's text says about the session after it.
type sight struct {
	pins    []string
	unlocks bool // locks of before are over
	looks   bool // it asks about the statement before it
}

// read looks for what a session cannot take with it to another server. It knows words, not
// grammar: a column called get_lock pins a session that could be moved, which costs a
// connection at a switchover; the other way round would cost the truth.
func read(text []byte) sight {
	var s sight
	var first, second string // words of the statement
	for w := range words(text) {
		switch {
		case w == ";":
			first, second = "", ""
			continue
		case first == "":
			first = w
		case second == "":
			second = w
		}
		s.word(w, first, second)
	}
	return s
}

var firstWords = map[string]string{
	"PREPARE": pinPrepare, "EXECUTE": pinPrepare, "HANDLER": pinHandler, "XA": pinXA, "LOCK": pinLock,
	"CALL": pinCall,
}

var anyWords = map[string]string{
	"@": pinUserVar, "GET_LOCK": pinGetLock,
	"SESSION_TRACK_SYSTEM_VARIABLES": pinTracking, "SESSION_TRACK_SCHEMA": pinTracking,
	"SESSION_TRACK_STATE_CHANGE": pinTracking, "SESSION_TRACK_TRANSACTION_INFO": pinTracking,
}

func (s *sight) word(w, first, second string) {
	pin := anyWords[w]
	switch {
	case pin != "":
	case w == first && second == "":
		pin = firstWords[w]
		if w == "UNLOCK" {
			s.unlocks = true
			s.pins = slices.DeleteFunc(s.pins, func(p string) bool { return p == pinLock })
		}
	case w == "TEMPORARY" && (first == "CREATE" || first == "DROP"):
		pin = pinTemp
	case first == "FLUSH" && (w == "LOCK" || w == "EXPORT"):
		pin = pinLock
	case first == "SET" && second == w && (w == "ROLE" || w == "RESOURCE"):
		pin = pinRole
	}
	if pin != "" {
		s.pins = append(s.pins, pin)
	}
	switch w {
	case "ROW_COUNT", "FOUND_ROWS", "WARNINGS", "DIAGNOSTICS", "WARNING_COUNT", "ERROR_COUNT", "LASTVAL", "PREVIOUS":
		s.looks = true
	case "ERRORS":
		s.looks = s.looks || first == "SHOW"
	}
}

// words yields the words of a statement in upper case, "@" for a variable of the user and
// ";" between statements. Strings, quoted names and comments have none; the comments
// that servers execute do.
func words(b []byte) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := 0; i < len(b); {
			n, w := next(b[i:])
			i += n
			if w != "" && !yield(w) {
				return
			}
		}
	}
}

// next returns the length of what stands first in b, and its word if it is one.
func next(b []byte) (int, string) {
	switch c := b[0]; {
	case c == '\'' || c == '"' || c == '`':
		return quoted(b), ""
	case c == '#', c == '-' && len(b) > 1 && b[1] == '-' && (len(b) == 2 || b[2] <= ' '):
		return until(b, "\n"), ""
	case c == '/' && len(b) > 1 && b[1] == '*':
		if len(b) > 2 && (b[2] == '!' || b[2] == 'M' && len(b) > 3 && b[3] == '!') {
			return 3, "" // what follows is executed
		}
		return 2 + until(b[2:], "*/"), ""
	case c == ';':
		return 1, ";"
	case c == '@' && len(b) > 1 && b[1] == '@':
		return 2, ""
	case c == '@':
		return 1, "@"
	case letter(c):
		n := 1
		for n < len(b) && letter(b[n]) {
			n++
		}
		return n, strings.ToUpper(string(b[:n]))
	}
	return 1, ""
}

func letter(c byte) bool {
	return c == '_' || c == '$' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= 0x80
}

// quoted returns the length of the string or name that b begins with. A backslash may not
// be an escape in some mode: then too much or too little is taken for a string, and a
// variable's @ may be missed only inside of what some mode takes for one.
func quoted(b []byte) int {
	for i := 1; i < len(b); i++ {
		switch {
		case b[i] == '\\' && b[0] != '`':
			i++
		case b[i] == b[0]:
			return i + 1
		}
	}
	return len(b)
}

func until(b []byte, end string) int {
	if i := strings.Index(string(b), end); i >= 0 {
		return i + len(end)
	}
	return len(b)
}
