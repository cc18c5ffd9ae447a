package serve

import (
	"encoding/binary"
	"time"

	"github.com/miekg/dns"

	"kaname.dev/kaname/rib/zone/wire"
)

// transfer answers AXFR (RFC 5936) and IXFR (RFC 1995).
func (s *Server) transfer(r *request, p *published) error {
	if r.question.Qtype == dns.TypeAXFR {
		if r.size > 0 {
			return r.reply(dns.RcodeFormatError) // RFC 5936 section 4.2: TCP only
		}
		return s.whole(r, p)
	}
	since, ok := sinceOf(r.msg)
	if !ok {
		return r.reply(dns.RcodeFormatError)
	}
	if since == p.serial || wire.Newer(since, p.serial) {
		return r.reply(dns.RcodeSuccess, p.now.soa())
	}
	steps, known := p.history.since(since)
	octets := 0
	for _, d := range steps {
		_, n := d.size()
		octets += n
	}
	switch {
	case r.size > 0 && (!known || octets+2*len(p.now.soa())+r.room()+len(r.name)+16 > r.size):
		return r.reply(dns.RcodeSuccess, p.now.soa()) // it asks again by TCP (RFC 1995 section 2)
	case !known || octets > len(p.now.data):
		return s.whole(r, p)
	}
	w := writer{r: r}
	w.add(p.now.soa())
	for _, d := range steps {
		w.add(d.oldSOA)
		for _, rec := range d.removed {
			w.add(rec)
		}
		w.add(d.newSOA)
		for _, rec := range d.added {
			w.add(rec)
		}
	}
	w.add(p.now.soa())
	err := w.flush()
	s.log.Debug("DNS zone sent", "zone", p.zone.Name, "peer", r.from, "key", r.key, "since", since, "serial", p.serial, "differences", len(steps), "why", err)
	return err
}

// sinceOf returns the serial that an IXFR question has.
func sinceOf(m *dns.Msg) (uint32, bool) {
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			return soa.Serial, true
		}
	}
	return 0, false
}

// whole sends all of a zone.
func (s *Server) whole(r *request, p *published) error {
	begun := time.Now()
	w := writer{r: r}
	for i := range p.now.len() {
		w.add(p.now.record(i))
		if w.err != nil {
			break
		}
	}
	w.add(p.now.soa())
	err := w.flush()
	s.log.Debug("DNS zone sent", "zone", p.zone.Name, "peer", r.from, "key", r.key, "serial", p.serial, "records", p.now.len(), "seconds", time.Since(begun).Seconds(), "why", err)
	return err
}

// writer packs the records of a transfer into as few messages as they need.
type writer struct {
	r   *request
	b   []byte
	n   int
	err error // of the first send that failed; what comes after is dropped
}

func (w *writer) add(record []byte) {
	if w.err == nil && w.n > 0 && len(w.b)+len(record)+w.r.room() > maxMessage {
		w.err = w.flush()
	}
	if w.err != nil {
		return
	}
	if w.n == 0 {
		w.b = append(w.b[:0], w.r.begin(dns.RcodeSuccess, true)...)
	}
	w.b = w.r.appendTo(w.b, record)
	w.n++
}

func (w *writer) flush() error {
	if w.err != nil || w.n == 0 {
		return w.err
	}
	binary.BigEndian.PutUint16(w.b[6:], uint16(w.n)) //nolint:gosec // at most maxMessage octets
	w.b = w.r.finish(w.b)
	if w.r.signer != nil {
		w.r.signer.Follow()
	}
	w.n = 0
	return w.r.send(w.b)
}
