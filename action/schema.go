package action

// Schema returns the JSON Schema (draft 2020-12) of the action's inputs.
func (a Action) Schema() map[string]any {
	props := map[string]any{}
	required := []string{}
	for _, f := range a.Fields {
		p := map[string]any{"description": f.Help.EN}
		switch f.Kind {
		case KindInt:
			p["type"] = "integer"
		case KindBool:
			p["type"] = "boolean"
		case KindList:
			p["type"] = "array"
			items := map[string]any{"type": "string"}
			if f.Enum != nil {
				items["enum"] = f.Enum
			}
			p["items"] = items
		case KindDuration:
			p["type"], p["pattern"] = "string", `^([0-9.]+(ns|us|µs|ms|s|m|h))+$|^0$`
		case KindBytes:
			p["type"] = []string{"string", "integer"}
		case KindFile:
			p["type"], p["contentMediaType"] = "string", "application/octet-stream"
		case KindSecret:
			p["type"], p["writeOnly"] = "string", true
		default:
			p["type"] = "string"
			if f.Enum != nil {
				p["enum"] = f.Enum
			}
		}
		if f.Default != "" {
			p["default"] = f.native(f.Default)
		}
		props[f.Name] = p
		if f.Required {
			required = append(required, f.Name)
		}
	}
	return map[string]any{
		"$schema":              "https://json-schema.org/draft/2020-12/schema",
		"title":                a.Name,
		"description":          a.Summary.EN,
		"type":                 "object",
		"properties":           props,
		"required":             required,
		"additionalProperties": false,
	}
}

// native returns the text of a value as JSON has it.
func (f Field) native(text string) any {
	v, err := f.parseText([]string{text})
	if err != nil {
		return text
	}
	switch f.Kind {
	case KindInt, KindBool, KindList:
		return v
	default:
		return text
	}
}
