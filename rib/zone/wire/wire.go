// Package wire speaks DNS to other servers: questions, transfers, notifies, signed
// with TSIG where a key is given.
package wire

import (
	"net/netip"
)

// Key is a TSIG key (RFC 8945).
type Key struct {
	Name      string // in any form; compared as a domain name
	Algorithm string // "hmac-sha256"
	Secret    string // base64
}

// Peer is another server, as it is reached.
type Peer struct {
	Address netip.AddrPort
	Key     *Key       // signs all that is sent there; nil for none
	Source  netip.Addr // local address to send from; the zero Addr leaves it to the system
}
