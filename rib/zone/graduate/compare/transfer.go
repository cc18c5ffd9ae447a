package compare

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/miekg/dns"

	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/wire"
)

// contents is what one transfer brought, in as much memory as a few records need.
type contents struct {
	sum     digest
	records int
	soa     *dns.SOA
	names   known
	err     error
}

// transfers compares the transfers and returns the names that are known.
func (w *work) transfers(ctx context.Context) (known, error) {
	if w.o.NoTransfer {
		return w.fromFile(), nil
	}
	var old, other contents
	both(
		func() { old = w.take(ctx, w.o.Old, false) },
		func() { other = w.take(ctx, w.o.New, false) },
	)
	if ctx.Err() != nil {
		return known{}, ctx.Err()
	}
	if old.err == nil && other.err == nil {
		w.result.Method, w.result.Records = MethodTransfer, old.records
		if err := w.equal(ctx, &old, &other); err != nil {
			return known{}, err
		}
		old.names.merge(&other.names)
		return old.names, nil
	}
	for _, side := range []struct {
		which string
		err   error
	}{{"old", old.err}, {"new", other.err}} {
		if side.err != nil {
			w.result.Notes = append(w.result.Notes, fmt.Sprintf("no transfer from the %s server: %v", side.which, side.err))
		}
	}
	return w.oneSided(ctx, old, other)
}

// oneSided returns all names of the one transfer that there is, or of the file.
func (w *work) oneSided(ctx context.Context, old, other contents) (known, error) {
	from := w.o.Old
	switch {
	case old.err == nil:
		w.result.Records = old.records
	case other.err == nil:
		from = w.o.New
	default:
		return w.fromFile(), nil
	}
	all := w.take(ctx, from, true)
	if all.err != nil {
		w.result.Notes = append(w.result.Notes, all.err.Error())
		return w.fromFile(), nil //nolint:nilerr // noted; the file takes its place
	}
	w.result.Method = MethodNames
	if old.err != nil && len(w.zone.Files) > 0 {
		file := w.fromFile()
		all.names.merge(&file)
	}
	return all.names, nil
}

// take transfers a zone; all keeps every name.
func (w *work) take(ctx context.Context, p wire.Peer, all bool) contents {
	c := contents{names: newKnown(w.zone.Name, w.o.Sample, all)}
	canon := newCanonizer(w.o)
	c.err = w.client.Transfer(ctx, p, w.zone.Name, func(rr dns.RR) error {
		c.records++
		c.names.see(rr)
		if soa, ok := rr.(*dns.SOA); ok {
			c.soa = soa
			return nil
		}
		if !w.skipped(rr) {
			c.sum.add(canon.digest(rr))
		}
		return nil
	})
	return c
}

// skipped reports whether the record is not compared in transfers. SOA records are,
// elsewhere.
func (w *work) skipped(rr dns.RR) bool {
	kind := rr.Header().Rrtype
	return kind == dns.TypeSOA || w.o.IgnoreDNSSEC && ofDNSSEC(kind) || w.o.Serial != SerialEqual && w.ofSerial(rr)
}

// ofSerial reports whether the record follows from the zone's serial.
func (w *work) ofSerial(rr dns.RR) bool {
	if sig, ok := rr.(*dns.RRSIG); ok {
		return sig.TypeCovered == dns.TypeSOA || sig.TypeCovered == dns.TypeZONEMD
	}
	return rr.Header().Rrtype == dns.TypeZONEMD
}

// equal compares two whole transfers.
func (w *work) equal(ctx context.Context, old, other *contents) error {
	w.result.OldSerial, w.result.NewSerial = old.soa.Serial, other.soa.Serial
	if why := serials(w.o.Serial, old.soa.Serial, other.soa.Serial); why != "" {
		if err := w.differ(Difference{Kind: KindSerial, Question: w.axfr(), What: why, Old: old.soa.String(), New: other.soa.String()}); err != nil {
			return err
		}
	}
	canon := newCanonizer(w.o)
	if canon.key(unserial(old.soa)) != canon.key(unserial(other.soa)) {
		if err := w.differ(Difference{Kind: KindSOA, Question: w.axfr(), What: "the SOA records differ", Old: old.soa.String(), New: other.soa.String()}); err != nil {
			return err
		}
	}
	if old.sum == other.sum {
		return nil
	}
	if w.emit == nil {
		return w.differ(Difference{})
	}
	return w.records(ctx)
}

