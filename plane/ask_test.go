package plane_test

import (
	"context"
	"testing"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/plane/planetest"
)

func TestAskNamesTheAskerAndCarriesFaults(t *testing.T) {
	core := planetest.Core(t)
	web := planetest.Host(t, core, "web1.example", nil)
	err := plane.Answer(core, "test.echo", func(_ context.Context, host string, in string) (string, error) {
		switch in {
		case "bad":
			return "", fault.NotFound("thing").Try("look elsewhere")
		case "panic":
			panic("oops")
		}
		return host + " says " + in, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for p, want := range map[*plane.Plane]string{web: "web1.example says hi", core: "core says hi"} {
		if got, err := plane.Ask[string](t.Context(), p, "test.echo", "hi"); err != nil || got != want {
			t.Errorf("got %q, %v", got, err)
		}
	}
	if _, err := plane.Ask[string](t.Context(), web, "test.echo", "bad"); !fault.Is(err, fault.KindNotFound) || fault.Of(err).Remedy != "look elsewhere" {
		t.Errorf("fault: %v", err)
	}
	if _, err := plane.Ask[string](t.Context(), web, "test.echo", "panic"); !fault.Is(err, fault.KindInternal) {
		t.Errorf("panic: %v", err)
	}
	if _, err := plane.Ask[string](t.Context(), web, "test.echo", 7); !fault.Is(err, fault.KindInvalid) {
		t.Errorf("wrong type: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300_000_000)
	defer cancel()
	if _, err := plane.Ask[string](ctx, web, "test.unknown", "hi"); !fault.Is(err, fault.KindUnavailable) {
		t.Errorf("no answerer: %v", err)
	}
	if err := plane.Answer(web, "test.echo2", func(context.Context, string, string) (string, error) { return "", nil }); !fault.Is(err, fault.KindDenied) {
		t.Errorf("a plain host answers: %v", err)
	}
}
