package watch

import (
	"time"

	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/wire"
)

// zone is what is kept of a zone: at most 200 octets with its place in the index, for
// there may be 100,000. Times are nanoseconds since 1970, 0 for none.
type zone struct {
	name    name.Name
	route   *route
	state   State
	answer  Answer // of the server, the last one that was one
	primary Answer // of the primary
	since   int64  // of the state
	behind  int64  // when a serial of the primary newer than the server's was first seen
	fresh   int64  // when the server was last level with the primary
	expires int64  // as the server says
	ever    bool   // it was answered with authority
	doubt   bool   // the last answer would make it ill, and is to be confirmed
}

// heard takes over an answer of the server that says something. It reports whether the zone is to be asked
// for again soon.
func (z *zone) heard(a Answer, now time.Time) (again bool) {
	if z.ever && z.answer.Kind == Authoritative && a.Kind != Authoritative && !z.doubt {
		z.doubt = true // a server that starts or reloads says many things
		return true
	}
	z.doubt = false
	z.answer = a
	if a.Kind == Authoritative {
		z.ever = true
		z.expires = 0
		if a.HasLeft {
			z.expires = now.Add(time.Duration(a.Left) * time.Second).UnixNano()
		}
	}
	z.compare(now, false)
	return a.Kind != Authoritative || z.behind != 0
}

// heardPrimary takes over an answer of the primary.
func (z *zone) heardPrimary(a Answer, now time.Time) {
	z.primary = a
	z.compare(now, true)
}

// compare notes whether the server is level with the primary, which has just said its
// serial or is only known to have had it.
func (z *zone) compare(now time.Time, said bool) {
	if z.primary.Kind != Authoritative || z.answer.Kind != Authoritative {
		return
	}
	if wire.Newer(z.primary.Serial, z.answer.Serial) {
		if z.behind == 0 {
			z.behind = now.UnixNano()
		}
		return
	}
	if said || z.behind != 0 {
		z.fresh = now.UnixNano()
	}
	z.behind = 0
}

// settle classifies the zone anew and reports whether that changed it.
func (z *zone) settle(now time.Time) bool {
	s, _ := Classify(z.facts(now))
	if s == z.state {
		return false
	}
	z.state, z.since = s, now.UnixNano()
	return true
}

func (z *zone) facts(now time.Time) Facts {
	t := z.route.live()
	return Facts{
		Alone: t != nil && !t.down.IsZero(),
		Now:   now, Desired: true, Present: true, Owned: true, Ever: z.ever,
		Answer: z.answer, Primary: z.primary, Behind: stamp(z.behind), Fresh: stamp(z.fresh), Expires: stamp(z.expires),
	}
}