// records finds the records that differ: a second look, for which the digests of one
// transfer are held. An error of a transfer is a difference too.
func (w *work) records(ctx context.Context) error {
	canon := newCanonizer(w.o)
	left := map[digest]int{}
	found := 0
	err := w.client.Transfer(ctx, w.o.Old, w.zone.Name, func(rr dns.RR) error {
		if !w.skipped(rr) {
			left[canon.digest(rr)]++
		}
		return nil
	})
	if err != nil {
		return w.broken(err)
	}
	only := func(d Difference) error {
		found++
		d.Kind, d.Question = KindRecord, w.axfr()
		return w.differ(d)
	}
	err = w.client.Transfer(ctx, w.o.New, w.zone.Name, func(rr dns.RR) error {
		if w.skipped(rr) {
			return nil
		}
		d := canon.digest(rr)
		if n := left[d]; n > 1 {
			left[d] = n - 1
		} else if n == 1 {
			delete(left, d)
		} else {
			return only(Difference{What: "only the new server has this record", New: rr.String()})
		}
		return nil
	})
	if err != nil {
		return w.broken(err)
	}
	if len(left) > 0 {
		err = w.client.Transfer(ctx, w.o.Old, w.zone.Name, func(rr dns.RR) error {
			if w.skipped(rr) {
				return nil
			}
			d := canon.digest(rr)
			if left[d] == 0 {
				return nil
			}
			left[d]--
			return only(Difference{What: "only the old server has this record", Old: rr.String()})
		})
	}
	if err != nil {
		return w.broken(err)
	}
	if found == 0 {
		return w.broken(errors.New("the transfers differed and are equal now: the zone is changing; compare it again"))
	}
	return nil
}

func (w *work) broken(err error) error {
	return w.differ(Difference{Kind: KindTransfer, Question: w.axfr(), What: err.Error()})
}

func (w *work) axfr() string { return w.zone.Name.String() + " AXFR" }

// unserial returns the record with serial 0.
func unserial(soa *dns.SOA) *dns.SOA {
	s := *soa
	s.Serial = 0
	return &s
}

// serials says what is wrong with a pair of serials, "" for nothing.
func serials(p SerialPolicy, old, other uint32) string {
	switch {
	case p == SerialAny || old == other:
		return ""
	case p == SerialAhead && int32(other-old) > 0: //nolint:gosec // RFC 1982 arithmetic wraps
		return ""
	case p == SerialAhead:
		return fmt.Sprintf("the new server's serial %d is behind the old one's %d", other, old)
	}
	return fmt.Sprintf("the new server has serial %d, the old one %d", other, old)
}

// fromFile reads the names of the zone files, as far as there are any that can be read.
func (w *work) fromFile() known {
	w.result.Method = MethodGuess
	k := newKnown(w.zone.Name, w.o.Sample, true)
	for _, path := range w.zone.Files {
		n, err := fileNames(path, w.zone.Name, &k)
		if err != nil {
			w.result.Notes = append(w.result.Notes, fmt.Sprintf("zone file: %v; write it as text with named-compilezone", err))
		} else if n > 0 {
			w.result.Method = MethodNames
		}
	}
	return k
}

// fileNames gives the records of a zone file to k.
func fileNames(path string, origin name.Name, k *known) (int, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	p := dns.NewZoneParser(f, origin.String(), path)
	p.SetIncludeAllowed(true)
	p.SetDefaultTTL(3600)
	n := 0
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		rr.Header().Name = normal(rr.Header().Name)
		if dns.IsSubDomain(text(origin), rr.Header().Name) {
			k.see(rr)
			n++
		}
	}
	return n, p.Err()
}
