package plane

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane/trust"
)

// bucketTokens holds the join tokens, by ID.
const bucketTokens = "plane.tokens"

// TokenSpec says what a join token is good for.
type TokenSpec struct {
	Role trust.Role    // agent when empty
	TTL  time.Duration // 15 minutes when zero, at most 30 days
	Host string        // the only name that it admits, even if that name is taken; any free one when empty
	Uses int           // how many hosts may join with it; 1 when zero, at most 10,000
	By   string        // who makes it, for the audit
}

// TokenInfo is a join token as the cores keep it: without its secret.
type TokenInfo struct {
	ID      string     `json:"id"`
	Hash    string     `json:"hash"` // see trust.Token.Hash
	Role    trust.Role `json:"role"`
	Host    string     `json:"host,omitempty"`
	Uses    int        `json:"uses"`
	Used    []TokenUse `json:"used,omitempty"`
	By      string     `json:"by,omitempty"`
	Made    time.Time  `json:"made"`
	Until   time.Time  `json:"until"`
	Revoked bool       `json:"revoked,omitempty"`
}

// TokenUse is one host that has joined with a token.
type TokenUse struct {
	Host string    `json:"host"`
	Key  string    `json:"key"`
	Time time.Time `json:"time"`
}

// Open reports whether a further host can join with the token now.
func (t TokenInfo) Open(now time.Time) bool {
	return !t.Revoked && len(t.Used) < t.Uses && now.Before(t.Until)
}

// check fills in what is empty.
func (s TokenSpec) check() (TokenSpec, error) {
	if s.Role == "" {
		s.Role = trust.RoleAgent
	}
	if s.TTL == 0 {
		s.TTL = 15 * time.Minute
	}
	if s.Uses == 0 {
		s.Uses = 1
	}
	switch {
	case !s.Role.Valid():
		return s, fault.Invalid("role " + string(s.Role) + " is unknown").Try("use agent or core")
	case s.TTL < 0 || s.TTL > 30*24*time.Hour:
		return s, fault.Invalid("a token lasts for at most 30 days, not " + s.TTL.String())
	case s.Uses < 0 || s.Uses > 10_000:
		return s, fault.Invalid("a token admits 1 to 10000 hosts, not " + itoa(s.Uses))
	case s.Host != "" && s.Uses != 1, s.Role == trust.RoleCore && s.Uses != 1:
		return s, fault.Invalid("a token for a core or for one name admits one host")
	case s.Host != "":
		return s, trust.CheckName(s.Host)
	default:
		return s, nil
	}
}

// CreateToken makes a token with which hosts can join. The result is the only
// place where its secret is.
func (p *Plane) CreateToken(ctx context.Context, s TokenSpec) (trust.Token, error) {
	s, err := s.check()
	if err != nil {
		return trust.Token{}, err
	}
	if err := p.needAuthority(); err != nil {
		return trust.Token{}, err
	}
	t, now := p.o.Authority.NewToken(), time.Now().UTC()
	info := TokenInfo{ID: t.ID, Hash: t.Hash(), Role: s.Role, Host: s.Host, Uses: s.Uses, By: s.By, Made: now, Until: now.Add(s.TTL)}
	if _, err := Documents[TokenInfo](p, bucketTokens).Create(ctx, t.ID, info); err != nil {
		return trust.Token{}, err
	}
	rec := TrustRecord{Token: t.ID, By: s.By, Host: s.Host, What: "token", Text: "role " + string(s.Role) + " for " + s.TTL.String()}
	return t, p.Emit(ctx, topicToken, rec)
}

// Tokens returns the tokens that are kept, spent ones included, newest first.
// Those that ended more than 30 days ago are removed on the way.
func (p *Plane) Tokens(ctx context.Context) ([]TokenInfo, error) {
	docs := Documents[TokenInfo](p, bucketTokens)
	list, err := docs.List(ctx, "")
	if err != nil {
		return nil, err
	}
	var out []TokenInfo
	for _, d := range list {
		if time.Since(d.Value.Until) > 30*24*time.Hour {
			_ = docs.Delete(ctx, d) // another core may have been faster; the next listing tells
			continue
		}
		out = append(out, d.Value)
	}
	slices.SortFunc(out, func(a, b TokenInfo) int { return b.Made.Compare(a.Made) })
	return out, nil
}

// RevokeToken ends a token; hosts that have joined with it stay.
func (p *Plane) RevokeToken(ctx context.Context, id, by string) error {
	_, err := Documents[TokenInfo](p, bucketTokens).Update(ctx, id, func(t *TokenInfo) error {
		if t.ID == "" {
			return fault.NotFound("there is no join token " + id).Try("see the list with: kaname token list")
		}
		t.Revoked = true
		return nil
	})
	if err != nil {
		return err
	}
	return p.Emit(ctx, topicRevoked, TrustRecord{Token: id, By: by, What: "revoked"})
}

