package serve

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"

	"github.com/miekg/dns"

	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/wire"
)

// Zone is a zone to be served. One with neither Keys nor AllowFrom is served to nobody.
type Zone struct {
	Name    name.Name
	Records iter.Seq[dns.RR] // its only SOA record first, the others in any order that stays; read once
	// Keys are names of TSIG keys: who signs with one of them may ask and transfer.
	Keys []string
	// AllowFrom are where unsigned questions and transfers are taken from.
	AllowFrom []netip.Prefix
	// Notify is who is told of a new serial, until it acknowledges. A peer without a
	// source is told from the first address that the server listens on.
	Notify []wire.Peer
}

// published is a zone as it is served; it is never changed.
type published struct {
	zone    Zone // without Records
	serial  uint32
	now     *version
	history history
}

// Publish serves the zone from now on in place of what was served under its name, which
// is the base of an incremental transfer. Whoever is to be told is told when the serial
// is new. The same records with the same serial are no change. A serial that is
// not newer (RFC 1982), other records with the same serial, records outside of the zone and keys that are not
// known are refused, and what was served stays.
func (s *Server) Publish(z Zone) error {
	if err := s.publish(z); err != nil {
		return fmt.Errorf("zone %s cannot be served: %w", z.Name, err)
	}
	return nil
}

func (s *Server) publish(z Zone) error {
	keys, err := s.known(z.Keys)
	if err != nil {
		return err
	}
	var base *version
	if last := (*s.zones.Load())[z.Name]; last != nil {
		base = last.now
	}
	v, err := pack(z.Name, z.Records, base)
	if err != nil {
		return err
	}
	z.Keys, z.Records = keys, nil
	z.AllowFrom, z.Notify = slices.Clone(z.AllowFrom), slices.Clone(z.Notify)
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &published{zone: z, serial: v.serial, now: v}
	if last := (*s.zones.Load())[z.Name]; last != nil {
		if p.serial != last.serial && !wire.Newer(p.serial, last.serial) {
			return fmt.Errorf("serial %d is not newer than %d, which is served; consumers would never take it: publish with %d", p.serial, last.serial, last.serial+1)
		}
		d := between(last.now, v)
		if p.serial == last.serial && !d.empty() {
			return fmt.Errorf("its records changed but not its serial %d; consumers would never take it: publish with %d", p.serial, p.serial+1)
		}
		p.now, p.history = last.now, last.history
		if p.serial != last.serial {
			p.now, p.history = v, last.history.with(d, v.len())
		}
	}
	s.replace(func(zones map[name.Name]*published) { zones[z.Name] = p })
	s.announce(p)
	return nil
}

// Withdraw serves the zone no more; one that is not served is no error.
func (s *Server) Withdraw(n name.Name) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replace(func(zones map[name.Name]*published) { delete(zones, n) })
	for t := range s.due {
		if t.zone == n {
			delete(s.due, t)
		}
	}
}

// Serial returns the serial that is served of a zone; false when it is not served.
func (s *Server) Serial(n name.Name) (uint32, bool) {
	p := (*s.zones.Load())[n]
	if p == nil {
		return 0, false
	}
	return p.serial, true
}

// replace puts a changed copy in the place of the table of zones.
func (s *Server) replace(change func(map[name.Name]*published)) {
	zones := maps.Clone(*s.zones.Load())
	change(zones)
	s.zones.Store(&zones)
}

// allows reports whether the zone is served to an address, or to who signed with a key.
func (p *published) allows(from netip.Addr, key string) bool {
	if key != "" && slices.Contains(p.zone.Keys, key) {
		return true
	}
	return within(p.zone.AllowFrom, from)
}

func within(prefixes []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
}

// errNoSOA is of a zone that does not begin with its SOA record.
var errNoSOA = errors.New("its first record is not its SOA record")
