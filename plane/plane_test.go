package plane_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/plane/planetest"
)

func TestMain(m *testing.M) {
	if job := os.Getenv(childEnv); job != "" {
		child(job) // this is a process that a crash test has started, and will kill
		return
	}
	if job := os.Getenv(plane.LeaseChildEnv); job != "" {
		plane.LeaseChild(job) // likewise, of a test of leases
		return
	}
	goleak.VerifyTestMain(m)
}

type note struct {
	Text string `json:"text"`
	N    int    `json:"n"`
}

func wantKind(t *testing.T, err error, kind fault.Kind) {
	t.Helper()
	if !fault.Is(err, kind) {
		t.Fatalf("got %v, want a %s fault", err, kind)
	}
}

func TestDocumentsChangeOnlyAtTheirRevision(t *testing.T) {
	ctx := t.Context()
	notes := plane.Documents[note](planetest.Core(t), "notes")
	_, err := notes.Get(ctx, "a/b.c *>%")
	wantKind(t, err, fault.KindNotFound)
	d, err := notes.Create(ctx, "a/b.c *>%", note{Text: "one"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = notes.Create(ctx, "a/b.c *>%", note{})
	wantKind(t, err, fault.KindExists)
	old := d
	d.Value.Text = "two"
	if d, err = notes.Swap(ctx, d); err != nil {
		t.Fatal(err)
	}
	_, err = notes.Swap(ctx, old)
	wantKind(t, err, fault.KindConflict)
	wantKind(t, notes.Delete(ctx, old), fault.KindConflict)
	list, err := notes.List(ctx, "a/b.")
	if err != nil || len(list) != 1 || list[0].Key != "a/b.c *>%" || list[0].Value.Text != "two" || list[0].Revision != d.Revision {
		t.Fatalf("list: %+v %v", list, err)
	}
	if err := notes.Delete(ctx, d); err != nil {
		t.Fatal(err)
	}
	_, err = notes.Get(ctx, d.Key)
	wantKind(t, err, fault.KindNotFound)
	if list, err = notes.List(ctx, ""); err != nil || len(list) != 0 {
		t.Fatalf("list after delete: %+v %v", list, err)
	}
	if _, err = notes.Create(ctx, d.Key, note{Text: "three"}); err != nil {
		t.Fatal("create after delete:", err)
	}
	if _, err := notes.Update(ctx, "n", func(n *note) error { n.N++; return nil }); err != nil {
		t.Fatal("update of a missing document:", err)
	}
}

func TestUpdatesOfManyAreAllCounted(t *testing.T) {
	notes := plane.Documents[note](planetest.Core(t), "notes")
	const writers, each = 8, 10
	errs := make(chan error, writers)
	for range writers {
		go func() {
			for range each {
				if _, err := notes.Update(t.Context(), "n", func(n *note) error { n.N++; return nil }); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range writers {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	if d, err := notes.Get(t.Context(), "n"); err != nil || d.Value.N != writers*each {
		t.Fatalf("got %+v %v, want %d", d, err, writers*each)
	}
}

func TestWatchGivesWhatIsAndWhatComes(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	notes := plane.Documents[note](planetest.Core(t), "notes")
	for i := range 3 {
		if _, err := notes.Create(ctx, fmt.Sprintf("x%d", i), note{N: i}); err != nil {
			t.Fatal(err)
		}
	}
	var seen []string
	for c, err := range notes.Watch(ctx, "x") {
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case c.Ready:
			seen = append(seen, "ready")
			d, err := notes.Get(ctx, "x1")
			if err != nil {
				t.Fatal(err)
			}
			if err := notes.Delete(ctx, d); err != nil {
				t.Fatal(err)
			}
			if _, err := notes.Create(ctx, "x9", note{}); err != nil {
				t.Fatal(err)
			}
		case c.Deleted:
			seen = append(seen, "-"+c.Key)
		default:
			seen = append(seen, c.Key)
		}
		if len(seen) == 6 {
			break
		}
	}
	if got := fmt.Sprint(seen); got != "[x0 x1 x2 ready -x1 x9]" {
		t.Fatal(got)
	}
}

func TestEventsCarryTheirHost(t *testing.T) {
	core := planetest.Core(t)
	web := planetest.Host(t, core, "web1.example.org", nil)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for _, p := range []*plane.Plane{core, web} {
		if err := p.Emit(ctx, "release.deploy", note{Text: p.Host()}); err != nil {
			t.Fatal(err)
		}
	}
	if err := core.Emit(ctx, "other", note{}); err != nil {
		t.Fatal(err)
	}
	wantKind(t, web.Emit(ctx, "audit", note{}), fault.KindDenied)
	if err := core.Emit(ctx, "audit", note{Text: "who"}); err != nil {
		t.Fatal(err)
	}
	n := 0
	for e, err := range core.Follow(ctx, "release", 1) {
		if err != nil {
			t.Fatal(err)
		}
		var v note
		if err := json.Unmarshal(e.Data, &v); err != nil || v.Text != e.Host || e.Topic != "release.deploy" {
			t.Fatalf("%+v %s", e, e.Data)
		}
		if n++; n == 2 {
			break
		}
	}
	for e, err := range core.Follow(ctx, "audit", 1) {
		if err != nil || e.Host != "core" {
			t.Fatalf("%+v %v", e, err)
		}
		if e.Topic == "audit" { // the plane's own records, audit.joined and the like, come before
			break
		}
	}
	for range web.Follow(ctx, "", 1) {
		break
	}
}

func TestCallReachesHostsAndReportsEachOnce(t *testing.T) {
	core := planetest.Core(t)
	for i := range 3 {
		h := planetest.Host(t, core, fmt.Sprintf("web%d", i), nil)
		err := plane.Serve(h, "test.echo", 1, func(_ context.Context, c *plane.Call, in note) (note, error) {
			if in.N == i {
				return note{}, fault.Full("no room")
			}
			c.Progress(note{Text: "half"})
			return note{Text: in.Text + " " + h.Host() + " " + c.Actor.Name}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	last, progress := map[string]plane.Frame{}, 0
	spec := plane.CallSpec{
		Command: "test.echo", Hosts: []string{"web0", "web1", "web2", "web9"}, In: note{Text: "hi", N: 2},
		Actor: action.Actor{Name: "alice"}, Timeout: 5 * time.Second,
	}
	for f := range core.Call(t.Context(), spec) {
		if !f.Last() {
			progress++
			continue
		}
		if _, twice := last[f.Host]; twice {
			t.Fatalf("%s ended twice", f.Host)
		}
		last[f.Host] = f
	}
	if progress != 2 || len(last) != 4 {
		t.Fatalf("%d progress, %d ended", progress, len(last))
	}
	if got := string(last["web1"].Result); got != `{"text":"hi web1 alice","n":0}` {
		t.Fatal(got)
	}
	wantKind(t, last["web2"].Fault, fault.KindFull)
	wantKind(t, last["web9"].Fault, fault.KindUnavailable)
}
