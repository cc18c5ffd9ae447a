package judge

import (
	"fmt"
	"strings"
	"time"

	"kaname.dev/kaname/rib/mysql/order"
	"kaname.dev/kaname/rib/mysql/topology"
)

// Repair is a small thing to be put right in peace.
type Repair struct {
	// Order is to be given to the member's agent; its verb and parameters are complete,
	// without Record.
	Order order.Order `json:"order"`
	Why   string      `json:"why"`
	// Once: repeating it is of no use while Order stays the same. Others are to be
	// repeated while they are still listed, each time after a longer pause.
	Once bool `json:"once,omitempty"`
}

// closeWithin is how long clients of a replica that takes writes have to finish.
const closeWithin = 500 * time.Millisecond

// startAfter is how long a server may be gone until kaname starts it: whoever else starts
// servers on that host comes first.
const startAfter = 5 * time.Second

// Mend lists what is to be put right while the primary stays, the most urgent first. Each
// entry is right by itself, given what is known, and can be carried out alone. There are
// none while the primary moves or kaname is paused, none for a member whose report is
// not fresh, and none at all while two act as primary and it is not clear which should.
//
// Semi-synchronous replication is changed in the order that keeps the record's ackers a
// superset of those that acknowledge: first whoever should not acknowledge stops, then
// ackers begin, then the primary waits for them.
//
// An intermediate's replicas are led to the primary while it is down, and back when it is up.
func Mend(v View) []Repair {
	j := newCase(&v)
	wall := v.Began.Add(v.Now)
	if p := v.Record.Paused; j.member == nil || v.Record.Move != nil || p != nil && (p.Until.IsZero() || wall.Before(p.Until)) {
		return nil
	}
	m := mender{inquiry: j}
	if !m.open() {
		m.start()
		return m.list
	}
	m.strays()
	m.start()
	m.replication()
	m.ackers()
	m.waiting()
	return m.list
}

type mender struct {
	*inquiry
	list []Repair
}

func (m *mender) add(member string, o order.Order, why string) *Repair {
	o.Topology, o.Member, o.Epoch = m.record.Name, member, m.record.Epoch
	m.list = append(m.list, Repair{Order: o, Why: member + " " + why})
	return &m.list[len(m.list)-1]
}

// open reports whether the primary is there and is the one. One that is there, but closed
// without its agent's doing, is opened again, unless another one takes writes: somebody
// may have moved the primary by hand.
func (m *mender) open() bool {
	r := m.known.Report
	if !m.fresh(m.known) || !r.Self.Answers || r.Epoch > m.record.Epoch {
		return false
	}
	if !r.Self.ReadOnly {
		return true
	}
	if r.Lease.Fenced != "" || r.Self.Disk.ReadOnly || r.Self.Disk.Full || len(m.claims()) > 1 {
		return false
	}
	if r.Lease.Held {
		m.add(m.member.Name, order.Order{Verb: order.Reopen}, "is the primary and holds its lease, but takes no writes: open it")
	}
	return false
}

// strays closes who takes writes besides the primary, and stops who acknowledges or
// waits and should not.
func (m *mender) strays() {
	each := func(f func(w witness, s *topology.Self)) {
		for _, w := range m.witnesses {
			if w.fresh && w.known.Report.Self.Answers {
				f(w, &w.known.Report.Self)
			}
		}
	}
	each(func(w witness, s *topology.Self) {
		if !s.ReadOnly {
			m.add(w.Name, order.Order{Verb: order.Close, Within: closeWithin}, "is not the primary and takes writes: close it")
		}
	})
	each(func(w witness, s *topology.Self) {
		acks := s.SemiSync.Replies && !w.Acker() && m.policy.Durability == topology.Lossless
		if acks || s.SemiSync.Waits {
			why := "acknowledges and is not counted on"
			if !acks {
				why = "waits for acknowledgements and is not the primary"
			}
			m.add(w.Name, order.Order{Verb: order.Tune, Acker: s.SemiSync.Replies && w.Acker()}, why+": correct that")
		}
	})
}

