package compare

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"

	"github.com/miekg/dns"
)

// digest identifies a record, and by addition a set of them in any order.
type digest [4]uint64

func (d *digest) add(o digest) {
	for i := range d {
		d[i] += o[i]
	}
}

// canonizer brings records into a form in which equal ones are the same octets: names
// in lower case (RFC 4034 section 6.2), uncompressed. It is used by one goroutine.
type canonizer struct {
	ttl bool // keep the TTL
	txt bool // keep how TXT records are split
	buf []byte
}

func newCanonizer(o Options) *canonizer {
	return &canonizer{ttl: !o.IgnoreTTL, txt: o.StrictTXT, buf: make([]byte, dns.MaxMsgSize)}
}

func (c *canonizer) digest(rr dns.RR) digest {
	sum := sha256.Sum256(c.octets(rr))
	var d digest
	for i := range d {
		d[i] = binary.BigEndian.Uint64(sum[8*i:])
	}
	return d
}

// key is octets as a string, for maps.
func (c *canonizer) key(rr dns.RR) string { return string(c.octets(rr)) }

// octets returns the canonical form, valid until the next call. The record is not changed.
func (c *canonizer) octets(rr dns.RR) []byte {
	rr = lowered(rr)
	h := rr.Header()
	h.Name = strings.ToLower(h.Name)
	if !c.ttl || h.Rrtype == dns.TypeNSEC3PARAM { // PowerDNS gives this one another TTL; only servers read it
		h.Ttl = 0
		if sig, ok := rr.(*dns.RRSIG); ok {
			sig.OrigTtl = 0
		}
	}
	if txt, ok := rr.(*dns.TXT); ok && !c.txt {
		// Longer than a character-string may be, so it is no record any more.
		empty := &dns.TXT{Hdr: txt.Hdr}
		n, err := dns.PackRR(empty, c.buf, 0, nil, false)
		if err == nil {
			return append(c.buf[:n:n], strings.Join(txt.Txt, "")...)
		}
	}
	n, err := dns.PackRR(rr, c.buf, 0, nil, false)
	if err != nil {
		return []byte(rr.String()) // the library cannot pack what it unpacked; its text is the same for the same record
	}
	return c.buf[:n]
}

// lowered returns a copy whose names in the data are in lower case.
func lowered(rr dns.RR) dns.RR { //nolint:funlen,gocognit // one table of types
	rr = dns.Copy(rr)
	low := func(s *string) { *s = strings.ToLower(*s) }
	switch r := rr.(type) {
	case *dns.NS:
		low(&r.Ns)
	case *dns.CNAME:
		low(&r.Target)
	case *dns.DNAME:
		low(&r.Target)
	case *dns.PTR:
		low(&r.Ptr)
	case *dns.MX:
		low(&r.Mx)
	case *dns.SRV:
		low(&r.Target)
	case *dns.SOA:
		low(&r.Ns)
		low(&r.Mbox)
	case *dns.RP:
		low(&r.Mbox)
		low(&r.Txt)
	case *dns.AFSDB:
		low(&r.Hostname)
	case *dns.RT:
		low(&r.Host)
	case *dns.KX:
		low(&r.Exchanger)
	case *dns.PX:
		low(&r.Map822)
		low(&r.Mapx400)
	case *dns.NAPTR:
		low(&r.Replacement)
	case *dns.MINFO:
		low(&r.Rmail)
		low(&r.Email)
	case *dns.MB:
		low(&r.Mb)
	case *dns.MG:
		low(&r.Mg)
	case *dns.MR:
		low(&r.Mr)
	case *dns.MD:
		low(&r.Md)
	case *dns.MF:
		low(&r.Mf)
	case *dns.NSEC:
		low(&r.NextDomain)
	case *dns.RRSIG:
		low(&r.SignerName)
	case *dns.SVCB:
		low(&r.Target)
	case *dns.HTTPS:
		low(&r.Target)
	case *dns.LP:
		low(&r.Fqdn)
	case *dns.TALINK:
		low(&r.PreviousName)
		low(&r.NextName)
	case *dns.NSEC3:
		low(&r.NextDomain)
		low(&r.Salt)
	}
	return rr
}

// typeSigning is the private type in which BIND keeps how far it has signed a zone.
const typeSigning = 65534

// ofDNSSEC reports whether the signer makes records of the type.
func ofDNSSEC(kind uint16) bool {
	switch kind {
	case dns.TypeRRSIG, dns.TypeNSEC, dns.TypeNSEC3, dns.TypeNSEC3PARAM, dns.TypeDNSKEY,
		dns.TypeCDS, dns.TypeCDNSKEY, dns.TypeZONEMD, typeSigning:
		return true
	}
	return false
}
