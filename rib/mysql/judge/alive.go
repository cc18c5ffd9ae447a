package judge

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"kaname.dev/kaname/rib/mysql/topology"
)

// alive: the primary answers its agent, if only with a refusal. What else may be wrong?
func (j *inquiry) alive() ruling {
	if claims := j.claims(); len(claims) > 1 {
		return ruling{state: Split, reasons: claims}
	}
	self, lease := &j.known.Report.Self, &j.known.Report.Lease
	if lease.Fenced != "" && !lease.Held {
		return j.fenced(lease.Fenced)
	}
	if r, bad := j.committing(self); bad {
		return r
	}
	if r, bad := j.full(self); bad {
		return r
	}
	if self.ReadOnly {
		return ruling{state: ReadOnly, reasons: []string{j.member.Name + ": it lives and takes no writes (read only); its agent did not close it"}}
	}
	if r := j.intermediates(); len(r) > 0 {
		return ruling{state: DeadIntermediate, reasons: r}
	}
	return ruling{state: Fine}
}

// claims are the members that act as primary: that take writes, or hold the lease. The
// record's primary is one in any case. While it moves, two may be seen for a moment.
func (j *inquiry) claims() []string {
	if j.record.Move != nil {
		return nil
	}
	var list []string
	for _, m := range j.record.Members {
		k := j.view.Members[m.Name]
		if !j.fresh(k) {
			continue
		}
		writable, held := k.Report.Self.Answers && !k.Report.Self.ReadOnly, k.Report.Lease.Held
		switch {
		case m.Name == j.member.Name && !writable && !held:
			list = append(list, m.Name+": the primary of the record, though it takes no writes")
		case held:
			list = append(list, fmt.Sprintf("%s: holds the primary's lease in epoch %d", m.Name, k.Report.Epoch))
		case writable:
			list = append(list, m.Name+": takes writes")
		}
	}
	return list
}

// fenced: the primary's agent closed it, for its lease had ended. It opens again by
// itself when the lease is back, unless it is cut off from those who could give it.
func (j *inquiry) fenced(how string) ruling {
	r := ruling{state: Fenced, reasons: append([]string{fmt.Sprintf("%s: its agent closed it: %s", j.member.Name, how)}, j.testimonies()...)}
	if fresh, deserted := j.fresh(j.known), j.deserted(); fresh && deserted {
		r.justified, r.quiet = true, true
	}
	return r
}

// unexplained is how many times Policy.Stuck a commit may be under way, for a reason that
// is not known to be the server's own, before that counts.
const unexplained = 4

// committing says whether the primary's own commits end.
func (j *inquiry) committing(self *topology.Self) (ruling, bool) {
	c := self.Commit
	if c == nil || !j.fresh(j.known) {
		return ruling{}, false
	}
	stuck, failing := j.going(c.Stuck), j.going(c.Failing)
	if long := j.past(stuck, j.policy.Stuck) || j.past(failing, j.policy.Stuck); !long {
		return ruling{}, false
	}
	what := fmt.Sprintf("%s: a commit of its agent has been under way for %s (allowed: %s)%s", j.member.Name, words(stuck), words(j.policy.Stuck), because(c.Trouble))
	if failing > stuck {
		what = fmt.Sprintf("%s: commits of its agent have failed for %s (allowed: %s)%s", j.member.Name, words(failing), words(j.policy.Stuck), because(c.Trouble))
	}
	r := ruling{state: CannotCommit, reasons: []string{what}}
	cause := owned(self)
	switch {
	case cause != "":
		r.justified = true
		r.reasons = append(r.reasons, cause)
	case c.Acks || j.policy.Durability == topology.Lossless && j.hearing() < j.policy.Acks:
		return j.starved(what), true
	case self.ReadOnly:
		return ruling{}, false
	case strings.Contains(strings.ToLower(c.Trouble), "lock"):
		r.reasons = append(r.reasons, "a client holds what it waits for, as a backup does: the server itself is not at fault")
	case c.Failing == 0 && c.Trouble != "" && j.past(stuck, unexplained*j.policy.Stuck):
		r.justified = true
		r.reasons = append(r.reasons, fmt.Sprintf("it waits neither for acknowledgements nor for a client's lock: after %s that counts", words(unexplained*j.policy.Stuck)))
	default:
		r.reasons = append(r.reasons, "it does not wait for acknowledgements; whether a client holds what it waits for is not known, so that an operator must decide")
	}
	return r, true
}

// full says whether the primary's disk has been full for as long as a commit may take, and a
// candidate's is not. Clients' writes fail then, though commits of the agent, which need no
// further room, may go on for long.
func (j *inquiry) full(self *topology.Self) (ruling, bool) {
	full := j.going(self.Disk.FullFor)
	if self.ReadOnly || !j.fresh(j.known) || full == 0 || !j.past(full, j.policy.Stuck) {
		return ruling{}, false
	}
	room := j.count(func(w witness) bool {
		return w.fresh && (w.Role == topology.Candidate || w.Role == topology.Preferred) && w.known.Report.Self.Answers && !w.known.Report.Self.Disk.Full
	})
	if room == 0 {
		return ruling{}, false
	}
	return ruling{state: CannotCommit, justified: true, reasons: []string{
		fmt.Sprintf("%s: the disk of its data has been full for %s (allowed: %s): %d bytes are free, and writes of clients fail", j.member.Name, words(full), words(j.policy.Stuck), max(self.Disk.Free, 0)),
	}}, true
}

