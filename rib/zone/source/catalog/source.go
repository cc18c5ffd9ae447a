// Package catalog is the source that reads a catalog zone (RFC 9432) from a primary. It
// is the firewall in front of everything else: a catalog that breaks a rule, that is
// refused, cut or not answered is a trouble, and what was good before stays.
package catalog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"kaname.dev/kaname/rib/zone/catalog"
	"kaname.dev/kaname/rib/zone/source"
	"kaname.dev/kaname/rib/zone/wire"
)

// Times that the source works by.
const (
	pollEvery  = time.Second           // a question for the serial, whatever the catalog's refresh says
	pollSlow   = 5 * time.Second       // at most, while there is trouble
	hintGap    = 50 * time.Millisecond // NOTIFYs within it are one
	fullEvery  = 50 * time.Second      // the whole set is told again
	checkEvery = time.Minute           // the contents of a catalog that is broken or went back are read again
	auditEvery = 15 * time.Minute      // and those of any other
	lookLimit  = 10 * time.Minute      // for one transfer
)

// Source watches one catalog. It belongs to one Run.
type Source struct {
	o      source.Options
	log    *slog.Logger
	client wire.Client
	hints  chan struct{} // a NOTIFY came

	records *catalog.Records // as the primary has them; nil: not known
	serial  uint32           // of records
	odd     bool             // records are broken, or older than what was there before
	hinted  bool             // a NOTIFY is why the source looks
	checked time.Time        // when the whole contents were transferred last

	judged  judged
	good    *good     // the last good version; nil: none yet
	unsaved bool      // good is not on disk
	saved   time.Time // when it was written last
	told    *good     // what the keeper was told last; nil: all is to be told
	full    time.Time // when all, or trouble, was told last
	trouble string    // what was told of trouble last
}

// judged is which version of the records was judged last, and how.
type judged struct {
	of     *catalog.Records
	serial uint32
	err    error
}

// New returns the source. Options.Dir is where the last good version is kept.
func New(o source.Options) (source.Source, error) {
	if o.Catalog == "" || o.Catalog == "." {
		return nil, errors.New("a source of kind catalog needs the name of the catalog zone; set catalog")
	}
	if !o.Peer.Address.IsValid() {
		return nil, errors.New("a source of kind catalog needs the primary's address; set address")
	}
	s := &Source{o: o, log: o.Log, hints: make(chan struct{}, 1)}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	g, err := load(o.Dir, o.Catalog)
	if err != nil {
		return nil, err
	}
	s.good = g
	return s, nil
}

// Hear wakes the source when the NOTIFY is about its catalog.
func (s *Source) Hear(n source.Notify) {
	if n.Zone != s.o.Catalog {
		return
	}
	select {
	case s.hints <- struct{}{}:
	default:
	}
}

// Run watches the catalog.
func (s *Source) Run(ctx context.Context, tell func(context.Context, source.Report) error) error {
	wait, first := pollEvery, true
	for ctx.Err() == nil {
		err := s.look(ctx)
		if ctx.Err() != nil {
			break
		}
		if err == nil {
			wait = pollEvery
			s.keep(false)
			s.tellGood(ctx, tell)
		} else {
			if first && s.good != nil {
				s.tellGood(ctx, tell) // a keeper that knows nothing learns what was good before
			}
			s.tellTrouble(ctx, tell, err)
			wait = min(wait*3/2, pollSlow)
		}
		first = false
		s.hinted = s.pause(ctx, wait)
	}
	s.keep(true)
	return nil //nolint:nilerr // what a look found is told, not returned
}

// pause waits for the next look, or until a NOTIFY comes, and reports whether one came.
func (s *Source) pause(ctx context.Context, wait time.Duration) bool {
	gap, poll := time.NewTimer(hintGap), time.NewTimer(wait)
	defer gap.Stop()
	defer poll.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-gap.C:
	}
	select {
	case <-ctx.Done():
	case <-s.hints:
		return true
	case <-poll.C:
	}
	return false
}

// look brings what is known up to what the primary has. An error says what is wrong,
// where, and what to do; the last good version stands then.
func (s *Source) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	if err := s.fetch(ctx); err != nil {
		return err
	}
	if j := s.judged; j.of != s.records || j.serial != s.serial {
		s.judged = judged{s.records, s.serial, s.judge()}
	}
	return s.judged.err
}

// judge makes the records the last good version, or says which rule they break.
func (s *Source) judge() error {
	c, err := s.records.Catalog(catalog.Options{Allow: s.o.Allow, Version1: true})
	if err != nil {
		s.odd = true
		return fmt.Errorf("%w; %s", err, s.stays())
	}
	s.odd = false
	g := &good{Catalog: s.o.Catalog, Serial: c.Serial, Time: time.Now(), Members: members(&c)}
	if was := s.good; was != nil {
		if was.Serial == g.Serial && slices.EqualFunc(was.Members, g.Members, same) {
			return nil // read again, and the same
		}
		if s.odd = was.Serial != g.Serial && !wire.Newer(g.Serial, was.Serial); s.odd {
			s.log.Warn("catalog went back", "source", s.o.Name, "catalog", s.o.Catalog, "from", was.Serial, "to", g.Serial)
		}
	}
	s.good, s.unsaved = g, true
	return nil
}

// stays says what counts in the meantime.
func (s *Source) stays() string {
	if s.good == nil {
		return "no good version is known yet"
	}
	return fmt.Sprintf("until then serial %d of %s counts", s.good.Serial, s.good.Time.UTC().Format(time.DateTime))
}
