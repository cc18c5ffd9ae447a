package wire

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"kaname.dev/kaname/rib/zone/name"
)

// maxKeyFile bounds what is read as a key file, in octets.
const maxKeyFile = 64 << 10

// algorithms are the TSIG algorithms that are spoken (RFC 8945 section 6), without MD5.
var algorithms = map[string]bool{
	"hmac-sha1": true, "hmac-sha224": true, "hmac-sha256": true, "hmac-sha384": true, "hmac-sha512": true,
}

// ReadKey reads the first TSIG key of a file: in the syntax of named.conf (key "name" {
// algorithm hmac-sha256; secret "..."; };), as a key clause of NSD or Knot (name or id,
// algorithm and secret, each with a colon), or one line algorithm:name:secret as dig -y
// takes it. A file that everybody may read is refused. Errors never hold the secret.
func ReadKey(path string) (Key, error) {
	f, err := os.Open(path) //nolint:gosec // the path is the operator's
	if err != nil {
		return Key{}, fmt.Errorf("TSIG key: %w; make it with: tsig-keygen NAME", err)
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return Key{}, fmt.Errorf("TSIG key: %w", err)
	}
	if info.Mode().Perm()&0o006 != 0 {
		return Key{}, fmt.Errorf("TSIG key %s: everybody may read or write it (mode %04o); chmod 0640 %s", path, info.Mode().Perm(), path)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return Key{}, fmt.Errorf("TSIG key: %w", err)
	}
	k, err := ParseKey(string(b))
	if err != nil {
		return Key{}, fmt.Errorf("TSIG key %s: %w", path, err)
	}
	return k, nil
}

// ParseKey reads a key from a text, as ReadKey does from a file.
func ParseKey(text string) (Key, error) {
	var k Key
	line := strings.TrimSpace(text)
	if one := strings.Split(line, ":"); len(one) == 3 && !strings.ContainsAny(line, " \t\n{\"") {
		k = Key{Algorithm: one[0], Name: one[1], Secret: one[2]}
	} else {
		k = keyOf(tokens(text))
	}
	return k, k.check()
}

// check makes the key canonical, or says what is wrong with it.
func (k *Key) check() error {
	if k.Name == "" || k.Secret == "" {
		return errors.New(`no key is in it; it should hold: key "name" { algorithm hmac-sha256; secret "..."; };`)
	}
	n, err := name.Parse(k.Name)
	if err != nil {
		return fmt.Errorf("the key's name %q %w", k.Name, err)
	}
	k.Name = n.Bare()
	if k.Algorithm = strings.ToLower(strings.TrimSuffix(k.Algorithm, ".")); k.Algorithm == "" {
		k.Algorithm = "hmac-sha256"
	}
	if !algorithms[k.Algorithm] {
		return fmt.Errorf("key %s has the algorithm %q; make one of hmac-sha256: tsig-keygen %s", k.Name, k.Algorithm, k.Name)
	}
	if b, err := base64.StdEncoding.DecodeString(k.Secret); err != nil || len(b) == 0 {
		return fmt.Errorf("the secret of key %s is not base64; copy the file again", k.Name)
	}
	return nil
}

// tokens splits a configuration into words; quotes, separators and comments go.
func tokens(text string) []string {
	const separators = " \t\r\n;{}:,"
	var all []string
	for i := 0; i < len(text); {
		rest := text[i:]
		switch {
		case strings.ContainsRune(separators, rune(rest[0])):
			i++
		case rest[0] == '#', strings.HasPrefix(rest, "//"):
			i += length(rest, "\n")
		case strings.HasPrefix(rest, "/*"):
			i += length(rest, "*/")
		case rest[0] == '"':
			n := length(rest[1:], `"`)
			all = append(all, strings.TrimSuffix(rest[1:1+n], `"`))
			i += 1 + n
		default:
			n := strings.IndexAny(rest, separators)
			if n < 0 {
				n = len(rest)
			}
			all = append(all, rest[:n])
			i += n
		}
	}
	return all
}

// length is how far end reaches in s; all of s when it is not there.
func length(s, end string) int {
	if n := strings.Index(s, end); n >= 0 {
		return n + len(end)
	}
	return len(s)
}

// keyOf finds the first key among words.
func keyOf(words []string) Key {
	var k Key
	for i := 0; i+1 < len(words); i++ {
		next := words[i+1]
		switch strings.ToLower(words[i]) {
		case "key":
			if k.Secret != "" {
				return k
			}
			if next == "-" || next == "id" || next == "name" {
				continue // the clause of Knot or NSD
			}
			k.Name = next
		case "id", "name":
			if k.Secret != "" {
				return k
			}
			k.Name = next
		case "algorithm":
			if k.Algorithm == "" {
				k.Algorithm = next
			}
		case "secret":
			if k.Secret == "" {
				k.Secret = next
			}
		default:
			continue
		}
		i++
	}
	return k
}
