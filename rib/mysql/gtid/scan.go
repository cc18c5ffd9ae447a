package gtid

import (
	"fmt"
	"math"
)

// maxText is above what any server prints: a million intervals of 16 bytes.
const maxText = 16 << 20

// scanner reads the parts of a text and knows where it is.
type scanner struct {
	text    string
	at      int
	flavour string
}

// space skips white space.
func (s *scanner) space() {
	for s.at < len(s.text) {
		switch s.text[s.at] {
		case ' ', '\t', '\n', '\r', '\v', '\f':
			s.at++
		default:
			return
		}
	}
}

func (s *scanner) end() bool { return s.at >= len(s.text) }

// peek returns the next byte, 0 at the end.
func (s *scanner) peek() byte {
	if s.end() {
		return 0
	}
	return s.text[s.at]
}

// take skips white space and c after it, and reports whether c was there.
func (s *scanner) take(c byte) bool {
	s.space()
	if s.end() || s.text[s.at] != c {
		return false
	}
	s.at++
	return true
}

// number reads a decimal number from 0 to most.
func (s *scanner) number(what string, most uint64) (uint64, error) {
	s.space()
	start, n := s.at, uint64(0)
	for ; s.at < len(s.text); s.at++ {
		c := s.text[s.at]
		if c < '0' || c > '9' {
			break
		}
		d := uint64(c - '0')
		if n > (math.MaxUint64-d)/10 || n*10+d > most {
			s.at = start
			return 0, s.bad(fmt.Sprintf("%s is larger than %d", what, most))
		}
		n = n*10 + d
	}
	if s.at == start {
		return 0, s.bad("want " + what)
	}
	return n, nil
}

// bad returns an error about the text at this place.
func (s *scanner) bad(why string) error {
	const show = 24
	rest := s.text[min(s.at, len(s.text)):]
	switch {
	case rest == "":
		rest = "the end"
	case len(rest) > show:
		rest = fmt.Sprintf("%q...", rest[:show])
	default:
		rest = fmt.Sprintf("%q", rest)
	}
	return fmt.Errorf("gtid set (%s), byte %d: %s, not %s; take the text as the server prints it", s.flavour, s.at, why, rest)
}
