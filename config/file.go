package config

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// filer reads one file into values and notes where each key stood.
type filer struct {
	file     string
	tokens   map[string]*token.Token // by full key
	problems Problems
}

// read parses the file; what it holds goes into the sections by name.
func (f *filer) read(raw []byte, sections []field) {
	tree, err := parser.ParseBytes(raw, 0)
	if err != nil {
		if y, ok := errors.AsType[yaml.Error](err); ok {
			f.problems = append(f.problems, at(f.file, y.GetToken(), y.GetMessage()))
			return
		}
		f.problems = append(f.problems, Problem{Where: f.file, Text: err.Error()})
		return
	}
	for i, doc := range tree.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.NullType || doc.Body.Type() == ast.CommentType {
			continue
		}
		if i > 0 {
			f.problem(doc.Body, "a second document in the file; it takes one")
			return
		}
		f.keys("", doc.Body, sections)
	}
}

func (f *filer) problem(n ast.Node, text string) {
	f.problems = append(f.problems, at(f.file, n.GetToken(), text))
}

// keys decodes the keys of a mapping into fields.
func (f *filer) keys(path string, n ast.Node, fields []field) {
	m, ok := n.(ast.MapNode)
	if !ok {
		f.problem(n, named(path)+" takes keys, not a single value")
		return
	}
	for it := m.MapRange(); it.Next(); {
		name := it.Key().GetToken().Value
		fl, ok := find(fields, name)
		if !ok {
			f.problem(it.Key(), unknown(path, name, fields))
			continue
		}
		key := join(path, name)
		f.tokens[key] = it.Key().GetToken()
		f.value(key, it.Value(), fl)
	}
}

// value decodes one node into one field.
func (f *filer) value(key string, n ast.Node, fl field) {
	switch t := n.(type) {
	case *ast.TagNode:
		f.value(key, t.Value, fl)
		return
	case *ast.AnchorNode, *ast.AliasNode, *ast.MergeKeyNode:
		f.problem(n, "anchors and aliases are not used in this file; write the value out")
		return
	case *ast.NullNode:
		return // "key:" with nothing behind it: the default stays
	}
	switch v := fl.value; {
	case isSection(v):
		f.keys(key, n, fieldsOf(v))
	case v.Kind() == reflect.Slice && !isText(v):
		f.list(key, n, v)
	case v.Kind() == reflect.Map:
		f.table(key, n, v)
	default:
		f.scalar(key, n, fl)
	}
}

func (f *filer) scalar(key string, n ast.Node, fl field) {
	s, ok := n.(ast.ScalarNode)
	if !ok {
		f.problem(n, key+" takes a single value")
		return
	}
	text := s.GetToken().Value
	switch t := n.(type) {
	case *ast.StringNode:
		text = t.Value
	case *ast.LiteralNode:
		text = t.Value.Value
	}
	if err := fl.setText(text); err != nil {
		f.problem(n, key+": "+err.Error())
	}
}

func (f *filer) list(key string, n ast.Node, v reflect.Value) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		f.problem(n, key+` takes a list: ["a", "b"], or one line "- a" for each`)
		return
	}
	list := reflect.MakeSlice(v.Type(), len(seq.Values), len(seq.Values))
	for i, item := range seq.Values {
		f.value(fmt.Sprintf("%s[%d]", key, i), item, field{value: list.Index(i)})
	}
	v.Set(list)
}

func (f *filer) table(key string, n ast.Node, v reflect.Value) {
	m, ok := n.(ast.MapNode)
	if !ok {
		f.problem(n, key+" takes key: value lines")
		return
	}
	table := reflect.MakeMap(v.Type())
	for it := m.MapRange(); it.Next(); {
		name := it.Key().GetToken().Value
		e := reflect.New(v.Type().Elem()).Elem()
		f.tokens[join(key, name)] = it.Key().GetToken()
		f.value(join(key, name), it.Value(), field{value: e})
		table.SetMapIndex(reflect.ValueOf(name), e)
	}
	v.Set(table)
}

// place returns the token of a key, or of the nearest section around it.
func (f *filer) place(key string) *token.Token {
	for {
		if tk, ok := f.tokens[key]; ok {
			return tk
		}
		i := strings.LastIndexByte(key, '.')
		if i < 0 {
			return nil
		}
		key = key[:i]
	}
}

func find(fields []field, name string) (field, bool) {
	for _, f := range fields {
		if f.name == name {
			return f, true
		}
	}
	return field{}, false
}

func unknown(path, name string, fields []field) string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	text := fmt.Sprintf("%s has no key %q", named(path), name)
	if path == "" {
		text = fmt.Sprintf("there is no section %q", name)
	}
	if n := nearest(name, names); n != "" {
		return text + fmt.Sprintf("; did you mean %q?", n)
	}
	return text + "; it may have: " + strings.Join(names, ", ")
}

func named(path string) string {
	if path == "" {
		return "the file"
	}
	return path
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
