package judge

import (
	"fmt"
	"time"

	"kaname.dev/kaname/rib/mysql/topology"
)

// ruling is what is the matter with the primary.
type ruling struct {
	state     State
	justified bool // to fail over
	quiet     bool // it stands on silence
	reasons   []string
}

// settled is how long after the beginning of a reign agents that were never heard count as
// down. It is long, for nothing but words depends on it.
const settled = 10 * time.Second

// primary says what is the matter with the primary.
func (j *inquiry) primary() ruling {
	if j.member == nil {
		return ruling{state: Unknown, reasons: []string{"which member is the primary is not decided"}}
	}
	heard, r := j.heard(j.known), j.known.Report
	switch {
	case !heard:
		return j.mute()
	case r == nil:
		return ruling{state: Unknown, reasons: []string{fmt.Sprintf(
			"%s: its agent has not reported yet, the controller began %s ago", j.member.Name, words(j.view.Now))}}
	case r.Self.Process == topology.Gone && !r.Self.Answers:
		return j.gone()
	case !r.Self.Answers && !r.Self.Refuses:
		return j.unanswered()
	}
	return j.alive()
}

// gone: the primary's agent saw its process end.
func (j *inquiry) gone() ruling {
	ago := j.known.Report.Self.GoneFor + j.known.Age
	saw := fmt.Sprintf("%s: its agent saw the server's process end, %s ago", j.member.Name, words(ago))
	for _, w := range j.witnesses {
		if w.after(ago) {
			return ruling{state: Unknown, reasons: []string{
				saw,
				j.testimony(w) + ": later than that, so the agent looks at another process than the one that serves",
			}}
		}
	}
	return ruling{state: Dead, justified: true, reasons: append([]string{saw}, j.testimonies()...)}
}

// after reports whether w saw or heard the primary clearly later than ago. Two beats are
// allowed for what was on its way and for the time between two looks.
func (w *witness) after(ago time.Duration) bool {
	if w.known.Report == nil {
		return false
	}
	ago -= 2 * topology.Beat
	s := find(w.known.Report.Sights, w.of)
	return w.tells && w.news < ago || s != nil && s.Answers && w.known.Age < ago
}

// unanswered: the primary's agent speaks, but its server does not answer it.
func (j *inquiry) unanswered() ruling {
	self := j.known.Report.Self
	local := fmt.Sprintf("%s: its agent sees the process (%s), but the local socket has been silent for %s%s",
		j.member.Name, self.Process, words(self.Silent+j.known.Age), because(self.Trouble))
	r := ruling{state: Unknown, reasons: append([]string{local}, j.testimonies()...)}
	long, fresh, sees := j.past(self.Silent+j.known.Age, j.policy.Silence), j.fresh(j.known), j.sees()
	switch {
	case !long, j.noticed(), sees:
		r.state = Fine
	case fresh && j.deserted():
		r.state, r.justified, r.quiet = Hung, true, true
	default:
		r.reasons = append(r.reasons, j.lacking())
	}
	return r
}

// mute: the primary's agent is silent to the controller.
func (j *inquiry) mute() ruling {
	r := ruling{state: Unknown, reasons: append([]string{j.lastWord()}, j.testimonies()...)}
	sees, deserted := j.sees(), j.deserted()
	switch {
	case sees:
		r.state = Fine
		r.reasons = append(r.reasons, "the server itself answers the controller: only its agent is silent")
	case j.noticed() && (j.known.Sight != nil || j.count(func(w witness) bool { return w.agent }) > 0):
		r.state = Unreachable
	case j.noticed():
		r.state = Fine
		r.reasons = append(r.reasons, "the server lives: only its agent is silent")
	case deserted:
		r.state, r.justified, r.quiet = CutOff, true, true
	case j.count(func(w witness) bool { return w.voice }) > 0:
		r.reasons = append(r.reasons, j.lacking())
		if j.patient() {
			r.state, r.justified, r.quiet = CutOff, true, true
			r.reasons = append(r.reasons, fmt.Sprintf("the policy promotes after %s all the same", words(j.policy.PromoteAfter)))
		}
	case j.anything() || j.past(j.view.Now, settled):
		r.state = AllDown
		r.reasons = append(r.reasons, "no agent of this topology speaks: all are down, or the controller itself is cut off")
	}
	return r
}

// patient reports whether the policy lets so few witnesses suffice because the silence
// has lasted: primary and replicas may have been lost together.
func (j *inquiry) patient() bool {
	return j.policy.Unprovable == topology.PromoteAfter && j.policy.PromoteAfter > 0 && j.past(j.silence(j.known), j.policy.PromoteAfter) &&
		j.count(func(w witness) bool { return w.silent }) > 0
}

// anything reports whether any member has spoken in this reign.
func (j *inquiry) anything() bool {
	for _, m := range j.record.Members {
		if j.view.Members[m.Name].Report != nil {
			return true
		}
	}
	return false
}

// sees reports whether the controller's own probe of the primary was answered within
// Policy.Silence.
func (j *inquiry) sees() bool {
	s := j.known.Sight
	return s != nil && (s.Answers || !j.past(s.For, j.policy.Silence))
}

// lastWord says since when the primary's agent has been silent, and what it said last.
func (j *inquiry) lastWord() string {
	name, limit := j.member.Name, words(j.policy.Silence)
	r := j.known.Report
	switch {
	case r == nil:
		return fmt.Sprintf("%s: its agent has not reported since the controller began, %s ago", name, words(j.view.Now))
	case r.Self.Process == topology.Gone:
		return fmt.Sprintf("%s: its agent has been silent for %s (allowed: %s); its last word was that the server's process had ended",
			name, words(j.silence(j.known)), limit)
	}
	return fmt.Sprintf("%s: its agent has been silent for %s (allowed: %s)", name, words(j.silence(j.known)), limit)
}

// lacking says how many witnesses agree, and how many are needed.
func (j *inquiry) lacking() string {
	n := j.count(func(w witness) bool { return w.silent })
	return fmt.Sprintf("%d of %d replicas' agents say that %s is silent, %d are needed", n, len(j.witnesses), j.member.Name, j.needed())
}

func because(trouble string) string {
	if trouble == "" {
		return ""
	}
	return ": " + trouble
}
