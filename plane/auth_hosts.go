package plane

import (
	"context"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane/trust"
)

// bucketHosts holds the enrolments, by host.
const bucketHosts = "plane.hosts"

// Topics of the audit that the plane itself writes; the data is a TrustRecord.
const (
	topicJoined  = TopicAudit + ".joined"  // a host got its first certificate
	topicRevoked = TopicAudit + ".revoked" // a host or a token was revoked
	topicToken   = TopicAudit + ".token"   // a token was made
	topicRefused = TopicAudit + ".refused" // somebody tried what is not allowed
)

// topicCommandRefused is the event with which a host tells a core of a command
// that it refused; the core puts it into the audit.
const topicCommandRefused = "plane.command-refused"

// Enrolment is a host's right to connect. A certificate alone is not enough: the
// host must be enrolled with the key in it.
type Enrolment struct {
	Host    string     `json:"host"`
	Role    trust.Role `json:"role"`
	Key     string     `json:"key"`             // see trust.KeyPrint
	Until   time.Time  `json:"until"`           // end of the newest certificate
	Since   time.Time  `json:"since"`           // of the join with this key
	Token   string     `json:"token,omitempty"` // ID of the token it joined with
	Revoked time.Time  `json:"revoked,omitzero"`
	Why     string     `json:"why,omitempty"` // it was revoked
}

// covers decides whether a host with the key may be connected now.
func (e Enrolment) covers(key string, now time.Time) error {
	switch {
	case !e.Revoked.IsZero():
		return fault.Denied("host " + e.Host + " is revoked: " + e.Why).Try("join it with a new token that is bound to its name")
	case e.Key != key:
		return fault.Denied("host " + e.Host + " is enrolled with another key").Try("join it with a new token that is bound to its name")
	case now.After(e.Until.Add(trust.Skew)):
		return fault.Denied("the certificate of host " + e.Host + " has expired").Try("join it with a new token that is bound to its name")
	default:
		return nil
	}
}

// TrustRecord is the data of an audit event about who may speak.
type TrustRecord struct {
	Host   string `json:"host,omitempty"`   // whom it is about, as far as is known
	Remote string `json:"remote,omitempty"` // address it came from
	Token  string `json:"token,omitempty"`  // ID of the token
	By     string `json:"by,omitempty"`     // the person or program that did it
	What   string `json:"what"`             // "joined", "publish", "subscribe", "connection", "command", "join", "renewal"
	Text   string `json:"text,omitempty"`   // the subject, or why
	Count  int    `json:"count,omitempty"`  // how often within a few seconds, if more than once
}

// Enrolments returns all hosts that have joined, sorted by name, revoked ones
// included.
func (p *Plane) Enrolments(ctx context.Context) ([]Enrolment, error) {
	docs, err := Documents[Enrolment](p, bucketHosts).List(ctx, "")
	if err != nil {
		return nil, err
	}
	out := make([]Enrolment, len(docs))
	for i, d := range docs {
		out[i] = d.Value
	}
	return out, nil
}

// Revoke ends a host's right to connect, and its connections within a second on
// all cores that reach the store. by and why go into the audit. The host can come
// back with a token bound to its name only.
func (p *Plane) Revoke(ctx context.Context, host, by, why string) error {
	if err := trust.CheckName(host); err != nil {
		return err
	}
	if host == p.o.Host {
		return fault.Invalid("core " + host + " cannot revoke itself").Try("revoke it on another core")
	}
	d, err := Documents[Enrolment](p, bucketHosts).Update(ctx, host, func(e *Enrolment) error {
		if e.Host == "" {
			return fault.NotFound("host " + host + " has not joined").Try("see the list with: kaname host list")
		}
		if e.Revoked.IsZero() {
			e.Revoked, e.Why = time.Now().UTC(), why
		}
		return nil
	})
	if err != nil {
		return err
	}
	p.learn(d)
	return p.Emit(ctx, topicRevoked, TrustRecord{Host: host, By: by, What: "revoked", Text: why})
}

// enrol writes down that the host may connect with the key. With force false the
// name must be free, or belong to the key already.
func (p *Plane) enrol(ctx context.Context, e Enrolment, force bool) error {
	d, err := Documents[Enrolment](p, bucketHosts).Update(ctx, e.Host, func(old *Enrolment) error {
		known := old.Host != "" && old.Key == e.Key && old.Revoked.IsZero()
		switch {
		case known && old.Role == e.Role:
			e.Since, e.Token = old.Since, old.Token
		case old.Host != "" && !force:
			return fault.Denied("the name " + e.Host + " belongs to another host, or to one that is revoked").Try("choose another name, or make a token bound to this one")
		}
		*old = e
		return nil
	})
	if err != nil {
		return err
	}
	p.learn(d)
	return nil
}

// learn tells this core's own server of an enrolment before the watch does.
func (p *Plane) learn(d Doc[Enrolment]) {
	if p.auth != nil {
		p.auth.learn(d)
	}
}

// enrolSelf enrols this core with the identity it was opened with. It holds the
// Authority, so nobody has to allow it.
func (p *Plane) enrolSelf(ctx context.Context) error {
	id := p.o.Identity
	if id == nil {
		return nil
	}
	c := id.Certificate()
	return p.enrol(ctx, Enrolment{Host: id.Host(), Role: id.Role(), Key: trust.KeyPrint(c), Until: c.NotAfter, Since: time.Now().UTC()}, true)
}

// Renewed tells the plane that this core has renewed its own certificate.
func (p *Plane) Renewed(ctx context.Context) error { return p.enrolSelf(ctx) }
