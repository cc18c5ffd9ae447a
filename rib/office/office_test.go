package office_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/lab"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/rib"
	"kaname.dev/kaname/rib/office"
	"kaname.dev/kaname/rib/ribtest"
)

type note struct{ Text string }

// hold runs an office on a core whose holder answers with who asked and what.
func hold(t *testing.T, n rib.Node) (stop func()) {
	t.Helper()
	o := &office.Office{Plane: n.Plane, Name: "tests", Duty: "answers tests", TTL: time.Second, Log: n.Log}
	if err := o.Announce(); err != nil {
		t.Fatal(err)
	}
	office.Handle(n.Peers, "/tests/echo", func(_ context.Context, host string, in note) (note, error) {
		if in.Text == "" {
			return note{}, fault.Invalid("no text").Try("say something")
		}
		return note{Text: host + ": " + in.Text}, nil
	})
	office.Hear(n.Peers, "/tests/talk", func(_ context.Context, host string, in note) (note, error) {
		switch in.Text {
		case "":
			return note{}, fault.Invalid("no text")
		case "leave":
			return note{}, fault.Unavailable("nobody holds the office")
		case "hang":
			<-t.Context().Done()
		}
		return note{Text: host + ": " + in.Text}, nil
	})
	n.Peers.HandleFunc("POST /tests/dies", func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			_ = conn.Close()
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- o.Run(ctx, func(ctx context.Context, lease *plane.Lease, _ context.CancelCauseFunc) error {
			if err := o.Sit(ctx, lease); err != nil {
				return err
			}
			<-ctx.Done()
			return nil
		})
	}()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestTheHolderIsFoundAndAnswers(t *testing.T) {
	core := ribtest.Core(t, "core1")
	host := ribtest.Host(t, core, "db1", nil)
	c := &office.Client{Plane: host.Plane, Peer: host.PeerClient, Office: "tests", Within: 5 * time.Second}
	defer hold(t, core)()
	var got note
	for deadline := time.Now().Add(10 * time.Second); ; {
		var err error
		if got, err = office.Do[note](t.Context(), c, "/tests/echo", note{Text: "hello"}); err == nil {
			break
		} else if time.Now().After(deadline) || !fault.Is(err, fault.KindUnavailable) {
			t.Fatal(err)
		}
	}
	if got.Text != "db1: hello" {
		t.Errorf("the holder heard %q", got.Text)
	}
	large := strings.Repeat("0123456789", 100_000) // travels packed
	got, err := office.Do[note](t.Context(), c, "/tests/echo", note{Text: large})
	if err != nil || got.Text != "db1: "+large {
		t.Errorf("a large message came back with %d bytes and %v", len(got.Text), err)
	}
	if _, err := office.Do[note](t.Context(), c, "/tests/echo", note{}); !fault.Is(err, fault.KindInvalid) || fault.Of(err).Remedy == "" {
		t.Errorf("a refusal arrived as %v", err)
	}
}

// A talk goes on after what was refused, and begins anew after what ended it.
func TestATalk(t *testing.T) {
	core := ribtest.Core(t, "core1")
	host := ribtest.Host(t, core, "db1", nil)
	c := &office.Client{Plane: host.Plane, Peer: host.PeerClient, Office: "tests", Within: 20 * time.Second} // a busy machine takes its time
	defer hold(t, core)()
	talk := office.NewTalk[note, note](c, "/tests/talk")
	defer talk.Close()
	lab.Eventually(t, "the holder answers", func() bool {
		got, err := talk.Say(t.Context(), note{Text: "hello"})
		return err == nil && got.Text == "db1: hello"
	})
	for _, step := range []struct {
		say, want string
		kind      fault.Kind
	}{
		{"1", "db1: 1", ""},
		{"2", "db1: 2", ""},
		{"", "", fault.KindInvalid},
		{"3", "db1: 3", ""},
		{"leave", "", fault.KindUnavailable},
		{"4", "db1: 4", ""},
		{"hang", "", fault.KindUnavailable},
		{"5", "db1: 5", ""},
		{strings.Repeat("0123456789", 50_000), "db1: " + strings.Repeat("0123456789", 50_000), ""},
	} {
		got, err := talk.Say(within(t, step.say == "hang"), note{Text: step.say})
		if got.Text != step.want || (err != nil) != (step.want == "") || err != nil && !fault.Is(err, step.kind) {
			t.Errorf("%.20q is answered by %.20q, %v", step.say, got.Text, err)
		}
	}
	dying := office.NewTalk[note, note](c, "/tests/dies") // as a core that is killed when it is asked
	defer dying.Close()
	for range 2 {
		if _, err := dying.Say(within(t, true), note{Text: "hello"}); !fault.Is(err, fault.KindUnavailable) && !fault.Is(err, fault.KindTimeout) {
			t.Errorf("a holder that dies is told as %v", err)
		}
	}
	var both sync.WaitGroup // in turns
	for _, text := range []string{"left", "right"} {
		both.Go(func() {
			for range 200 {
				if got, err := talk.Say(t.Context(), note{Text: text}); err != nil || got.Text != "db1: "+text {
					t.Errorf("%s is answered by %q, %v", text, got.Text, err)
				}
			}
		})
	}
	both.Wait()
}

// within returns a context; a short one ends before anybody loses patience.
func within(t *testing.T, short bool) context.Context {
	t.Helper()
	if !short {
		return t.Context()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

func TestNoHolderIsSaid(t *testing.T) {
	core := ribtest.Core(t, "core1")
	o := &office.Office{Plane: core.Plane, Name: "tests", Duty: "answers tests", TTL: time.Second, Log: core.Log}
	if err := o.Announce(); err != nil {
		t.Fatal(err)
	}
	c := &office.Client{Plane: core.Plane, Peer: core.PeerClient, Office: "tests"}
	_, err := office.Do[note](t.Context(), c, "/tests/echo", note{Text: "x"})
	if !fault.Is(err, fault.KindUnavailable) || !strings.Contains(err.Error(), "no core answers tests yet") {
		t.Errorf("without a holder: %v", err)
	}
}

func TestBytesThatBreakOffAreNotTakenForAll(t *testing.T) {
	core := ribtest.Core(t, "core1")
	office.Stream(core.Peers, "/tests/bytes", func(_ context.Context, host string, in note, w io.Writer) error {
		switch in.Text {
		case "none":
			return fault.NotFound("nothing for " + host)
		case "half":
			_, err := io.WriteString(w, "half of it")
			return errors.Join(err, errors.New("the disk broke"))
		}
		_, err := io.WriteString(w, "all of it")
		return err
	})
	var at office.Seat
	lab.Eventually(t, "the core knows itself", func() bool {
		members, err := core.Plane.Members(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(members) == 1 {
			at = office.Seat{Host: "core1", Address: members[0].Address}
		}
		return at.Address != ""
	})
	fetch := func(text string) (string, error) {
		r, err := office.Fetch(t.Context(), core.PeerClient, at, "/tests/bytes", note{Text: text})
		if err != nil {
			return "", err
		}
		defer r.Close()
		all, err := io.ReadAll(r)
		return string(all), err
	}
	if got, err := fetch("all"); err != nil || got != "all of it" {
		t.Errorf("all: %q, %v", got, err)
	}
	if got, err := fetch("half"); err == nil {
		t.Errorf("half was taken for all: %q", got)
	}
	if _, err := fetch("none"); !fault.Is(err, fault.KindNotFound) {
		t.Errorf("none: %v", err)
	}
}
