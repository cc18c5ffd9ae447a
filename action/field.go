package action

import (
	"fmt"
	"reflect"
	"strings"
	"time"
)

// Kind is the closed set of input kinds that every door can render.
type Kind string

// The kinds of field.
const (
	KindText     Kind = "text"     // string
	KindInt      Kind = "int"      // int, int64
	KindBool     Kind = "bool"     // bool
	KindDuration Kind = "duration" // time.Duration, written 1h30m
	KindBytes    Kind = "bytes"    // Bytes, written 20MiB
	KindList     Kind = "list"     // []string, comma-separated or repeated
	KindFile     Kind = "file"     // File: a stream; a path on the command line, an upload elsewhere
	KindSecret   Kind = "secret"   // Secret: never shown, logged or audited
)

// Field describes one input. It is read from a struct field's tags:
//
//	name:"to"            its name, required; lower case, words joined by "-"
//	help:"…"             one clause without a final period, required
//	ja:"…"               the help in Japanese
//	arg:""               positional on the command line, in order of declaration
//	required:""          must be given
//	default:"10"         value when absent, in the text form of its kind
//	enum:"symlink,copy"  the only values allowed
//	complete:"hosts"     where the doors find candidates: hosts, labels, apps, releases, files, roles
type Field struct {
	Name     string   `json:"name"`
	Kind     Kind     `json:"kind"`
	Help     Text     `json:"help"`
	Arg      bool     `json:"arg,omitempty"`
	Required bool     `json:"required,omitempty"`
	Default  string   `json:"default,omitempty"`
	Enum     []string `json:"enum,omitempty"`
	Complete string   `json:"complete,omitempty"`

	index []int
}

// Text is a sentence in the languages that kaname speaks. JSON, logs, metrics
// and exit codes are never translated.
type Text struct {
	EN string `json:"en"`
	JA string `json:"ja,omitempty"`
}

// FieldLang is the name of the field that asks for a language, "en" or "ja". A door fills
// in the reader's own when it is not given.
const FieldLang = "lang"

// In returns the text in the language ("ja", "ja_JP.UTF-8"), English otherwise.
func (t Text) In(lang string) string {
	if t.JA != "" && strings.HasPrefix(lang, "ja") {
		return t.JA
	}
	return t.EN
}

var kinds = map[reflect.Type]Kind{
	reflect.TypeFor[string]():        KindText,
	reflect.TypeFor[int]():           KindInt,
	reflect.TypeFor[int64]():         KindInt,
	reflect.TypeFor[bool]():          KindBool,
	reflect.TypeFor[time.Duration](): KindDuration,
	reflect.TypeFor[Bytes]():         KindBytes,
	reflect.TypeFor[[]string]():      KindList,
	reflect.TypeFor[File]():          KindFile,
	reflect.TypeFor[Secret]():        KindSecret,
}

func fieldsOf(action string, t reflect.Type) []Field {
	if t.Kind() != reflect.Struct {
		panic(fmt.Sprintf("action %q: input %v is not a struct", action, t))
	}
	var fields []Field
	for _, sf := range reflect.VisibleFields(t) {
		if sf.Anonymous {
			continue // its fields are visible on their own
		}
		f := Field{
			Name: sf.Tag.Get("name"), Kind: kinds[sf.Type],
			Help:    Text{EN: sf.Tag.Get("help"), JA: sf.Tag.Get("ja")},
			Default: sf.Tag.Get("default"), Complete: sf.Tag.Get("complete"), index: sf.Index,
		}
		_, f.Arg = sf.Tag.Lookup("arg")
		_, f.Required = sf.Tag.Lookup("required")
		if e := sf.Tag.Get("enum"); e != "" {
			f.Enum = strings.Split(e, ",")
		}
		if f.Name == "" || f.Help.EN == "" || f.Kind == "" || strings.HasSuffix(f.Help.EN, ".") {
			panic(fmt.Sprintf("action %q: field %s needs a name, a help without a final period and a known type, has %q, %q, %v", action, sf.Name, f.Name, f.Help.EN, sf.Type))
		}
		if f.Default != "" {
			if _, err := f.parseText([]string{f.Default}); err != nil {
				panic(fmt.Sprintf("action %q: default of %s: %v", action, f.Name, err))
			}
		}
		fields = append(fields, f)
	}
	return fields
}
