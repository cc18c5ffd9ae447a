package config

import (
	"encoding/json"
	"reflect"

	"github.com/google/jsonschema-go/jsonschema"
)

// Schema returns the JSON Schema (draft 2020-12) of the file, for editors.
func Schema(sections map[string]any) *jsonschema.Schema {
	l := &Loaded{Config: Default(), Sections: sections}
	s := object(l.sections())
	s.Schema = "https://json-schema.org/draft/2020-12/schema"
	s.Title = "kaname.yaml"
	return s
}

func object(fields []field) *jsonschema.Schema {
	s := &jsonschema.Schema{
		Type: "object", Properties: map[string]*jsonschema.Schema{},
		AdditionalProperties: &jsonschema.Schema{Not: &jsonschema.Schema{}}, // false
	}
	for _, f := range fields {
		p := schemaOf(f.value)
		p.Description = f.help
		for _, e := range f.enum {
			p.Enum = append(p.Enum, e)
		}
		s.Properties[f.name] = p
		s.PropertyOrder = append(s.PropertyOrder, f.name)
	}
	return s
}

func schemaOf(v reflect.Value) *jsonschema.Schema {
	if isSection(v) {
		return object(fieldsOf(v))
	}
	s := &jsonschema.Schema{}
	switch describe(v) {
	case "bool":
		s.Type = "boolean"
	case "number":
		s.Type = "number"
	case "list":
		s.Types, s.Items = []string{"array", "null"}, schemaOf(reflect.New(v.Type().Elem()).Elem())
	case "map":
		s.Types, s.AdditionalProperties = []string{"object", "null"}, schemaOf(reflect.New(v.Type().Elem()).Elem())
	case "duration":
		s.Type, s.Pattern = "string", `^([0-9.]+(ns|us|µs|ms|s|m|h))+$|^0$`
	case "text":
		s.Type = "string"
	default: // a type with its own text form, such as a size
		s.Types = []string{"string", "number"}
	}
	if raw, err := json.Marshal(defaultOf(v)); err == nil && string(raw) != "null" {
		s.Default = raw
	}
	return s
}

func defaultOf(v reflect.Value) any {
	switch describe(v) {
	case "bool", "number":
		return v.Interface()
	case "list", "map":
		if v.Len() == 0 {
			return nil
		}
		return v.Interface()
	default:
		return textOf(v)
	}
}