// hearing counts the ackers of which it is known that they acknowledge: well, connected,
// and with news. A primary counts a connection that is cut in silence for some time yet.
func (j *inquiry) hearing() int {
	return j.count(func(w witness) bool {
		if !w.fresh || !w.hears || !w.Acker() {
			return false
		}
		s := &w.known.Report.Self
		return s.Answers && s.SemiSync.Replies && s.Replica.Receiving
	})
}

// going is how long something has been going on that was going on when the primary's
// agent reported; 0: it was not.
func (j *inquiry) going(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return d + j.known.Age
}

// owned says why a server cannot commit by its own fault; "" when that is not known.
func owned(self *topology.Self) string {
	switch {
	case self.Disk.ReadOnly:
		return "the file system of its data is read-only"
	case self.Disk.Full:
		return fmt.Sprintf("the disk of its data is full (%d bytes are free)", max(self.Disk.Free, 0))
	}
	// errno texts of the C library, and how both flavours quote the number (perror).
	trouble := strings.ToLower(self.Commit.Trouble)
	for _, sign := range []string{"no space left", "read-only file system", "input/output error", "errcode: 28", "errcode: 30", "errcode: 5 ", "errno: 28", "errno: 30", "errno: 5 "} {
		if strings.Contains(trouble, sign) {
			return "the server says so itself: its disk does not take what it writes"
		}
	}
	return ""
}

// starved: commits wait for acknowledgements. If those who should give them are down, the
// primary is not at fault and another one would wait as well. If they are well, and so
// many cannot reach it that the rest can never suffice, it is cut off.
func (j *inquiry) starved(what string) ruling {
	r := ruling{state: Stalled, reasons: append([]string{what, fmt.Sprintf("it waits for the acknowledgements of %d replicas; it counts %d as connected, %d of them say that they hear it",
		j.policy.Acks, j.known.Report.Self.SemiSync.Clients, j.hearing())}, j.testimonies()...)}
	lost := j.count(func(w witness) bool { return w.silent && w.Acker() && w.known.Report.Self.Answers })
	need := max(j.record.ToFreeze(j.member.Name), j.needed())
	if j.policy.Durability == topology.Lossless && j.deserted() && lost >= need {
		r.state, r.justified, r.quiet = CutOff, true, true
		r.reasons = append(r.reasons, fmt.Sprintf("%d of them are well and cannot reach it, so that it can never commit", lost))
	}
	return r
}

// intermediates says which replicas that others replicate from are not well.
func (j *inquiry) intermediates() []string {
	var list []string
	for _, w := range j.witnesses {
		if why := j.down(w); why != "" && slices.ContainsFunc(j.record.Members, func(m topology.Member) bool { return m.Source == w.Name }) {
			list = append(list, fmt.Sprintf("%s: others replicate from it, and %s", w.Name, why))
		}
	}
	return list
}

// down says why a replica counts as down; "" when it does not.
func (j *inquiry) down(w witness) string {
	r := w.known.Report
	switch {
	case !j.heard(w.known):
		return "its agent has been silent for " + words(j.silence(w.known))
	case r == nil: // it has not had the time
	case r.Self.Process == topology.Gone && !r.Self.Answers:
		return "its process has ended"
	case !r.Self.Answers && !r.Self.Refuses && j.past(r.Self.Silent+w.known.Age, j.policy.Silence):
		return fmt.Sprintf("it has not answered its agent for %s%s", words(r.Self.Silent+w.known.Age), because(r.Self.Trouble))
	}
	return ""
}

// Doubt says why acknowledged writes may be on no replica if the primary is lost now: by
// what it said last of semi-synchronous replication. Nil under topology.Async, where that
// is so in any case, and where nothing is known: then the acknowledgements decide.
func Doubt(v View) []string { return newCase(&v).doubt() }

// A report of a server that did not answer may lack what it said before.
func (j *inquiry) doubt() []string {
	if j.policy.Durability != topology.Lossless || j.member == nil {
		return nil
	}
	var list []string
	if r := j.known.Report; r != nil && (r.Self.Answers || r.Self.SemiSync.Loaded) {
		s, ago := r.Self.SemiSync, words(j.known.Age)
		switch {
		case !s.Waits:
			list = append(list, fmt.Sprintf("%s did not wait for acknowledgements, as it said %s ago", j.member.Name, ago))
		case !s.Active:
			list = append(list, fmt.Sprintf("%s had fallen back to asynchronous replication, as it said %s ago", j.member.Name, ago))
		case s.Acks > 0 && s.Acks < j.policy.Acks:
			list = append(list, fmt.Sprintf("%s waited for %d acknowledgements instead of %d, as it said %s ago", j.member.Name, s.Acks, j.policy.Acks, ago))
		}
	}
	for _, w := range j.witnesses {
		if r := w.known.Report; r != nil && r.Self.SemiSync.Replies && !w.Acker() {
			list = append(list, w.Name+" acknowledged writes though it is not counted among those who do")
		}
	}
	return list
}
