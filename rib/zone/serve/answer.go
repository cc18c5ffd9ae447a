package serve

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"time"

	"github.com/miekg/dns"

	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/wire"
)

// Sizes of messages, in octets.
const (
	minDatagram = 512 // RFC 1035 section 4.2.1
	maxDatagram = 1232
	maxMessage  = 60_000 // of a transfer
)

// request is what is being answered.
type request struct {
	msg      *dns.Msg
	raw      []byte
	from     netip.AddrPort
	question dns.Question
	zone     name.Name    // canonical form of the question's name
	name     []byte       // the same in wire form
	size     int          // of an answer by UDP; 0 by TCP
	key      string       // that signed it, verified; empty when unsigned
	signer   *wire.Signer // nil when unsigned
	edns     bool
	send     func([]byte) error
}

// answer answers one message; size is the least a UDP client takes, 0 by TCP. The error
// is one of sending. raw may be spoiled.
func (s *Server) answer(raw []byte, from netip.AddrPort, size int, send func([]byte) error) error {
	r, ok := s.read(raw, from, size, send)
	if !ok {
		return nil
	}
	known := s.knows(r)
	if r.size > 0 && !known && !s.limit.allow(from.Addr(), time.Now()) {
		return nil
	}
	if done, err := s.verify(r); done {
		return err
	}
	switch {
	case r.msg.Opcode == dns.OpcodeNotify:
		return s.hear(r)
	case !known:
		return r.reply(dns.RcodeRefused)
	default:
		return s.query(r)
	}
}

// read parses a message, without doing more than it is worth.
func (s *Server) read(raw []byte, from netip.AddrPort, size int, send func([]byte) error) (*request, bool) {
	if len(raw) < 12 || raw[2]&0x80 != 0 {
		return nil, false // no message, or an answer
	}
	opcode := int(raw[2]>>3) & 0xf
	records := 0
	for _, i := range []int{6, 8, 10} {
		records += int(binary.BigEndian.Uint16(raw[i:]))
	}
	r := &request{msg: new(dns.Msg), raw: raw, from: from, size: size, send: send}
	switch {
	case opcode != dns.OpcodeQuery && opcode != dns.OpcodeNotify:
		return nil, s.bad(r, dns.RcodeNotImplemented)
	case binary.BigEndian.Uint16(raw[4:]) != 1 || records > 8 || r.msg.Unpack(raw) != nil || len(r.msg.Question) != 1: // one that is cut unpacks without
		return nil, s.bad(r, dns.RcodeFormatError)
	}
	r.question = r.msg.Question[0]
	n, err := name.Parse(r.question.Name)
	if err != nil {
		return nil, s.bad(r, dns.RcodeFormatError)
	}
	r.zone, r.name = n, n.Wire()
	if opt := r.msg.IsEdns0(); opt != nil {
		r.edns = true
		if r.size > 0 {
			r.size = min(max(int(opt.UDPSize()), minDatagram), maxDatagram)
		}
	}
	return r, true
}

// bad answers a message that cannot be read with its header alone. It returns false.
func (s *Server) bad(r *request, rcode byte) bool {
	if r.size == 0 || s.limit.allow(r.from.Addr(), time.Now()) {
		h := make([]byte, 12)
		copy(h, r.raw[:4])
		h[2], h[3] = h[2]&0x79|0x80, rcode
		_ = r.send(h) // whoever sent that gets no second try
	}
	return false
}

// knows reports whether anything that is served, or heard, is concerned.
func (s *Server) knows(r *request) bool {
	if r.msg.Opcode == dns.OpcodeNotify {
		for i := range s.rules {
			if s.rules[i].concerns(r) {
				return true
			}
		}
		return false
	}
	return s.find(r.zone) != nil
}

// find returns the zone that a name is in.
func (s *Server) find(n name.Name) *published {
	zones := *s.zones.Load()
	for {
		if p := zones[n]; p != nil || n == name.Root {
			return p
		}
		n = n.Parent()
	}
}

// verify checks the signature, if there is one; done when that answered the message.
func (s *Server) verify(r *request) (done bool, err error) {
	t := r.msg.IsTsig()
	if t == nil {
		return false, nil
	}
	if t.Algorithm == "" || t.Hdr.Class != dns.ClassANY {
		return !s.bad(r, dns.RcodeFormatError), nil // it was cut, and still unpacked
	}
	n, err := name.Parse(t.Hdr.Name)
	k, known := s.keys[n.String()]
	if err != nil || !known || name.Name(k.Algorithm+".") != lowerName(t.Algorithm) {
		return true, s.unsigned(r, t, dns.RcodeBadKey)
	}
	signer, err := wire.NewSigner(k)
	if err != nil {
		return true, s.unsigned(r, t, dns.RcodeBadKey)
	}
	err = signer.Verify(r.raw, r.msg)
	signer.Request(t)
	switch {
	case errors.Is(err, wire.ErrClock):
		s.log.Info("DNS request with a clock that differs", "peer", r.from, "key", n.Bare(), "why", err)
		return true, r.send(signer.Append(r.begin(dns.RcodeNotAuth, false), dns.RcodeBadTime))
	case err != nil:
		return true, s.unsigned(r, t, dns.RcodeBadSig)
	}
	r.key, r.signer = k.Name, signer
	return false, nil
}

