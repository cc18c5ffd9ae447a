package plane

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane/trust"
)

// sweepEvery is how often connections are looked at whose certificates may have
// expired.
const sweepEvery = 30 * time.Second

// auth decides on each connection to this core's server. It lets in
//
//   - this process, over the pipe inside it and with a secret that never leaves it;
//   - hosts over TLS, whose certificate is of the plane's CA, and whose enrolment
//     (see Enrolment) is not revoked and names the certificate's key.
//
// It answers from a copy of the enrolments that follows the documents, so it works
// when the store has no quorum; until the first copy is there, hosts are refused
// and come back. When an enrolment changes, connections that it no longer
// covers are cut.
//
// It is the server's server.Authentication.
type auth struct {
	log     *slog.Logger
	secret  string // with which this process connects to its own server
	refused *refusals

	mu    sync.Mutex // guards the fields below
	s     *server.Server
	ready bool // hosts is a full copy
	hosts map[string]Doc[Enrolment]
	conns map[uint64]conn // by the server's connection id
	swept int             // connections that were left after the last sweep
}

// conn is a connection that was let in.
type conn struct{ host, key, remote string }

func newAuth(refused *refusals, log *slog.Logger) *auth {
	return &auth{
		log: log, secret: rand.Text(), refused: refused,
		hosts: map[string]Doc[Enrolment]{}, conns: map[uint64]conn{},
	}
}

// attach tells a which server its connections are of.
func (a *auth) attach(s *server.Server) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.s = s
}

// Check implements server.Authentication.
func (a *auth) Check(c server.ClientAuthentication) bool {
	remote := "inside"
	if addr := c.RemoteAddress(); addr != nil {
		remote = addr.String()
	}
	if c.Kind() != server.CLIENT {
		a.refused.add(attempt{Remote: remote, What: "connection", Subject: "of a kind that this plane has not"})
		return false
	}
	cs := c.GetTLSConnectionState()
	if cs == nil {
		if inside(c) && subtle.ConstantTimeCompare([]byte(c.GetOpts().Token), []byte(a.secret)) == 1 {
			c.RegisterUser(&server.User{Username: "core"}) // no Permissions: all
			return true
		}
		a.refused.add(attempt{Remote: remote, What: "connection", Subject: "without TLS"})
		return false
	}
	host, err := a.admit(c, remote)
	if err != nil {
		a.refused.add(attempt{Host: host, Remote: remote, What: "connection", Subject: err.Error()})
		a.log.Warn("connection refused", "from", host, "remote", remote, "error", err)
		return false
	}
	c.RegisterUser(&server.User{Username: host, Permissions: hostPermissions(host)})
	return true
}

// inside reports whether the connection comes from this very process.
func inside(c server.ClientAuthentication) bool {
	addr := c.RemoteAddress()
	return addr != nil && addr.Network() == "pipe"
}

// admit decides on a TLS connection and notes it down if it is let in.
func (a *auth) admit(c server.ClientAuthentication, remote string) (host string, err error) {
	cert, err := trust.PeerCertificate(*c.GetTLSConnectionState())
	if err != nil {
		return "", err
	}
	if host, err = trust.Name(cert); err != nil {
		return "", err
	}
	key := trust.KeyPrint(cert)
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.allowed(host, key, time.Now()); err != nil {
		return host, err
	}
	a.conns[c.GetID()] = conn{host, key, remote}
	if len(a.conns) > 2*a.swept+64 {
		a.prune()
	}
	return host, nil
}

// allowed decides by the copy of the enrolments; a.mu is held.
func (a *auth) allowed(host, key string, now time.Time) error {
	if !a.ready {
		return fault.Unavailable("this core has not read the enrolments yet")
	}
	e, ok := a.hosts[host]
	if !ok {
		return fault.Denied("host " + host + " is not enrolled").Try("join it with a token: kaname token create")
	}
	return e.Value.covers(key, now)
}

// hostPermissions are what a host may do on the wire: see subjects.go. They are
// allow-lists, and everything else is refused. It needs no permission to answer
// requests, because the subjects of its answers are its own.
func hostPermissions(host string) *server.Permissions {
	h := hostToken(host)
	return &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: []string{subjectHeartbeat + h, subjectEvent + h + ".>", subjectFrame + h + ".>", subjectAsk + h + ".>"}},
		Subscribe: &server.SubjectPermission{Allow: []string{subjectHost + h + ".>", subjectAll + ">", inboxPrefix + h + ".>"}},
	}
}

