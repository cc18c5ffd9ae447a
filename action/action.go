// Package action is the vocabulary that ribs and doors share: an Action is
// declared once, in Go, and every door renders it from that declaration, as a
// command with completion and manual page, a form, a JSON schema, a page of the
// reference, a chat intent.
//
// A rib writes
//
//	type pushIn struct {
//		Archive action.File `name:"archive" arg:"" required:"" help:"archive to push"`
//		To      []string    `name:"to" help:"labels that select hosts" default:"role=web"`
//	}
//	action.New("release push", "Store an archive as a release", action.Changes, r.push)
//
// and nothing more. The package imports nothing of the project but fault.
package action

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"kaname.dev/kaname/fault"
)

// Effect says what an action does to the world. It alone decides whether a door
// asks first, which role is needed, and whether the call is audited.
type Effect int

// The effects, in rising order of weight.
const (
	Reads    Effect = iota // looks only; role viewer
	Changes                // changes something that can be changed back; role operator
	Destroys               // destroys something, or changes who may do what; role admin
)

// String returns the effect in lower case.
func (e Effect) String() string {
	switch e {
	case Reads:
		return "reads"
	case Changes:
		return "changes"
	default:
		return "destroys"
	}
}

// MarshalText writes the effect as its name.
func (e Effect) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// Action is one thing that kaname can do, as declared by its rib.
type Action struct {
	Name     string  // words separated by one space: "release push"; the first is the rib
	Summary  Text    // one sentence without a final period, per language
	Long     string  // paragraphs for the manual page; may be empty
	Effect   Effect  // see Effect
	Version  int     // rises when a required field is added; 1 at first
	Fields   []Field // inputs, in the order of declaration
	Examples []Example
	Local    bool // runs inside the command line's own process and has no other door
	// LocalWith names a field with which the command line runs it in its own process: no
	// core is asked. Empty for most.
	LocalWith string
	Columns   []string // columns of the table view of a list result, JSON names; empty means all
	Unasked   bool     // doors do not ask first, whatever the effect; see Asks

	in, out reflect.Type
	plan    func(ctx context.Context, in any) (Plan, error)
	run     func(ctx context.Context, run *Run, in any) (any, error)
}

// Example is one invocation shown in help, manual page and reference.
type Example struct {
	Line string // "kaname release push app.tar.gz --app shop"
	Text string // what it does
}

// Option adds to an action's declaration.
type Option func(*Action)

// WithLong sets the paragraphs of the manual page.
func WithLong(text string) Option { return func(a *Action) { a.Long = text } }

// WithExample adds an example.
func WithExample(line, text string) Option {
	return func(a *Action) { a.Examples = append(a.Examples, Example{line, text}) }
}

// WithVersion sets the version; see Action.Version.
func WithVersion(v int) Option { return func(a *Action) { a.Version = v } }

// WithColumns sets the columns of the table view.
func WithColumns(names ...string) Option { return func(a *Action) { a.Columns = names } }

// InJapanese sets the Japanese summary.
func InJapanese(summary string) Option { return func(a *Action) { a.Summary.JA = summary } }

// Local marks an action that runs in the command line's own process.
func Local() Option { return func(a *Action) { a.Local = true } }

// LocalWith marks an action that needs no core when the field is given: what it looks at
// is then on the asker's machine.
func LocalWith(field string) Option { return func(a *Action) { a.LocalWith = field } }

// Unasked marks an action that needs a high role but takes nothing away, so that
// no door asks before it.
func Unasked() Option { return func(a *Action) { a.Unasked = true } }

// WithPlan sets the function that says, without changing anything, what the
// action would do. --dry-run, the console's preview and the bot's question show
// its Plan. The same In is given to plan and run.
func WithPlan[In any](plan func(ctx context.Context, in In) (Plan, error)) Option {
	return func(a *Action) {
		if a.in != reflect.TypeFor[In]() {
			panic(fmt.Sprintf("action %q: plan takes %v, run takes %v", a.Name, reflect.TypeFor[In](), a.in))
		}
		a.plan = func(ctx context.Context, in any) (Plan, error) { return plan(ctx, in.(In)) }
	}
}

// New declares an action. In is a struct whose exported fields carry the tags
// described at Field; Out is what comes back, a struct or a slice of structs with
// json tags. New panics on a wrong declaration: a bug, found by the first test.
func New[In, Out any](name, summary string, effect Effect, run func(ctx context.Context, r *Run, in In) (Out, error), opts ...Option) Action {
	a := Action{
		Name: name, Summary: Text{EN: summary}, Effect: effect, Version: 1,
		in: reflect.TypeFor[In](), out: reflect.TypeFor[Out](),
		run: func(ctx context.Context, r *Run, in any) (any, error) { return run(ctx, r, in.(In)) },
	}
	if name == "" || name != strings.ToLower(name) || strings.HasSuffix(summary, ".") || summary == "" {
		panic(fmt.Sprintf("action %q: needs a lower-case name and a summary without a final period", name))
	}
	a.Fields = fieldsOf(name, a.in)
	for _, o := range opts {
		o(&a)
	}
	return a
}

// ID returns the name with dots: "release.push", as used in URLs and subjects.
func (a Action) ID() string { return strings.ReplaceAll(a.Name, " ", ".") }

// Out returns the type of the result, from which doors derive its schema.
func (a Action) Out() reflect.Type { return a.out }

// Planned reports whether the action can say beforehand what it would do.
func (a Action) Planned() bool { return a.plan != nil }

// Asks reports whether a door shows the plan and asks before the action: it
// destroys, or it changes and has a plan worth showing.
func (a Action) Asks() bool {
	return !a.Unasked && (a.Effect == Destroys || a.Effect == Changes && a.Planned())
}

// Plan says what the action would do with the inputs. An action without a plan
// function answers with one step that repeats its summary and inputs.
func (a Action) Plan(ctx context.Context, in Inputs) (Plan, error) {
	v, err := a.decode(in)
	if err != nil {
		return Plan{}, err
	}
	if a.plan == nil {
		return Plan{Summary: a.Summary.EN, Steps: []Step{{What: in.describe(a.Fields)}}}, nil
	}
	return a.plan(ctx, v)
}

// Run decodes the inputs and does the action. Events go to r.
func (a Action) Run(ctx context.Context, r *Run, in Inputs) (any, error) {
	v, err := a.decode(in)
	if err != nil {
		return nil, err
	}
	out, err := a.run(ctx, r, v)
	if list := reflect.ValueOf(out); list.Kind() == reflect.Slice && list.IsNil() {
		out = reflect.MakeSlice(list.Type(), 0, 0).Interface() // programs get [] where there is nothing, not null
	}
	return out, err
}

// Check decodes the inputs and throws the result away.
func (a Action) Check(in Inputs) error {
	_, err := a.decode(in)
	return err
}

// DecodeOut reads a JSON result into the action's own result type, so that a
// door that holds the declaration can render it with its methods. Fields that
// this version does not know are ignored.
func (a Action) DecodeOut(raw json.RawMessage) (any, error) {
	p := reflect.New(a.out)
	if err := json.Unmarshal(raw, p.Interface()); err != nil {
		return nil, fault.Unsupported("result of " + a.Name + " cannot be read").Because(err).Try("use the same version of kaname on both sides, or -o json")
	}
	return p.Elem().Interface(), nil
}
