package catalog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/miekg/dns"

	"kaname.dev/kaname/rib/zone/catalog"
	"kaname.dev/kaname/rib/zone/wire"
)

// fetch brings the records up to the primary's.
func (s *Source) fetch(ctx context.Context) error {
	serial, err := s.ask(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("catalog %s is not known now: %w; %s", s.o.Catalog, err, s.stays())
	case s.records == nil, s.due():
		err = s.whole(ctx)
	case serial == nil: // not told by UDP: an incremental transfer tells
		err = s.changes(ctx)
	case *serial == s.serial:
		return nil
	case wire.Newer(*serial, s.serial):
		err = s.changes(ctx)
	default:
		err = s.whole(ctx)
	}
	if err != nil {
		return fmt.Errorf("catalog %s is not known now: %w; %s", s.o.Catalog, err, s.stays())
	}
	return nil
}

// due reports whether the contents are to be read again though the serial may be the
// same: what is repaired without a new serial is found so.
func (s *Source) due() bool {
	age := time.Since(s.checked)
	return age > auditEvery || s.odd && (age > checkEvery || s.hinted && age > time.Second)
}

// ask asks for the serial; nil when the primary refuses only to tell it, as Knot before
// 3.2.8 does for catalogs by UDP.
func (s *Source) ask(ctx context.Context) (*uint32, error) {
	soa, err := s.client.SOA(ctx, s.o.Peer, s.o.Catalog)
	switch {
	case errors.Is(err, wire.ErrRefused):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return &soa.Serial, nil
}

// whole transfers all of the catalog.
func (s *Source) whole(ctx context.Context) error {
	r := catalog.NewRecords(s.o.Catalog)
	err := s.client.Transfer(ctx, s.o.Peer, s.o.Catalog, func(rr dns.RR) error {
		r.Add(rr)
		return nil
	})
	if err != nil {
		return err
	}
	s.take(r)
	return nil
}

// take makes records from a whole transfer those that are known.
func (s *Source) take(r *catalog.Records) {
	s.records, s.checked = r, time.Now()
	s.serial, _ = r.Serial() // without one the catalog is broken, which is said elsewhere
}

// changes transfers what changed; all, when the primary does not know, or when its
// changes do not fit to what is known here.
func (s *Source) changes(ctx context.Context) error {
	r := catalog.NewRecords(s.o.Catalog)
	inc, err := s.client.Incremental(ctx, s.o.Peer, s.o.Catalog, s.serial, func(rr dns.RR) error {
		r.Add(rr)
		return nil
	})
	switch {
	case err != nil:
		return err
	case inc.Full:
		s.take(r)
		return nil
	case len(inc.Steps) == 0 && inc.Serial == s.serial:
		return nil
	case len(inc.Steps) == 0:
		return s.whole(ctx)
	}
	for _, step := range inc.Steps {
		if err := s.apply(step); err != nil {
			s.log.Debug("catalog is read as a whole", "source", s.o.Name, "why", err)
			s.records = nil
			return s.whole(ctx)
		}
	}
	s.serial = inc.Serial
	return nil
}

// apply does one difference to the records.
func (s *Source) apply(step wire.Step) error {
	for _, rr := range append([]dns.RR{step.From}, step.Removed...) {
		if err := s.records.Remove(rr); err != nil {
			return err
		}
	}
	for _, rr := range append([]dns.RR{step.To}, step.Added...) {
		s.records.Add(rr)
	}
	return nil
}
