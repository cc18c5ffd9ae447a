package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// field is one key of a section, as its struct declares it.
type field struct {
	name, help string
	enum       []string
	value      reflect.Value // addressable
}

// fieldsOf lists the keys of a struct: the name in the yaml tag, or the field's
// own in lower case; those with the tag "-" are left out, embedded ones are
// flattened.
func fieldsOf(v reflect.Value) []field {
	var list []field
	for i := range v.NumField() {
		sf := v.Type().Field(i)
		name, _, _ := strings.Cut(sf.Tag.Get("yaml"), ",")
		switch {
		case !sf.IsExported() || name == "-":
		case sf.Anonymous && name == "" && sf.Type.Kind() == reflect.Struct:
			list = append(list, fieldsOf(v.Field(i))...)
		default:
			if name == "" {
				name = strings.ToLower(sf.Name)
			}
			list = append(list, field{name, sf.Tag.Get("help"), enumOf(sf.Tag.Get("enum")), v.Field(i)})
		}
	}
	return list
}

// isSection reports whether a value is a group of keys and not one value.
func isSection(v reflect.Value) bool {
	return v.Kind() == reflect.Struct && !isText(v)
}

// yamlText is what a type implements to be written as one scalar in the file.
type yamlText interface{ UnmarshalYAML(text []byte) error }

func isText(v reflect.Value) bool {
	p := v.Addr().Interface()
	_, y := p.(yamlText)
	_, t := p.(encoding.TextUnmarshaler)
	return y || t
}

// setText sets a value from its text form: a scalar of the file, an environment
// variable or a flag. Lists are comma-separated, maps are key=value pairs.
func (f field) setText(text string) error {
	if len(f.enum) > 0 && !slices.Contains(f.enum, text) {
		return fmt.Errorf("%q is not one of %s", text, strings.Join(f.enum, ", "))
	}
	return setText(f.value, text)
}

func setText(v reflect.Value, text string) error {
	switch p := v.Addr().Interface().(type) {
	case *time.Duration:
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%q is not a duration such as 30s or 1h30m", text)
		}
		*p = d
		return nil
	case yamlText:
		return p.UnmarshalYAML([]byte(text))
	case encoding.TextUnmarshaler:
		return p.UnmarshalText([]byte(text))
	}
	return setKind(v, text)
}

func setKind(v reflect.Value, text string) error {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", text)
		}
		v.SetBool(b)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(strings.ReplaceAll(text, "_", ""), 10, v.Type().Bits())
		if err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
		v.SetInt(n)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		n, err := strconv.ParseUint(strings.ReplaceAll(text, "_", ""), 10, v.Type().Bits())
		if err != nil {
			return fmt.Errorf("%q is not a whole number of at least 0", text)
		}
		v.SetUint(n)
	case reflect.Float32, reflect.Float64:
		x, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return fmt.Errorf("%q is not a number", text)
		}
		v.SetFloat(x)
	case reflect.Slice:
		return setList(v, text)
	case reflect.Map:
		return setMap(v, text)
	default:
		return fmt.Errorf("a %s cannot be written as one text; set it in the file", v.Type())
	}
	return nil
}

func setList(v reflect.Value, text string) error {
	list := reflect.MakeSlice(v.Type(), 0, 0)
	for s := range strings.SplitSeq(text, ",") {
		if s = strings.TrimSpace(s); s == "" {
			continue
		}
		e := reflect.New(v.Type().Elem()).Elem()
		if err := setText(e, s); err != nil {
			return err
		}
		list = reflect.Append(list, e)
	}
	v.Set(list)
	return nil
}

func setMap(v reflect.Value, text string) error {
	m := reflect.MakeMap(v.Type())
	for s := range strings.SplitSeq(text, ",") {
		if s = strings.TrimSpace(s); s == "" {
			continue
		}
		key, val, ok := strings.Cut(s, "=")
		if !ok {
			return fmt.Errorf("%q is not key=value", s)
		}
		e := reflect.New(v.Type().Elem()).Elem()
		if err := setText(e, val); err != nil {
			return err
		}
		m.SetMapIndex(reflect.ValueOf(key), e)
	}
	v.Set(m)
	return nil
}

// describe names the type of a value for people and schemas.
func describe(v reflect.Value) string {
	switch {
	case v.Type() == reflect.TypeFor[time.Duration]():
		return "duration"
	case isText(v):
		return strings.ToLower(v.Type().Name())
	}
	switch v.Kind() {
	case reflect.Slice:
		return "list"
	case reflect.Map:
		return "map"
	case reflect.Bool:
		return "bool"
	case reflect.String:
		return "text"
	case reflect.Struct:
		return "section"
	default:
		return "number"
	}
}
