// Package rndc speaks the protocol of BIND's command channel (the program rndc,
// library isccc, protocol version 1) on a connection that stays.
package rndc

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// DefaultTimeout bounds one command when Options give none. Reading a configuration
// of 50,000 zones takes named half a minute on a small machine.
const DefaultTimeout = 90 * time.Second

// connectTimeout bounds the connection and its handshake.
const connectTimeout = 10 * time.Second

// Errors of a Client, wrapped.
var (
	// ErrAuth: named closed the connection at the first signed message, as it does for
	// a wrong key, an address outside of its controls, or a clock that differs by
	// more than five minutes; or its reply is signed with another key.
	ErrAuth = errors.New("named does not accept the key")
	// ErrConnect: nothing answers there, or not in time.
	ErrConnect = errors.New("the command channel does not answer")
)

// Refusal is named's answer to a command that it did not do.
type Refusal struct {
	Word   string // of the command: "addzone"
	Result string // named's result, in words: "already exists"
	Text   string // what it explains, several lines; may be empty
}

// Error returns one line.
func (r *Refusal) Error() string {
	s := "named refuses " + r.Word + ": " + r.Result
	if r.Text != "" {
		s += ": " + strings.Join(strings.Fields(r.Text), " ")
	}
	return s
}

// Client is a connection to one named, made when first needed and again after it
// was lost. Its methods may be used by several goroutines; commands go one by one.
type Client struct {
	address string
	key     Key
	timeout time.Duration

	turn chan struct{} // holds one token; taken by who uses what is below

	conn   net.Conn
	nonce  string
	serial uint32
	opened uint64 // connections made

	once   sync.Once
	closed chan struct{}
}

// New returns a client for address, host:port. It does not connect. A timeout of 0
// is DefaultTimeout.
func New(address string, key Key, timeout time.Duration) *Client {
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	c := &Client{address: address, key: key, timeout: timeout, turn: make(chan struct{}, 1), closed: make(chan struct{})}
	c.turn <- struct{}{}
	return c
}

// Close ends the connection; a command that waits ends with an error.
func (c *Client) Close() error {
	c.once.Do(func() { close(c.closed) })
	<-c.turn
	c.drop()
	c.turn <- struct{}{}
	return nil
}

// Do sends a command and returns named's text. The error is a *Refusal when named
// answered, else it wraps ErrAuth, ErrConnect or ctx's error. After a connection
// that had served was lost, the command is sent once more on a new one: it may
// then have been done twice.
func (c *Client) Do(ctx context.Context, cmd Command) (string, error) {
	select {
	case <-c.turn:
	case <-c.closed:
		return "", net.ErrClosed
	case <-ctx.Done():
		return "", ctx.Err()
	}
	defer func() { c.turn <- struct{}{} }()
	stale, opened := c.conn != nil, c.opened
	answer, err := c.try(ctx, cmd)
	// named itself resets a connection now and then while it reads its configuration.
	if lost(err) && (stale || c.opened > opened) && ctx.Err() == nil {
		answer, err = c.try(ctx, cmd)
	}
	return answer, err
}

// lost reports whether the peer ended the connection.
func lost(err error) bool {
	var timeout net.Error
	return err != nil && errors.Is(err, ErrConnect) && (!errors.As(err, &timeout) || !timeout.Timeout())
}

func (c *Client) try(ctx context.Context, cmd Command) (string, error) {
	select {
	case <-c.closed:
		return "", net.ErrClosed
	default:
	}
	if c.conn == nil {
		if err := c.connect(ctx); err != nil {
			return "", err
		}
	}
	answer, err := c.exchange(ctx, cmd, c.timeout)
	var refused *Refusal
	if err != nil && !errors.As(err, &refused) {
		c.drop()
	}
	return answer, err
}

// connect dials and takes the nonce of a first exchange.
func (c *Client) connect(ctx context.Context) error {
	conn, err := c.dial(ctx)
	if err != nil {
		return err
	}
	c.conn, c.nonce = conn, ""
	c.opened++
	if c.serial, err = random(); err != nil {
		c.drop()
		return err
	}
	_, err = c.exchange(ctx, null, connectTimeout)
	if err == nil {
		return nil
	}
	c.drop()
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || strings.Contains(err.Error(), "connection reset") {
		again, gone := c.dial(ctx)
		if gone != nil {
			return gone // named ended in the middle of it
		}
		_ = again.Close()
		return fmt.Errorf("%w: it closed the connection at the first message: the key or its algorithm differs, the address is not in its controls, or the clocks differ by more than 5 minutes", ErrAuth)
	}
	return err
}

