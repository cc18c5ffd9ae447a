package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strconv"
	"time"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
)

// Limits on what is sent here.
const (
	maxJSON       = 1 << 20          // bytes of a JSON body, or of the parts "input" and "files"
	maxFileParts  = 16               // files of one call
	jsonPatience  = 30 * time.Second // for a JSON body as a whole
	filePatience  = 60 * time.Second // between two reads of a file's bytes
	writePatience = 30 * time.Second // for a piece of the answer to be taken
	drainTime     = 5 * time.Second  // for the rest of a body that nobody wants
)

// fileInfo is one entry of the multipart part "files", which announces the file
// parts that follow, in their order.
type fileInfo struct {
	Field string `json:"field"`
	Name  string `json:"name"`
	Size  int64  `json:"size"` // bytes, -1 when unknown
}

// readInputs reads the inputs of a call: a JSON object, or multipart/form-data
// with the part "input", optionally the part "files", and one part per file,
// which are not read but handed on as streams.
func readInputs(w http.ResponseWriter, r *http.Request) (action.Inputs, error) {
	none := action.Inputs{Values: map[string]json.RawMessage{}, Files: map[string]action.File{}}
	ct := r.Header.Get("Content-Type")
	media, params, err := mime.ParseMediaType(ct)
	switch {
	case ct == "" || err == nil && media == "application/json":
		body, err := readJSON(w, r)
		if err != nil {
			return none, err
		}
		in := none
		in.Values, err = object(body)
		return in, err
	case err == nil && media == "multipart/form-data" && params["boundary"] != "":
		return readMultipart(w, r, params["boundary"])
	default:
		return none, fault.Invalid("content type " + cut(ct, 60) + " is not taken here").Try("send application/json, or multipart/form-data with files")
	}
}

// readJSON reads a small body, within a time.
func readJSON(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(jsonPatience)) // not every writer has one; the limits of Serve hold anyway
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxJSON))
	_ = rc.SetReadDeadline(time.Time{})
	if big, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, tooBig("body", big.Limit)
	}
	if err != nil {
		return nil, fault.Invalid("body broke off").Because(err)
	}
	return b, nil
}

func tooBig(what string, limit int64) error {
	return fault.Invalid(what + " is larger than " + strconv.FormatInt(limit>>10, 10) + " KiB").Try("send large contents as a file part")
}

// object decodes a JSON object; an empty text is an empty object.
func object(b []byte) (map[string]json.RawMessage, error) {
	values := map[string]json.RawMessage{}
	if len(bytes.TrimSpace(b)) == 0 {
		return values, nil
	}
	if err := json.Unmarshal(b, &values); err != nil {
		return nil, fault.Invalid("inputs are not a JSON object of field names and values").Because(err)
	}
	if values == nil {
		return nil, fault.Invalid("inputs are null, not a JSON object")
	}
	return values, nil
}

// readMultipart reads the leading parts and leaves the files in the stream.
func readMultipart(w http.ResponseWriter, r *http.Request, boundary string) (action.Inputs, error) {
	u := &upload{w: w, parts: multipart.NewReader(&patient{w: w, body: r.Body}, boundary)}
	in := action.Inputs{Values: map[string]json.RawMessage{}, Files: map[string]action.File{}}
	for n := 0; ; n++ {
		part, err := u.parts.NextRawPart()
		if errors.Is(err, io.EOF) && n > 0 {
			return in, nil
		}
		if err != nil {
			return in, fault.Invalid("multipart body cannot be read").Because(noEOF(err))
		}
		switch name := part.FormName(); {
		case name == "input" && part.FileName() == "":
			b, err := small(part, "part input")
			if err != nil {
				return in, err
			}
			if in.Values, err = object(b); err != nil {
				return in, err
			}
		case name == "files" && part.FileName() == "":
			b, err := small(part, "part files")
			if err != nil {
				return in, err
			}
			return in, u.announced(b, &in)
		case name == "":
			return in, fault.Invalid("multipart body has a part without a name")
		default: // the first file; more than one must be announced
			in.Files[name] = u.file(part, fileInfo{Field: name, Name: part.FileName(), Size: partSize(part)})
			return in, nil
		}
	}
}