// Enroller returns what serves trust.PathJoin and trust.PathRenew on this core.
// cores tells the addresses that joining hosts shall dial.
func (p *Plane) Enroller(cores func() []string, log *slog.Logger) (*trust.Enroller, error) {
	if err := p.needAuthority(); err != nil {
		return nil, err
	}
	return &trust.Enroller{Authority: p.o.Authority, Registrar: registrar{p}, Cores: cores, Log: log}, nil
}

func (p *Plane) needAuthority() error {
	if err := p.needCore("letting hosts join"); err != nil {
		return err
	}
	if p.o.Authority == nil {
		return fault.Unsupported("this core has no authority, so no host can join").At(p.o.Host).Try("join it with a token of role core, or import the bundle of another core")
	}
	return nil
}

// registrar is the trust.Registrar that stands on documents.
type registrar struct{ p *Plane }

// Consume implements trust.Registrar.
func (r registrar) Consume(ctx context.Context, t trust.Token, a trust.Applicant) (trust.Grant, error) {
	d, err := Documents[TokenInfo](r.p, bucketTokens).Update(ctx, t.ID, func(info *TokenInfo) error {
		return info.spend(t, a, time.Now().UTC())
	})
	if err == nil {
		e := Enrolment{Host: a.Host, Role: d.Value.Role, Key: a.Key, Token: t.ID, Since: time.Now().UTC(), Until: time.Now().UTC().Add(trust.Life)}
		err = r.p.enrol(ctx, e, d.Value.Host == a.Host)
	}
	if err != nil {
		r.refuse(a, t.ID, "join", err)
		return trust.Grant{}, err
	}
	rec := TrustRecord{Host: a.Host, Remote: a.Remote, Token: t.ID, What: "joined", Text: "role " + string(d.Value.Role)}
	return trust.Grant{Host: a.Host, Role: d.Value.Role}, r.p.Emit(ctx, topicJoined, rec)
}

// spend decides whether the applicant may use the token, and notes the use.
func (t *TokenInfo) spend(shown trust.Token, a trust.Applicant, now time.Time) error {
	again := "make a new one: kaname token create"
	if t.ID == "" || !shown.Matches(t.Hash) {
		return fault.Denied("the join token is not known here").Try(again)
	}
	for _, u := range t.Used { // its answer got lost
		if u.Host == a.Host && u.Key == a.Key && !t.Revoked && now.Before(t.Until) {
			return nil
		}
	}
	switch {
	case t.Revoked:
		return fault.Denied("join token " + t.ID + " is revoked").Try(again)
	case !now.Before(t.Until):
		return fault.Denied("join token " + t.ID + " expired at " + t.Until.Format(time.RFC3339)).Try(again)
	case len(t.Used) >= t.Uses:
		return fault.Denied("join token " + t.ID + " is spent: " + t.Used[len(t.Used)-1].Host + " has joined with it").Try(again)
	case t.Host != "" && t.Host != a.Host:
		return fault.Denied("join token " + t.ID + " is for another host than " + a.Host).Try("join with --name " + t.Host + ", or " + again)
	}
	t.Used = append(t.Used, TokenUse{Host: a.Host, Key: a.Key, Time: now})
	return nil
}

// Renew implements trust.Registrar.
func (r registrar) Renew(ctx context.Context, a trust.Applicant) (trust.Grant, error) {
	now := time.Now().UTC()
	d, err := Documents[Enrolment](r.p, bucketHosts).Update(ctx, a.Host, func(e *Enrolment) error {
		if e.Host == "" {
			return fault.Denied("host " + a.Host + " is not enrolled").Try("join it with a token: kaname token create")
		}
		if err := e.covers(a.Key, now); err != nil {
			return err
		}
		e.Until = now.Add(trust.Life)
		return nil
	})
	if err != nil {
		r.refuse(a, "", "renewal", err)
		return trust.Grant{}, err
	}
	r.p.learn(d)
	return trust.Grant{Host: a.Host, Role: d.Value.Role}, nil
}

// refuse has a refusal written into the audit.
func (r registrar) refuse(a trust.Applicant, token, what string, err error) {
	if fault.Is(err, fault.KindDenied) { // others are failures, not refusals
		r.p.refused.add(attempt{Host: a.Host, Remote: a.Remote, Token: token, What: what, Subject: err.Error()})
	}
}