// unsigned answers a request whose signature cannot be believed (RFC 8945 section 5.2.1
// and 5.2.2).
func (s *Server) unsigned(r *request, t *dns.TSIG, code uint16) error {
	if r.size > 0 && !s.limit.allow(r.from.Addr(), time.Now()) {
		return nil
	}
	b := r.begin(dns.RcodeNotAuth, false)
	rr := &dns.TSIG{
		Hdr:       dns.RR_Header{Name: t.Hdr.Name, Rrtype: dns.TypeTSIG, Class: dns.ClassANY},
		Algorithm: t.Algorithm, TimeSigned: t.TimeSigned, Fudge: t.Fudge, OrigId: t.OrigId, Error: code,
	}
	from := len(b)
	b = append(b, make([]byte, dns.Len(rr))...)
	end, err := dns.PackRR(rr, b, from, nil, false)
	if err != nil {
		return nil //nolint:nilerr // a name that was unpacked packs; if not, the sender gets nothing
	}
	binary.BigEndian.PutUint16(b[10:], 1)
	s.log.Info("DNS request with a wrong signature", "peer", r.from, "key", t.Hdr.Name, "error", dns.RcodeToString[int(code)])
	return r.send(b[:end])
}

// lowerName is a name in canonical form; empty when it is none.
func lowerName(s string) name.Name {
	n, err := name.Parse(s)
	if err != nil {
		return ""
	}
	return n
}

// query answers a question about a zone that is served.
func (s *Server) query(r *request) error {
	p := s.find(r.zone)
	if p == nil || r.question.Qclass != dns.ClassINET || !p.allows(r.from.Addr(), r.key) {
		if r.size > 0 && r.key == "" && !s.limit.allow(r.from.Addr(), time.Now()) {
			return nil
		}
		return r.reply(dns.RcodeRefused)
	}
	apex := r.zone == p.zone.Name
	switch r.question.Qtype {
	case dns.TypeAXFR, dns.TypeIXFR:
		if !apex {
			return r.reply(dns.RcodeNotAuth)
		}
		return s.transfer(r, p)
	case dns.TypeSOA, dns.TypeNS, dns.TypeTXT, dns.TypePTR:
	default:
		return r.reply(dns.RcodeRefused)
	}
	if apex && r.question.Qtype == dns.TypeSOA {
		return r.reply(dns.RcodeSuccess, p.now.soa())
	}
	records, there := p.now.lookup(r.name)
	var fit [][]byte
	for _, rec := range records {
		if typeOf(rec) == r.question.Qtype {
			fit = append(fit, rec)
		}
	}
	switch {
	case len(fit) > 0:
		return r.reply(dns.RcodeSuccess, fit...)
	case there:
		return r.negative(dns.RcodeSuccess, p.now.soa())
	default:
		return r.negative(dns.RcodeNameError, p.now.soa())
	}
}

// begin returns the header and the question of an answer.
func (r *request) begin(rcode byte, authoritative bool) []byte {
	b := make([]byte, 12, 512)
	copy(b, r.raw[:2])
	b[2] = 0x80 | r.raw[2]&0x79 // opcode and RD
	if authoritative {
		b[2] |= 0x04
	}
	b[3], b[5] = rcode, 1
	at := len(b)
	b = append(b, make([]byte, len(r.name))...)
	if _, err := dns.PackDomainName(r.question.Name, b, at, nil, false); err != nil {
		copy(b[at:], r.name) // does not happen: it was unpacked
	}
	b = binary.BigEndian.AppendUint16(b, r.question.Qtype)
	return binary.BigEndian.AppendUint16(b, r.question.Qclass)
}

// appendTo appends a record; its owner ends with a pointer to the question's name where
// it can (RFC 1035 section 4.1.4).
func (r *request) appendTo(b, record []byte) []byte {
	owner := ownerOf(record)
	if len(r.name) < 3 || !under(owner, r.name) {
		return append(b, record...)
	}
	b = append(b, owner[:len(owner)-len(r.name)]...)
	b = append(b, 0xc0, 12)
	return append(b, record[len(owner):]...)
}

// finish adds what ends a message: OPT when the client speaks EDNS, and the signature.
func (r *request) finish(b []byte) []byte {
	if r.edns {
		b = append(b, 0, 0, byte(dns.TypeOPT), maxDatagram>>8, maxDatagram&0xff, 0, 0, 0, 0, 0, 0)
		b[11]++
	}
	if r.signer != nil {
		b = r.signer.Append(b, 0)
	}
	return b
}

// room is what is kept free for what finish adds: OPT, and a TSIG record with SHA-512.
func (r *request) room() int {
	if r.signer == nil {
		return 11
	}
	return 11 + 16 + 26 + 64 + 14 + len(r.key) + 2
}

// reply answers with records; truncated when they do not fit.
func (r *request) reply(rcode byte, records ...[]byte) error {
	b := r.begin(rcode, len(records) > 0)
	begun := len(b)
	for _, rec := range records {
		b = r.appendTo(b, rec)
	}
	if r.size > 0 && len(b)+r.room() > r.size || len(b) > maxMessage {
		b = b[:begun]
		b[2] |= 0x02
		return r.send(r.finish(b))
	}
	binary.BigEndian.PutUint16(b[6:], uint16(len(records))) //nolint:gosec // they fit a message
	return r.send(r.finish(b))
}

// negative answers that there is nothing, with the SOA record (RFC 2308).
func (r *request) negative(rcode byte, soa []byte) error {
	b := append(r.begin(rcode, true), soa...)
	b[9] = 1
	return r.send(r.finish(b))
}
