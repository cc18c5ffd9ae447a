// Package knotctl speaks the control protocol of Knot DNS (libknot's ctl.h, as knotc
// does) over knotd's unix socket. Every item travels as counted octets, so that no
// value can be read as anything else.
package knotctl

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Types of units.
const (
	unitEnd   = 0
	unitData  = 1
	unitExtra = 2 // further values of the data before it
	unitBlock = 3 // the end of a request, or of its reply
)

// codeItem is the first octet of an item, to which its index is added.
const codeItem = 16

// maxItem bounds one item: its length has 16 bits.
const maxItem = 1<<16 - 1

// maxReply bounds what one reply holds, in units: a million zones with many items.
const maxReply = 64 << 20

// Data is one unit of a request or reply: the items that are set. Its fields stand in
// the order of their indices.
type Data struct {
	Command string
	Flags   string
	Error   string
	Section string
	Item    string
	ID      string
	Zone    string
	Owner   string
	TTL     string
	Type    string
	Value   string
	Filter  string

	Extra bool // another value of the unit before
}

// items returns the fields by their index.
func (d *Data) items() [12]*string {
	return [...]*string{
		&d.Command, &d.Flags, &d.Error, &d.Section, &d.Item, &d.ID, &d.Zone, &d.Owner, &d.TTL, &d.Type, &d.Value, &d.Filter,
	}
}

// encode appends the unit, and the end of the block.
func (d *Data) encode(b []byte) ([]byte, error) {
	b = append(b, unitData)
	for i, v := range d.items() {
		if *v == "" {
			continue
		}
		if len(*v) > maxItem {
			return nil, fmt.Errorf("an item of %d octets is longer than the protocol's %d", len(*v), maxItem)
		}
		b = append(b, codeItem+byte(i))                       //nolint:gosec // there are 12
		b = binary.BigEndian.AppendUint16(b, uint16(len(*v))) //nolint:gosec // checked above
		b = append(b, *v...)
	}
	return append(b, unitBlock), nil
}

// errEnd is of a peer that ends the connection between blocks.
var errEnd = errors.New("knotd ended the connection")

// decode reads one reply, to the end of its block, and gives each unit to take. What
// knotd answers with an error item does not end the block.
func decode(r *bufio.Reader, take func(Data)) error {
	var d Data
	open := false
	flush := func() {
		if open {
			take(d)
		}
		d, open = Data{}, false
	}
	for range maxReply {
		c, err := r.ReadByte()
		if err != nil {
			return err
		}
		switch {
		case c == unitBlock:
			flush()
			return nil
		case c == unitEnd:
			return errEnd
		case c == unitData || c == unitExtra:
			flush()
			d.Extra, open = c == unitExtra, true
		case c >= codeItem && int(c-codeItem) < len(d.items()) && open:
			text, err := item(r)
			if err != nil {
				return err
			}
			*d.items()[c-codeItem] = text
		default:
			return fmt.Errorf("knotd sent octet %d, which the protocol does not have there", c)
		}
	}
	return errors.New("the reply has no end")
}

// item reads the counted octets of an item.
func item(r *bufio.Reader) (string, error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return "", err
	}
	text := make([]byte, binary.BigEndian.Uint16(head[:]))
	_, err := io.ReadFull(r, text)
	return string(text), err
}
