package judge

import (
	"fmt"
	"strings"
	"time"

	"kaname.dev/kaname/rib/mysql/topology"
)

// fallsBack is the semi-synchronous timeout below which a primary counts as one that
// gives up waiting.
const fallsBack = time.Hour

// primary looks at what only a primary has.
func (f *finder) primary() {
	if f.policy.Durability != topology.Lossless || !f.self.Answers {
		return
	}
	s := f.self.SemiSync
	switch {
	case !s.Loaded:
		f.add(SemiSyncSet, "semi-synchronous replication is not loaded", "no write waits for a replica: acknowledged writes can be lost", "install the plugin: kaname mysql adopt does it")
	case !s.Waits:
		f.add(SemiSyncSet, "it does not wait for acknowledgements", "the policy is "+string(f.policy.Durability)+": until it waits, acknowledged writes can be lost", "")
	case !s.Active:
		f.add(FellBack, "it has fallen back to asynchronous replication", fmt.Sprintf("it gave up after %s with %d of %d replicas connected: writes acknowledged since then may be on no replica", words(s.Timeout), s.Clients, f.policy.Acks),
			"bring the replicas back; kaname sets the timeout so that it waits")
	case s.Acks < f.policy.Acks, s.Lossy, s.Timeout > 0 && s.Timeout < fallsBack:
		f.add(SemiSyncSet, "its semi-synchronous settings are not those of the policy", fmt.Sprintf("it waits for %d replicas (policy: %d), after the commit: %t, gives up after %s", s.Acks, f.policy.Acks, s.Lossy, words(s.Timeout)), "")
	}
	if missing := f.missing(); len(missing) > 0 {
		f.add(AckerMissing, fmt.Sprintf("%d of %d replicas acknowledge", len(f.record.Ackers(f.m.Name))-len(missing), len(f.record.Ackers(f.m.Name))),
			fmt.Sprintf("missing: %s; writes stall when fewer than %d are left", strings.Join(missing, ", "), f.policy.Acks), "")
	}
}

// missing are the ackers that do not acknowledge, as far as is known.
func (f *finder) missing() []string {
	var list []string
	for _, w := range f.witnesses {
		if !w.Acker() || w.known.Report == nil && f.heard(w.known) { // it has not had the time
			continue
		}
		if r := w.known.Report; !w.voice || !r.Self.Answers || !r.Self.SemiSync.Replies || r.Self.Replica == nil || !r.Self.Replica.Receiving {
			list = append(list, w.Name)
		}
	}
	return list
}

// replica looks at what only a replica has.
func (f *finder) replica() {
	if !f.self.Answers {
		return
	}
	w := f.witnessOf(f.m.Name)
	if !f.self.ReadOnly {
		f.add(Writable, "it takes writes", "a write to it would be lost, and keep it from following", "")
	}
	if f.self.SemiSync.Replies && !f.m.Acker() && f.policy.Durability == topology.Lossless {
		f.add(StrangeAcker, "it acknowledges writes and is not counted on", "a write can count as safe because it is here, and here nobody looks for it", "")
	}
	if f.self.SemiSync.Waits {
		f.add(SemiSyncSet, "it waits for acknowledgements as a primary does", "on MariaDB its applier stands still so", "")
	}
	if !f.seesPrimary(w) {
		f.add(Parted, "it alone is cut off from the primary", f.testimony(*w), "look at the network between the two")
	}
	if w.hears && !w.sees && find(f.k.Report.Sights, w.of) != nil {
		f.add(Blind, "its agent does not reach the primary's port", f.testimony(*w)+": when no events come for another reason, it is a witness too soon", "let the agent of "+f.m.Host+" connect to "+f.member.Address)
	}
	r := f.self.Replica
	if r == nil {
		f.add(NoSource, "it replicates from nobody", "it falls behind and does not count", "")
		return
	}
	f.threads(r)
	f.source(r)
	f.lag(r)
}

// seesPrimary reports whether nothing says that this replica alone has lost a primary that
// is well.
func (f *finder) seesPrimary(w *witness) bool {
	p := f.known.Report
	return w == nil || !w.silent || p == nil || !p.Self.Answers || !f.heard(f.known)
}

func (f *finder) witnessOf(name string) *witness {
	for i := range f.witnesses {
		if f.witnesses[i].Name == name {
			return &f.witnesses[i]
		}
	}
	return nil
}

func (f *finder) threads(r *topology.Replica) {
	switch {
	case refused(f.self) && f.k.Look.errant():
		f.add(ReceiveError, "its source refuses it", r.ReceiveErr, "it has what the source has not: kaname mysql reclone "+f.record.Name+" "+f.m.Name)
	case r.ReceiveErr != "":
		f.add(ReceiveError, "it cannot receive", r.ReceiveErr, "if the primary no longer has what it needs: kaname mysql reclone "+f.record.Name+" "+f.m.Name)
	case r.Receiver == "No":
		f.add(Stopped, "its receiver is stopped", "nobody says why", "")
	}
	switch {
	case r.ApplyErr != "":
		f.add(ApplyError, "it cannot apply what it has received", r.ApplyErr, "it has other data than the primary: repair the row, or: kaname mysql reclone "+f.record.Name+" "+f.m.Name)
	case !r.Applying && r.Receiver != "No":
		f.add(Stopped, "its applier is stopped", "nobody says why; it receives, and falls behind", "")
	}
}

func (f *finder) source(r *topology.Replica) {
	if want := f.wanted(f.m); want != nil && r.Source != want.Address {
		f.add(WrongSource, "it replicates from another server", fmt.Sprintf("from %s instead of %s at %s", r.Source, want.Name, want.Address), "")
	}
	if r.Channels > 1 {
		f.add(Channels, fmt.Sprintf("it replicates from %d sources", r.Channels), "kaname leads one of them only, and lets such a member alone", "take the other channels away, or give it the role observer")
	}
	if !r.ByGTID {
		f.add(NotByGTID, "it does not replicate by GTID", "it cannot be led to a new primary safely", "stop it when it has applied all, and let it replicate by GTID")
	}
}

func (f *finder) lag(r *topology.Replica) {
	if r.Delay > 0 {
		f.add(Delayed, "it is delayed on purpose, by "+words(r.Delay), "it is no measure of lag, and becomes primary only when it has caught up", "")
	}
	if over := r.Lag - r.Delay; r.Lag >= 0 && over > f.policy.MaxLag {
		f.add(Lagging, "it is "+words(over)+" behind", fmt.Sprintf("allowed: %s; a failover to it would wait until it has applied what it has received, a switchover to it is refused", words(f.policy.MaxLag)), "")
	}
}

// wanted is the server that a member should replicate from: as the record says, or the
// primary while an intermediate is down. Nil for a source that is no member.
func (j *inquiry) wanted(m topology.Member) *topology.Member {
	if m.Source == "" || m.Source == j.member.Name {
		return j.member
	}
	for _, w := range j.witnesses {
		if w.Name == m.Source && j.down(w) != "" {
			return j.member
		}
	}
	return j.record.Member(m.Source)
}
