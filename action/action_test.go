package action_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
)

type common struct {
	Text string `name:"text" arg:"" required:"" help:"a text" ja:"文字列"`
}

type allKinds struct {
	common
	Number int64         `name:"number" default:"7" help:"a number"`
	Flag   bool          `name:"flag" help:"a switch"`
	Wait   time.Duration `name:"wait" default:"90s" help:"a duration"`
	Size   action.Bytes  `name:"size" default:"20MiB" help:"a size"`
	List   []string      `name:"list" enum:"a,b,c" help:"a list"`
	Choice string        `name:"choice" enum:"red,green" default:"red" help:"a choice"`
	Secret action.Secret `name:"secret" help:"a secret"`
	File   action.File   `name:"file" help:"a file"`
}

func echo(t *testing.T) (action.Action, func(in action.Inputs) (allKinds, error)) {
	t.Helper()
	var got allKinds
	a := action.New("test echo", "Echo", action.Changes, func(_ context.Context, _ *action.Run, in allKinds) (struct{}, error) {
		got = in
		return struct{}{}, nil
	})
	return a, func(in action.Inputs) (allKinds, error) {
		_, err := a.Run(t.Context(), nil, in)
		return got, err
	}
}

func fromJSON(t *testing.T, s string) action.Inputs {
	t.Helper()
	in := action.TextInputs(nil)
	if err := json.Unmarshal([]byte(s), &in.Values); err != nil {
		t.Fatal(err)
	}
	return in
}

func TestDecode(t *testing.T) {
	_, run := echo(t)
	def := allKinds{common: common{"x"}, Number: 7, Wait: 90 * time.Second, Size: 20 << 20, Choice: "red"}
	full := allKinds{common: common{"x"}, Number: -3, Flag: true, Wait: time.Second, Size: 1500, List: []string{"a", "b"}, Choice: "green", Secret: "s"}
	for in, want := range map[string]allKinds{
		`{"text":"x"}`: def,
		`{"text":"x","number":null,"list":null,"file":null}`: def,
		`{"text":["x"],"number":"7"}`:                        def,
		`{"text":"x","number":-3,"flag":true,"wait":"1s","size":1500,"list":["a","b"],"choice":"green","secret":"s"}`:      full,
		`{"text":"x","number":"-3","flag":"1","wait":"1s","size":"1.5kB","list":"a, b","choice":["green"],"secret":["s"]}`: full,
	} {
		if got, err := run(fromJSON(t, in)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", in, got, err)
		}
	}
	for in, says := range map[string]string{
		`{}`:                              "text is required (a text)",
		`{"text":""}`:                     "text is required",
		`{"text":5}`:                      "5 is not a text",
		`{"text":["x","y"]}`:              "given 2 times",
		`{"text":"x","number":1.5}`:       `"1.5" is not a whole number`,
		`{"text":"x","flag":"maybe"}`:     "neither true nor false",
		`{"text":"x","wait":3}`:           "3 is not a duration",
		`{"text":"x","wait":"3"}`:         "not a duration such as",
		`{"text":"x","size":"-1"}`:        "not a size",
		`{"text":"x","size":"9999999PB"}`: "not a size",
		`{"text":"x","list":["a","d"]}`:   `"d" is not one of a, b, c`,
		`{"text":"x","choice":"blue"}`:    `"blue" is not one of red, green`,
		`{"text":"x","nope":1}`:           `version 1 has no field "nope"`,
		`{"text":"x","file":"/etc/x"}`:    "neither a file that was sent nor an address",
	} {
		_, err := run(fromJSON(t, in))
		if !fault.Is(err, fault.KindInvalid) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", in, err, says)
		}
	}
}

func TestFiles(t *testing.T) {
	_, run := echo(t)
	in := fromJSON(t, `{"text":"x"}`)
	in.Files["file"] = action.File{Name: "a", Reader: strings.NewReader("zz"), Size: 2}
	got, err := run(in)
	if b, _ := io.ReadAll(got.File.Reader); err != nil || string(b) != "zz" {
		t.Errorf("%q, %v", b, err)
	}
	got, err = run(fromJSON(t, `{"text":"x","file":"s3://bucket/key"}`))
	if err != nil || got.File.URL != "s3://bucket/key" || !got.File.Given() {
		t.Errorf("%+v, %v", got.File, err)
	}
	if _, err := io.ReadAll(got.File.Reader); !fault.Is(err, fault.KindUnsupported) {
		t.Errorf("an address is read like a file: %v", err)
	}
	if _, err := io.ReadAll(action.FileNamed("a", 2).Reader); !fault.Is(err, fault.KindInvalid) {
		t.Errorf("a file known by name is read: %v", err)
	}
	in.Files["nope"] = action.File{Name: "a"}
	if _, err := run(in); !fault.Is(err, fault.KindInvalid) {
		t.Errorf("an unknown file is taken: %v", err)
	}
	for text, want := range map[string]bool{"s3://b/k": true, "https://h": true, "file:///x": true, "C://x": false, "a b://x": false, "://x": false, "x": false, "http://": false} {
		if action.IsURL(text) != want {
			t.Errorf("IsURL(%q) is %v", text, !want)
		}
	}
}

