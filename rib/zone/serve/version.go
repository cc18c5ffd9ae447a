package serve

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"

	"github.com/miekg/dns"

	"kaname.dev/kaname/rib/zone/name"
)

// version is the contents of a zone at one serial: its records in wire form, without
// compression, one after the other. It is never changed.
type version struct {
	serial uint32
	data   []byte
	ends   []uint32 // where each record ends; the first is the SOA record

	index  sync.Once
	sorted []uint32 // records in the order of their owners, made when first asked for
}

// maxZone bounds a zone, in octets.
const maxZone = 1 << 30

// maxRecord is more than a record of a catalog takes, in octets.
const maxRecord = 1024

func (v *version) len() int { return len(v.ends) }

// record returns a record in wire form.
func (v *version) record(i int) []byte {
	from := uint32(0)
	if i > 0 {
		from = v.ends[i-1]
	}
	return v.data[from:v.ends[i]:v.ends[i]]
}

func (v *version) soa() []byte { return v.record(0) }

// pack takes the records of a zone; about as many as last has, if it is given.
func pack(zone name.Name, records iter.Seq[dns.RR], last *version) (*version, error) {
	v := new(version)
	if last != nil {
		v.data, v.ends = make([]byte, 0, len(last.data)+len(last.data)/64+4096), make([]uint32, 0, len(last.ends)+len(last.ends)/64+64)
	}
	suffix := zone.Wire()
	if suffix == nil || records == nil {
		return nil, errNoSOA
	}
	var err error
	for rr := range records {
		soa, isSOA := rr.(*dns.SOA)
		switch {
		case len(v.ends) == 0 && isSOA:
			v.serial = soa.Serial
		case len(v.ends) == 0:
			return nil, errNoSOA
		case isSOA:
			return nil, fmt.Errorf("it has a second SOA record, of %s", soa.Hdr.Name)
		}
		from := len(v.data)
		if cap(v.data)-from < maxRecord {
			v.data = slices.Grow(v.data, from+maxRecord) // twice as much: append's quarter copies too often
		}
		if v.data, err = appendRecord(v.data, rr); err != nil {
			return nil, fmt.Errorf("the record %.200q cannot be written: %w", rr.String(), err)
		}
		if owner := ownerOf(v.data[from:]); !under(owner, suffix) || isSOA && len(owner) != len(suffix) {
			return nil, fmt.Errorf("the record of %s is outside of it", rr.Header().Name)
		}
		if len(v.data) > maxZone {
			return nil, fmt.Errorf("it is larger than %d MiB", maxZone>>20)
		}
		v.ends = append(v.ends, uint32(len(v.data))) //nolint:gosec // at most maxZone
	}
	if len(v.ends) == 0 {
		return nil, errNoSOA
	}
	if cap(v.data) > len(v.data)+len(v.data)/4 {
		v.data = slices.Clone(v.data)
	}
	return v, nil
}

// appendRecord appends a record in wire form; what catalogs are made of quickly, other
// records as the library does.
func appendRecord(b []byte, rr dns.RR) ([]byte, error) {
	if p, ok := rr.(*dns.PTR); ok {
		if c, ok := appendName(b, p.Hdr.Name); ok {
			c = binary.BigEndian.AppendUint16(c, dns.TypePTR)
			c = binary.BigEndian.AppendUint16(c, p.Hdr.Class)
			c = binary.BigEndian.AppendUint32(c, p.Hdr.Ttl)
			c = append(c, 0, 0)
			from := len(c)
			if c, ok = appendName(c, p.Ptr); ok {
				binary.BigEndian.PutUint16(c[from-2:], uint16(len(c)-from)) //nolint:gosec // a name
				return c, nil
			}
		}
	}
	n := dns.Len(rr)
	from := len(b)
	b = slices.Grow(b, n)[:from+n]
	end, err := dns.PackRR(rr, b, from, nil, false)
	if err != nil {
		return b[:from], err
	}
	lower(b[from:end])
	return b[:end], nil
}

// appendName appends a name without escapes in wire form, in lower case; false when it
// has escapes or is no name.
func appendName(b []byte, s string) ([]byte, bool) {
	from, mark := len(b), len(b)
	if len(s) < 2 || len(s) > 254 || s[len(s)-1] != '.' {
		return b, false
	}
	b = append(b, 0)
	b = append(b, s...)
	for i := from + 1; i < len(b); i++ {
		switch c := b[i]; {
		case c == '\\':
			return b[:from], false
		case c == '.':
			n := i - mark - 1
			if n == 0 || n > 63 {
				return b[:from], false
			}
			b[mark], mark = byte(n), i
		case 'A' <= c && c <= 'Z':
			b[i] = c + 'a' - 'A'
		}
	}
	b[mark] = 0
	return b, true
}