// learn takes a newer version of an enrolment and cuts what it no longer covers.
func (a *auth) learn(d Doc[Enrolment]) {
	a.mu.Lock()
	if old, ok := a.hosts[d.Key]; ok && old.Revision > d.Revision {
		a.mu.Unlock()
		return
	}
	a.hosts[d.Key] = d
	cut := a.uncovered(d.Key)
	s := a.s
	a.mu.Unlock()
	a.cut(s, cut)
}

// uncovered returns the connections of a host ("" for all) that are no longer
// allowed, and forgets them; a.mu is held.
func (a *auth) uncovered(host string) map[uint64]conn {
	cut := map[uint64]conn{}
	now := time.Now()
	for id, c := range a.conns {
		if host != "" && c.host != host {
			continue
		}
		if err := a.allowed(c.host, c.key, now); err != nil {
			cut[id] = c
			delete(a.conns, id)
		}
	}
	return cut
}

// cut closes connections.
func (a *auth) cut(s *server.Server, conns map[uint64]conn) {
	for id, c := range conns {
		if s != nil && s.DisconnectClientByID(id) == nil {
			a.log.Warn("connection cut: the host is revoked, has another key or an expired certificate", "from", c.host, "remote", c.remote)
		}
	}
}

// prune forgets connections that are gone; a.mu is held.
func (a *auth) prune() {
	for id := range a.conns {
		if a.s != nil && a.s.GetClient(id) == nil {
			delete(a.conns, id)
		}
	}
	a.swept = len(a.conns)
}

// sweep cuts the connections whose certificates have expired.
func (a *auth) sweep() {
	a.mu.Lock()
	a.prune()
	cut := a.uncovered("")
	s := a.s
	a.mu.Unlock()
	a.cut(s, cut)
}

// of returns the host of a connection, "" if it is none.
func (a *auth) of(id uint64) (host, remote string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.conns[id]
	return c.host, c.remote
}

// openAuth enrols this core, starts to follow the enrolments, and returns when the
// copy is complete. From then on hosts are let in.
func (p *Plane) openAuth(ctx context.Context) error {
	a := p.auth
	if err := p.enrolSelf(ctx); err != nil || a == nil {
		return err // the external server has its own accounts
	}
	complete := make(chan struct{})
	p.wg.Go(func() {
		for c, err := range Documents[Enrolment](p, bucketHosts).Watch(p.life, "") {
			switch {
			case err != nil:
				p.log.Error("an enrolment cannot be read; its host is refused", "key", c.Key, "error", err)
				a.learn(Doc[Enrolment]{Key: c.Key, Value: Enrolment{Host: c.Key, Revoked: time.Now(), Why: "its enrolment cannot be read"}, Revision: c.Revision})
			case c.Ready:
				a.mu.Lock()
				a.ready = true
				a.mu.Unlock()
				close(complete)
			case c.Deleted:
				a.learn(Doc[Enrolment]{Key: c.Key, Value: Enrolment{Host: c.Key, Revoked: time.Now(), Why: "it was removed"}, Revision: c.Revision})
			default:
				a.learn(c.Doc)
			}
		}
	})
	p.wg.Go(func() {
		t := time.NewTicker(sweepEvery)
		defer t.Stop()
		for {
			select {
			case <-p.life.Done():
				return
			case <-t.C:
				a.sweep()
			}
		}
	})
	select {
	case <-complete:
		return nil
	case <-ctx.Done():
		return fault.Timeout("the enrolments could not be read in time").At(p.o.Host).Because(ctx.Err())
	}
}

// mayAnswer reports whether a core may answer a message of a host at the subject
// that the host named for it. Only its own inbox is: a core may publish
// everywhere, so that a host could otherwise have it write into the store.
func (p *Plane) mayAnswer(host, reply string) bool {
	if strings.HasPrefix(reply, inboxPrefix+hostToken(host)+".") {
		return true
	}
	p.refused.add(attempt{Host: host, What: "reply", Subject: reply})
	return false
}

// enrolledCore reports whether a host that says to be a core is one.
func (p *Plane) enrolledCore(host string, says bool) bool {
	if p.auth == nil {
		return says // an external server has decided who may say so
	}
	p.auth.mu.Lock()
	defer p.auth.mu.Unlock()
	return p.auth.hosts[host].Value.Role == trust.RoleCore
}
