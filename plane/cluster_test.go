package plane_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/plane/planetest"
	"kaname.dev/kaname/plane/trust"
)

func TestThreeCoresAreOnePlane(t *testing.T) {
	start := time.Now()
	cores := planetest.Cluster(t, 3)
	t.Logf("three cores are ready after %s", time.Since(start).Round(time.Millisecond))
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	for i, p := range cores {
		docs := plane.Documents[note](p, "notes")
		if _, err := docs.Create(ctx, fmt.Sprintf("from%d", i), note{N: i}); err != nil {
			t.Fatal(err)
		}
		if _, err := docs.Update(ctx, "shared", func(n *note) error { n.N++; return nil }); err != nil {
			t.Fatal(err)
		}
		if list, err := docs.List(ctx, ""); err != nil || len(list) != i+2 {
			t.Fatalf("%s does not see what it wrote: %v %v", p.Host(), list, err)
		}
	}
	d, err := plane.Documents[note](cores[0], "notes").Get(ctx, "shared")
	if err != nil || d.Value.N != 3 {
		t.Fatal(d, err)
	}
	o := plane.Options{Host: "web1", Mode: plane.Host, Identity: planetest.Join(t, cores[0], "web1", trust.RoleAgent).Identity}
	for _, p := range cores {
		o.Cores = append(o.Cores, p.ListenAddress())
	}
	h := planetest.Open(t, o)
	if err := plane.Serve(h, "test.echo", 1, func(_ context.Context, _ *plane.Call, in note) (note, error) { return in, nil }); err != nil {
		t.Fatal(err)
	}
	planetest.Eventually(t, "another core commands the host", func() bool {
		out, err := plane.CallOne[note](ctx, cores[2], "web1", plane.CallSpec{Command: "test.echo", In: note{N: 7}}, nil)
		return err == nil && out.N == 7
	})
	if err := h.Emit(ctx, "test.event", note{N: 1}); err != nil {
		t.Fatal(err)
	}
	for e, err := range cores[1].Follow(ctx, "test", 1) {
		if err != nil || e.Host != "web1" {
			t.Fatal(e, err)
		}
		break
	}
	// Two of three go on, and the host finds one of them.
	planetest.Close(t, cores[0])
	start = time.Now()
	if _, err := plane.Documents[note](cores[1], "notes").Update(ctx, "shared", func(n *note) error { n.N++; return nil }); err != nil {
		t.Fatal(err)
	}
	t.Logf("first write after one core has gone: %s", time.Since(start).Round(time.Millisecond))
	start = time.Now()
	planetest.Eventually(t, "the host is commanded again", func() bool {
		_, err := plane.CallOne[note](ctx, cores[1], "web1", plane.CallSpec{Command: "test.echo"}, nil)
		return err == nil
	})
	t.Logf("first call after that: %s", time.Since(start).Round(time.Millisecond))
}
