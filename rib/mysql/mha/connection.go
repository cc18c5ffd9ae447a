package mha

import (
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// connection is how the utilities name a server: user[:password]@host[:port][:socket],
// or login-path[:port][:socket], or config-path[group]. The account is not kept.
type connection struct {
	host, port string
	path       string // a login path or configuration file instead of a host
}

func (c connection) address() string { return net.JoinHostPort(c.host, c.port) }

// connections reads a list with commas.
func connections(value string) (all []connection, err error) {
	for _, text := range splitList(value) {
		c, err := parseConnection(text)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil, errors.New("names no server")
	}
	return all, nil
}

// splitList parts at commas outside quotes.
func splitList(value string) (parts []string) {
	var quote rune
	start := 0
	for i, r := range value {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '\'' || r == '"'):
			quote = r
		case quote == 0 && r == ',':
			parts = append(parts, value[start:i])
			start = i + 1
		}
	}
	parts = append(parts, value[start:])
	var full []string
	for _, p := range parts {
		if p = strings.TrimSpace(p); p != "" {
			full = append(full, p)
		}
	}
	return full
}

// parseConnection reads one. A password may have an @: the last one parts it from the host.
func parseConnection(text string) (connection, error) {
	_, place, at := cutLast(text, "@")
	if !at {
		path, _, _ := strings.Cut(text, ":")
		if strings.HasPrefix(text, "/") || strings.Contains(text, "[") {
			path = text
		}
		return connection{path: path}, nil
	}
	var host, rest string
	switch {
	case strings.HasPrefix(place, "'") || strings.HasPrefix(place, `"`):
		end := strings.Index(place[1:], place[:1])
		if end < 0 {
			return connection{}, errors.New("a quoted host does not end")
		}
		host, rest = place[1:1+end], place[2+end:]
	case strings.HasPrefix(place, "["):
		end := strings.Index(place, "]")
		if end < 0 {
			return connection{}, errors.New("an address in brackets does not end")
		}
		host, rest = place[1:end], place[end+1:]
	default:
		if a, err := netip.ParseAddr(place); err == nil && a.Is6() {
			return connection{host: place, port: "3306"}, nil
		}
		host, rest, _ = strings.Cut(place, ":")
		if rest != "" {
			rest = ":" + rest
		}
	}
	if host == "" {
		return connection{}, errors.New("has no host")
	}
	if !isHost(host) && !strings.HasPrefix(host, ":") {
		return connection{}, errors.New("is no name of a host")
	}
	c := connection{host: host, port: "3306"}
	for part := range strings.SplitSeq(strings.TrimPrefix(rest, ":"), ":") {
		switch n, err := strconv.ParseUint(part, 10, 16); {
		case part == "" || strings.HasPrefix(part, "/"): // a socket is the agent's business
		case err != nil || n == 0:
			return connection{}, errors.New("has a port that is none")
		default:
			c.port = part
		}
	}
	return c, nil
}
