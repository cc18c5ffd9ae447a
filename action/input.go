package action

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"kaname.dev/kaname/fault"
)

// Inputs are the values given to an action: JSON values by field name, in native
// form or as text in the form of the command line, and open streams for the
// fields of kind file. Doors build it; Action.Run decodes it.
type Inputs struct {
	Values map[string]json.RawMessage
	Files  map[string]File
}

// Has reports whether the field of that name was given something; "" is no field.
func (in Inputs) Has(field string) bool {
	_, value := in.Values[field]
	_, file := in.Files[field]
	return value || file
}

// Bytes is a size in bytes; its text form is "512KiB", "20MiB", "1.5GB".
type Bytes int64

// String returns the size with a binary unit.
func (b Bytes) String() string { return humanize.IBytes(uint64(max(b, 0))) }

// Secret is a text that prints as stars wherever it is printed; Reveal returns it.
type Secret string

// String hides the secret.
func (s Secret) String() string { return "***" }

// GoString hides the secret.
func (s Secret) GoString() string { return "***" }

// MarshalJSON hides the secret.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"***"`), nil }

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

// File is an input stream with the name that the asker gave it. The zero File
// means that none was given.
//
// Every door also takes an address such as "s3://bucket/key" or "https://…" for a
// field of kind file: then URL is set and Reader yields nothing but a fault, so an
// action that does not ask for URL refuses it without further ado. Beside a Plan no
// contents are sent: there the Reader yields a fault, too, and Name and Size are all
// that is known.
type File struct {
	Name   string // base name or path as given; never to be trusted as a path here
	Reader io.Reader
	Size   int64  // bytes, -1 when unknown
	URL    string // the address given instead of a file
}

// Given reports whether a file or an address was given.
func (f File) Given() bool { return f.Name != "" || f.Reader != nil || f.URL != "" }

// IsURL reports whether the text given for a file is an address: "scheme://…".
func IsURL(text string) bool {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || scheme == "" || rest == "" {
		return false
	}
	for _, c := range scheme {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '+' {
			return false
		}
	}
	return true
}

// FileAt returns the File for an address.
func FileAt(url string) File {
	return File{Name: url, URL: url, Size: -1, Reader: noContents{fault.Unsupported(url + " cannot be read from there by this action").Try("fetch it first and give the file")}}
}

// FileNamed returns a File of which only name and size are known, for a Plan.
func FileNamed(name string, size int64) File {
	return File{Name: name, Size: size, Reader: noContents{fault.Invalid("contents of " + name + " are not there: a plan is made from name and size only")}}
}

type noContents struct{ why error }

func (n noContents) Read([]byte) (int, error) { return 0, n.why }

// TextInputs makes inputs from text values, as a command line or a form gives them.
func TextInputs(values map[string][]string) Inputs {
	in := Inputs{Values: map[string]json.RawMessage{}, Files: map[string]File{}}
	for k, v := range values {
		b, _ := json.Marshal(v)
		in.Values[k] = b
	}
	return in
}

// SetText sets the field to a text, or a list to several, in the form of the
// command line.
func (in Inputs) SetText(f Field, texts ...string) {
	var b []byte
	if len(texts) == 1 && f.Kind != KindList {
		b, _ = json.Marshal(texts[0])
	} else {
		b, _ = json.Marshal(texts)
	}
	in.Values[f.Name] = b
}

// Redacted returns the values as they may be written down: secrets starred,
// files by name.
func (in Inputs) Redacted(fields []Field) map[string]json.RawMessage {
	out := map[string]json.RawMessage{}
	for k, v := range in.Values {
		out[k] = v
		if i := slices.IndexFunc(fields, func(f Field) bool { return f.Name == k }); i < 0 || fields[i].Kind == KindSecret {
			out[k] = json.RawMessage(`"***"`) // an unknown field may be a misspelt secret
		}
	}
	for k, f := range in.Files {
		out[k], _ = json.Marshal(f.Name)
	}
	return out
}

func (in Inputs) describe(fields []Field) string {
	var parts []string
	for k, v := range in.Redacted(fields) {
		parts = append(parts, k+"="+string(v))
	}
	sort.Strings(parts)
	return strings.Join(parts, " ")
}

