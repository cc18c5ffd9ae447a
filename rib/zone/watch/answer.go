package watch

import (
	"github.com/miekg/dns"

	"kaname.dev/kaname/rib/zone/name"
)

// Answer is what a server says to the question for a zone's SOA record.
type Answer struct {
	Kind    Kind
	Serial  uint32
	Refresh uint32 // seconds
	Expire  uint32 // seconds
	Left    uint32 // seconds until the server gives the zone up (RFC 7314), when it says so
	HasLeft bool
}

// Kind is the kind of an answer.
type Kind uint8

// The kinds of answers.
const (
	Unasked       Kind = iota
	NoAnswer           // nothing came in time
	Authoritative      // the SOA record, with AA
	Failing            // SERVFAIL: the zone is in the configuration, and not loaded
	Refused            // REFUSED
	NotAuth            // NOTAUTH, with TSIG errors too
	NoName             // NXDOMAIN
	Referral           // NOERROR, but no SOA record of the zone with AA
	Odd                // another code, or no sense
	truncated
)

var kinds = [...]string{
	Unasked: "nothing, for it was not asked", NoAnswer: "nothing", Authoritative: "its SOA record", Failing: "SERVFAIL", Refused: "REFUSED",
	NotAuth: "NOTAUTH", NoName: "NXDOMAIN", Referral: "that others are to be asked", Odd: "something that makes no sense", truncated: "something truncated",
}

func (k Kind) String() string { return kinds[k] }

// read takes an answer out of a message.
func read(m *dns.Msg, zone name.Name) Answer {
	if m.Truncated {
		return Answer{Kind: truncated}
	}
	switch m.Rcode {
	case dns.RcodeSuccess:
	case dns.RcodeServerFailure:
		return Answer{Kind: Failing}
	case dns.RcodeRefused:
		return Answer{Kind: Refused}
	case dns.RcodeNotAuth:
		return Answer{Kind: NotAuth}
	case dns.RcodeNameError:
		return Answer{Kind: NoName}
	default:
		return Answer{Kind: Odd}
	}
	for _, rr := range m.Answer {
		soa, ok := rr.(*dns.SOA)
		if !ok || !m.Authoritative {
			continue
		}
		if n, err := name.Parse(dns.Fqdn(soa.Hdr.Name)); err != nil || n != zone {
			continue
		}
		a := Answer{Kind: Authoritative, Serial: soa.Serial, Refresh: soa.Refresh, Expire: soa.Expire}
		a.Left, a.HasLeft = left(m)
		return a
	}
	return Answer{Kind: Referral}
}

// left is the EDNS EXPIRE option of an answer.
func left(m *dns.Msg) (uint32, bool) {
	opt := m.IsEdns0()
	if opt == nil {
		return 0, false
	}
	for _, o := range opt.Option {
		if e, ok := o.(*dns.EDNS0_EXPIRE); ok && !e.Empty {
			return e.Expire, true
		}
	}
	return 0, false
}

// question is the message that asks for a zone's SOA record and, of a secondary, when it
// will give the zone up.
func question(id uint16, zone name.Name) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(string(zone), dns.TypeSOA)
	m.Id, m.RecursionDesired = id, false
	m.SetEdns0(1232, false)
	opt := m.IsEdns0()
	opt.Option = append(opt.Option, &dns.EDNS0_EXPIRE{Code: dns.EDNS0EXPIRE, Empty: true})
	return m
}