// start starts servers whose process has ended. The primary's too, while nothing better
// can be done about it: whoever starts a failover does not mend meanwhile.
func (m *mender) start() {
	for _, member := range m.record.Members {
		k := m.view.Members[member.Name]
		if !m.fresh(k) || !k.Report.Self.CanStart {
			continue
		}
		switch s := &k.Report.Self; {
		case s.Answers || s.Refuses:
		case s.Process == topology.Gone && s.GoneFor+k.Age >= startAfter:
			m.add(member.Name, order.Order{Verb: order.Start}, fmt.Sprintf("has been gone for %s: start it", words(s.GoneFor+k.Age)))
		case s.Process == topology.Unseen && s.Silent+k.Age >= startAfter: // it ended before its agent began
			m.add(member.Name, order.Order{Verb: order.Start}, fmt.Sprintf("has not answered for %s, and no process is seen: start it", words(s.Silent+k.Age)))
		}
	}
}

// replication has each replica follow the server that it should.
func (m *mender) replication() {
	for _, w := range m.witnesses {
		if !w.fresh || !w.known.Report.Self.Answers {
			continue
		}
		from, l := m.wanted(w.Member), w.known.Look
		why := astray(&w.known.Report.Self, from)
		if why == "" && l.errant() && refused(&w.known.Report.Self) {
			why = "cannot receive"
		}
		if why == "" {
			continue
		}
		switch {
		case l == nil || m.known.Look == nil:
			m.add(w.Name, order.Order{Verb: order.Look}, why+": see first what it has")
		case l.aside():
			// People decide what of it matters.
		case l.errant():
			m.add(w.Name, order.Order{Verb: order.SetAside, Need: l.Errants.All.String()},
				why+", and has transactions that the primary has not: set them aside, do not let it follow").Once = true
		case !l.Contained:
			m.add(w.Name, order.Order{Verb: order.Look}, why+", and had more than the primary when it was asked: ask again")
		default:
			m.add(w.Name, order.Order{Verb: order.Follow, Source: from, Acker: m.acks(w.Member)},
				fmt.Sprintf("%s: follow %s, which has all that it has", why, from.Name))
		}
	}
}

// errant reports whether the member has what the primary has not.
func (l *Look) errant() bool { return l != nil && !l.Errants.All.Empty() }

// aside reports whether all of that is in a file already.
func (l *Look) aside() bool {
	return l.errant() && l.Aside != nil && l.Aside.Need == l.Errants.All.String()
}

// refused reports whether the source has said that it cannot send what comes after a replica's
// position: it no longer has that, or never had what the replica has.
func refused(s *topology.Self) bool {
	r := s.Replica
	return r != nil && (strings.Contains(r.ReceiveErr, "1236") || strings.Contains(r.ReceiveErr, "13114"))
}

// astray says why a replica should be told to follow; "" when it should not: it does, or
// an error has stopped it, or it has other sources, which kaname leaves alone.
func astray(s *topology.Self, from *topology.Member) string {
	r := s.Replica
	switch {
	case from == nil:
		return ""
	case r == nil:
		return "replicates from nobody"
	case r.Channels > 1 || r.ReceiveErr != "" || r.ApplyErr != "":
		return ""
	case r.Source != from.Address:
		return "replicates from " + r.Source
	case r.Receiver == "No" || !r.Applying:
		return "has stopped replicating, with no error"
	}
	return ""
}

// acks reports whether a member is to acknowledge.
func (j *inquiry) acks(m topology.Member) bool {
	return j.policy.Durability == topology.Lossless && m.Acker()
}

// ackers has those acknowledge that should.
func (m *mender) ackers() {
	for _, w := range m.witnesses {
		s := w.known.Report
		if !w.fresh || !m.acks(w.Member) || !s.Self.Answers || !s.Self.SemiSync.Loaded || s.Self.SemiSync.Replies || astray(&s.Self, m.wanted(w.Member)) != "" {
			continue
		}
		m.add(w.Name, order.Order{Verb: order.Tune, Acker: true}, "does not acknowledge and should: let it")
	}
}

// waiting has the primary wait for acknowledgements as the policy says.
func (m *mender) waiting() {
	s, p := m.known.Report.Self.SemiSync, m.policy
	lossless := p.Durability == topology.Lossless
	switch {
	case lossless && s.Loaded && (!s.Waits || s.Acks != p.Acks || s.Lossy || s.Timeout > 0 && s.Timeout < fallsBack || s.Replies):
		m.add(m.member.Name, order.Order{Verb: order.Tune, Waits: true, Acks: p.Acks}, fmt.Sprintf("is to wait for %d acknowledgements, without end, before it commits: set that", p.Acks))
	case !lossless && s.Waits:
		m.add(m.member.Name, order.Order{Verb: order.Tune}, "waits for acknowledgements, the policy is "+string(p.Durability)+": correct that")
	}
}
