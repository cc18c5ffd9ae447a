package wire

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
)

// limitLogin is how long a packet of a login may be, in bytes.
const limitLogin = 64 << 10

// Refusal is an error packet with which a server refused.
type Refusal struct {
	Packet []byte
}

// Code returns the server's number of the error.
func (r *Refusal) Code() uint16 { return ErrorCode(r.Packet) }

// Error returns the server's words.
func (r *Refusal) Error() string {
	b := r.Packet[3:]
	if len(b) >= 6 && b[0] == '#' {
		b = b[6:]
	}
	return fmt.Sprintf("the server says: %s (%d)", b, r.Code())
}

// Enter logs in to a server whose greeting is the next packet, as l says: its Caps are cut
// to what the server can, its Proof and Plugin are made from the password. It returns the
// side to go on with, the capabilities agreed upon, and the state of the session. An error
// packet of the server is a *Refusal.
func Enter(s *Side, l Login, password string, secure *tls.Config) (*Side, uint64, uint16, error) {
	b, seq, err := s.Read(limitLogin)
	if err != nil {
		return nil, 0, 0, err
	}
	if b[0] == headErr {
		return nil, 0, 0, &Refusal{b}
	}
	g, err := ParseGreeting(b)
	if err != nil {
		return nil, 0, 0, err
	}
	l.Caps &= g.Caps &^ CapTLS
	seq++
	if secure != nil {
		if g.Caps&CapTLS == 0 {
			return nil, 0, 0, errors.New("the server offers no TLS")
		}
		l.Caps |= CapTLS
		if err = s.Send(seq, l.Encode(true)); err != nil {
			return nil, 0, 0, err
		}
		seq++
		s = NewSide(tls.Client(s.Conn, secure))
	}
	l.Plugin = g.Plugin
	proof, ok := Prove(l.Plugin, password, g.Nonce)
	if !ok {
		l.Plugin = Native // the server asks for another then
		proof, _ = Prove(Native, password, g.Nonce)
	}
	l.Proof = proof
	if err = s.Send(seq, l.Encode(false)); err != nil {
		return nil, 0, 0, err
	}
	status, err := authenticate(s, password, g.Nonce, secure != nil)
	return s, l.Caps, status, err
}

// authenticate answers what the server asks until it is content.
func authenticate(s *Side, password string, nonce []byte, secure bool) (uint16, error) {
	for {
		b, seq, err := s.Read(limitLogin)
		if err != nil {
			return 0, err
		}
		if len(b) == 0 {
			return 0, errShort
		}
		switch b[0] {
		case headOK:
			status, _ := okStatus(b)
			return status, nil
		case headErr:
			return 0, &Refusal{b}
		case headEOF:
			name, rest, _ := bytes.Cut(b[1:], []byte{0})
			plugin := string(name)
			nonce = bytes.Clone(bytes.TrimSuffix(rest, []byte{0}))
			proof, ok := Prove(plugin, password, nonce)
			if !ok {
				return 0, fmt.Errorf("the server wants passwords to be proved by %s, which the router cannot; use %s or %s", plugin, Caching, Native)
			}
			if err = s.Send(seq+1, proof); err != nil {
				return 0, err
			}
		case headMore:
			if err = more(s, b[1:], seq, password, nonce, secure); err != nil {
				return 0, err
			}
		default:
			return 0, fmt.Errorf("packet %#x in a login", b[0])
		}
	}
}

// more goes on with caching_sha2_password: 3 means that the proof was good, 4 that the
// server wants the password itself, over TLS or encrypted with its key.
func more(s *Side, b []byte, seq byte, password string, nonce []byte, secure bool) error {
	if len(b) != 1 || b[0] != 4 {
		return nil
	}
	if secure {
		return s.Send(seq+1, append([]byte(password), 0))
	}
	if err := s.Send(seq+1, []byte{2}); err != nil {
		return err
	}
	key, seq, err := s.Read(limitLogin)
	if err != nil {
		return err
	}
	if len(key) > 0 && key[0] == headErr {
		return &Refusal{key}
	}
	sealed, err := seal(password, nonce, key[min(1, len(key)):])
	if err != nil {
		return err
	}
	return s.Send(seq+1, sealed)
}
