package plane_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/plane/planetest"
	"kaname.dev/kaname/plane/trust"
)

// wait receives, but not for ever.
func wait[T any](t *testing.T, ch <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(10 * time.Second):
		t.Fatal("waited in vain")
	}
	return v
}

func TestACallIsDoneOnceAlsoAfterARestart(t *testing.T) {
	ctx := t.Context()
	core := planetest.Core(t)
	o := plane.Options{
		Host: "web1", Identity: planetest.Join(t, core, "web1", trust.RoleAgent).Identity,
		Dir: t.TempDir(), Mode: plane.Host, Cores: []string{core.ListenAddress()},
	}
	var done, asked atomic.Int64
	begun := make(chan struct{}, 1)
	start := func() *plane.Plane {
		h := planetest.Open(t, o)
		for _, err := range []error{
			plane.Serve(h, "test.count", 1, func(_ context.Context, _ *plane.Call, in note) (note, error) {
				done.Add(1)
				return note{Text: strings.Repeat("y", in.N)}, nil
			}),
			plane.Serve(h, "test.hang", 1, func(ctx context.Context, _ *plane.Call, _ note) (note, error) {
				done.Add(1)
				begun <- struct{}{}
				<-ctx.Done()
				return note{}, context.Cause(ctx)
			}),
			plane.ServeQuery(h, "test.query", 1, func(context.Context, *plane.Call, note) (note, error) {
				asked.Add(1)
				return note{}, nil
			}),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		planetest.Eventually(t, "core hears of web1", func() bool {
			members, _ := core.Members(ctx)
			return len(members) == 2 && members[1].Commands["test.hang"] == 1
		})
		return h
	}
	h := start()
	small := plane.CallSpec{ID: ulid.Make().String(), Command: "test.count", In: note{N: 5}}
	large := plane.CallSpec{ID: ulid.Make().String(), Command: "test.count", In: note{N: 100_000}}
	query := plane.CallSpec{ID: ulid.Make().String(), Command: "test.query"}
	for round := range 3 {
		if round == 2 {
			planetest.Close(t, h)
			h = start()
		}
		for _, spec := range []plane.CallSpec{small, large, query} {
			out, err := plane.CallOne[note](ctx, core, "web1", spec, nil)
			if want := 0; err != nil || spec.Command == "test.count" && len(out.Text) == want {
				t.Fatalf("round %d: %d bytes, %v", round, len(out.Text), err)
			}
		}
	}
	if done.Load() != 2 || asked.Load() != 3 {
		t.Fatalf("done %d times, want 2; asked %d times, want 3", done.Load(), asked.Load())
	}
	hang := plane.CallSpec{ID: ulid.Make().String(), Command: "test.hang", Timeout: 4 * time.Second}
	ended := make(chan error, 1)
	go func() {
		_, err := plane.CallOne[note](ctx, core, "web1", hang, nil)
		ended <- err
	}()
	wait(t, begun)
	planetest.Close(t, h)
	if err := wait(t, ended); err == nil {
		t.Fatal("a command that was cut off ended well")
	}
	start()
	if _, err := plane.CallOne[note](ctx, core, "web1", hang, nil); err == nil || done.Load() != 3 {
		t.Fatalf("a command that was cut off is done again: %v, %d", err, done.Load())
	}
}

func TestAHostThatGoesSilentIsTold(t *testing.T) {
	core := planetest.Core(t)
	h := planetest.Host(t, core, "web1", nil)
	begun := make(chan struct{})
	err := plane.Serve(h, "test.slow", 1, func(ctx context.Context, _ *plane.Call, in note) (note, error) {
		close(begun)
		select {
		case <-ctx.Done():
			return note{}, context.Cause(ctx)
		case <-time.After(time.Duration(in.N) * time.Millisecond):
			return note{Text: "done"}, nil
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	// Works for longer than Timeout, and shows signs of life meanwhile.
	out, err := plane.CallOne[note](t.Context(), core, "web1", plane.CallSpec{Command: "test.slow", In: note{N: 1500}, Timeout: 600 * time.Millisecond}, nil)
	if err != nil || out.Text != "done" {
		t.Fatal(out, err)
	}
	begun = make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		_, err := plane.CallOne[note](t.Context(), core, "web1", plane.CallSpec{Command: "test.slow", In: note{N: 60_000}, Timeout: 600 * time.Millisecond}, nil)
		ended <- err
	}()
	wait(t, begun)
	planetest.Close(t, h)
	err = wait(t, ended)
	if !fault.Is(err, fault.KindUnavailable) && !fault.Is(err, fault.KindTimeout) {
		t.Fatal(err)
	}
	start := time.Now()
	_, err = plane.CallOne[note](t.Context(), core, "web1", plane.CallSpec{Command: "test.slow"}, nil)
	wantKind(t, err, fault.KindUnavailable)
	if took := time.Since(start); took > 2*time.Second {
		t.Fatalf("an absent host was noticed only after %s", took)
	}
}

func TestACallerThatLeavesStopsTheCommand(t *testing.T) {
	core := planetest.Core(t)
	h := planetest.Host(t, core, "web1", nil)
	begun, stopped := make(chan struct{}), make(chan error, 1)
	err := plane.Serve(h, "test.hang", 1, func(ctx context.Context, _ *plane.Call, _ note) (note, error) {
		close(begun)
		<-ctx.Done()
		stopped <- context.Cause(ctx)
		return note{}, ctx.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-begun
		cancel()
	}()
	_, err = plane.CallOne[note](ctx, core, "web1", plane.CallSpec{Command: "test.hang"}, nil)
	wantKind(t, err, fault.KindCanceled)
	select {
	case <-stopped:
	case <-time.After(10 * time.Second):
		t.Fatal("the command goes on")
	}
}

// TestOldAndNewMix plays a rolling upgrade: a host of an older version is given
// orders of a newer core.
func TestOldAndNewMix(t *testing.T) {
	core := planetest.Core(t)
	old := planetest.Open(t, plane.Options{
		Host: "web1", Version: "0.9.1", Identity: planetest.Join(t, core, "web1", trust.RoleAgent).Identity,
		Mode: plane.Host, Cores: []string{core.ListenAddress()},
	})
	err := plane.Serve(old, "test.do", 1, func(_ context.Context, _ *plane.Call, in note) (note, error) { return in, nil })
	if err != nil {
		t.Fatal(err)
	}
	planetest.Eventually(t, "core hears of web1", func() bool {
		members, _ := core.Members(t.Context())
		return len(members) == 2 && members[1].Commands["test.do"] == 1
	})
	type newer struct {
		Text  string `json:"text"`
		Extra string `json:"extra"`
	}
	out, err := plane.CallOne[json.RawMessage](t.Context(), core, "web1", plane.CallSpec{Command: "test.do", In: newer{"hi", "new"}}, nil)
	if err != nil || string(out) != `{"text":"hi","n":0}` {
		t.Fatalf("an optional field that the host does not know: %s %v", out, err)
	}
	for _, spec := range []plane.CallSpec{
		{Command: "test.do", Version: 2, In: newer{"hi", "new"}},
		{Command: "test.unknown"},
	} {
		_, err = plane.CallOne[note](t.Context(), core, "web1", spec, nil)
		wantKind(t, err, fault.KindUnsupported)
		for _, part := range []string{"web1", "0.9.1", spec.Command, "upgrade"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q does not say %q", err, part)
			}
		}
	}
}

func TestAnOlderEpochIsRefused(t *testing.T) {
	core := planetest.Core(t)
	o := plane.Options{
		Host: "db1", Identity: planetest.Join(t, core, "db1", trust.RoleAgent).Identity,
		Dir: t.TempDir(), Mode: plane.Host, Cores: []string{core.ListenAddress()},
	}
	begun := make(chan plane.Epoch, 1)
	start := func() *plane.Plane {
		h := planetest.Open(t, o)
		err := plane.Serve(h, "test.write", 1, func(ctx context.Context, c *plane.Call, in note) (note, error) {
			begun <- c.Epoch
			if in.N > 0 {
				<-ctx.Done()
				return note{}, context.Cause(ctx)
			}
			return note{}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	h := start()
	first, err := core.Lease(t.Context(), "mysql/main", plane.LeaseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	stopped := make(chan error, 1)
	go func() { // still at work when the lease changes hands
		_, err := plane.CallOne[note](t.Context(), core, "db1", plane.CallSpec{Command: "test.write", In: note{N: 1}, Lease: first}, nil)
		stopped <- err
	}()
	if e := wait(t, begun); e != first.Epoch() {
		t.Fatalf("epoch %d came as %d", first.Epoch(), e)
	}
	if err := first.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	second, err := core.Lease(t.Context(), "mysql/main", plane.LeaseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := plane.CallOne[note](t.Context(), core, "db1", plane.CallSpec{Command: "test.write", Lease: second}, nil); err != nil {
		t.Fatal(err)
	}
	wait(t, begun)
	wantKind(t, wait(t, stopped), fault.KindConflict) // the former holder's work was stopped first
	for range 2 {
		_, err = plane.CallOne[note](t.Context(), core, "db1", plane.CallSpec{Command: "test.write", Lease: first}, nil)
		wantKind(t, err, fault.KindConflict)
		planetest.Close(t, h) // what was seen is on disk
		h = start()
		planetest.Eventually(t, "db1 answers again", func() bool {
			_, err = plane.CallOne[note](t.Context(), core, "db1", plane.CallSpec{Command: "test.unknown"}, nil)
			return fault.Is(err, fault.KindUnsupported)
		})
	}
}
