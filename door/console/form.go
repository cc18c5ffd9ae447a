package console

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/door/api"
	"kaname.dev/kaname/fault"
)

// input is a field of an action with the value that the form shows.
type input struct {
	action.Field
	Value  string
	Hidden bool // the reader is not asked
}

// pagePatience is how long a page waits for a result.
const pagePatience = 30 * time.Second

// maxForm is how many bytes of a form's plain values are taken.
const maxForm = 1 << 20

// form is what a person filled in.
type form struct {
	values map[string][]string
	file   *multipart.Part // the first file, not read yet; its field is FormName
	do     string          // the button: plan or run
	ground string          // of the plan that the page showed
	shown  string          // digest of the values that that plan was made from
}

// readForm reads the values in front of the first file and leaves the file in the
// stream. The page puts files last.
func readForm(w http.ResponseWriter, r *http.Request) (*form, error) {
	f := &form{values: map[string][]string{}}
	if !strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/form-data") {
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		if err := r.ParseForm(); err != nil {
			return nil, fault.Invalid("form cannot be read").Because(err)
		}
		for k, v := range r.Form {
			f.set(k, v...)
		}
		return f, nil
	}
	parts, err := r.MultipartReader()
	if err != nil {
		return nil, fault.Invalid("form cannot be read").Because(err)
	}
	for left := int64(maxForm); ; {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return f, nil
		}
		if err != nil {
			return nil, fault.Invalid("form cannot be read").Because(err)
		}
		if part.FileName() != "" {
			f.file = part
			return f, nil
		}
		b, err := io.ReadAll(io.LimitReader(part, left))
		if err != nil || int64(len(b)) == left {
			return nil, fault.Invalid("form is too large or broke off").Because(err)
		}
		left -= int64(len(b))
		f.set(part.FormName(), string(b))
	}
}

func (f *form) set(name string, v ...string) {
	switch name {
	case "kaname-do":
		f.do = v[0]
	case "kaname-ground":
		f.ground = v[0]
	case "kaname-shown":
		f.shown = v[0]
	case action.FieldLang, "":
	default:
		f.values[name] = append(f.values[name], v...)
	}
}

// inputs makes the inputs of a call: an empty text of an unrequired field was not
// filled in.
func (f *form) inputs(d api.Descriptor, lang string) action.Inputs {
	in := action.Inputs{Values: map[string]json.RawMessage{}, Files: map[string]action.File{}}
	for k, v := range f.values {
		if strings.Join(v, "") != "" {
			in.Values[k] = raw(v)
		}
	}
	if slices.ContainsFunc(d.Fields, func(x action.Field) bool { return x.Name == action.FieldLang }) {
		in.Values[action.FieldLang] = raw([]string{lang})
	}
	if f.file != nil && slices.ContainsFunc(d.Fields, func(x action.Field) bool { return x.Name == f.file.FormName() && x.Kind == action.KindFile }) {
		in.Files[f.file.FormName()] = action.File{Name: f.file.FileName(), Reader: f.file, Size: -1}
	}
	return in
}

// digest identifies the values, secrets apart: they are never sent back, so that
// they are filled in anew before a run.
func (f *form) digest(d api.Descriptor) string {
	seen := map[string][]string{}
	for _, field := range d.Fields {
		if v := f.values[field.Name]; field.Kind != action.KindSecret && strings.Join(v, "") != "" {
			seen[field.Name] = v
		}
	}
	sum := sha256.Sum256(raw(seen))
	return hex.EncodeToString(sum[:])
}

// page is the action's page with the form as it was filled in.
func (v *visit) page(d api.Descriptor, f *form) view {
	p := view{
		Title: d.Name, Action: d, Reads: d.Effect == action.Reads.String(),
		Line: commandLine(d, f),
	}
	p.Here, _, _ = strings.Cut(d.Name, " ")
	for _, field := range d.Fields {
		in := input{Field: field, Value: strings.Join(f.values[field.Name], ",")}
		if field.Kind == action.KindSecret {
			in.Value = "" // never sent back
		}
		if field.Name == action.FieldLang {
			in.Value, in.Hidden = language(v.r), true
		}
		p.HasFile = p.HasFile || field.Kind == action.KindFile
		p.Inputs = append(p.Inputs, in)
	}
	slices.SortStableFunc(p.Inputs, func(a, b input) int { return rank(a) - rank(b) })
	return p
}