// lower writes a record's owner in lower case.
func lower(record []byte) {
	o := ownerOf(record)
	copy(o, bytes.ToLower(o)) // length octets are at most 63: no letters
}

// ownerOf returns the owner's name of a record.
func ownerOf(record []byte) []byte {
	i := 0
	for record[i] != 0 {
		i += 1 + int(record[i])
	}
	return record[:i+1]
}

// under reports whether a name in wire form is zone or below it.
func under(n, zone []byte) bool {
	if !bytes.HasSuffix(n, zone) {
		return false
	}
	i := 0
	for i < len(n)-len(zone) {
		i += 1 + int(n[i])
	}
	return i == len(n)-len(zone)
}

// lookup returns the records of an owner, and whether the name is there at all.
func (v *version) lookup(owner []byte) (records [][]byte, there bool) {
	v.index.Do(func() {
		v.sorted = make([]uint32, v.len())
		for i := range v.sorted {
			v.sorted[i] = uint32(i) //nolint:gosec // at most maxZone
		}
		slices.SortFunc(v.sorted, func(a, b uint32) int {
			return bytes.Compare(ownerOf(v.record(int(a))), ownerOf(v.record(int(b))))
		})
	})
	at, _ := slices.BinarySearchFunc(v.sorted, owner, func(i uint32, o []byte) int { return bytes.Compare(ownerOf(v.record(int(i))), o) })
	for ; at < len(v.sorted); at++ {
		r := v.record(int(v.sorted[at]))
		if !bytes.Equal(ownerOf(r), owner) {
			break
		}
		records = append(records, r)
	}
	if len(records) > 0 {
		return records, true
	}
	for i := range v.len() { // an empty name between others (RFC 8020)
		if under(ownerOf(v.record(i)), owner) {
			return nil, true
		}
	}
	return nil, false
}

// typeOf returns a record's type.
func typeOf(record []byte) uint16 { return binary.BigEndian.Uint16(record[len(ownerOf(record)):]) }

// difference is what changed between two versions, the SOA records apart.
type difference struct {
	from, to       uint32
	oldSOA, newSOA []byte
	removed, added [][]byte
}

func (d *difference) empty() bool {
	return len(d.removed)+len(d.added) == 0 && bytes.Equal(d.oldSOA, d.newSOA)
}

// size is how many records and octets sending it takes.
func (d *difference) size() (records, octets int) {
	for _, set := range [][][]byte{d.removed, d.added, {d.oldSOA, d.newSOA}} {
		for _, r := range set {
			records, octets = records+1, octets+len(r)
		}
	}
	return records, octets
}

// between compares versions. Records at their beginning and end that are the same, which
// is nearly all, cost one comparison each; those between are compared as sets.
func between(a, b *version) *difference {
	d := &difference{from: a.serial, to: b.serial, oldSOA: bytes.Clone(a.soa()), newSOA: bytes.Clone(b.soa())}
	head := 1
	for head < a.len() && head < b.len() && bytes.Equal(a.record(head), b.record(head)) {
		head++
	}
	tail := 0
	for tail < a.len()-head && tail < b.len()-head && bytes.Equal(a.record(a.len()-1-tail), b.record(b.len()-1-tail)) {
		tail++
	}
	old := make(map[string]int, a.len()-tail-head)
	for i := head; i < a.len()-tail; i++ {
		old[string(a.record(i))]++
	}
	for i := head; i < b.len()-tail; i++ {
		if r := b.record(i); old[string(r)] > 0 {
			old[string(r)]--
		} else {
			d.added = append(d.added, bytes.Clone(r))
		}
	}
	for r, n := range old {
		for range n {
			d.removed = append(d.removed, []byte(r))
		}
	}
	slices.SortFunc(d.removed, func(a, b []byte) int { return strings.Compare(string(a), string(b)) })
	return d
}

// history is the differences that led to what is served, oldest first; it is never changed.
type history []*difference

// The most that is remembered of a zone.
const (
	maxDifferences = 1000
	maxHistory     = 50_000 // records, or as many as the zone has
)

// with adds a difference and forgets what is too old.
func (h history) with(d *difference, zone int) history {
	h = append(slices.Clone(h), d)
	n := 0
	for i, d := range slices.Backward(h) {
		records, _ := d.size()
		if n += records; n > max(maxHistory, zone) || len(h)-i > maxDifferences {
			return slices.Clone(h[i+1:])
		}
	}
	return h
}

// since returns the differences after a serial; false when they are forgotten, or were never known.
func (h history) since(serial uint32) ([]*difference, bool) {
	for i, d := range h {
		if d.from == serial {
			return h[i:], true
		}
	}
	return nil, false
}
