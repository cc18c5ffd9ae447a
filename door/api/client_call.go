package api

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/oklog/ulid/v2"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
)

// How a call deals with trouble on the way.
const (
	cancelPatience = 30 * time.Second // for a cancelled run to come to its end
	resumePatience = 60 * time.Second // for a core to come back while a run is followed
)

// CallOptions are the rarer wishes of a call.
type CallOptions struct {
	Ground string // of the plan that was agreed to; refused with a conflict if it has moved
	Detach bool   // return the run's id at once; Call's result is then {"run": ID}
	Run    string // the run's id, a ULID; made when empty
}

// Call runs an action and returns its result. onEvent, if not nil, is given each
// event. When ctx ends, the run is asked to stop and its end is waited for, for a
// while. When the connection breaks, the run is followed again from where it was.
func (c *Client) Call(ctx context.Context, id string, in action.Inputs, o CallOptions, onEvent func(action.Event)) (json.RawMessage, error) {
	if onEvent == nil {
		onEvent = func(action.Event) {}
	}
	f := &following{client: c, run: cmp.Or(o.Run, ulid.Make().String()), give: onEvent}
	body, contentType, err := callBody(in)
	if err != nil {
		return nil, err
	}
	inner, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	defer context.AfterFunc(ctx, func() { c.stop(inner, f.run, giveUp) })()
	resp, err := c.do(inner, http.MethodPost, actionPath(id), body, func(h http.Header) {
		h.Set("Content-Type", contentType)
		h.Set("Accept", typeLines)
		h.Set(HeaderRun, f.run)
		if o.Ground != "" {
			h.Set(HeaderGround, o.Ground)
		}
		if o.Detach {
			h.Set("Prefer", "respond-async")
		}
	})
	if err != nil {
		return nil, interrupted(ctx, err)
	}
	if o.Detach {
		defer func() { _ = resp.Body.Close() }()
		b, err := io.ReadAll(io.LimitReader(resp.Body, maxJSON))
		return b, err
	}
	result, err := f.read(resp)
	if errors.Is(err, errCut) {
		if len(in.Files) > 0 { // what was not sent yet will not come
			return nil, fault.Unavailable("connection to " + c.At() + " broke while files were sent").Try("run the command again")
		}
		result, err = f.resume(inner)
	}
	return result, interrupted(ctx, err)
}

// interrupted makes it a cancelled call when it was ctx that ended it.
func interrupted(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	if f := fault.Of(err); f.Kind == fault.KindCanceled || f.Kind == fault.KindPartial {
		return err
	}
	return (&fault.Fault{Kind: fault.Of(ctx.Err()).Kind, What: "call was interrupted"}).Because(err)
}

// stop asks the run to stop, and gives the call up if that does not help in time.
func (c *Client) stop(ctx context.Context, run string, giveUp func()) {
	ask, cancel := context.WithTimeout(ctx, cancelPatience/3)
	defer cancel()
	if c.Cancel(ask, run) != nil { // it has not begun, or the core is gone
		giveUp()
		return
	}
	t := time.AfterFunc(cancelPatience, giveUp)
	context.AfterFunc(ctx, func() { t.Stop() })
}

// errCut says that a stream ended before the run did.
var errCut = errors.New("stream was cut")

// following reads the stream of a run, across connections.
type following struct {
	client *Client
	run    string
	after  uint64 // sequence of the last event given
	give   func(action.Event)
}

// read gives the events of one response and returns what ends the run.
func (f *following) read(resp *http.Response) (json.RawMessage, error) {
	defer func() { _ = resp.Body.Close() }()
	dec := json.NewDecoder(bufio.NewReader(resp.Body))
	for {
		var l Line
		if err := dec.Decode(&l); err != nil {
			return nil, errCut
		}
		switch {
		case l.Fault != nil:
			return nil, f.client.hint(l.Fault, resp)
		case l.Event != nil:
			f.after = max(f.after, l.Seq)
			f.give(*l.Event)
		case l.Result != nil:
			return l.Result, nil
		}
	}
}

