package judge

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"kaname.dev/kaname/rib/mysql/topology"
)

// Finding is something about a member that does not fit.
type Finding struct {
	Member string `json:"member"`
	Kind   Kind   `json:"kind"`
	What   string `json:"what"` // in a few words
	Why    string `json:"why"`  // what is known, and what follows from it
	Try    string `json:"try,omitempty"`
}

// Kind is what kind of finding one is. There is at most one of a kind at a member, but of Noted.
type Kind string

// The kinds of findings.
const (
	AgentSilent  Kind = "agent-silent"
	ServerGone   Kind = "server-gone"
	NoAnswer     Kind = "no-answer" // over the local socket
	Refuses      Kind = "refuses"
	Parted       Kind = "cut-from-primary" // it alone
	Blind        Kind = "agent-blind"      // it receives, its agent's probes of the primary are not answered
	Stopped      Kind = "stopped"          // a thread of it, without an error
	ReceiveError Kind = "receive-error"
	ApplyError   Kind = "apply-error"
	NoSource     Kind = "no-source" // replicates from nobody
	WrongSource  Kind = "wrong-source"
	Channels     Kind = "channels"
	NotByGTID    Kind = "not-by-gtid"
	Lagging      Kind = "lagging"
	Delayed      Kind = "delayed"
	Errant       Kind = "errant"
	Writable     Kind = "writable" // a replica
	FellBack     Kind = "semi-sync-fell-back"
	SemiSyncSet  Kind = "semi-sync-settings"
	AckerMissing Kind = "acker-missing"
	StrangeAcker Kind = "strange-acker"
	Stranger     Kind = "unknown-replica"
	Restarted    Kind = "restarted"
	Newer        Kind = "newer-version"
	Older        Kind = "older-version"
	DiskFull     Kind = "disk"
	OldEpoch     Kind = "old-epoch"
	Noted        Kind = "noted" // by its own agent
)

// recent is how long after its start a server counts as restarted.
const recent = time.Minute

// findings are what does not fit, by member in the record's order.
func (j *inquiry) findings() []Finding {
	if j.member == nil {
		return nil
	}
	var list []Finding
	for _, m := range j.record.Members {
		f := finder{inquiry: j, m: m, k: j.view.Members[m.Name]}
		f.agent()
		if f.k.Report != nil {
			f.self = &f.k.Report.Self
			f.server()
			if m.Name == j.member.Name {
				f.primary()
			} else {
				f.replica()
			}
		}
		f.looked()
		list = append(list, f.list...)
	}
	return list
}

// finder looks at one member.
type finder struct {
	*inquiry
	m    topology.Member
	k    Known
	self *topology.Self
	list []Finding
}

func (f *finder) add(kind Kind, what, why, try string) {
	f.list = append(f.list, Finding{Member: f.m.Name, Kind: kind, What: what, Why: why, Try: try})
}

func (f *finder) agent() {
	silence := f.silence(f.k)
	switch {
	case f.heard(f.k):
	case f.k.Report == nil:
		f.add(AgentSilent, "its agent has not reported yet", "the controller has been waiting for "+words(f.view.Now), "see if the agent runs on "+f.m.Host+" and reaches the cores")
	default:
		f.add(AgentSilent, "its agent is silent", fmt.Sprintf("the last report came %s ago; nothing is known of it since, and it can be given no order", words(silence)),
			"see if host "+f.m.Host+" is up, and the agent on it")
	}
	if r := f.k.Report; r != nil && r.Epoch < f.record.Epoch && f.record.Move == nil {
		f.add(OldEpoch, "it has not heard of the present epoch", fmt.Sprintf("it knows epoch %d, the record is at %d", r.Epoch, f.record.Epoch), "")
	}
}

