package bundle

import (
	"encoding/json"
	"reflect"

	"kaname.dev/kaname/rib/netpath/collect/mask"
	"kaname.dev/kaname/rib/netpath/facts"
)

// clean is v as JSON, each text in it without what looks like a secret. v stays as it is.
func clean[T any](v *T) ([]byte, error) {
	raw, err := json.Marshal(v)
	if err != nil || !mask.Suspect(string(raw)) {
		return raw, err
	}
	c := new(T)
	if err = json.Unmarshal(raw, c); err != nil {
		return nil, err
	}
	if h, ok := any(c).(*facts.Host); ok {
		for i := range h.Processes {
			h.Processes[i].Args = mask.Args(h.Processes[i].Args)
		}
	}
	scrub(reflect.ValueOf(c).Elem())
	return json.Marshal(c)
}

// scrub masks all texts below v.
func scrub(v reflect.Value) {
	switch v.Kind() { //nolint:exhaustive // the others hold no text
	case reflect.String:
		if v.CanSet() {
			v.SetString(mask.Text(v.String()))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			scrub(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			scrub(v.Index(i))
		}
	case reflect.Struct:
		for _, field := range v.Fields() {
			if field.CanSet() {
				scrub(field)
			}
		}
	case reflect.Map:
		if m, ok := reflect.TypeAssert[map[string]string](v); ok {
			v.Set(reflect.ValueOf(mask.Map(m)))
		}
	}
}
