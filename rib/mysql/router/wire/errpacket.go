package wire

import "encoding/binary"

// Error returns an error packet. Before a login it has no state of SQL; after it that is
// 08S01 (communication link failure), or 28000 for a refused login.
func Error(code uint16, text string, loggedIn bool) []byte {
	b := binary.LittleEndian.AppendUint16([]byte{headErr}, code)
	switch {
	case code == 1045:
		b = append(b, "#28000"...)
	case loggedIn:
		b = append(b, "#08S01"...)
	}
	return append(b, text...)
}

// ErrorCode returns the number in an error packet, and 0 for other packets.
func ErrorCode(b []byte) uint16 {
	if len(b) < 3 || b[0] != headErr {
		return 0
	}
	return binary.LittleEndian.Uint16(b[1:])
}