func small(part *multipart.Part, what string) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(part, maxJSON+1))
	if err != nil {
		return nil, fault.Invalid(what + " broke off").Because(err)
	}
	if len(b) > maxJSON {
		return nil, tooBig(what, maxJSON)
	}
	return b, nil
}

func partSize(part *multipart.Part) int64 {
	if n, err := strconv.ParseInt(part.Header.Get("Content-Length"), 10, 64); err == nil && n >= 0 {
		return n
	}
	return -1
}

// upload is the file parts of one request, read one after the other.
type upload struct {
	w     http.ResponseWriter
	parts *multipart.Reader
	next  int // number of the announced file whose part comes next
}

// announced makes a stream for each announced file.
func (u *upload) announced(list []byte, in *action.Inputs) error {
	var files []fileInfo
	if err := json.Unmarshal(list, &files); err != nil {
		return fault.Invalid("part files is not a list of {field, name, size}").Because(err)
	}
	if len(files) > maxFileParts {
		return fault.Invalid("more than " + strconv.Itoa(maxFileParts) + " files are sent")
	}
	for i, f := range files {
		if _, doubled := in.Files[f.Field]; doubled || f.Field == "" {
			return fault.Invalid("part files names the field \"" + cut(f.Field, 60) + "\" twice, or none")
		}
		in.Files[f.Field] = action.File{Name: f.Name, Size: f.Size, Reader: &announcedPart{upload: u, number: i, info: f}}
	}
	return nil
}

func (u *upload) file(part *multipart.Part, f fileInfo) action.File {
	return action.File{Name: f.Name, Size: f.Size, Reader: &sized{r: part, info: f, left: f.Size}}
}

// announcedPart is a file whose part is looked up at the first read.
type announcedPart struct {
	upload *upload
	number int
	info   fileInfo
	r      io.Reader
}

// Read reads the file; files must be read in the order in which they were
// announced, for they lie one behind the other in the body.
func (a *announcedPart) Read(p []byte) (int, error) {
	for a.r == nil {
		if a.upload.next > a.number {
			return 0, fault.Invalid("file " + a.info.Name + " has been passed over already")
		}
		part, err := a.upload.parts.NextRawPart()
		if err != nil {
			return 0, fault.Invalid("file " + a.info.Name + " was announced but did not come").Because(noEOF(err))
		}
		if a.upload.next == a.number {
			if part.FormName() != a.info.Field {
				return 0, fault.Invalid("file part " + cut(part.FormName(), 60) + " comes where " + a.info.Field + " was announced")
			}
			a.r = &sized{r: part, info: a.info, left: a.info.Size}
		}
		a.upload.next++
	}
	return a.r.Read(p)
}

// sized makes a file that ends too early, or is longer than announced, an error
// instead of an end.
type sized struct {
	r    io.Reader
	info fileInfo
	left int64 // below zero: the size is unknown
}

// Read reads on in the file.
func (s *sized) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	known := s.info.Size >= 0
	s.left -= int64(n)
	switch {
	case known && s.left < 0:
		return 0, fault.Invalid("file " + s.info.Name + " is longer than the " + strconv.FormatInt(s.info.Size, 10) + " bytes announced")
	case err == nil:
	case errors.Is(err, io.EOF) && (!known || s.left == 0):
		return n, io.EOF
	default:
		return n, fault.Invalid("file " + s.info.Name + " broke off while it was sent").Because(noEOF(err))
	}
	return n, nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// patient reads a body and gives up when nothing comes for filePatience.
type patient struct {
	w    http.ResponseWriter
	body io.Reader
}

// Read reads on, with a new deadline each time.
func (p *patient) Read(b []byte) (int, error) {
	_ = http.NewResponseController(p.w).SetReadDeadline(time.Now().Add(filePatience)) // see readJSON
	return p.body.Read(b)
}

// drain reads what is left of a body that nobody wants, for a little while, so
// that the sender gets to read the answer instead of a broken connection. HTTP/2
// ends the one stream and needs none of this (RFC 9113 §8.1).
func drain(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor > 1 || r.Body == nil || r.Body == http.NoBody {
		return
	}
	rc := http.NewResponseController(w)
	_ = rc.Flush() // the answer first
	_ = rc.SetReadDeadline(time.Now().Add(drainTime))
	_, _ = io.Copy(io.Discard, r.Body)
}
