package namedconf

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"kaname.dev/kaname/rib/zone/name"
)

// maxResolve bounds what one list of servers or addresses may grow to when the
// lists that it names are put in their places: lists that name others twice grow
// without end.
const maxResolve = 100000

// lists are the named lists of a configuration.
type lists struct {
	acls    map[string]Statement
	servers map[string]Statement
	cache   map[string][]Match     // of acls
	blocks  map[*Statement][]Match // of blocks: what all zones inherit is held once
}

// KeyName returns the canonical form of a key's name, as it is compared: lower
// case, without the final dot. A name that is no domain name stays as it is.
func KeyName(s string) string {
	if n, err := name.Parse(s); err == nil {
		return n.Bare()
	}
	return strings.ToLower(s)
}

// resolved is a list under construction.
type resolved struct {
	l     *lists
	stack []string
	n     int
}

// match resolves the block of an address match list. It is never nil, and may be
// shared: it is not to be changed.
func (l *lists) match(block []Statement) ([]Match, error) {
	if len(block) == 0 {
		return []Match{}, nil
	}
	if out, ok := l.blocks[&block[0]]; ok {
		return out, nil
	}
	r := resolved{l: l}
	out, err := r.match(block)
	if err != nil {
		return nil, err
	}
	if out == nil {
		out = []Match{}
	}
	l.blocks[&block[0]] = out
	return out, nil
}

func (r *resolved) match(block []Statement) ([]Match, error) {
	var list []Match
	for i, st := range block {
		more, err := r.element(st, i == len(block)-1)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", st.At, err)
		}
		if r.n += len(more) + 1; r.n > maxResolve {
			return nil, fmt.Errorf("%s: the address list has more than %d elements when the lists in it are resolved; simplify it", st.At, maxResolve)
		}
		if len(block) == 1 {
			return more, nil // shared, not copied
		}
		list = append(list, more...)
	}
	return list, nil
}

// element resolves one element: an address, a prefix, a key, a name, a block. last is
// that of its list.
func (r *resolved) element(st Statement, last bool) ([]Match, error) {
	items, not := st.Items, false
	for len(items) > 0 && items[0].Text == "!" && !items[0].Quoted {
		items, not = items[1:], !not
	}
	if len(items) == 0 {
		return nil, fmt.Errorf("%q negates nothing; remove it", st.Text())
	}
	other := []Match{{Not: not, Kind: MatchOther, Text: Statement{Items: items}.Text()}}
	switch first := items[0]; {
	case first.IsBlock && len(items) == 1:
		inner, err := r.match(first.Block)
		return nested(inner, not, last, other), err
	case first.IsBlock || len(items) > 2:
		return other, nil
	case len(items) == 2 && strings.EqualFold(first.Text, "key") && !items[1].IsBlock:
		return []Match{{Not: not, Kind: MatchKey, Key: KeyName(items[1].Text)}}, nil
	case len(items) == 2:
		return other, nil // geoip country, which named-checkconf prints as country
	default:
		return r.named(first.Text, not, last, other)
	}
}

// named resolves an element of one word.
func (r *resolved) named(word string, not, last bool, other []Match) ([]Match, error) {
	switch strings.ToLower(word) {
	case "any":
		return []Match{{Not: not, Kind: MatchAny}}, nil
	case "none":
		return []Match{{Not: !not, Kind: MatchAny}}, nil
	case "localhost", "localnets":
		return []Match{{Not: not, Kind: strings.ToLower(word)}}, nil
	}
	if p, ok := prefix(word); ok {
		return []Match{{Not: not, Kind: MatchPrefix, Prefix: p}}, nil
	}
	st, ok := r.l.acls[strings.ToLower(word)]
	if !ok {
		return nil, fmt.Errorf("acl %q is not defined; define it or remove it", clip(word))
	}
	key := strings.ToLower(word)
	inner, done := r.l.cache[key]
	if !done {
		if slices.Contains(r.stack, key) {
			return nil, fmt.Errorf("acl %q contains itself; remove it there", clip(word))
		}
		block, _ := st.Block()
		r.stack = append(r.stack, key)
		var err error
		inner, err = r.match(block)
		r.stack = r.stack[:len(r.stack)-1]
		if err != nil {
			return nil, err
		}
		r.l.cache[key] = inner
	}
	return nested(inner, not, last, other), nil
}

