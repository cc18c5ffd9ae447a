package router

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"kaname.dev/kaname/rib/mysql/router/wire"
)

// loginBound is how long a client may take to log in.
const loginBound = 10 * time.Second

// offered are the capabilities that a kept session may have, where the server has them.
// There is no compression, and none of MariaDB's extensions: what is not offered is not
// used, and need not be followed.
const offered = wire.CapFoundRows | wire.CapLongFlag | wire.CapConnectWithDB | wire.CapLocalFiles |
	wire.CapIgnoreSpace | wire.CapProtocol41 | wire.CapInteractive | wire.CapTransactions | wire.CapSecure |
	wire.CapMultiStmts | wire.CapMultiResults | wire.CapPSMulti | wire.CapPluginAuth | wire.CapAttributes |
	wire.CapLenencAuth | wire.CapTrack | wire.CapNoEOF

var errDenied = errors.New("access denied")

// welcome greets the client as the server g would, and checks its password. It returns the
// session, and the number that the answer to the client's last packet has. Both plugins
// prove that a client knows its password without sending it, and the router knows the
// password: so there is never a need for a full login of caching_sha2_password.
func (c *conn) welcome(g wire.Greeting) (*session, byte, error) {
	_ = c.raw.SetDeadline(time.Now().Add(loginBound))
	g.Nonce = wire.Nonce()
	g.Caps = g.Caps&offered | wire.CapLongPassword
	if c.r.o.TLS != nil {
		g.Caps |= wire.CapTLS
	}
	if g.Plugin != wire.Caching {
		g.Plugin = wire.Native
	}
	if err := c.client.Send(0, g.Encode()); err != nil {
		return nil, 0, err
	}
	l, seq, err := c.login()
	if err != nil {
		return nil, 0, err
	}
	l.Caps &= g.Caps
	if l.Caps&wire.CapProtocol41 == 0 || l.Caps&wire.CapPluginAuth == 0 {
		return nil, seq, errors.New("the client speaks a protocol of before MySQL 5.5")
	}
	password, known, err := c.r.users.password(l.User)
	if err != nil {
		c.r.o.Log.Warn("users cannot be read again", "topology", c.r.o.Topology, "err", err)
	}
	if l.Plugin != wire.Native && l.Plugin != wire.Caching {
		if err := c.client.Send(seq+1, wire.Switch(g.Plugin, g.Nonce)); err != nil {
			return nil, 0, err
		}
		l.Plugin = g.Plugin
		if l.Proof, seq, err = c.client.Read(1 << 10); err != nil {
			return nil, 0, err
		}
	}
	if !known || !wire.Proves(l.Plugin, password, g.Nonce, l.Proof) {
		return nil, seq, fmt.Errorf("%w for user %q at the router of topology %s", errDenied, l.User, c.r.o.Topology)
	}
	if l.Plugin == wire.Caching && password != "" {
		seq++
		if err := c.client.Write(seq, []byte{1, 3}); err != nil { // the proof was good
			return nil, 0, err
		}
	}
	_ = c.raw.SetDeadline(time.Time{})
	s := &session{login: l, password: password, db: l.DB, tracks: l.Caps&wire.CapTrack != 0}
	s.login.Caps |= wire.CapTrack | wire.CapLenencAuth | wire.CapSecure
	return s, seq + 1, nil
}

// login reads the client's answer to the greeting, and begins TLS if the client wants it.
func (c *conn) login() (wire.Login, byte, error) {
	b, seq, err := c.client.Read(64 << 10)
	if err != nil {
		return wire.Login{}, 0, err
	}
	l, err := wire.ParseLogin(b)
	if err != nil || len(b) != 32 || l.Caps&wire.CapTLS == 0 || c.r.o.TLS == nil {
		return l, seq, err
	}
	c.client = wire.NewSide(tls.Server(buffered{c.raw, c.client.R}, c.r.o.TLS))
	if b, seq, err = c.client.Read(64 << 10); err != nil {
		return l, 0, err
	}
	l, err = wire.ParseLogin(bytes.Clone(b))
	l.Caps &^= wire.CapTLS
	return l, seq, err
}

// buffered is a connection of which something has been read already.
type buffered struct {
	net.Conn
	r io.Reader
}

func (b buffered) Read(p []byte) (int, error) { return b.r.Read(p) }
