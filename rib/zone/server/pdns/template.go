package pdns

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"kaname.dev/kaname/rib/zone/control/pdnsapi"
	"kaname.dev/kaname/rib/zone/server"
)

// tag begins the account of a zone of ours.
const tag = "kaname:"

// limits of the columns account and master in PowerDNS's database schemas, in octets.
const (
	maxAccount = 40
	maxMasters = 128
)

// kinds are what of a zone's metadata a template's options may set, each with one
// value a line: "IXFR=1".
var kinds = []string{"ALSO-NOTIFY", "AXFR-SOURCE", "IXFR", "SLAVE-RENOTIFY"}

// shape is a template in PowerDNS's words.
type shape struct {
	settings pdnsapi.Settings
	allow    []string            // addresses and prefixes of ALLOW-AXFR-FROM
	meta     map[string][]string // by kinds
}

// plain reports whether making a zone sets all that the template has.
func (s shape) plain() bool { return len(s.allow) == 0 && len(s.meta) == 0 }

// shapeOf renders a template; has holds the names of the server's TSIG keys.
func shapeOf(t server.Template, has []string) (shape, error) {
	s := shape{settings: pdnsapi.Settings{Account: tag + t.ID("pdns")}, meta: map[string][]string{}}
	bad := func(format string, args ...any) (shape, error) {
		return shape{}, fmt.Errorf("%w: template %q: %w", server.ErrTemplate, t.Name, fmt.Errorf(format, args...))
	}
	if n := len(s.settings.Account); n > maxAccount {
		return bad("its name is %d letters too long for the account of a zone; rename the group", n-maxAccount)
	}
	if len(t.Primaries) == 0 {
		return bad("it names no primary")
	}
	for i, p := range t.Primaries {
		if !p.Address.IsValid() {
			return bad("a primary has no address")
		}
		if p.Key != t.Primaries[0].Key {
			return bad("PowerDNS signs with one key a zone, and its primaries have several; give them one key")
		}
		if i == 0 && p.Key != "" {
			k, err := keyOf(p.Key, has)
			if err != nil {
				return bad("%w", err)
			}
			s.settings.Pull = k
		}
		s.settings.Masters = append(s.settings.Masters, p.Address.String())
	}
	if n := len(strings.Join(s.settings.Masters, ", ")); n > maxMasters {
		return bad("its primaries are written in %d octets, and PowerDNS keeps %d; name fewer", n, maxMasters)
	}
	for _, who := range t.Transfer {
		if err := s.transfer(who, has); err != nil {
			return bad("%w", err)
		}
	}
	if err := s.options(t.Options["pdns"]); err != nil {
		return bad("%w", err)
	}
	return s, nil
}

// keyOf returns the canonical name of a TSIG key that the server has.
func keyOf(text string, has []string) (string, error) {
	k := dns.CanonicalName(text)
	if !slices.ContainsFunc(has, func(h string) bool { return dns.CanonicalName(h) == k }) {
		return "", fmt.Errorf("the server has no TSIG key %q; run kaname zone setup, or pdnsutil import-tsig-key", text)
	}
	return k, nil
}

// transfer lets who transfer the zone: an address, a prefix or "key NAME".
func (s *shape) transfer(who string, has []string) error {
	if text, is := strings.CutPrefix(who, "key "); is {
		k, err := keyOf(strings.TrimSpace(text), has)
		if err != nil {
			return err
		}
		s.settings.Give = append(s.settings.Give, k)
		return nil
	}
	p, err := prefix(who)
	if err != nil {
		return fmt.Errorf("transfer %q is neither an address, a prefix nor \"key NAME\"", who)
	}
	if !p.Addr().IsLoopback() { // allow-axfr-ips has those, and Probe sees to it
		s.allow = append(s.allow, p.String())
	}
	return nil
}

// prefix reads an address or a prefix.
func prefix(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	return p.Masked(), err
}

// options reads a template's own words: lines of KIND=value.
func (s *shape) options(text string) error {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		kind, value, ok := strings.Cut(line, "=")
		kind, value = strings.TrimSpace(kind), strings.TrimSpace(value)
		if !ok || !slices.Contains(kinds, kind) {
			return fmt.Errorf("option %q is not one of %s, with = and a value", line, strings.Join(kinds, ", "))
		}
		s.meta[kind] = append(s.meta[kind], value)
	}
	return nil
}