// server looks at what primaries and replicas have in common.
func (f *finder) server() {
	s := f.self
	switch {
	case s.Process == topology.Gone && !s.Answers:
		f.add(ServerGone, "its process has ended", "its agent saw it end "+words(s.GoneFor+f.k.Age)+" ago"+because(s.Trouble), "look into its error log; start it")
	case s.Refuses:
		f.add(Refuses, "it refuses its agent", "it lives, but says: "+s.Trouble, "raise max_connections or check the agent's account")
	case !s.Answers && f.past(s.Silent+f.k.Age, f.policy.Silence):
		f.add(NoAnswer, "it does not answer its agent", fmt.Sprintf("the local socket has been silent for %s%s", words(s.Silent+f.k.Age), because(s.Trouble)), "see if it hangs, or if its socket is where the agent looks")
	}
	if up := s.Uptime + f.k.Age; s.Answers && s.Uptime > 0 && !f.past(up, recent) {
		f.add(Restarted, "it was started "+words(up)+" ago", "settings that were only made at run time are gone; on MariaDB also what it had received and not applied", "")
	}
	switch {
	case s.Disk.ReadOnly:
		f.add(DiskFull, "the file system of its data is read-only", "it cannot commit", "look into the kernel's log for errors of the disk")
	case s.Disk.Full:
		f.add(DiskFull, "the disk of its data is full", fmt.Sprintf("%d bytes are free; commits stop", max(s.Disk.Free, 0)), "make room; purge old binary logs")
	}
	f.version()
}

// version compares with the primary's: servers replicate from an older one or one of
// their own version (manuals of both flavours, on replication between versions).
func (f *finder) version() {
	p := f.known.Report
	if p == nil || f.m.Name == f.member.Name {
		return
	}
	if f.self.Version == p.Self.Version {
		return
	}
	switch mine, theirs := series(f.self.Version), series(p.Self.Version); {
	case mine == nil || theirs == nil:
	case less(theirs, mine):
		f.add(Newer, "its version is above the primary's", fmt.Sprintf("%s, the primary is %s: once it is the primary, replicas of the older version cannot be relied on to follow it", f.self.Version, p.Self.Version), "upgrade the others, or give it the role never for now")
	case less(mine, theirs):
		f.add(Older, "its version is below the primary's", fmt.Sprintf("%s, the primary is %s: it may meet events that it does not understand", f.self.Version, p.Self.Version), "upgrade it: replicas first, the primary last")
	}
}

// series is major and minor of a version; nil when it has none.
func series(version string) []int {
	var major, minor int
	if n, err := fmt.Sscanf(version, "%d.%d", &major, &minor); n < 2 || err != nil {
		return nil
	}
	return []int{major, minor}
}

func less(a, b []int) bool { return a[0] < b[0] || a[0] == b[0] && a[1] < b[1] }

// looked adds what was found when the member was asked for all.
func (f *finder) looked() {
	l := f.k.Look
	if l == nil {
		return
	}
	if !l.Errants.All.Empty() && f.m.Name != f.member.Name {
		n, exact := l.Errants.All.Count()
		about := ""
		if !exact {
			about = "about "
		}
		own := "they came from elsewhere"
		if !l.Errants.Own.Empty() {
			own = "somebody wrote to it directly: " + short(l.Errants.Own.String())
		}
		try := "write on the primary what of it matters"
		if l.aside() {
			try = fmt.Sprintf("they are in %s on %s (%d transactions): %s", l.Aside.File, f.m.Host, l.Aside.Transactions, try)
		}
		f.add(Errant, "it has transactions that the primary has not", fmt.Sprintf("%s%d: %s; %s. It cannot become primary so, nor prove that it is a copy", about, n, short(l.Errants.All.String()), own),
			try+"; then: kaname mysql reclone "+f.record.Name+" "+f.m.Name)
	}
	for _, at := range l.Below {
		if !IsMember(f.record, at) {
			f.add(Stranger, "a replica below it is not a member", at+" replicates from it, and will not be led to a new primary", "add it: kaname mysql add "+f.record.Name+" <server>")
			break
		}
	}
	for _, n := range l.Findings {
		f.add(Noted, n.What, n.Why, n.Try)
	}
}

// IsMember reports whether an address of a replica, as in order.Details.Below, is a
// member's. It may be told by the member's address, or by the name of its host, and with
// port 0 when it does not tell.
func IsMember(r *topology.Record, at string) bool {
	host, port, _ := net.SplitHostPort(at)
	return slices.ContainsFunc(r.Members, func(m topology.Member) bool {
		ip, own, _ := net.SplitHostPort(m.Address) // the record has no other kind
		return (host == ip || host == m.Host) && (port == own || port == "0" || port == "")
	})
}

// short cuts a GTID set that is too long to be read.
func short(set string) string {
	set = strings.Join(strings.Fields(set), "")
	const most = 120
	if len(set) <= most {
		return set
	}
	return set[:most] + "..."
}
