package manifest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"kaname.dev/kaname/fault"
)

// Limits of a manifest, far beyond real releases, so that a hostile one is refused
// before it fills the memory.
const (
	MaxEntries = 5_000_000 // entries of every type
	MaxLine    = 1 << 20   // bytes of one line of the canonical form
	MaxPath    = 4096      // bytes of a path or a link's target, as PATH_MAX
	MaxName    = 255       // bytes of one component, as NAME_MAX
	MaxExtents = 8192      // data extents of one sparse file
	MaxXattrs  = 128 << 10 // bytes of all extended attributes of one entry, names and values
)

// Decoder reads the canonical form line by line. It checks each line's form; the
// rules that concern more than one entry are Validate's.
type Decoder struct {
	r     *bufio.Reader
	again []byte // the line as it should have been written
	line  int    // lines read
	count int    // entries that the header announced
}

// NewDecoder returns a Decoder of r.
func NewDecoder(r io.Reader) *Decoder { return &Decoder{r: bufio.NewReaderSize(r, 64<<10)} }

// Header reads the first line. It must be called first, and once.
func (d *Decoder) Header() (Header, error) {
	b, err := d.next()
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return Header{}, d.broken(err)
	}
	var version struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(b, &version); err != nil {
		return Header{}, d.broken(err)
	}
	if version.Format != Format {
		return Header{}, fault.Unsupported(fmt.Sprintf("manifest format %d is not known here (this version reads %d)", version.Format, Format)).
			Try("upgrade kaname on this host")
	}
	var h Header
	if err := strict(b, &h); err != nil {
		return Header{}, d.broken(err)
	}
	h.Created = h.Created.UTC()
	if !bytes.Equal(h.appendTo(nil), b) {
		return Header{}, d.broken(errNotCanonical)
	}
	if h.Count < 0 || h.Count > MaxEntries {
		return Header{}, fault.Invalid(fmt.Sprintf("release %s: %d entries; a release holds at most %d", h.String(), h.Count, MaxEntries)).
			Try("split the release")
	}
	d.count = h.Count
	return h, nil
}

var errNotCanonical = errors.New("not in canonical form")

// Entry reads the next entry. After the last it returns io.EOF; when lines are
// missing or too many, a Corrupt fault.
func (d *Decoder) Entry() (Entry, error) {
	b, err := d.next()
	switch read := d.line - 1; {
	case errors.Is(err, io.EOF) && read < d.count:
		return Entry{}, d.broken(fmt.Errorf("%d entries of %d: %w", read, d.count, io.ErrUnexpectedEOF))
	case errors.Is(err, io.EOF):
		return Entry{}, io.EOF
	case err != nil:
		return Entry{}, d.broken(err)
	case read > d.count:
		return Entry{}, d.broken(fmt.Errorf("more than the %d entries that the header names", d.count))
	}
	var e Entry
	if err := e.UnmarshalJSON(b); err != nil {
		return Entry{}, d.broken(err)
	}
	if d.again = e.appendTo(d.again[:0]); !bytes.Equal(d.again, b) {
		return Entry{}, d.broken(errNotCanonical)
	}
	return e, nil
}

// next returns the next line without its "\n", valid until the following call.
func (d *Decoder) next() ([]byte, error) {
	b, err := d.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		var long []byte
		for errors.Is(err, bufio.ErrBufferFull) {
			if len(long)+len(b) > MaxLine {
				return nil, fmt.Errorf("longer than %d bytes", MaxLine)
			}
			long = append(long, b...)
			b, err = d.r.ReadSlice('\n')
		}
		b = append(long, b...)
	}
	if errors.Is(err, io.EOF) && len(b) > 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, err
	}
	if len(b) > MaxLine {
		return nil, fmt.Errorf("longer than %d bytes", MaxLine)
	}
	d.line++
	return b[:len(b)-1], nil
}

func (d *Decoder) broken(err error) error {
	return fault.Corrupt(fmt.Sprintf("manifest line %d", max(d.line, 1))).Because(err).
		Try("fetch it again; if it comes from another version of kaname, upgrade")
}

// Decode reads a whole manifest in canonical form and validates it. The ID of what
// it returns is the SHA-256 of the bytes read. Bytes that are not a manifest give
// a Corrupt fault, a manifest that breaks a rule an Invalid one, a newer format an
// Unsupported one.
func Decode(r io.Reader) (*Manifest, error) {
	d := NewDecoder(r)
	h, err := d.Header()
	if err != nil {
		return nil, err
	}
	m := &Manifest{Header: h, Entries: make([]Entry, 0, min(h.Count, 1<<14))}
	for {
		e, err := d.Entry()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		m.Entries = append(m.Entries, e)
	}
	if err := m.Validate(); err != nil {
		return nil, err
	}
	return m, nil
}

// wireEntry is Entry as JSON has it.
type wireEntry struct {
	Escaped bool              `json:"e"`
	Path    string            `json:"p"`
	Type    Type              `json:"t"`
	Mode    uint32            `json:"m"`
	UID     int               `json:"u"`
	GID     int               `json:"g"`
	Owner   string            `json:"un"`
	Group   string            `json:"gn"`
	MTime   time.Time         `json:"mt"`
	Size    int64             `json:"s"`
	Digest  *Digest           `json:"d"`
	Link    string            `json:"l"`
	Sparse  []Extent          `json:"sp"`
	Xattrs  map[string][]byte `json:"x"`
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (e *Entry) UnmarshalJSON(b []byte) error {
	var w wireEntry
	if err := strict(b, &w); err != nil {
		return err
	}
	*e = Entry{
		Path: w.Path, Type: w.Type, Mode: w.Mode, UID: w.UID, GID: w.GID, Owner: w.Owner, Group: w.Group,
		MTime: w.MTime.UTC(), Size: w.Size, Digest: w.Digest, Link: w.Link, Sparse: w.Sparse, Xattrs: w.Xattrs,
	}
	if !w.Escaped {
		return nil
	}
	for _, s := range []*string{&e.Path, &e.Owner, &e.Group, &e.Link} {
		var err error
		if *s, err = unescape(*s); err != nil {
			return err
		}
	}
	e.Xattrs = nil
	for k, v := range w.Xattrs {
		name, err := unescape(k)
		if err != nil {
			return err
		}
		if e.Xattrs == nil {
			e.Xattrs = make(map[string][]byte, len(w.Xattrs))
		}
		e.Xattrs[strings.Clone(name)] = v
	}
	return nil
}

// strict reads one JSON value and refuses unknown fields and anything after it.
func strict(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something stands after the value")
	}
	return nil
}
