package api

import (
	"encoding/json"
	"maps"
	"net/http"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"

	"kaname.dev/kaname/access"
	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
)

// Descriptor is an action as the catalogue tells it: everything that a door needs
// to draw a form, ask, and show the result.
type Descriptor struct {
	ID       string           `json:"id"`
	Name     string           `json:"name"`
	Summary  action.Text      `json:"summary"`
	Long     string           `json:"long,omitempty"`
	Effect   string           `json:"effect"`
	Role     access.Role      `json:"role"` // least role that may call it
	Version  int              `json:"version"`
	Planned  bool             `json:"planned"` // whether it can say beforehand what it would do
	Asks     bool             `json:"asks"`    // whether a door shows the plan and asks first
	Fields   []action.Field   `json:"fields"`
	Columns  []string         `json:"columns,omitempty"`
	Examples []action.Example `json:"examples,omitempty"`
	Schema   map[string]any   `json:"schema"`  // of the inputs
	Allowed  bool             `json:"allowed"` // whether the asker may call it
}

// Catalogue is the answer to GET /v1/actions.
type Catalogue struct {
	Host    string       `json:"host"`
	Version string       `json:"version"`
	Actions []Descriptor `json:"actions"`
}

// Describe returns the descriptor of an action for whoever has the role.
func Describe(a action.Action, role access.Role) Descriptor {
	d := Descriptor{
		ID: a.ID(), Name: a.Name, Summary: a.Summary, Long: a.Long, Effect: a.Effect.String(), Role: access.Least(a.Effect),
		Version: a.Version, Planned: a.Planned(), Asks: a.Asks(), Fields: a.Fields, Columns: a.Columns, Examples: a.Examples, Schema: a.Schema(),
	}
	if d.Fields == nil {
		d.Fields = []action.Field{}
	}
	d.Allowed = role.Covers(d.Role)
	return d
}

func (s *Server) catalogue(w http.ResponseWriter, _ *http.Request, id access.Identity) error {
	c := Catalogue{Host: s.Host, Version: s.Version, Actions: []Descriptor{}}
	for _, a := range s.actions.All() {
		c.Actions = append(c.Actions, Describe(a, id.Role))
	}
	reply(w, http.StatusOK, c)
	return nil
}

func (s *Server) describe(w http.ResponseWriter, r *http.Request, id access.Identity) error {
	a, err := s.actions.Find(r.PathValue("id"))
	if err != nil {
		return fault.NotFound("action " + cut(r.PathValue("id"), 80) + " is not known to kaname " + s.Version).Try("see: kaname help")
	}
	reply(w, http.StatusOK, Describe(a, id.Role))
	return nil
}

func (s *Server) openAPI(w http.ResponseWriter, _ *http.Request, _ access.Identity) error {
	b, err := OpenAPI(s.actions, s.Version)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b) // the asker may have gone
	return nil
}

// OpenAPI returns the OpenAPI 3.1 document of the actions in the catalogue that
// are not Local.
func OpenAPI(c action.Catalog, version string) ([]byte, error) {
	paths := map[string]any{}
	for _, a := range c.All() {
		if !a.Local {
			paths["/v1/actions/"+a.ID()] = map[string]any{"post": operation(a)}
		}
	}
	maps.Copy(paths, fixedPaths)
	return json.MarshalIndent(map[string]any{
		"openapi": "3.1.0",
		"info": map[string]any{
			"title": "kaname", "version": version,
			"description": "Every action is called with POST /v1/actions/{id}. Add ?plan=1 to learn what it would do. " +
				"With Accept: application/x-ndjson each event comes as a line before the result; with Prefer: respond-async the run's id comes at once.",
		},
		"paths": paths,
		"components": map[string]any{
			"schemas":         map[string]any{"Fault": faultSchema()},
			"securitySchemes": map[string]any{"token": map[string]any{"type": "http", "scheme": "bearer"}, "session": map[string]any{"type": "apiKey", "in": "cookie", "name": CookieName}},
		},
		"security": []any{map[string]any{"token": []string{}}, map[string]any{"session": []string{}}},
	}, "", "  ")
}

func operation(a action.Action) map[string]any {
	files := false
	for _, f := range a.Fields {
		files = files || f.Kind == action.KindFile
	}
	schema := a.Schema()
	delete(schema, "$schema") // it is OpenAPI 3.1's own dialect
	content := map[string]any{"application/json": map[string]any{"schema": schema}}
	if files {
		content["multipart/form-data"] = map[string]any{"schema": map[string]any{
			"type": "object", "description": "part input: the JSON object of the other fields; then one part for each file",
			"properties": map[string]any{"input": schema},
		}}
	}
	var out any = map[string]any{}
	if s, err := jsonschema.ForType(a.Out(), &jsonschema.ForOptions{IgnoreInvalidTypes: true}); err == nil {
		out = s
	}
	jsonOf := func(schema any) map[string]any {
		return map[string]any{"application/json": map[string]any{"schema": schema}}
	}
	result := map[string]any{"type": "object", "properties": map[string]any{"result": out}, "required": []string{"result"}}
	fault := map[string]any{"type": "object", "properties": map[string]any{"fault": map[string]any{"$ref": "#/components/schemas/Fault"}}, "required": []string{"fault"}}
	return map[string]any{
		"operationId": a.ID(), "summary": a.Summary.EN, "description": a.Long, "tags": []string{strings.Fields(a.Name)[0]},
		"x-effect": a.Effect.String(), "x-role": access.Least(a.Effect), "x-version": a.Version,
		"requestBody": map[string]any{"content": content},
		"responses": map[string]any{
			"200":     map[string]any{"description": "the result", "content": jsonOf(result)},
			"202":     map[string]any{"description": "the run has begun (Prefer: respond-async)"},
			"default": map[string]any{"description": "a fault", "content": jsonOf(fault)},
		},
	}
}

func faultSchema() map[string]any {
	text := map[string]any{"type": "string"}
	return map[string]any{
		"type":       "object",
		"properties": map[string]any{"kind": text, "what": text, "where": text, "cause": text, "remedy": text},
		"required":   []string{"kind", "what"},
	}
}

// fixedPaths are the endpoints that are there whatever the catalogue holds.
var fixedPaths = map[string]any{
	"/v1/actions":          get("Everything that can be done here, with fields and schemas"),
	"/v1/actions/{id}":     get("One action of the catalogue"),
	"/v1/runs":             get("Runs under way and lately ended, newest first"),
	"/v1/runs/{id}":        map[string]any{"get": summary("One run"), "delete": summary("Ask the run to stop")},
	"/v1/runs/{id}/events": get("The events of a run as server-sent events, from Last-Event-ID on"),
	"/v1/events":           get("Every beginning and end of a run as server-sent events"),
	"/v1/whoami":           get("Who the asker is, with which role"),
	"/v1/complete":         get("Candidates for a field: ?kind=hosts&prefix=we"),
	"/v1/session":          map[string]any{"post": summary("Sign in with name and password"), "delete": summary("Sign out")},
}

func get(what string) map[string]any { return map[string]any{"get": summary(what)} }

func summary(what string) map[string]any {
	return map[string]any{"summary": what, "responses": map[string]any{"default": map[string]any{"description": "see the manual"}}}
}
