package manifest

import (
	"bufio"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io"
	"maps"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// Encode writes the canonical form. It does not validate.
func (m *Manifest) Encode(w io.Writer) error {
	b := bufio.NewWriterSize(w, 64<<10)
	line := m.Header.appendTo(nil)
	for i := range m.Entries {
		if _, err := b.Write(append(line, '\n')); err != nil {
			return err
		}
		line = m.Entries[i].appendTo(line[:0])
	}
	if _, err := b.Write(append(line, '\n')); err != nil {
		return err
	}
	return b.Flush()
}

// Bytes returns the canonical form.
func (m *Manifest) Bytes() []byte {
	b := append(m.Header.appendTo(make([]byte, 0, 256+200*len(m.Entries))), '\n')
	for i := range m.Entries {
		b = append(m.Entries[i].appendTo(b), '\n')
	}
	return b
}

// ID returns the SHA-256 of the canonical form.
func (m *Manifest) ID() Digest {
	h := sha256.New()
	_ = m.Encode(h) // a hash never fails
	return Digest(h.Sum(nil))
}

// MarshalJSON writes the canonical form of one entry.
func (e Entry) MarshalJSON() ([]byte, error) { return e.appendTo(nil), nil }

// The writer below is by hand because the canonical form must never change with
// the escaping habits of a JSON library. Fields stand in the order of the structs,
// empty ones are left out, times are RFC 3339 in UTC with as many decimals as
// needed, maps are sorted by key.

func (h *Header) appendTo(b []byte) []byte {
	b = append(b, `{"format":`...)
	b = strconv.AppendInt(b, int64(h.Format), 10)
	b = appendField(b, "app", h.App)
	b = appendField(b, "version", h.Version)
	b = appendField(b, "kind", string(h.Kind))
	b = append(b, `,"created":`...)
	b = appendTime(b, h.Created)
	if h.Source != "" {
		b = appendField(b, "source", h.Source)
	}
	b = appendDigest(b, "archive", h.Archive)
	b = append(b, `,"count":`...)
	b = strconv.AppendInt(b, int64(h.Count), 10)
	b = append(b, `,"files":`...)
	b = strconv.AppendInt(b, int64(h.Files), 10)
	b = append(b, `,"size":`...)
	b = strconv.AppendInt(b, h.Size, 10)
	if h.Root != nil {
		b = append(b, `,"root":`...)
		b = h.Root.appendTo(b)
	}
	for i, k := range slices.Sorted(maps.Keys(h.Meta)) {
		if i == 0 {
			b = append(b, `,"meta":{`...)
		} else {
			b = append(b, ',')
		}
		b = appendString(b, k)
		b = append(b, ':')
		b = appendString(b, h.Meta[k])
	}
	if len(h.Meta) > 0 {
		b = append(b, '}')
	}
	return append(b, '}')
}

func (e *Entry) appendTo(b []byte) []byte {
	text := func(s string) string { return s }
	start := `{"p":`
	if !e.isText() {
		text, start = escape, `{"e":true,"p":`
	}
	b = append(b, start...)
	b = appendString(b, text(e.Path))
	b = appendField(b, "t", string(e.Type))
	b = append(b, `,"m":`...)
	b = strconv.AppendUint(b, uint64(e.Mode), 10)
	b = appendInt(b, "u", int64(e.UID))
	b = appendInt(b, "g", int64(e.GID))
	if e.Owner != "" {
		b = appendField(b, "un", text(e.Owner))
	}
	if e.Group != "" {
		b = appendField(b, "gn", text(e.Group))
	}
	b = append(b, `,"mt":`...)
	b = appendTime(b, e.MTime)
	b = appendInt(b, "s", e.Size)
	b = appendDigest(b, "d", e.Digest)
	if e.Link != "" {
		b = appendField(b, "l", text(e.Link))
	}
	b = appendExtents(b, e.Sparse)
	b = appendXattrs(b, e.Xattrs, text)
	return append(b, '}')
}

func appendExtents(b []byte, extents []Extent) []byte {
	for i, x := range extents {
		if i == 0 {
			b = append(b, `,"sp":[`...)
		} else {
			b = append(b, ',')
		}
		b = append(b, `{"o":`...)
		b = strconv.AppendInt(b, x.Offset, 10)
		b = append(b, `,"n":`...)
		b = strconv.AppendInt(b, x.Length, 10)
		b = append(b, '}')
	}
	if len(extents) > 0 {
		b = append(b, ']')
	}
	return b
}

func appendXattrs(b []byte, xattrs map[string][]byte, text func(string) string) []byte {
	for i, k := range slices.Sorted(maps.Keys(xattrs)) {
		if i == 0 {
			b = append(b, `,"x":{`...)
		} else {
			b = append(b, ',')
		}
		b = appendString(b, text(k))
		b = append(b, ':', '"')
		b = base64.StdEncoding.AppendEncode(b, xattrs[k])
		b = append(b, '"')
	}
	if len(xattrs) > 0 {
		b = append(b, '}')
	}
	return b
}

func appendField(b []byte, name, value string) []byte {
	b = append(b, ',', '"')
	b = append(b, name...)
	b = append(b, '"', ':')
	return appendString(b, value)
}

func appendInt(b []byte, name string, value int64) []byte {
	if value == 0 {
		return b
	}
	b = append(b, ',', '"')
	b = append(b, name...)
	b = append(b, '"', ':')
	return strconv.AppendInt(b, value, 10)
}

func appendDigest(b []byte, name string, d *Digest) []byte {
	if d == nil {
		return b
	}
	b = append(b, ',', '"')
	b = append(b, name...)
	b = append(b, `":"`...)
	b = hex.AppendEncode(b, d[:])
	return append(b, '"')
}

func appendTime(b []byte, t time.Time) []byte {
	b = append(b, '"')
	b = t.UTC().AppendFormat(b, time.RFC3339Nano)
	return append(b, '"')
}

// appendString writes s as JSON (RFC 8259 section 7) escaping only what must be.
func appendString(b []byte, s string) []byte {
	const digits = "0123456789abcdef"
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < 0x20:
			b = append(b, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

// isText reports whether every string of the entry is UTF-8.
func (e *Entry) isText() bool {
	if !utf8.ValidString(e.Path) || !utf8.ValidString(e.Link) || !utf8.ValidString(e.Owner) || !utf8.ValidString(e.Group) {
		return false
	}
	for k := range e.Xattrs {
		if !utf8.ValidString(k) {
			return false
		}
	}
	return true
}
