package load

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// began is the beginning of the planted histories; at gives instants after it.
var began = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func at(ms int) time.Time { return began.Add(time.Duration(ms) * time.Millisecond) }

// ack is a write of id by a server, under way from one millisecond to another.
func ack(id int64, server, from, to int) Ack {
	return Ack{ID: id, Server: server, First: at(from), Started: at(from), Ended: at(to), Attempts: 1}
}

func kept(ids ...int64) map[int64]bool {
	m := map[int64]bool{}
	for _, id := range ids {
		m[id] = true
	}
	return m
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name string
		e    Evidence
		want Result
	}{
		{
			"a clean failover",
			Evidence{
				History: History{Began: began, Ended: at(2000), Acks: []Ack{ack(1, 1, 10, 20), ack(2, 1, 90, 110), ack(3, 2, 900, 1000), ack(4, 2, 1010, 1900)}},
				Fault:   at(100), Kept: kept(1, 2, 3, 4),
			},
			Result{Acks: 4, Resumed: true, New: 2, Downtime: 900 * time.Millisecond, Pause: 900 * time.Millisecond, PausedAt: at(1000)},
		},
		{
			"acknowledged writes are lost",
			Evidence{
				History: History{Began: began, Ended: at(700), Acks: []Ack{ack(1, 1, 10, 20), ack(2, 1, 90, 95), ack(3, 2, 600, 610)}},
				Fault:   at(100), Kept: kept(1, 3),
			},
			Result{Acks: 3, Resumed: true, New: 2, Downtime: 510 * time.Millisecond, Lost: []int64{2}, Pause: 515 * time.Millisecond, PausedAt: at(95)},
		},
		{
			"the old primary goes on acknowledging",
			Evidence{
				History: History{Began: began, Ended: at(700), Acks: []Ack{ack(5, 1, 640, 650), ack(4, 1, 620, 630), ack(1, 1, 10, 20), ack(3, 2, 600, 610)}},
				Fault:   at(100), Kept: kept(1, 3, 4),
			},
			Result{
				Acks: 4, Resumed: true, New: 2, Downtime: 510 * time.Millisecond, Lost: []int64{5},
				Doubles: []int64{5}, Late: []int64{4}, Pause: 590 * time.Millisecond, PausedAt: at(20),
			},
		},
		{
			"a write that began before the fault ends no downtime, and nor does the old server",
			Evidence{
				History: History{Began: began, Ended: at(5000), Acks: []Ack{ack(1, 1, 10, 120), ack(2, 1, 110, 130), ack(3, 2, 90, 140)}},
				Fault:   at(100), Kept: kept(1, 2, 3),
			},
			Result{Acks: 3, New: 2, Pause: 4860 * time.Millisecond, PausedAt: at(140)},
		},
		{
			"duplicates, and errors by class",
			Evidence{
				History: History{
					Began: began, Ended: at(100), Acks: []Ack{ack(1, 1, 10, 20)}, Found: []Ack{ack(2, 2, 30, 40), ack(3, 2, 30, 40)},
					Failures: []Failure{{Class: "cut", Unknown: true}, {Class: "cut"}, {Class: "error 1146", Text: "no table", Bad: true}},
				},
				Kept: kept(1, 2),
			},
			Result{
				Acks: 1, Duplicates: []int64{2, 3}, Gone: []int64{3}, Pause: 80 * time.Millisecond, PausedAt: at(20),
				Errors: map[string]int{"cut": 2, "error 1146": 1}, Bad: []string{"no table"},
			},
		},
		{
			"nothing at all",
			Evidence{History: History{Began: began, Ended: at(300)}, Fault: at(100)},
			Result{Pause: 300 * time.Millisecond, PausedAt: began},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, Check(c.e), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestWindow(t *testing.T) {
	h := History{Acks: []Ack{ack(1, 1, 0, 10), ack(2, 1, 10, 20), ack(3, 1, 20, 30)}, Found: []Ack{ack(4, 1, 0, 30)}, Failures: []Failure{{At: at(20)}, {At: at(5)}}}
	w := h.Window(at(20), at(30))
	if len(w.Acks) != 1 || w.Acks[0].ID != 2 || len(w.Found) != 0 || len(w.Failures) != 1 {
		t.Errorf("from 20 to 30 ms: %+v", w)
	}
}

func TestTally(t *testing.T) {
	s := func(ms int, open ...bool) sample { return sample{at: at(ms), open: open} }
	for _, c := range []struct {
		name    string
		samples []sample
		want    Sight
	}{
		{"none", nil, Sight{}},
		{
			"a clean move",
			[]sample{s(0, true, false), s(20, true, false), s(40, false, false), s(60, false, false), s(80, false, true), s(100, false, true)},
			Sight{None: 40 * time.Millisecond, Open: []string{"b"}, Story: []string{"0s a", "40ms nobody", "80ms b"}},
		},
		{
			"two stretches of two, and two at the end",
			[]sample{s(0, true, true), s(20, true, false), s(40, true, true), s(60, true, true), s(90, false, true), s(100, true, true), s(120, true, true)},
			Sight{
				Dual: 90 * time.Millisecond, Longest: 50 * time.Millisecond, Open: []string{"a", "b"},
				Story: []string{"0s a+b", "20ms a", "40ms a+b", "90ms b", "100ms a+b"},
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, tally([]string{"a", "b"}, c.samples), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}
