package fault_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"testing"

	"kaname.dev/kaname/fault"
)

func TestFacesAreOneTable(t *testing.T) {
	for kind, want := range map[fault.Kind]struct{ exit, status int }{
		fault.KindInvalid: {2, 400}, fault.KindNotFound: {7, 404}, fault.KindExists: {6, 409}, fault.KindDenied: {5, 403},
		fault.KindNeedsApproval: {5, 403}, fault.KindConflict: {6, 409}, fault.KindUnavailable: {4, 503}, fault.KindTimeout: {124, 504},
		fault.KindPartial: {3, 207}, fault.KindUnsupported: {1, 501}, fault.KindCorrupt: {1, 422}, fault.KindFull: {1, 507},
		fault.KindCanceled: {130, 499}, fault.KindInternal: {1, 500}, "of_tomorrow": {1, 500},
	} {
		f := &fault.Fault{Kind: kind, What: "x"}
		if got := fault.ExitCode(f); got != want.exit {
			t.Errorf("%s ends with exit code %d, want %d", kind, got, want.exit)
		}
		if got := fault.HTTPStatus(fmt.Errorf("wrapped: %w", f)); got != want.status {
			t.Errorf("%s is answered with %d, want %d", kind, got, want.status)
		}
	}
	if fault.ExitCode(nil) != 0 || fault.HTTPStatus(nil) != 200 || fault.Of(nil) != nil || fault.Is(nil, fault.KindInternal) {
		t.Error("nil is a fault")
	}
}

func TestText(t *testing.T) {
	f := fault.Denied("zone x: transfer refused").At("ns2").Because(errors.New("REFUSED")).Try("add the key")
	if got, want := f.Error(), "ns2: zone x: transfer refused: REFUSED; add the key"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	w := fault.Of(fmt.Errorf("deploy: %w", f))
	if w.Kind != fault.KindDenied || w.Remedy != "add the key" || w.What != "deploy: ns2: zone x: transfer refused: REFUSED" {
		t.Errorf("wrapped: %#v", w)
	}
	if w = fault.Of(fmt.Errorf("deploy: %w (twice)", f)); w.Remedy != "" || w.Error() != "deploy: "+f.Error()+" (twice)" {
		t.Errorf("wrapped with more behind: %#v", w)
	}
}

func TestJSONRoundTrip(t *testing.T) {
	f := fault.Partial("2 of 5 hosts").At("web").Because(errors.New("disk")).Try("again")
	b, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"kind":"partial","what":"2 of 5 hosts","where":"web","cause":"disk","remedy":"again"}`; string(b) != want {
		t.Errorf("got %s", b)
	}
	var g fault.Fault
	if err := json.Unmarshal([]byte(`{"kind":"of_tomorrow","what":"x","new":1}`), &g); err != nil || g.Kind != "of_tomorrow" {
		t.Errorf("a newer peer's fault: %#v, %v", g, err)
	}
	if err := json.Unmarshal(b, &g); err != nil || g.Error() != f.Error() {
		t.Errorf("got %#v, %v", g, err)
	}
}

func TestKindOfWellKnownErrors(t *testing.T) {
	_, missing := os.Open("/nonexistent")
	for kind, err := range map[fault.Kind]error{
		fault.KindCanceled: context.Canceled, fault.KindTimeout: context.DeadlineExceeded, fault.KindNotFound: missing,
		fault.KindDenied: os.ErrPermission, fault.KindInternal: errors.New("x"),
	} {
		if !fault.Is(fmt.Errorf("a: %w", err), kind) {
			t.Errorf("%v is %s, want %s", err, fault.Of(err).Kind, kind)
		}
	}
}
