package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"kaname.dev/kaname/access"
	"kaname.dev/kaname/action"
	"kaname.dev/kaname/door/api"
	"kaname.dev/kaname/door/api/apitest"
	"kaname.dev/kaname/fault"
)

// eventually polls until the condition holds.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(10 * time.Second); !cond(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("never: " + what)
		}
	}
}

func onlyRun(t *testing.T, c *api.Client, name string) api.Run {
	t.Helper()
	runs, err := c.Runs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range runs {
		if r.Action == name {
			return r
		}
	}
	return api.Run{}
}

func TestLeavingEndsWhatReadsAndNotWhatChanges(t *testing.T) {
	a := apitest.Start(t, apitest.Actions(&apitest.Counter{})...)
	c := a.Client(t)
	for name, want := range map[string]api.RunState{"test.watch": api.RunCanceled, "test.wait": api.RunRunning} {
		ctx, leave := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.URL+"/v1/actions/"+name, strings.NewReader(`{"ticks": 0}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", "application/x-ndjson")
		resp := do(t, a, req)
		if line, err := bufio.NewReader(resp.Body).ReadString('\n'); err != nil || !strings.Contains(line, `"event"`) {
			t.Fatal(line, err)
		}
		leave()
		resp.Body.Close()
		words := strings.ReplaceAll(name, ".", " ")
		if want == api.RunCanceled {
			eventually(t, name+" is cancelled", func() bool { return onlyRun(t, c, words).State == want })
			continue
		}
		run := onlyRun(t, c, words)
		if run.State != want {
			t.Errorf("%s: %s, want %s", name, run.State, want)
		}
		if err := c.Cancel(t.Context(), run.ID[20:]); err != nil {
			t.Fatal(err)
		}
		_, err = c.Follow(t.Context(), run.ID, 0, func(action.Event) {})
		if !fault.Is(err, fault.KindCanceled) {
			t.Errorf("cancelled run ended with %v", err)
		}
	}
}

func TestInterruptedCallStopsTheRun(t *testing.T) {
	a := apitest.Start(t, apitest.Actions(&apitest.Counter{})...)
	c := a.Client(t)
	ctx, interrupt := context.WithCancel(t.Context())
	_, err := c.Call(ctx, "test.wait", values(t, map[string]any{"ticks": 0}), api.CallOptions{}, func(e action.Event) {
		if e.Done > 3 {
			interrupt()
		}
	})
	if !fault.Is(err, fault.KindCanceled) {
		t.Errorf("got %v", err)
	}
	if run := onlyRun(t, c, "test wait"); run.State != api.RunCanceled {
		t.Errorf("run is %s", run.State)
	}
}

func TestFollowFromTheMiddleAndByOthers(t *testing.T) {
	a := apitest.Start(t, apitest.Actions(&apitest.Counter{})...)
	c, viewer := a.Client(t), a.Remote(t, access.RoleViewer)
	raw, err := c.Call(t.Context(), "test.wait", values(t, map[string]any{"ticks": 20}), api.CallOptions{Detach: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var started struct{ Run string }
	if err := json.Unmarshal(raw, &started); err != nil || started.Run == "" {
		t.Fatal(string(raw), err)
	}
	var texts []string
	raw, err = viewer.Follow(t.Context(), started.Run, 18, func(e action.Event) { texts = append(texts, e.Text) })
	if err != nil || string(raw) != "null" {
		t.Errorf("another's result: %s, %v; it must be null", raw, err)
	}
	if !slices.Equal(texts, []string{"19", "20", ""}) {
		t.Errorf("events after 18: %q", texts)
	}
	raw, err = c.Follow(t.Context(), started.Run, 0, func(action.Event) {})
	if err != nil || !strings.Contains(string(raw), "20") {
		t.Errorf("own result: %s, %v", raw, err)
	}
	if run, err := viewer.Run(t.Context(), started.Run); err != nil || run.Result != nil || run.State != api.RunDone {
		t.Errorf("viewer sees %+v, %v", run, err)
	}
	if err := viewer.Cancel(t.Context(), started.Run); !fault.Is(err, fault.KindDenied) {
		t.Errorf("viewer may cancel: %v", err)
	}
}

func TestServerSentEvents(t *testing.T) {
	a := apitest.Start(t, apitest.Actions(&apitest.Counter{})...)
	all, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.URL+"/v1/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	follow := bufio.NewScanner(do(t, a, all).Body)
	if _, err := a.Client(t).Call(t.Context(), "test.wait", action.Inputs{}, api.CallOptions{}, nil); err != nil {
		t.Fatal(err)
	}
	var states []string
	for len(states) < 2 && follow.Scan() {
		if data, ok := strings.CutPrefix(follow.Text(), "data: "); ok {
			var r api.Run
			if err := json.Unmarshal([]byte(data), &r); err != nil {
				t.Fatal(err)
			}
			states = append(states, string(r.State))
		}
	}
	if !slices.Equal(states, []string{"running", "done"}) {
		t.Errorf("states %v", states)
	}
	run := onlyRun(t, a.Client(t), "test wait")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.URL+"/v1/runs/"+run.ID+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Last-Event-ID", "2")
	body := readAll(t, do(t, a, req))
	if !strings.HasPrefix(body, "id: 3\nevent: event\ndata: {") || !strings.HasSuffix(body, "event: result\ndata: null\n\n") {
		t.Errorf("stream is\n%s", body)
	}
}

func TestAskingAgainJoinsTheRun(t *testing.T) {
	counter := &apitest.Counter{}
	a := apitest.Start(t, apitest.Actions(counter)...)
	id := ulid.Make().String()
	for range 3 {
		req := post(t, a, "test.count", `{}`)
		req.Header.Set(api.HeaderRun, id)
		if body := readAll(t, do(t, a, req)); !strings.Contains(body, `{"n":1}`) {
			t.Errorf("got %s", body)
		}
	}
	if counter.N != 1 {
		t.Errorf("counted %d times", counter.N)
	}
	req := post(t, a, "test.wait", `{}`)
	req.Header.Set(api.HeaderRun, id)
	if resp := do(t, a, req); resp.StatusCode != http.StatusConflict {
		t.Errorf("another action under the same id: %s", resp.Status)
	}
}

func TestGroundThatMoved(t *testing.T) {
	counter := &apitest.Counter{}
	a := apitest.Start(t, apitest.Actions(counter)...)
	c := a.Client(t)
	plan, err := c.Plan(t.Context(), "test.count", action.Inputs{})
	if err != nil || plan.Ground != "0" || len(plan.Steps) != 1 {
		t.Fatal(plan, err)
	}
	if _, err := c.Call(t.Context(), "test.count", action.Inputs{}, api.CallOptions{Ground: plan.Ground}, nil); err != nil {
		t.Fatal(err)
	}
	_, err = c.Call(t.Context(), "test.count", action.Inputs{}, api.CallOptions{Ground: plan.Ground}, nil)
	if !fault.Is(err, fault.KindConflict) || counter.N != 1 {
		t.Errorf("counter %d, %v", counter.N, err)
	}
}

func TestClosingCancelsRuns(t *testing.T) {
	a := apitest.Start(t, apitest.Actions(&apitest.Counter{})...)
	c := a.Client(t)
	if _, err := c.Call(t.Context(), "test.wait", values(t, map[string]any{"ticks": 0}), api.CallOptions{Detach: true}, nil); err != nil {
		t.Fatal(err)
	}
	if err := a.Server.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if run := onlyRun(t, c, "test wait"); run.State != api.RunCanceled {
		t.Errorf("run is %s", run.State)
	}
	if _, err := c.Call(t.Context(), "test.wait", action.Inputs{}, api.CallOptions{}, nil); !fault.Is(err, fault.KindUnavailable) {
		t.Errorf("a run began while closing: %v", err)
	}
}

func TestFaultsAndPanicsCrossTheWire(t *testing.T) {
	a := apitest.Start(t, apitest.Actions(&apitest.Counter{})...)
	_, err := a.Client(t).Call(t.Context(), "test.fail", values(t, map[string]any{"kind": "partial"}), api.CallOptions{}, nil)
	f, ok := errors.AsType[*fault.Fault](err)
	if !ok || f.Kind != fault.KindPartial || f.Where != "web1" || f.Remedy != "do not ask" || f.What != "it was asked for" {
		t.Errorf("got %#v", err)
	}
	_, err = a.Client(t).Call(t.Context(), "test.fail", values(t, map[string]any{"kind": "panic"}), api.CallOptions{}, nil)
	if !fault.Is(err, fault.KindInternal) || !strings.Contains(err.Error(), "bug") {
		t.Errorf("got %v", err)
	}
	resp := do(t, a, post(t, a, "test.fail", `{"kind": "full"}`))
	if body := readAll(t, resp); resp.StatusCode != http.StatusInsufficientStorage || !strings.Contains(body, `"kind":"full"`) {
		t.Errorf("%s %s", resp.Status, body)
	}
}
