package api_test

import (
	"encoding/json"
	"strings"
	"testing"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/door/api"
	"kaname.dev/kaname/door/api/apitest"
)

func values(t *testing.T, v map[string]any) action.Inputs {
	t.Helper()
	in := action.TextInputs(nil)
	for k, x := range v {
		b, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		in.Values[k] = b
	}
	return in
}

func TestCallEveryKindAsJSONAndMultipart(t *testing.T) {
	a := apitest.Start(t, apitest.Actions(&apitest.Counter{})...)
	in := values(t, map[string]any{
		"text": "hello 要", "number": 3, "flag": true, "wait": "2s", "size": 1024, "list": []string{"a", "b"}, "choice": "green", "password": "hunter22",
	})
	want := apitest.Echoed{Text: "hello 要", Number: 3, Flag: true, Wait: 2e9, Size: 1024, List: []string{"a", "b"}, Choice: "green", Secret: 8}
	for name, c := range map[string]*api.Client{"unix": a.Client(t), "tls": a.Remote(t, "operator")} {
		for _, files := range []bool{false, true} {
			in, want := in, want
			if files {
				in.Files = map[string]action.File{
					"file":   {Name: `we"ird\name.tar`, Reader: strings.NewReader(strings.Repeat("x", 3<<20)), Size: 3 << 20},
					"second": {Name: "stdin", Reader: strings.NewReader("zz"), Size: -1},
				}
				want.File, want.Second = `we"ird\name.tar 3145728 3145728 3bea8a9a`, "stdin -1 2 4a60bf7d"
			}
			var events []action.Event
			raw, err := c.Call(t.Context(), "test.echo", in, api.CallOptions{}, func(e action.Event) { events = append(events, e) })
			if err != nil {
				t.Fatalf("%s, files %v: %v", name, files, err)
			}
			var got apitest.Echoed
			if err := json.Unmarshal(raw, &got); err != nil {
				t.Fatal(err)
			}
			g, _ := json.Marshal(got)
			w, _ := json.Marshal(want)
			if string(g) != string(w) {
				t.Errorf("%s, files %v: got\n%s, want\n%s", name, files, g, w)
			}
			if len(events) != 1 || events[0].Text != "hello" {
				t.Errorf("%s: events %v", name, events)
			}
		}
	}
}
