package judge

import (
	"fmt"
	"strings"
	"time"

	"kaname.dev/kaname/rib/mysql/topology"
)

// The global breaker: so many topologies in trouble at once, and at least such a share of
// all, are taken for a fault of the network or of the controller.
const (
	breakerLeast = 5
	breakerShare = 5 // one in so many
)

// blocked says what stands against a failover that is justified; "" when nothing does.
func (j *inquiry) blocked(s State) string {
	r := j.record
	wall := j.view.Began.Add(j.view.Now)
	switch p := r.Paused; {
	case r.Move != nil:
		return fmt.Sprintf("a %s from %s is in progress, at step %s", r.Move.Kind, r.Move.From, r.Move.Step)
	case p != nil && (p.Until.IsZero() || !j.past(wall.Sub(p.Until), 0)):
		return fmt.Sprintf("paused by %s: %s", p.By, p.Why)
	case j.policy.Manual:
		return "the policy leaves failover to an operator"
	}
	if why := j.cooling(wall); why != "" {
		return why
	}
	n, all := j.view.Troubled, j.view.Watched
	if s != Dead && n >= breakerLeast && n*breakerShare >= all {
		return fmt.Sprintf("%d of %d topologies are in trouble at once: that looks like the network or the controller, not like their primaries", n, all)
	}
	return j.noCandidate()
}

// cooling says whether the last failover was too short a time ago.
func (j *inquiry) cooling(wall time.Time) string {
	l := j.record.Last
	if l == nil || l.Move.Kind != topology.Failover || l.Move.By != Kaname || l.Move.Drill || l.Acked != "" {
		return ""
	}
	if j.past(wall.Sub(l.Ended), j.policy.Cooldown) {
		return ""
	}
	return fmt.Sprintf("the failover from %s to %s, %s ago, has not been acknowledged; the next one by itself after %s",
		l.Move.From, l.Move.To, words(wall.Sub(l.Ended)), words(j.policy.Cooldown))
}

// Kaname is who moves a primary when no person does: topology.Move.By.
const Kaname = "kaname"

// noCandidate says why none of the replicas can become primary; "" when one can.
func (j *inquiry) noCandidate() string {
	var why []string
	for _, w := range j.witnesses {
		unfit := j.unfit(w)
		if unfit == "" {
			return ""
		}
		why = append(why, w.Name+" "+unfit)
	}
	if len(why) == 0 {
		return "there is no replica"
	}
	return "no replica can become primary: " + strings.Join(why, ", ")
}

// unfit says why a replica cannot become primary; "" when it can, as far as is known.
func (j *inquiry) unfit(w witness) string {
	if w.Role != topology.Candidate && w.Role != topology.Preferred {
		return fmt.Sprintf("has the role %s", w.Role)
	}
	if !w.voice {
		return "is silent"
	}
	s := &w.known.Report.Self
	switch {
	case s.Process == topology.Gone:
		return "is not running"
	case !s.Answers:
		return "does not answer its agent" + because(s.Trouble)
	case s.Replica != nil && s.Replica.ApplyErr != "":
		return "cannot apply what it received: " + s.Replica.ApplyErr
	}
	return ""
}
