package rndc

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // HMAC-SHA1 is what some keys are for
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strings"
)

// The wire format of BIND's command channel (lib/isccc): a length, a version, then a
// table. An entry of a table is one octet of key length, the key, one octet of type,
// four of value length, the value.
const (
	version   = 1
	typeBytes = 1
	typeTable = 2

	maxSend  = 32 << 10 // what named takes
	maxReply = 8 << 20
	maxDepth = 8

	signature = 88 // octets of base64 in _auth.hsha, padded with zeros
)

// algorithms by the name that named.conf has, with their octet in _auth.hsha.
var algorithms = map[string]struct {
	code byte
	hash func() hash.Hash
}{
	"hmac-sha1":   {161, sha1.New},
	"hmac-sha224": {162, sha256.New224},
	"hmac-sha256": {163, sha256.New},
	"hmac-sha384": {164, sha512.New384},
	"hmac-sha512": {165, sha512.New},
}

// Key authenticates both sides of a command channel.
type Key struct {
	Algorithm string // hmac-sha1, -sha224, -sha256, -sha384, -sha512
	Secret    []byte
}

// sign returns _auth.hsha of a message.
func (k Key) sign(message []byte) ([]byte, error) {
	a, ok := algorithms[k.Algorithm]
	if !ok {
		return nil, fmt.Errorf("algorithm %q is not one of hmac-sha1, -sha224, -sha256, -sha384, -sha512", k.Algorithm)
	}
	mac := hmac.New(a.hash, k.Secret)
	_, _ = mac.Write(message)
	out := make([]byte, 1+signature)
	out[0] = a.code
	base64.StdEncoding.Encode(out[1:], mac.Sum(nil))
	return out, nil
}

// entry is a key with bytes, or with entries when table is not nil.
type entry struct {
	key   string
	value []byte
	table []entry
}

// get finds the entry of a key, or one below it.
func get(table []entry, key string, below ...string) (entry, bool) {
	i := slices.IndexFunc(table, func(e entry) bool { return e.key == key })
	if i < 0 {
		return entry{}, false
	}
	if len(below) == 0 {
		return table[i], true
	}
	return get(table[i].table, below[0], below[1:]...)
}

func text(table []entry, key string, below ...string) string {
	e, _ := get(table, key, below...)
	return string(e.value)
}

// encode writes the entries of a table.
func encode(to []byte, table []entry) []byte {
	for _, e := range table {
		to = append(to, byte(len(e.key)))
		to = append(to, e.key...)
		value, kind := e.value, byte(typeBytes)
		if e.table != nil {
			value, kind = encode(nil, e.table), typeTable
		}
		to = append(to, kind)
		to = binary.BigEndian.AppendUint32(to, uint32(len(value))) //nolint:gosec // at most maxSend
		to = append(to, value...)
	}
	return to
}

// decode reads the entries of a table. Lists, which named does not send, are skipped.
func decode(b []byte, depth int) ([]entry, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("tables are nested more than %d deep", maxDepth)
	}
	table := []entry{}
	for len(b) > 0 {
		n := int(b[0])
		if len(b) < 1+n+5 {
			return nil, errors.New("an entry is cut off")
		}
		e := entry{key: string(b[1 : 1+n])}
		kind, size := b[1+n], binary.BigEndian.Uint32(b[2+n:])
		b = b[6+n:]
		if uint64(size) > uint64(len(b)) {
			return nil, fmt.Errorf("the value of %q is cut off", e.key)
		}
		value := b[:size]
		b = b[size:]
		switch kind {
		case typeBytes:
			e.value = value
		case typeTable:
			var err error
			if e.table, err = decode(value, depth+1); err != nil {
				return nil, err
			}
		default:
			continue
		}
		table = append(table, e)
	}
	return table, nil
}

// seal returns a frame with the signed entries.
func (k Key) seal(table []entry) ([]byte, error) {
	signed := encode(nil, table)
	mac, err := k.sign(signed)
	if err != nil {
		return nil, err
	}
	auth := encode(nil, []entry{{key: "_auth", table: []entry{{key: "hsha", value: mac}}}})
	frame := binary.BigEndian.AppendUint32(nil, uint32(4+len(auth)+len(signed))) //nolint:gosec // small
	frame = binary.BigEndian.AppendUint32(frame, version)
	frame = slices.Concat(frame, auth, signed)
	if len(frame) > maxSend {
		return nil, fmt.Errorf("a command of %d octets is more than the %d that named takes", len(frame), maxSend)
	}
	return frame, nil
}

// open reads what follows the length of a frame, and checks its signature.
func (k Key) open(b []byte) ([]entry, error) {
	if len(b) < 4 || binary.BigEndian.Uint32(b) != version {
		return nil, errors.New("the reply is not of version 1 of the protocol")
	}
	b = b[4:]
	all, err := decode(b, 0)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 || all[0].key != "_auth" {
		return nil, errors.New("the reply is not signed")
	}
	// The signature covers every octet behind the entry _auth, which comes first.
	end := 1 + len("_auth") + 1 + 4
	end += int(binary.BigEndian.Uint32(b[end-4:]))
	want, err := k.sign(b[end:])
	if err != nil {
		return nil, err
	}
	got, _ := get(all, "_auth", "hsha")
	if !hmac.Equal([]byte(strings.TrimRight(string(got.value), "\x00")), []byte(strings.TrimRight(string(want), "\x00"))) {
		return nil, errors.New("the reply is signed with another key")
	}
	return all[1:], nil
}
