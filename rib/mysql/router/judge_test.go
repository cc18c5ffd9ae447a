package router

import (
	"testing"
	"time"
)

func TestJudge(t *testing.T) {
	const drain = 2 * time.Second
	rest := standing{loggedIn: true, age: time.Minute, idle: time.Minute}
	with := func(f func(*standing)) standing { s := rest; f(&s); return s }
	for _, c := range []struct {
		name  string
		s     standing
		held  bool
		since time.Duration
		want  fate
	}{
		{"led there", with(func(s *standing) { s.leads = true }), false, 0, stay},
		{"led elsewhere, at rest", rest, false, 0, part},
		{"led elsewhere, movable", with(func(s *standing) { s.movable = true }), false, 0, leave},
		{"led elsewhere, in a command", with(func(s *standing) { s.command, s.movable = true, true }), false, 0, cut},
		{"led elsewhere, in a transaction", with(func(s *standing) { s.trans, s.movable = true, true }), false, 0, cut},
		{"led elsewhere, logging in", standing{}, false, 0, cut},
		{"led elsewhere, opaque", with(func(s *standing) { s.opaque = true }), false, 0, cut},
		{"held, at rest", rest, true, 0, part},
		{"held, just answered", with(func(s *standing) { s.idle, s.ended = 0, true }), true, 0, part},
		{"held, about to ask again", with(func(s *standing) { s.idle = time.Millisecond }), true, 0, stay},
		{"held, about to ask for too long", with(func(s *standing) { s.idle = time.Millisecond }), true, drain, part},
		{"held, young", with(func(s *standing) { s.age, s.ended = young/2, true }), true, 0, stay},
		{"held, movable", with(func(s *standing) { s.movable = true }), true, drain, stay},
		{"held, in a command", with(func(s *standing) { s.command = true }), true, time.Hour, stay},
		{"held, in a transaction", with(func(s *standing) { s.trans = true }), true, drain - 1, stay},
		{"held, in a transaction for too long", with(func(s *standing) { s.trans, s.movable = true, true }), true, drain, part},
		{"held, logging in", standing{}, true, 0, stay},
		{"held, logging in for too long", standing{}, true, drain, cut},
		{"held, opaque", with(func(s *standing) { s.opaque = true }), true, drain - 1, stay},
		{"held, opaque for too long", with(func(s *standing) { s.opaque = true }), true, drain, cut},
	} {
		got, why := judge(c.s, c.held, c.since, drain)
		if got != c.want || (got == part || got == cut) != (why != "") {
			t.Errorf("%s: fate %d because %q, not %d", c.name, got, why, c.want)
		}
	}
}