func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	d := net.Dialer{Timeout: connectTimeout}
	conn, err := d.DialContext(ctx, "tcp", c.address)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConnect, err)
	}
	return conn, nil
}

func (c *Client) drop() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// exchange sends one command and reads its reply.
func (c *Client) exchange(ctx context.Context, cmd Command, limit time.Duration) (string, error) {
	c.serial++
	now := time.Now()
	ctrl := []entry{
		{key: "_ser", value: strconv.AppendUint(nil, uint64(c.serial), 10)},
		{key: "_tim", value: strconv.AppendInt(nil, now.Unix(), 10)},
		{key: "_exp", value: strconv.AppendInt(nil, now.Add(time.Minute).Unix(), 10)},
	}
	if c.nonce != "" {
		ctrl = append(ctrl, entry{key: "_nonce", value: []byte(c.nonce)})
	}
	frame, err := c.key.seal([]entry{
		{key: "_ctrl", table: ctrl},
		{key: "_data", table: []entry{{key: "type", value: []byte(cmd.text)}}},
	})
	if err != nil {
		return "", err
	}
	reply, err := c.roundTrip(ctx, frame, now.Add(limit))
	if err != nil {
		return "", err
	}
	return c.read(reply, cmd)
}

// read checks a reply and returns its text.
func (c *Client) read(reply []entry, cmd Command) (string, error) {
	if got := text(reply, "_ctrl", "_ser"); got != strconv.FormatUint(uint64(c.serial), 10) {
		return "", fmt.Errorf("%w: a reply to another command (%q) came", ErrConnect, got)
	}
	switch nonce := text(reply, "_ctrl", "_nonce"); {
	case c.nonce == "":
		c.nonce = nonce
	case nonce != c.nonce:
		return "", fmt.Errorf("%w: a reply of another connection came", ErrConnect)
	}
	if exp, err := strconv.ParseInt(text(reply, "_ctrl", "_exp"), 10, 64); err == nil && time.Unix(exp, 0).Add(5*time.Minute).Before(time.Now()) {
		return "", fmt.Errorf("%w: its reply expired %s ago; set the clocks", ErrAuth, time.Since(time.Unix(exp, 0)).Round(time.Second))
	}
	answer := text(reply, "_data", "text")
	if result := text(reply, "_data", "result"); result != "" && result != "0" {
		word, _, _ := strings.Cut(cmd.text, " ")
		words := text(reply, "_data", "err")
		if words == "" {
			words = "result " + result
		}
		return "", &Refusal{Word: word, Result: words, Text: answer}
	}
	return answer, nil
}

// roundTrip writes a frame and reads one, ending with ctx.
func (c *Client) roundTrip(ctx context.Context, frame []byte, deadline time.Time) ([]entry, error) {
	conn := c.conn
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConnect, err)
	}
	done, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		select {
		case <-ctx.Done():
		case <-c.closed:
		case <-done:
			return
		}
		_ = conn.SetDeadline(time.Unix(1, 0))
	}()
	body, err := frames(conn, frame)
	close(done)
	<-over
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("%w: %w", ErrConnect, err)
	}
	reply, err := c.key.open(body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAuth, err)
	}
	return reply, nil
}

// frames writes one frame and reads the body of another.
func frames(conn io.ReadWriter, frame []byte) ([]byte, error) {
	if _, err := conn.Write(frame); err != nil {
		return nil, err
	}
	var head [4]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size > maxReply {
		return nil, fmt.Errorf("a reply of %d octets is more than %d", size, maxReply)
	}
	body := make([]byte, size)
	_, err := io.ReadFull(conn, body)
	return body, err
}

// random returns where a connection's serials begin.
func random() (uint32, error) {
	n, err := rand.Int(rand.Reader, big.NewInt(1<<31))
	if err != nil {
		return 0, err
	}
	return uint32(n.Int64()), nil //nolint:gosec // below 2^31
}

// readSome reads until the buffer is full or the reader ends.
func readSome(r io.Reader, b []byte) (int, error) {
	n, err := io.ReadFull(r, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return n, err
}
