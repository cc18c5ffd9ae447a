package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// Greeting is a server's first packet, of protocol 10.
type Greeting struct {
	Version string
	ID      uint32 // of the connection
	Nonce   []byte // 20 bytes
	Caps    uint64
	Charset byte
	Status  uint16
	Plugin  string
}

var errShort = errors.New("a packet of the login is cut short")

// ParseGreeting reads a server's first packet.
func ParseGreeting(b []byte) (Greeting, error) {
	g := Greeting{}
	if len(b) == 0 || b[0] != 10 {
		return g, errors.New("the server does not speak protocol 10")
	}
	version, b, ok := bytes.Cut(b[1:], []byte{0})
	if !ok || len(b) < 31 {
		return g, errShort
	}
	g.Version, g.ID = string(version), binary.LittleEndian.Uint32(b)
	g.Nonce = bytes.Clone(b[4:12])
	g.Caps = uint64(binary.LittleEndian.Uint16(b[13:])) | uint64(binary.LittleEndian.Uint16(b[18:]))<<16
	g.Charset, g.Status = b[15], binary.LittleEndian.Uint16(b[16:])
	rest := b[31:]
	if len(rest) < 12 {
		return g, errShort
	}
	g.Nonce = append(g.Nonce, rest[:12]...)
	if rest = rest[12:]; len(rest) > 0 && rest[0] == 0 {
		rest = rest[1:]
	}
	plugin, _, _ := bytes.Cut(rest, []byte{0})
	g.Plugin = string(plugin)
	return g, nil
}

// Encode returns the packet.
func (g *Greeting) Encode() []byte {
	b := append([]byte{10}, g.Version...)
	b = binary.LittleEndian.AppendUint32(append(b, 0), g.ID)
	b = append(append(b, g.Nonce[:8]...), 0)
	b = binary.LittleEndian.AppendUint16(b, uint16(g.Caps))
	b = binary.LittleEndian.AppendUint16(append(b, g.Charset), g.Status)
	b = binary.LittleEndian.AppendUint16(b, uint16(g.Caps>>16))
	b = append(append(b, byte(len(g.Nonce)+1)), make([]byte, 10)...)
	b = append(append(b, g.Nonce[8:]...), 0)
	return append(append(b, g.Plugin...), 0)
}

// Login is a client's answer to a greeting.
type Login struct {
	Caps       uint64
	MaxPacket  uint32
	Charset    byte
	User       string
	Proof      []byte // of the password
	DB         string
	Plugin     string
	Attributes []byte // as they came, with their length
}

// ParseLogin reads a client's answer. One that asks for TLS has only Caps, MaxPacket and
// Charset.
func ParseLogin(b []byte) (Login, error) {
	if len(b) < 32 {
		return Login{}, errShort
	}
	l := Login{Caps: clientCaps(b), MaxPacket: binary.LittleEndian.Uint32(b[4:]), Charset: b[8]}
	if len(b) == 32 && l.Caps&CapTLS != 0 {
		return l, nil
	}
	user, b, ok := bytes.Cut(b[32:], []byte{0})
	if !ok {
		return l, errShort
	}
	l.User = string(user)
	switch {
	case l.Caps&CapLenencAuth != 0:
		l.Proof, b, ok = lenstr(b)
	case l.Caps&CapSecure != 0 && len(b) > 0:
		l.Proof, b, ok = lenstr(b) // one byte of length, at most 250 here
	default:
		l.Proof, b, ok = bytes.Cut(b, []byte{0})
	}
	if !ok {
		return l, errShort
	}
	l.Proof = bytes.Clone(l.Proof)
	if l.Caps&CapConnectWithDB != 0 {
		var db []byte
		db, b, _ = bytes.Cut(b, []byte{0})
		l.DB = string(db)
	}
	if l.Caps&CapPluginAuth != 0 {
		var plugin []byte
		plugin, b, _ = bytes.Cut(b, []byte{0})
		l.Plugin = string(plugin)
	}
	if l.Caps&CapAttributes != 0 {
		if a, _, ok := lenstr(b); ok {
			l.Attributes = appendLenstr(nil, a)
		}
	}
	return l, nil
}

// Encode returns the packet; short: what is sent before TLS begins.
func (l *Login) Encode(short bool) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(l.Caps))
	b = binary.LittleEndian.AppendUint32(b, l.MaxPacket)
	b = append(append(b, l.Charset), make([]byte, 23)...)
	if short {
		return b
	}
	b = append(append(b, l.User...), 0)
	b = appendLenstr(b, l.Proof)
	if l.Caps&CapConnectWithDB != 0 {
		b = append(append(b, l.DB...), 0)
	}
	b = append(append(b, l.Plugin...), 0)
	if l.Caps&CapAttributes != 0 {
		b = append(b, l.Attributes...)
	}
	return b
}

// Switch returns the packet that asks a client to prove its password by another plugin.
func Switch(plugin string, nonce []byte) []byte {
	b := append(append([]byte{headEOF}, plugin...), 0)
	return append(append(b, nonce...), 0)
}