// decode fills a new value of the action's input type: given values, then
// defaults; unknown, missing and malformed ones are refused by name.
func (a Action) decode(in Inputs) (any, error) {
	v := reflect.New(a.in).Elem()
	known := map[string]bool{}
	for _, f := range a.Fields {
		known[f.Name] = true
		val, given, err := f.value(in)
		if err != nil {
			return nil, fault.Invalid(a.Name + ": " + f.Name + ": " + err.Error()).Try("see: kaname " + a.Name + " --help")
		}
		if !given {
			if f.Required {
				return nil, fault.Invalid(a.Name + ": " + f.Name + " is required (" + f.Help.EN + ")").Try("see: kaname " + a.Name + " --help")
			}
			if f.Default == "" {
				continue
			}
			if val, err = f.parseText([]string{f.Default}); err != nil {
				return nil, err
			}
		}
		v.FieldByIndex(f.index).Set(reflect.ValueOf(val).Convert(v.FieldByIndex(f.index).Type()))
	}
	for k := range in.Values {
		if !known[k] {
			return nil, fault.Invalid(fmt.Sprintf("%s version %d has no field %q", a.Name, a.Version, k)).Try("see: kaname " + a.Name + " --help; a newer kaname may have it")
		}
	}
	for k := range in.Files {
		if !known[k] {
			return nil, fault.Invalid(fmt.Sprintf("%s version %d has no field %q", a.Name, a.Version, k)).Try("see: kaname " + a.Name + " --help; a newer kaname may have it")
		}
	}
	return v.Interface(), nil
}

// value finds the field's value in the inputs.
func (f Field) value(in Inputs) (val any, given bool, err error) {
	if f.Kind == KindFile {
		if file, ok := in.Files[f.Name]; ok {
			return file, file.Given(), nil
		}
		return f.address(in.Values[f.Name])
	}
	raw, ok := in.Values[f.Name]
	if !ok || bytes.Equal(raw, []byte("null")) {
		return nil, false, nil
	}
	val, err = f.parseJSON(raw)
	// An empty text for what is required is a variable that was not set.
	given = !f.Required || val != ""
	return val, given || err != nil, err
}

// address accepts an address in place of a file.
func (f Field) address(raw json.RawMessage) (any, bool, error) {
	if len(raw) == 0 || bytes.Equal(raw, []byte("null")) {
		return nil, false, nil
	}
	val, err := Field{Kind: KindText}.parseJSON(raw)
	if err != nil {
		return nil, true, err
	}
	url, _ := val.(string)
	if !IsURL(url) {
		return nil, true, fmt.Errorf("%s is neither a file that was sent nor an address such as https://… or s3://…", raw)
	}
	return FileAt(url), true, nil
}

// parseJSON accepts a native JSON value, a string in text form, or an array of
// strings.
func (f Field) parseJSON(raw json.RawMessage) (any, error) {
	var texts []string
	if json.Unmarshal(raw, &texts) == nil {
		return f.parseText(texts)
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return f.parseText([]string{text})
	}
	switch f.Kind {
	case KindInt, KindBytes, KindBool:
		return f.parseText([]string{string(raw)}) // a JSON number or true/false is its own text form
	default:
		return nil, fmt.Errorf("%s is not a %s", raw, f.Kind)
	}
}

func (f Field) parseText(texts []string) (any, error) {
	if f.Kind == KindList {
		return f.parseList(texts)
	}
	if len(texts) != 1 {
		return nil, fmt.Errorf("given %d times, takes one value", len(texts))
	}
	t := texts[0]
	if err := f.allowed(t); err != nil {
		return nil, err
	}
	switch f.Kind {
	case KindInt:
		n, err := strconv.ParseInt(t, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%q is not a whole number", t)
		}
		return n, nil
	case KindBool:
		b, err := strconv.ParseBool(t)
		if err != nil {
			return nil, fmt.Errorf("%q is neither true nor false", t)
		}
		return b, nil
	case KindDuration:
		d, err := time.ParseDuration(t)
		if err != nil {
			return nil, fmt.Errorf("%q is not a duration such as 30s or 1h30m", t)
		}
		return d, nil
	case KindBytes:
		n, err := humanize.ParseBytes(t)
		if err != nil || n > 1<<62 {
			return nil, fmt.Errorf("%q is not a size such as 512KiB or 20MiB", t)
		}
		return Bytes(n), nil
	default: // text, secret
		return t, nil
	}
}

// parseList takes comma-separated and repeated values alike; empty ones are left out.
func (f Field) parseList(texts []string) ([]string, error) {
	var list []string
	for _, t := range texts {
		for s := range strings.SplitSeq(t, ",") {
			if s = strings.TrimSpace(s); s == "" {
				continue
			}
			if err := f.allowed(s); err != nil {
				return nil, err
			}
			list = append(list, s)
		}
	}
	return list, nil
}

func (f Field) allowed(s string) error {
	if len(f.Enum) > 0 && !slices.Contains(f.Enum, s) {
		return fmt.Errorf("%q is not one of %s", s, strings.Join(f.Enum, ", "))
	}
	return nil
}
