package wire

import "encoding/binary"

// OK is an OK packet.
type OK struct {
	LastID uint64
	Status uint16
	// What the session tracker says has changed.
	Vars   map[string]string
	Schema *string
	Next   *string // statements that set up the next transaction as it is now

	head   []byte // up to the status
	info   []byte
	header byte
	warn   uint16
}

// ParseOK reads an OK packet of a connection that tracks sessions.
func ParseOK(b []byte) (OK, bool) {
	o := OK{}
	if len(b) == 0 {
		return o, false
	}
	o.header = b[0]
	_, rest, ok := lenenc(b[1:])
	if ok {
		o.LastID, rest, ok = lenenc(rest)
	}
	if !ok || len(rest) < 4 {
		return o, false
	}
	o.head = b[:len(b)-len(rest)]
	o.Status, o.warn = binary.LittleEndian.Uint16(rest), binary.LittleEndian.Uint16(rest[2:])
	rest = rest[4:]
	if len(rest) == 0 {
		return o, true
	}
	if o.info, rest, ok = lenstr(rest); !ok {
		return o, false
	}
	if o.Status&StatusSessions == 0 {
		return o, true
	}
	state, _, ok := lenstr(rest)
	for ok && len(state) > 0 {
		kind := state[0]
		var data []byte
		if data, state, ok = lenstr(state[1:]); ok {
			o.changed(kind, data)
		}
	}
	return o, ok
}

// changed notes one change: SESSION_TRACK_SYSTEM_VARIABLES, _SCHEMA, _STATE_CHANGE,
// _TRANSACTION_CHARACTERISTICS.
func (o *OK) changed(kind byte, data []byte) {
	text, rest, ok := lenstr(data)
	if !ok {
		return
	}
	s := string(text)
	switch kind {
	case 0:
		if o.Vars == nil {
			o.Vars = map[string]string{}
		}
		for ok { // MariaDB puts several into one
			var value []byte
			if value, rest, ok = lenstr(rest); ok {
				o.Vars[s] = string(value)
				text, rest, ok = lenstr(rest)
				s = string(text)
			}
		}
	case 1:
		o.Schema = &s
	case 4:
		o.Next = &s
	}
}

// Untracked returns the packet as a client gets it that does not track its session.
func (o *OK) Untracked() []byte {
	b := append([]byte{}, o.head...)
	b = binary.LittleEndian.AppendUint16(b, o.Status&^StatusSessions)
	return append(binary.LittleEndian.AppendUint16(b, o.warn), o.info...)
}

// Done returns an OK packet with a status and nothing else.
func Done(status uint16) []byte {
	return binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint16([]byte{headOK, 0, 0}, status), 0)
}
