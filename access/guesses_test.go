package access

import (
	"fmt"
	"testing"
	"time"

	"kaname.dev/kaname/fault"
)

func TestGuesses(t *testing.T) {
	now := time.Unix(0, 0)
	g := newGuesses(func() time.Time { return now })
	tries := func(name, from string, n int) (let int) {
		for range n {
			if err := g.take(name, from); err == nil {
				let++
			} else if !fault.Is(err, fault.KindDenied) {
				t.Error(err)
			}
		}
		return let
	}
	if n := tries("alice", "a", 30); n != 5 {
		t.Errorf("%d tries at once for a name from an address", n)
	}
	if n := tries("alice", "b", 1); n != 1 {
		t.Error("alice is locked out elsewhere")
	}
	now = now.Add(20 * time.Second)
	if n := tries("alice", "a", 30); n != 1 {
		t.Errorf("%d tries after 20 s", n)
	}
	let := 0
	for i := range 100 {
		let += tries(fmt.Sprintf("user%d", i), "c", 1)
	}
	if let != 20 {
		t.Errorf("%d names tried at once from an address", let)
	}
	g.forgive("alice", "a")
	now = now.Add(time.Minute)
	if n := tries("alice", "a", 5); n != 5 {
		t.Errorf("%d tries after signing in", n)
	}
	for i := range 30_000 {
		_ = g.take(fmt.Sprint("u", i), fmt.Sprint("f", i))
	}
	if len(g.limits) > 2*maxGuessers+3 {
		t.Errorf("%d limits are kept", len(g.limits))
	}
}

func TestPasswordHash(t *testing.T) {
	h := hashPassword("correct horse")
	if h == hashPassword("correct horse") {
		t.Error("no salt")
	}
	for p, want := range map[string]bool{"correct horse": true, "correct horsE": false} {
		if matchPassword(h, p) != want {
			t.Errorf("%q matches: %v", p, !want)
		}
	}
	for _, bad := range []string{"", "x", "$argon2id$v=19$m=65536,t=3,p=4$AAAA", "$argon2id$v=19$m=99999999,t=3,p=4$AAAA$AAAA", "$argon2id$v=19$m=64,t=0,p=4$AAAA$AAAA", "$argon2id$v=19$m=64,t=1,p=4$AAAA$"} {
		if matchPassword(bad, "") {
			t.Errorf("%q matches", bad)
		}
	}
}

func TestSessionIsOver(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		begun, seen time.Duration
		over        bool
	}{
		"fresh": {0, 0, false}, "used": {6 * 24 * time.Hour, time.Hour, false}, "idle": {9 * time.Hour, 9 * time.Hour, true}, "old": {8 * 24 * time.Hour, 0, true},
	} {
		if (session{Begun: now.Add(-c.begun), Seen: now.Add(-c.seen)}).over(now) != c.over {
			t.Errorf("%s session: over %v", name, !c.over)
		}
	}
}
