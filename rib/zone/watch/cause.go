package watch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/miekg/dns"

	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/wire"
)

// cause is why a zone is not served, or not anew.
type cause struct {
	text string
	at   time.Time
}

// The doctor's pace: it asks the primaries as the server does, so it must not become a
// burden to them.
const (
	doctorAfter = 2 * time.Second // an ill zone is looked into after so long
	doctorAgain = 30 * time.Second
	doctorSlots = 4
	doctorEvery = 100 * time.Millisecond // at most so often
	doctorTime  = 5 * time.Second
)

// doctor finds causes.
type doctor struct {
	w     *Watcher
	slots chan struct{}
	last  time.Time
	all   sync.WaitGroup
}

func newDoctor(w *Watcher) *doctor { return &doctor{w: w, slots: make(chan struct{}, doctorSlots)} }

func (d *doctor) wait() { d.all.Wait() }

// round looks into one ill zone, if there is one and time for it.
func (d *doctor) round(ctx context.Context) {
	now := time.Now()
	if now.Sub(d.last) < doctorEvery {
		return
	}
	d.last = now
	select {
	case d.slots <- struct{}{}:
	default:
		return
	}
	n, t := d.w.patient(now)
	if t == nil {
		<-d.slots
		return
	}
	d.all.Go(func() {
		defer func() { <-d.slots }()
		ctx, cancel := context.WithTimeout(ctx, doctorTime)
		defer cancel()
		text := d.w.o.diagnose(ctx, t.peer, n)
		d.w.explain(n, text)
	})
}

// patient returns an ill zone whose cause is not known, or was found long ago, with the
// primary to ask.
func (w *Watcher) patient(now time.Time) (name.Name, *target) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for n, c := range w.chases.by { // in no order, so that each has its turn
		i, ok := w.index[n]
		if !ok || c.why == leaving || now.Sub(c.from) < doctorAfter || now.Sub(w.causes[n].at) < doctorAgain {
			continue
		}
		if t := w.zones[i].route.live(); t != nil && t.down.IsZero() {
			w.causes[n] = cause{w.causes[n].text, now} // it is being looked into
			return n, t
		}
	}
	return "", nil
}

// explain keeps a cause.
func (w *Watcher) explain(n name.Name, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.index[n]; !ok || w.chases.by[n] == nil {
		return // it is well again, or gone
	}
	if w.causes[n].text != text {
		w.version++
	}
	w.causes[n] = cause{text, time.Now()}
}

// errEnough ends a transfer of which enough was seen.
var errEnough = errors.New("enough")

// enough is how many records of a transfer are looked at: a small zone wholly, so that
// one that breaks off in its middle is found.
const enough = 2000

// diagnose asks a primary for a zone as the server would, and says what comes between.
func diagnose(ctx context.Context, p wire.Peer, n name.Name) string {
	c := wire.Client{Timeout: 2 * time.Second, Tries: 2}
	soa, err := c.SOA(ctx, p, n)
	if err != nil {
		return remedy(p, "the primary "+p.Address.String(), err)
	}
	records := 0
	err = c.Transfer(ctx, p, n, func(dns.RR) error {
		if records++; records > enough {
			return errEnough
		}
		return nil
	})
	if err == nil || errors.Is(err, errEnough) {
		with := "without a key"
		if p.Key != nil {
			with = "with the key " + p.Key.Name
		}
		return fmt.Sprintf("the primary %s has it (serial %d) and gives it to this host %s, so what is between is the server's: its copy of the key, its source address, its disk; look at its log", p.Address, soa.Serial, with)
	}
	return remedy(p, fmt.Sprintf("the primary %s has it (serial %d), but its transfer fails", p.Address, soa.Serial), err)
}

// remedy says in words what an error of the primary means, and what to do about it.
func remedy(p wire.Peer, what string, err error) string {
	key := "none"
	if p.Key != nil {
		key = p.Key.Name
	}
	switch {
	case errors.Is(err, wire.ErrUnreachable):
		return fmt.Sprintf("%s: it does not answer this host; is it running, and do firewalls let port %d through, UDP and TCP", what, p.Address.Port())
	case errors.Is(err, wire.ErrClock):
		return fmt.Sprintf("%s: the clock is off: %s", what, last(err))
	case errors.Is(err, wire.ErrKey):
		return fmt.Sprintf("%s: the TSIG key is wrong: %s", what, last(err))
	case errors.Is(err, wire.ErrRefused):
		return fmt.Sprintf("%s: refused (key: %s); allow this server's address or key there (allow-transfer, acl, provide-xfr), or create the zone there", what, key)
	case errors.Is(err, wire.ErrNotAuth):
		return what + ": it does not have the zone, or not any more; create it there, or remove it from the source"
	case errors.Is(err, wire.ErrServer):
		return what + ": it has the zone without contents (SERVFAIL); look at the log there"
	case errors.Is(err, wire.ErrCut):
		return what + ": the transfer is cut in the middle: " + last(err)
	default:
		return what + ": " + last(err)
	}
}

// last is an error's text.
func last(err error) string { return err.Error() }

// note explains a zone's state. w.mu is held.
func (w *Watcher) note(z *zone, state State) string {
	if state == Serving || state == Unknown {
		return ""
	}
	if state == Silent {
		return fmt.Sprintf("the name server does not answer at %s since %s; is it running, and does it listen there",
			w.o.Server, w.own.down.UTC().Format("15:04:05Z"))
	}
	_, text := Classify(z.facts(time.Now()))
	why := w.causes[z.name].text
	if t := z.route.live(); t != nil && !t.down.IsZero() {
		why = fmt.Sprintf("the primary %s does not answer since %s; is it running, and do firewalls let port %d through, UDP and TCP",
			t.peer.Address, t.down.UTC().Format("15:04:05Z"), t.peer.Address.Port())
	}
	if why == "" && state == Expiring && z.primary.Kind != Authoritative {
		why = "the primary answers " + z.primary.Kind.String() + "; create the zone there, or allow this server"
	}
	if why == "" && state == Loading {
		why = "it was not transferred yet; the cause is being looked for"
	}
	switch {
	case text == "":
		return why
	case why == "":
		return text
	default:
		return text + "; " + why
	}
}
