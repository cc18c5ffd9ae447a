package agent

import (
	"net"
	"os"
	"strings"
)

// machineName returns the first part of the machine's host name in lower case.
func machineName() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	name, _, _ = strings.Cut(strings.ToLower(name), ".")
	return name
}

// advertised returns the host:port under which others reach a listener: what is
// configured; else the address bound, if it is a particular one; else this
// machine's own address with the port bound.
func advertised(configured string, bound net.Addr) string {
	if configured != "" {
		return configured
	}
	tcp, ok := bound.(*net.TCPAddr)
	if !ok {
		return bound.String()
	}
	ip := tcp.IP
	if ip.IsUnspecified() {
		ip = outward()
	}
	return (&net.TCPAddr{IP: ip, Port: tcp.Port}).String()
}

// outward returns the address that this machine has towards others: the source
// address that the kernel would choose (no packet is sent), else the first one
// that is neither loopback nor link-local, else loopback.
func outward() net.IP {
	// 192.0.2.1 is from TEST-NET-1 (RFC 5737): only the routing table is asked.
	if c, err := net.Dial("udp", "192.0.2.1:9"); err == nil { //nolint:noctx // connecting a datagram socket does not block
		defer c.Close() //nolint:errcheck // nothing was sent
		if u, ok := c.LocalAddr().(*net.UDPAddr); ok && !u.IP.IsLoopback() {
			return u.IP
		}
	}
	addrs, _ := net.InterfaceAddrs() // none: loopback it is
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
			return n.IP
		}
	}
	return net.IPv4(127, 0, 0, 1)
}

// ownNames lists the names and addresses under which this machine may be called,
// for the certificate of the API.
func ownNames(more ...string) []string {
	seen := map[string]bool{}
	var list []string
	add := func(name string) {
		if host, _, err := net.SplitHostPort(name); err == nil {
			name = host
		}
		if ip := net.ParseIP(name); name == "" || seen[name] || ip != nil && ip.IsUnspecified() {
			return
		}
		seen[name] = true
		list = append(list, name)
	}
	add("localhost")
	if name, err := os.Hostname(); err == nil {
		add(strings.ToLower(name))
	}
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLinkLocalUnicast() {
			add(n.IP.String())
		}
	}
	for _, n := range more {
		add(n)
	}
	return list
}
