package wire

import (
	"context"
	"fmt"

	"github.com/miekg/dns"

	"kaname.dev/kaname/rib/zone/name"
)

// stream takes the records of a transfer, AXFR or IXFR, and knows when it is whole.
type stream struct {
	zone  name.Name
	since uint32 // of an incremental transfer
	whole func(dns.RR) error

	full   bool // the whole zone comes
	first  *dns.SOA
	second bool // the second record has come, which tells differences from a whole zone
	steps  []Step
	adding bool // within the last step
	held   int
	done   bool
}

// run reads messages until the transfer is whole.
func (s *stream) run(ctx context.Context, x *exchange) error {
	asked := s.full
	for n := 0; !s.done; n++ {
		r, err := x.read(ctx)
		switch {
		case err != nil && n == 0 && !asked && r != nil && (r.Rcode == dns.RcodeNotImplemented || r.Rcode == dns.RcodeFormatError):
			return errNoIncremental
		case err != nil && n > 0 && r != nil:
			return fmt.Errorf("%w: %w", ErrCut, err)
		case err != nil:
			return err
		case len(r.Answer) == 0 && n == 0:
			return fmt.Errorf("%w: the transfer holds nothing, not even the SOA record", ErrCut)
		}
		for _, rr := range r.Answer {
			if err := s.record(rr); err != nil {
				return err
			}
		}
		if !asked && n == 0 && len(r.Answer) == 1 && s.first != nil && !Newer(s.first.Serial, s.since) {
			return nil // nothing newer (RFC 1995 section 2)
		}
	}
	if x.signer != nil && x.signer.skipped > 0 {
		return fmt.Errorf("%w: the last message of the transfer is not signed", ErrKey)
	}
	return nil
}

// record takes one record.
func (s *stream) record(rr dns.RR) error {
	soa, isSOA := rr.(*dns.SOA)
	switch {
	case s.done:
		return fmt.Errorf("%w: records follow its end", ErrCut)
	case s.first == nil:
		if !isSOA || !sameName(soa.Hdr.Name, s.zone.String()) {
			return fmt.Errorf("%w: it does not begin with the zone's SOA record", ErrCut)
		}
		if s.first = soa; s.full {
			return s.give(rr)
		}
		return nil
	case !s.full && !s.second:
		s.second = true
		if isSOA && soa.Serial == s.since && soa.Serial != s.first.Serial {
			s.steps = append(s.steps, Step{From: soa})
			return nil
		}
		s.full = true
		if err := s.give(s.first); err != nil {
			return err
		}
	}
	if !s.full {
		return s.difference(rr, soa)
	}
	if !isSOA {
		if !s.inside(rr.Header().Name) {
			return fmt.Errorf("%w: the record of %s is outside of the zone", ErrAnswer, rr.Header().Name)
		}
		return s.give(rr)
	}
	if !dns.IsDuplicate(s.first, soa) || s.first.Serial != soa.Serial {
		return fmt.Errorf("%w: it begins with serial %d and ends with %d", ErrCut, s.first.Serial, soa.Serial)
	}
	s.done = true
	return nil
}

// inside reports whether an owner is in the zone. The library writes some octets with
// other escapes than a canonical name has, so what does not fit as text is parsed.
func (s *stream) inside(owner string) bool {
	if dns.IsSubDomain(s.zone.String(), owner) {
		return true
	}
	n, err := parse(owner)
	return err == nil && n.Under(s.zone)
}

func (s *stream) give(rr dns.RR) error {
	if err := s.whole(rr); err != nil {
		return callbackError{err}
	}
	return nil
}

// difference takes a record of an incremental transfer after the second; soa is it as
// an SOA record, or nil.
func (s *stream) difference(rr dns.RR, soa *dns.SOA) error {
	last := &s.steps[len(s.steps)-1]
	switch {
	case soa == nil && s.held >= maxSteps:
		return fmt.Errorf("%w: the differences have more than %d records", ErrAnswer, maxSteps)
	case soa == nil && s.adding:
		last.Added = append(last.Added, rr)
		s.held++
	case soa == nil:
		last.Removed = append(last.Removed, rr)
		s.held++
	case !s.adding:
		last.To, s.adding = soa, true
	case soa.Serial != last.To.Serial:
		return fmt.Errorf("%w: a difference ends with serial %d and the next begins with %d", ErrCut, last.To.Serial, soa.Serial)
	case soa.Serial == s.first.Serial:
		s.done = true
	default:
		s.steps, s.adding = append(s.steps, Step{From: soa}), false
	}
	return nil
}