func TestSecretsAreNeverShown(t *testing.T) {
	a, _ := echo(t)
	in := fromJSON(t, `{"text":"x","secret":"hunter2","secrte":"hunter2"}`)
	b, err := json.Marshal(in.Redacted(a.Fields))
	if err != nil || strings.Contains(string(b), "hunter2") || !strings.Contains(string(b), `"text":"x"`) {
		t.Errorf("%s, %v", b, err)
	}
	s := action.Secret("hunter2")
	j, _ := json.Marshal(map[string]any{"s": s})
	if text := fmt.Sprintf("%v %s %+v %#v %q %s", s, s, s, s, s, j); strings.Contains(text, "hunter2") {
		t.Error(text)
	}
}

func TestPlanAndAsking(t *testing.T) {
	plan := action.WithPlan(func(_ context.Context, in common) (action.Plan, error) {
		return action.Plan{Summary: in.Text}, nil
	})
	do := func(context.Context, *action.Run, common) (struct{}, error) { return struct{}{}, nil }
	for _, c := range []struct {
		effect action.Effect
		opts   []action.Option
		asks   bool
	}{
		{action.Reads, nil, false},
		{action.Reads, []action.Option{plan}, false},
		{action.Changes, nil, false},
		{action.Changes, []action.Option{plan}, true},
		{action.Destroys, nil, true},
		{action.Destroys, []action.Option{action.Unasked()}, false},
	} {
		if a := action.New("test do", "Do", c.effect, do, c.opts...); a.Asks() != c.asks {
			t.Errorf("%s, planned %v: asks %v", c.effect, a.Planned(), a.Asks())
		}
	}
	a := action.New("test do", "Do it", action.Changes, do)
	if p, err := a.Plan(t.Context(), fromJSON(t, `{"text":"x"}`)); err != nil || p.Summary != "Do it" || len(p.Steps) != 1 || p.Steps[0].What != `text="x"` {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := a.Plan(t.Context(), action.Inputs{}); !fault.Is(err, fault.KindInvalid) {
		t.Errorf("a plan without required inputs: %v", err)
	}
}

func TestWrongDeclarationsPanic(t *testing.T) {
	none := func(context.Context, *action.Run, struct{}) (struct{}, error) { return struct{}{}, nil }
	for name, declare := range map[string]func(){
		"final period": func() { action.New("a", "Do.", action.Reads, none) },
		"upper case":   func() { action.New("A", "Do", action.Reads, none) },
		"no name":      func() { action.New("", "Do", action.Reads, none) },
		"kind": func() {
			action.New("a", "Do", action.Reads, func(context.Context, *action.Run, struct {
				X float64 `name:"x" help:"x"`
			},
			) (struct{}, error) {
				return struct{}{}, nil
			})
		},
		"default": func() {
			action.New("a", "Do", action.Reads, func(context.Context, *action.Run, struct {
				X int `name:"x" help:"x" default:"many"`
			},
			) (struct{}, error) {
				return struct{}{}, nil
			})
		},
		"twice": func() {
			action.NewCatalog(action.New("a", "Do", action.Reads, none), action.New("a", "Do", action.Reads, none))
		},
		"plan of another": func() {
			action.New("a", "Do", action.Reads, none, action.WithPlan(func(context.Context, common) (action.Plan, error) { return action.Plan{}, nil }))
		},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			declare()
		}()
	}
}

func TestSchemaTakesWhatTheDecoderTakes(t *testing.T) {
	a, _ := echo(t)
	b, err := json.Marshal(a.Schema())
	if err != nil {
		t.Fatal(err)
	}
	var s struct {
		Properties           map[string]map[string]any
		Required             []string
		AdditionalProperties bool
	}
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	if len(s.Properties) != 9 || s.AdditionalProperties || !slices.Equal(s.Required, []string{"text"}) {
		t.Errorf("%s", b)
	}
	if d := s.Properties["number"]["default"]; d != 7.0 {
		t.Errorf("default of a number is %v", d)
	}
	if s.Properties["secret"]["writeOnly"] != true {
		t.Error("a secret can be read")
	}
}

func TestCatalogFindsByWordsAndDots(t *testing.T) {
	a, _ := echo(t)
	c := action.NewCatalog(a)
	for _, name := range []string{"test echo", "test.echo"} {
		if got, err := c.Find(name); err != nil || got.Name != "test echo" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := c.Find("test.nope"); !fault.Is(err, fault.KindUnsupported) {
		t.Error(err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(`{"text":"x","number":1,"size":"1KiB","list":["a"],"wait":"1s"}`)
	f.Add(`{"text":null,"flag":[],"file":"s3://a/b"}`)
	a := action.New("test echo", "Echo", action.Changes, func(context.Context, *action.Run, allKinds) (struct{}, error) { return struct{}{}, nil })
	f.Fuzz(func(t *testing.T, s string) {
		in := action.TextInputs(nil)
		if json.Unmarshal([]byte(s), &in.Values) != nil {
			return
		}
		if err := a.Check(in); err != nil && !fault.Is(err, fault.KindInvalid) {
			t.Errorf("%q: %v is no fault of the input", s, err)
		}
	})
}