func rank(i input) int {
	if i.Kind == action.KindFile {
		return 1
	}
	return 0
}

// commandLine is the same call for a shell.
func commandLine(d api.Descriptor, f *form) string {
	args := []string{"kaname", d.Name}
	for _, field := range d.Fields {
		text := strings.Join(f.values[field.Name], ",")
		switch {
		case field.Kind == action.KindSecret || text == "" && !(field.Arg && field.Required):
		case field.Arg && text == "":
			args = append(args, strings.ToUpper(field.Name))
		case field.Arg:
			args = append(args, quote(text))
		case field.Kind == action.KindBool && text == "true":
			args = append(args, "--"+field.Name)
		default:
			args = append(args, "--"+field.Name, quote(text))
		}
	}
	return strings.Join(args, " ")
}

// quote makes a text one word of a POSIX shell.
func quote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:=,@%+", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// asked returns the action of the address and the form as it was filled in; when there
// is none, or the form cannot be read, it has drawn why.
func (v *visit) asked() (d api.Descriptor, f *form, ok bool) {
	d, ok = v.find(v.r.PathValue("id"))
	if !ok {
		v.draw("runs", view{Title: "action", Fault: fault.NotFound("action " + v.r.PathValue("id") + " is not known here")})
		return d, nil, false
	}
	f, err := readForm(v.w, v.r)
	if err != nil {
		v.draw("runs", view{Title: d.Name, Fault: fault.Of(err)})
		return d, nil, false
	}
	return d, f, true
}

// action shows the form; of an action that reads, with the result if it was asked.
func (v *visit) action() {
	d, f, ok := v.asked()
	if !ok {
		return
	}
	p := v.page(d, f)
	if p.Reads && !endless(d) && f.do != "" {
		ctx, cancel := context.WithTimeout(v.r.Context(), pagePatience)
		defer cancel()
		out, err := v.client.Call(ctx, d.ID, f.inputs(d, language(v.r)), api.CallOptions{}, nil)
		result := newValue(out).only(d.Columns)
		p.Result, p.Fault = &result, fault.Of(err)
	}
	if p.Reads && endless(d) && f.do != "" {
		v.start(d, f, p)
		return
	}
	v.draw("action", p)
}

// act plans or runs an action that changes something.
func (v *visit) act() {
	d, f, ok := v.asked()
	if !ok {
		return
	}
	p := v.page(d, f)
	// What was not shown first is not done. An action that takes a file is: its plan
	// would need the file.
	if f.do != "run" || !p.HasFile && f.shown != f.digest(d) {
		plan, err := v.client.Plan(v.r.Context(), d.ID, f.inputs(d, language(v.r)))
		if err == nil {
			p.Plan, p.Shown = &plan, f.digest(d)
		}
		p.Fault = fault.Of(err)
		v.draw("action", p)
		return
	}
	v.start(d, f, p)
}

// start begins a run and leads to its page; with a file it leads there when the
// file has been sent and the run has ended.
func (v *visit) start(d api.Descriptor, f *form, p view) {
	in := f.inputs(d, language(v.r))
	var id string
	var err error
	if len(in.Files) > 0 {
		id, err = v.send(d, in)
	} else {
		var out json.RawMessage
		if out, err = v.client.Call(v.r.Context(), d.ID, in, api.CallOptions{Ground: f.ground, Detach: true}, nil); err == nil {
			var begun struct {
				Run string `json:"run"`
			}
			err = json.Unmarshal(out, &begun)
			id = begun.Run
		}
	}
	if err != nil {
		p.Fault = fault.Of(err)
		v.draw("action", p)
		return
	}
	http.Redirect(v.w, v.r, "/run/"+id, http.StatusSeeOther)
}

// send runs an action with a file and returns the run's id. The run's own fault is
// on its page.
func (v *visit) send(d api.Descriptor, in action.Inputs) (string, error) {
	id := ulid.Make().String()
	_, err := v.client.Call(v.r.Context(), d.ID, in, api.CallOptions{Run: id}, nil)
	if err != nil {
		if _, known := v.client.Run(v.r.Context(), id); known != nil {
			return "", err
		}
	}
	return id, nil
}
