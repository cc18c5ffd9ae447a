package judge

import (
	"fmt"
	"time"

	"kaname.dev/kaname/rib/mysql/topology"
)

// newCase prepares a judgement of v. Everything that depends on time asks past.
func newCase(v *View) *inquiry {
	j := &inquiry{view: v, record: v.Record, policy: v.Record.Policy}
	if p := v.Record.Member(v.Record.Primary); p != nil {
		j.member, j.known = p, v.Members[p.Name]
		for _, m := range v.Record.Replicas(p.Name) {
			j.witnesses = append(j.witnesses, j.witness(m))
		}
	}
	return j
}

// inquiry is one call of Judge.
type inquiry struct {
	view      *View
	record    *topology.Record
	policy    topology.Policy
	member    *topology.Member // the primary; nil when none is decided
	known     Known            // of the primary
	witnesses []witness        // the replicas, in the record's order
	next      time.Duration    // until the nearest limit that was asked for; 0: none
}

// past reports whether an age has reached a limit. It remembers the nearest limit that
// lies ahead: until then, time alone changes nothing.
func (j *inquiry) past(age, limit time.Duration) bool {
	if age >= limit {
		return true
	}
	if left := limit - age; j.next == 0 || left < j.next {
		j.next = left
	}
	return false
}

// silence is how long nothing has come from a member's agent, as far as the controller can
// claim to have listened.
func (j *inquiry) silence(k Known) time.Duration {
	if k.Report == nil {
		return j.view.Now - first - j.view.Late
	}
	return k.Age - j.view.Late
}

// fresh reports whether what a member's report says still counts as how it is.
func (j *inquiry) fresh(k Known) bool {
	return k.Report != nil && !j.past(k.Age, min(Fresh, j.policy.Silence))
}

// heard reports whether a member's agent has spoken within Policy.Silence.
func (j *inquiry) heard(k Known) bool { return !j.past(j.silence(k), j.policy.Silence) }

// witness is what one replica and its agent say of the primary.
type witness struct {
	topology.Member
	of     string // the primary
	known  Known
	voice  bool          // its agent has spoken within Policy.Silence
	fresh  bool          // and what it says is how it is
	hears  bool          // the replica received an event or heartbeat of the primary within Policy.Silence
	tells  bool          // the replica can say when that was:
	news   time.Duration // so long ago
	sees   bool          // its agent's probe of the primary was answered within Policy.Silence
	agent  bool          // it sees the primary's agent
	silent bool          // it can tell, and for Policy.Silence it has neither seen nor heard
}

func (j *inquiry) witness(m topology.Member) witness {
	k := j.view.Members[m.Name]
	w := witness{Member: m, of: j.member.Name, known: k}
	w.voice = k.Report != nil && j.heard(k)
	w.fresh = j.fresh(k)
	if k.Report == nil {
		return w
	}
	age := k.Age - j.view.Late
	if r := k.Report.Self.Replica; r != nil && r.NoNews >= 0 && r.Source == j.member.Address {
		w.tells, w.news = true, r.NoNews+age
		w.hears = !j.past(w.news, j.policy.Silence)
	}
	sight := find(k.Report.Sights, w.of)
	if sight != nil {
		since := age
		if !sight.Answers {
			since += sight.For
		}
		w.sees = !j.past(since, j.policy.Silence)
		w.agent = sight.Agent && w.voice
	}
	w.silent = sight != nil && w.fresh && !w.hears && !w.sees
	return w
}

// testimony is what a witness says, in words.
func (j *inquiry) testimony(w witness) string {
	t := w.Name + ": "
	if w.known.Report == nil {
		return t + "its agent has not reported yet"
	}
	s := find(w.known.Report.Sights, w.of)
	switch {
	case !w.voice:
		return t + "its agent has been silent for " + words(j.silence(w.known))
	case s == nil:
		t += "its agent does not look at " + j.member.Name
	case s.Answers:
		t += j.member.Name + " answers it"
	case s.Refused:
		t += fmt.Sprintf("nobody listens at %s's port, for %s", j.member.Name, words(s.For+w.known.Age))
	default:
		t += fmt.Sprintf("%s has not answered it for %s", j.member.Name, words(s.For+w.known.Age))
	}
	if w.tells {
		t += fmt.Sprintf("; last event or heartbeat %s ago", words(w.news))
	}
	if !w.fresh {
		t += fmt.Sprintf(" (as of %s ago)", words(w.known.Age))
	}
	return t
}

func find(sights []topology.Sight, of string) *topology.Sight {
	for i := range sights {
		if sights[i].Of == of {
			return &sights[i]
		}
	}
	return nil
}

// needed is how many witnesses of silence are enough.
func (j *inquiry) needed() int {
	n := len(j.witnesses)
	if j.policy.Durability == topology.Async {
		return max((n+1)/2, 1) // with the controller more than half of n+1 voters
	}
	return n/2 + 1
}

func (j *inquiry) count(is func(witness) bool) int {
	n := 0
	for _, w := range j.witnesses {
		if is(w) {
			n++
		}
	}
	return n
}

// noticed reports whether a replica or its agent saw or heard the primary within
// Policy.Silence.
func (j *inquiry) noticed() bool {
	return j.count(func(w witness) bool { return w.hears || w.sees }) > 0
}

// deserted reports whether enough witnesses say that the primary is silent, and none that
// it is not.
func (j *inquiry) deserted() bool {
	return !j.noticed() && j.count(func(w witness) bool { return w.silent }) >= j.needed()
}

// testimonies are what all witnesses say, those that speak before those that do not.
func (j *inquiry) testimonies() []string {
	var speak, mute []string
	for _, w := range j.witnesses {
		if w.voice {
			speak = append(speak, j.testimony(w))
		} else {
			mute = append(mute, j.testimony(w))
		}
	}
	return append(speak, mute...)
}

// words says a duration as people do: "0.3 s", "12 s", "4 min", "3 h".
func words(d time.Duration) string {
	switch {
	case d < 0:
		return "0 s"
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0f min", d.Minutes())
	}
	return fmt.Sprintf("%.0f h", d.Hours())
}