// nested puts a list in the place of an element. What a list inside a list denies
// is not denied, it only does not match there, so lists with a negation inside
// do not keep their meaning when they are flattened. The exceptions are "none" alone,
// and the last element: not to match there is to be denied.
func nested(inner []Match, not, last bool, other []Match) []Match {
	if last && !not {
		return inner
	}
	out := make([]Match, 0, len(inner))
	for _, m := range inner {
		if m.Not && m.Kind == MatchAny && len(inner) == 1 {
			return nil // matches nothing, negated or not
		}
		if m.Not {
			return other
		}
		m.Not = not
		out = append(out, m)
	}
	return out
}

// prefix reads an address or a prefix, also a short one: 10/8, 192.168/16.
func prefix(s string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a.WithZone(""), a.BitLen()), true
	}
	host, bits, slash := strings.Cut(s, "/")
	dots := strings.Count(host, ".")
	if !strings.Contains(host, ":") && dots < 3 && slash {
		host = strings.TrimSuffix(host, ".")
		host += strings.Repeat(".0", 3-strings.Count(host, "."))
	}
	a, err := netip.ParseAddr(host)
	n, err2 := strconv.Atoi(bits)
	if err != nil || err2 != nil || n < 0 || n > a.BitLen() {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, n).Masked(), true
}

// serversOf resolves a primaries or also-notify statement: words before the block
// may set a port and a key for all.
func (l *lists) serversOf(st Statement) ([]Server, error) {
	r := resolved{l: l}
	return r.servers(st, 53, "", "")
}

func (r *resolved) servers(st Statement, port uint16, key, tls string) ([]Server, error) {
	port, key, tls, err := params(st, port, key, tls)
	if err != nil {
		return nil, err
	}
	block, ok := st.Block()
	if !ok {
		return nil, fmt.Errorf("%s: %q has no list of servers", st.At, clip(st.Text()))
	}
	var list []Server
	for _, el := range block {
		if r.n++; r.n > maxResolve {
			return nil, fmt.Errorf("%s: the list of servers has more than %d when the lists in it are resolved; simplify it", el.At, maxResolve)
		}
		p, k, t, err := params(el, port, key, tls)
		if err != nil {
			return nil, err
		}
		word := el.Word(0)
		if a, err := netip.ParseAddr(word); err == nil {
			list = append(list, Server{Address: netip.AddrPortFrom(a.Unmap(), p), Key: k, TLS: t})
			continue
		}
		more, err := r.list(el, p, k, t)
		if err != nil {
			return nil, err
		}
		list = append(list, more...)
	}
	return list, nil
}

// list resolves a named list of servers inside another.
func (r *resolved) list(el Statement, port uint16, key, tls string) ([]Server, error) {
	word := strings.ToLower(el.Word(0))
	st, ok := r.l.servers[word]
	if !ok {
		return nil, fmt.Errorf("%s: %q is no address and no list of primaries; define it or remove it", el.At, clip(el.Word(0)))
	}
	if slices.Contains(r.stack, word) {
		return nil, fmt.Errorf("%s: the list of primaries %q contains itself; remove it there", el.At, clip(word))
	}
	r.stack = append(r.stack, word)
	defer func() { r.stack = r.stack[:len(r.stack)-1] }()
	return r.servers(st, port, key, tls)
}

// params reads "port N", "key NAME" and "tls NAME" among the words of a statement.
func params(st Statement, port uint16, key, tls string) (uint16, string, string, error) {
	for i := 0; i+1 < len(st.Items); i++ {
		value := st.Items[i+1]
		if st.Items[i].IsBlock || value.IsBlock || i == 0 && st.Items[0].Quoted {
			continue
		}
		switch strings.ToLower(st.Items[i].Text) {
		case "port":
			n, err := strconv.ParseUint(value.Text, 10, 16)
			if err != nil || n == 0 {
				return 0, "", "", fmt.Errorf("%s: port %q is no port; use 1 to 65535", st.At, clip(value.Text))
			}
			port = uint16(n)
		case "key":
			key = KeyName(value.Text)
		case "tls":
			tls = value.Text
		}
	}
	return port, key, tls, nil
}
