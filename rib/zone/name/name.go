// Package name has the names of zones: parsed from what people and servers write,
// kept in one canonical form, and written so that no server's control syntax can
// be broken by them.
package name

import (
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"

	"github.com/miekg/dns"
	"golang.org/x/net/idna"
)

// Name is the name of a zone in canonical presentation form: absolute, with the
// final dot, in lower case (RFC 4343), octets that are not letters, digits, '-' or
// '_' escaped as RFC 1035 section 5.1 says. Two names are equal exactly when the
// zones are. The zero Name is no name.
type Name string

// Root is the root zone.
const Root Name = "."

// limits of RFC 1035 section 2.3.4, in octets.
const (
	maxLabel = 63
	maxName  = 255 // on the wire, with the length octets and the root's
)

// Parse reads a name as people write it: with or without the final dot, in any
// case, with escapes (\DDD, \X), internationalised labels as U-labels or A-labels
// (RFC 5891). The error says what is wrong with it, without the name.
func Parse(s string) (Name, error) {
	if s == "" {
		return "", fmt.Errorf("is empty; the root is written %q", ".")
	}
	if !ascii(s) {
		a, err := idna.Lookup.ToASCII(s)
		if err != nil {
			return "", fmt.Errorf("is not an internationalised name: %w", err)
		}
		s = a
	}
	return canonical(dns.Fqdn(s))
}

// canonical parses an absolute name in ASCII.
func canonical(s string) (Name, error) {
	wire := make([]byte, maxName+1)
	if err := labels(s); err != nil {
		return "", err
	}
	end, err := dns.PackDomainName(s, wire, 0, nil, false)
	if err != nil {
		return "", fmt.Errorf("is longer than %d octets, or wrongly escaped", maxName)
	}
	return FromWire(wire[:end])
}

// labels looks for what packing would report without saying why.
func labels(s string) error {
	if s == "." {
		return nil
	}
	n := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '.':
			if n == 0 {
				return errors.New("has an empty label")
			}
			n = 0
			continue
		case c == '\\' && i+3 < len(s) && digit(s[i+1]) && digit(s[i+2]) && digit(s[i+3]):
			if v := int(s[i+1]-'0')*100 + int(s[i+2]-'0')*10 + int(s[i+3]-'0'); v > 255 {
				return fmt.Errorf("has the escape \\%s, which is no octet", s[i+1:i+4])
			}
			i += 3
		case c == '\\' && i+1 < len(s) && !digit(s[i+1]):
			i++
		case c == '\\':
			return errors.New(`ends in an escape, or has one that is not \DDD or \X`)
		}
		if n++; n > maxLabel {
			return fmt.Errorf("has a label of more than %d octets", maxLabel)
		}
	}
	return nil
}

// FromWire reads an uncompressed name in wire form.
func FromWire(wire []byte) (Name, error) {
	if len(wire) > maxName {
		return "", fmt.Errorf("is longer than %d octets", maxName)
	}
	var b strings.Builder
	for i := 0; i < len(wire); {
		n := int(wire[i])
		if n == 0 {
			if i+1 != len(wire) {
				return "", errors.New("has octets after its end")
			}
			if b.Len() == 0 {
				return Root, nil
			}
			return Name(b.String()), nil
		}
		if n > maxLabel || i+1+n > len(wire) {
			return "", fmt.Errorf("has a label that is longer than %d octets or than the name", maxLabel)
		}
		for _, c := range wire[i+1 : i+1+n] {
			escape(&b, c)
		}
		b.WriteByte('.')
		i += 1 + n
	}
	return "", errors.New("has no end")
}

// escape writes one octet of a label. Everything that is special anywhere is
// written as \DDD, so that the text is letters, digits, '-', '_', '.' and '\'.
func escape(b *strings.Builder, c byte) {
	switch {
	case 'A' <= c && c <= 'Z':
		b.WriteByte(c + 'a' - 'A')
	case plain(c):
		b.WriteByte(c)
	default:
		fmt.Fprintf(b, "\\%03d", c)
	}
}

func plain(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// String returns the canonical form.
func (n Name) String() string { return string(n) }

// Plain reports whether the name has only letters, digits, '-', '_' and dots: no
// server's control syntax knows these as special.
func (n Name) Plain() bool { return !strings.Contains(string(n), `\`) }

// Bare returns the name without the final dot; the root stays ".".
func (n Name) Bare() string {
	if n == Root {
		return "."
	}
	return strings.TrimSuffix(string(n), ".")
}

// Unicode returns the name for people: A-labels as U-labels where they are valid,
// without the final dot.
func (n Name) Unicode() string {
	if u, err := idna.Display.ToUnicode(n.Bare()); err == nil {
		return u
	}
	return n.Bare()
}

// Wire returns the uncompressed wire form, in lower case.
func (n Name) Wire() []byte {
	wire := make([]byte, maxName+1)
	end, err := dns.PackDomainName(string(n), wire, 0, nil, false)
	if err != nil {
		return nil // the zero Name
	}
	return wire[:end]
}

// Labels returns the labels from the left; none for the root.
func (n Name) Labels() []string {
	if n == Root || n == "" {
		return nil
	}
	return strings.Split(n.Bare(), ".") // a dot inside a label is written \046
}

// Under reports whether n is parent or below it.
func (n Name) Under(parent Name) bool {
	return parent == Root || n == parent || strings.HasSuffix(string(n), "."+string(parent))
}

// Parent returns the name one label up; Root for the root.
func (n Name) Parent() Name {
	if _, up, ok := strings.Cut(string(n), "."); ok && up != "" {
		return Name(up)
	}
	return Root
}

// File returns a name for a file: letters, digits, '-', '_' and single dots, at
// most 120 octets, never "." or "..", different for different zones. Plain short
// names read as they are; others are written as base32 of a prefix and a hash.
func (n Name) File() string {
	if s := n.Bare(); n.Plain() && len(s) <= 100 && n != Root && !strings.HasPrefix(s, "-") {
		return s
	}
	return "+" + Hash(n)
}

// Hash returns 26 octets of base32hex in lower case (RFC 4648 section 7, unpadded)
// of the first 128 bits of SHA-256 over the wire form: the same everywhere and for
// ever.
func Hash(n Name) string {
	sum := sha256.Sum256(n.Wire())
	return strings.ToLower(base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:16]))
}

// UnmarshalText reads a name as Parse does, so that one that came from elsewhere is
// canonical or refused.
func (n *Name) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*n = "" // the zero Name, as it was written
		return nil
	}
	p, err := Parse(string(text))
	if err != nil {
		return fmt.Errorf("name %q %w", text, err)
	}
	*n = p
	return nil
}
