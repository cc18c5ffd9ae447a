// Package ovsdb asks the programs of Open vSwitch over their unix sockets: the database
// server, in the protocol of RFC 7047, and the daemons, as ovs-appctl does. Both speak
// JSON-RPC 1.0. It only reads.
package ovsdb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// maxAnswers bounds what is read over one connection, bytes.
const maxAnswers = 256 << 20

// Client is a connection to one program. It is for one goroutine at a time.
type Client struct {
	conn net.Conn
	path string
	in   *json.Decoder
	id   int
}

// Dial connects to the socket at path.
func Dial(ctx context.Context, path string) (*Client, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err // names the socket
	}
	return &Client{conn: conn, path: path, in: json.NewDecoder(io.LimitReader(conn, maxAnswers))}, nil
}

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }

// message is a request, an answer, or what the server asks of its own.
type message struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method,omitempty"`
	Params json.RawMessage `json:"params,omitempty"`
	Result json.RawMessage `json:"result"`
	Error  json.RawMessage `json:"error"`
}

// request is a message with its result and error left out.
type request struct {
	ID     any    `json:"id"`
	Method string `json:"method"`
	Params any    `json:"params"`
}

// answer is the other way round.
type answer struct {
	ID     json.RawMessage `json:"id"`
	Result json.RawMessage `json:"result"`
	Error  any             `json:"error"`
}

// Call asks for method and returns its result. After an error the connection is of no more
// use. Methods that change something are the caller's to avoid.
func (c *Client) Call(ctx context.Context, method string, params ...any) (json.RawMessage, error) {
	if params == nil {
		params = []any{}
	}
	stop := context.AfterFunc(ctx, func() { _ = c.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	c.id++
	if err := json.NewEncoder(c.conn).Encode(request{ID: c.id, Method: method, Params: params}); err != nil {
		return nil, c.broken(ctx, method, err)
	}
	for {
		var m message
		if err := c.in.Decode(&m); err != nil {
			return nil, c.broken(ctx, method, err)
		}
		if m.Method != "" { // "echo" asks whether we are alive (RFC 7047, 4.1.11); others are for those who monitor
			if err := c.echo(m); err != nil {
				return nil, c.broken(ctx, method, err)
			}
			continue
		}
		if string(m.ID) != strconv.Itoa(c.id) {
			continue
		}
		if len(m.Error) > 0 && string(m.Error) != "null" {
			return nil, fmt.Errorf("%s: %s: %s", c.path, method, text(m.Error))
		}
		return m.Result, nil
	}
}

func (c *Client) echo(m message) error {
	if m.Method != "echo" {
		return nil
	}
	return json.NewEncoder(c.conn).Encode(answer{ID: m.ID, Result: m.Params})
}

func (c *Client) broken(ctx context.Context, method string, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("the program closed the connection, or its answer is longer than is read")
	}
	return fmt.Errorf("%s: %s: %w", c.path, method, err)
}

// Command runs a command of a daemon, as ovs-appctl does, and returns its output.
func (c *Client) Command(ctx context.Context, name string, args ...string) (string, error) {
	params := make([]any, len(args))
	for i, a := range args {
		params[i] = a
	}
	raw, err := c.Call(ctx, name, params...)
	if err != nil {
		return "", err
	}
	return text(raw), nil
}

// text is a JSON string's contents; anything else as it is.
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}
