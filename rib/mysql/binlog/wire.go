package binlog

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
)

// The stream of transactions between hosts: a head, then frames of a letter, a length of
// four bytes and so many bytes. The connection has to see to it that they arrive as
// they were sent.
const (
	streamHead = "kaname-binlog 1\n"

	frameFormat = 'F' // the format description of what follows
	frameBegin  = 'T' // a transaction; its kind
	frameEvent  = 'E'
	frameEnd    = 'C' // the transaction is whole
	frameError  = 'X' // the sender cannot go on; why
	frameLast   = 'Z' // all were sent; their number
)

// Send writes transactions as Receive reads them, and returns how many. An error from txs is
// sent on and returned.
func Send(w io.Writer, txs iter.Seq2[Transaction, error]) (n int, err error) {
	s := &sender{w: bufio.NewWriterSize(w, 64<<10)}
	if _, err := s.w.WriteString(streamHead); err != nil {
		return 0, fmt.Errorf("send transactions: %w", err)
	}
	for t, err := range txs {
		if err == nil {
			err = s.transaction(t)
		}
		if err != nil {
			return n, errors.Join(err, s.frame(frameError, []byte(err.Error())), s.w.Flush())
		}
		n++
	}
	if err := s.frame(frameLast, binary.BigEndian.AppendUint64(nil, uint64(n))); err != nil { //nolint:gosec // a count
		return n, err
	}
	if err := s.w.Flush(); err != nil {
		return n, fmt.Errorf("send transactions: %w", err)
	}
	return n, nil
}

type sender struct {
	w      *bufio.Writer
	format []byte
}

func (s *sender) frame(kind byte, data []byte) error {
	head := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(data))) //nolint:gosec // bounded by MaxEvent
	if _, err := s.w.Write(head); err != nil {
		return fmt.Errorf("send transactions: %w", err)
	}
	if _, err := s.w.Write(data); err != nil {
		return fmt.Errorf("send transactions: %w", err)
	}
	return nil
}

func (s *sender) transaction(t Transaction) error {
	if !bytes.Equal(s.format, t.format) {
		if err := s.frame(frameFormat, t.format); err != nil {
			return err
		}
		s.format = t.format
	}
	if err := s.frame(frameBegin, []byte(t.Kind)); err != nil {
		return err
	}
	for e, err := range t.Events() {
		if err == nil {
			err = s.frame(frameEvent, e.Raw)
		}
		if err != nil {
			return err
		}
	}
	return s.frame(frameEnd, nil)
}

// Receive reads what Send has written. A transaction's events are read from r when they are
// asked for, and only before the next transaction; a stream that ends early is an error of
// its events, or of the next transaction. What comes is checked for its form and bounded by
// MaxEvent, whoever sends it.
func Receive(r io.Reader) iter.Seq2[Transaction, error] {
	return func(yield func(Transaction, error) bool) {
		s := &receiver{r: bufio.NewReaderSize(r, 64<<10)}
		head := make([]byte, len(streamHead))
		if _, err := io.ReadFull(s.r, head); err != nil || string(head) != streamHead {
			yield(Transaction{}, fmt.Errorf("stream of transactions begins with %q, not %q; are both hosts of one version?", head, streamHead))
			return
		}
		for n := uint64(0); ; n++ {
			t, err := s.next(n)
			if errors.Is(err, io.EOF) {
				return
			}
			if !yield(t, err) || err != nil {
				return
			}
			for _, err := range t.events { // what was not asked for
				if err != nil {
					yield(Transaction{}, err)
					return
				}
			}
		}
	}
}

type receiver struct {
	r      *bufio.Reader
	format []byte
	open   bool // within a transaction
}

func (s *receiver) frame() (kind byte, data []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(s.r, head[:]); err != nil {
		return 0, nil, errors.New("stream of transactions ends early; ask for it again")
	}
	size := binary.BigEndian.Uint32(head[1:])
	if size > MaxEvent {
		return 0, nil, fmt.Errorf("stream of transactions: a frame says that it has %d bytes, more than %d", size, MaxEvent)
	}
	var b bytes.Buffer // grows with what really comes
	if _, err := io.CopyN(&b, s.r, int64(size)); err != nil {
		return 0, nil, errors.New("stream of transactions ends early; ask for it again")
	}
	return head[0], b.Bytes(), nil
}

// next reads up to a transaction's first event; io.EOF after the last.
func (s *receiver) next(n uint64) (Transaction, error) {
	for {
		kind, data, err := s.frame()
		if err != nil {
			return Transaction{}, err
		}
		switch kind {
		case frameFormat:
			if _, err := eventIn(data); err != nil {
				return Transaction{}, err
			}
			s.format = data
		case frameBegin:
			return s.begin(Kind(data))
		case frameError:
			return Transaction{}, fmt.Errorf("from the other host: %s", bytes.ToValidUTF8(data, nil))
		case frameLast:
			if len(data) != 8 || binary.BigEndian.Uint64(data) != n {
				return Transaction{}, fmt.Errorf("stream of transactions: %d came, which is not what was sent", n)
			}
			return Transaction{}, io.EOF
		default:
			return Transaction{}, fmt.Errorf("stream of transactions: a frame of kind %q is out of place", kind)
		}
	}
}

func (s *receiver) begin(k Kind) (Transaction, error) {
	if !slices.Contains([]Kind{Rows, Statements, Definition, Prepared}, k) || s.format == nil {
		return Transaction{}, fmt.Errorf("stream of transactions: a transaction of kind %.20q is out of place", k)
	}
	s.open = true
	first, err := s.event()
	if err != nil {
		return Transaction{}, err
	}
	if first == nil || !first.isGTID() {
		return Transaction{}, errors.New("stream of transactions: a transaction does not begin with its GTID")
	}
	o, err := originOf(*first)
	if err != nil {
		return Transaction{}, err
	}
	t, err := o.transaction(*first)
	t.Kind, t.format, t.events = k, s.format, s.events(first)
	return t, err
}

// events yields the first event and then those that come.
func (s *receiver) events(first *Event) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for e := first; s.open; {
			if e != nil && !yield(*e, nil) {
				return
			}
			var err error
			if e, err = s.event(); err != nil {
				s.open = false
				yield(Event{}, err)
				return
			}
		}
	}
}

// event reads the next event of a transaction, nil after the last.
func (s *receiver) event() (*Event, error) {
	kind, data, err := s.frame()
	switch {
	case err != nil:
		return nil, err
	case kind == frameEnd:
		s.open = false
		return nil, nil //nolint:nilnil // there is none
	case kind == frameError:
		return nil, fmt.Errorf("from the other host: %s", bytes.ToValidUTF8(data, nil))
	case kind != frameEvent:
		return nil, fmt.Errorf("stream of transactions: a frame of kind %q is out of place", kind)
	}
	e, err := eventIn(data)
	return &e, err
}

func eventIn(data []byte) (Event, error) {
	if len(data) < headerSize || int(eventOf(data).size()) != len(data) {
		return Event{}, fmt.Errorf("stream of transactions: %d bytes are no event", len(data))
	}
	return eventOf(data), nil
}