// resume follows the run again until it ends.
func (f *following) resume(ctx context.Context) (json.RawMessage, error) {
	return backoff.Retry(ctx, func() (json.RawMessage, error) {
		resp, err := f.client.do(ctx, http.MethodGet, "/v1/runs/"+f.run+"/events", nil, func(h http.Header) { //nolint:bodyclose // read closes it
			h.Set("Accept", typeLines)
			h.Set("Last-Event-ID", strconv.FormatUint(f.after, 10))
		})
		switch {
		case fault.Is(err, fault.KindUnavailable):
			return nil, err
		case fault.Is(err, fault.KindNotFound):
			return nil, backoff.Permanent(fault.Unavailable("kaname at " + f.client.At() + " was restarted during run " + f.run + "; the outcome is unknown").Try("see: kaname audit list --run " + f.run))
		case err != nil:
			return nil, backoff.Permanent(err)
		}
		result, err := f.read(resp)
		if err != nil && !errors.Is(err, errCut) {
			err = backoff.Permanent(err)
		}
		return result, err
	}, backoff.WithMaxElapsedTime(resumePatience))
}

// Follow gives the events of a run from the one after the sequence on and returns
// its result; it follows across broken connections. The result of somebody else's
// run is null.
func (c *Client) Follow(ctx context.Context, run string, after uint64, onEvent func(action.Event)) (json.RawMessage, error) {
	f := &following{client: c, run: run, after: after, give: onEvent}
	return f.resume(ctx)
}

// planBody is the body of a request for a plan: files by name and size.
func planBody(in action.Inputs) (body io.Reader, contentType string, err error) {
	if len(in.Files) == 0 {
		return callBody(in)
	}
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	if err := writeHead(w, in, fieldsInOrder(in)); err != nil {
		return nil, "", err
	}
	if err := w.Close(); err != nil {
		return nil, "", err
	}
	return &b, w.FormDataContentType(), nil
}

// callBody is the body of a call; files are read while it is sent.
func callBody(in action.Inputs) (body io.Reader, contentType string, err error) {
	if len(in.Files) == 0 {
		values := in.Values
		if values == nil {
			values = map[string]json.RawMessage{}
		}
		b, err := json.Marshal(values)
		if err != nil {
			return nil, "", fault.Invalid("inputs cannot be written as JSON").Because(err)
		}
		return bytes.NewReader(b), "application/json", nil
	}
	r, pw := io.Pipe()
	w := multipart.NewWriter(pw)
	go func() { // ends when all is sent, or when the transport closes the reader
		err := writeFiles(w, in)
		if err == nil {
			err = w.Close()
		}
		_ = pw.CloseWithError(err) // never fails
	}()
	return r, w.FormDataContentType(), nil
}

func fieldsInOrder(in action.Inputs) []string {
	var fields []string
	for f := range in.Files {
		fields = append(fields, f)
	}
	slices.Sort(fields)
	return fields
}

// writeHead writes the parts input and files.
func writeHead(w *multipart.Writer, in action.Inputs, fields []string) error {
	values := in.Values
	if values == nil {
		values = map[string]json.RawMessage{}
	}
	list := make([]fileInfo, 0, len(fields))
	for _, f := range fields {
		list = append(list, fileInfo{Field: f, Name: in.Files[f].Name, Size: in.Files[f].Size})
	}
	if err := writePart(w, "input", values); err != nil {
		return err
	}
	return writePart(w, "files", list)
}

func writePart(w *multipart.Writer, name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fault.Invalid("inputs cannot be written as JSON").Because(err)
	}
	h := textproto.MIMEHeader{}
	h.Set("Content-Disposition", `form-data; name="`+name+`"`)
	h.Set("Content-Type", "application/json")
	part, err := w.CreatePart(h)
	if err != nil {
		return err
	}
	_, err = part.Write(b)
	return err
}

func writeFiles(w *multipart.Writer, in action.Inputs) error {
	fields := fieldsInOrder(in)
	if err := writeHead(w, in, fields); err != nil {
		return err
	}
	for _, f := range fields {
		h := textproto.MIMEHeader{}
		h.Set("Content-Disposition", `form-data; name="`+quote(f)+`"; filename="`+quote(in.Files[f].Name)+`"`)
		h.Set("Content-Type", "application/octet-stream")
		part, err := w.CreatePart(h)
		if err != nil {
			return err
		}
		if _, err := io.Copy(part, in.Files[f].Reader); err != nil {
			return fault.Invalid("file " + in.Files[f].Name + " cannot be read").Because(err)
		}
	}
	return nil
}

// quote makes a text safe within a quoted header parameter; the true name travels
// in the part "files".
func quote(s string) string {
	return strings.NewReplacer("\\", "_", `"`, "_", "\r", "_", "\n", "_").Replace(s)
}
