package api

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"kaname.dev/kaname/access"
	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
)

// peerKey is the context key under which a unix connection's access.Peer stands.
type peerKey struct{}

// who establishes the asker's identity: an API token if one is given, else the
// unix peer, else the session of the cookie.
func (s *Server) who(r *http.Request) (access.Identity, error) {
	if h := r.Header.Get("Authorization"); h != "" {
		scheme, text, _ := strings.Cut(h, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return access.Identity{Name: "unknown"}, errUnknown{fault.Denied("authorization scheme " + cut(scheme, 20) + " is not known here").Try("send: Authorization: Bearer TOKEN")}
		}
		id, err := s.Access.Token(r.Context(), strings.TrimSpace(text))
		return stranger(id, err)
	}
	if p, ok := r.Context().Value(peerKey{}).(access.Peer); ok {
		return s.Access.Unix(p)
	}
	if c, err := r.Cookie(CookieName); err == nil {
		id, err := s.Access.Session(r.Context(), c.Value)
		return stranger(id, err)
	}
	return access.Identity{Name: "unknown"}, errUnknown{fault.Denied("nobody is signed in").Try("sign in, or send a token: Authorization: Bearer TOKEN")}
}

// stranger marks a refusal of the token or the session itself.
func stranger(id access.Identity, err error) (access.Identity, error) {
	if fault.Is(err, fault.KindDenied) {
		return access.Identity{Name: "unknown"}, errUnknown{fault.Of(err)}
	}
	return id, err
}

// actor is the asker as runs and ribs see it.
func actor(r *http.Request, id access.Identity) action.Actor {
	door := "api"
	if id.Via == access.ViaSession {
		door = "console"
	}
	if d := r.Header.Get(HeaderDoor); d == "cli" || d == "console" || d == "bot" {
		door = d // only ever a hint for the reader of the audit trail
	}
	return action.Actor{Name: id.Name, Door: door, Role: string(id.Role)}
}

// from is where the asker is: an address, or the process at the unix socket.
func from(r *http.Request) string {
	if p, ok := r.Context().Value(peerKey{}).(access.Peer); ok {
		return "pid " + strconv.Itoa(p.PID)
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// refuseStranger notes in the audit trail that somebody was turned away who did
// not get as far as an action.
func (s *Server) refuseStranger(r *http.Request, id access.Identity, err error) {
	if !fault.Is(err, fault.KindDenied) {
		return
	}
	if r.Header.Get("Authorization") == "" && r.Header.Get("Cookie") == "" && id.Via == "" {
		return // asked without any credentials: a browser before the sign-in, a health check
	}
	dropped, ok := s.noise.take()
	if !ok {
		return
	}
	a := actor(r, id)
	rec := access.Record{Who: id.Name, Role: string(id.Role), Door: a.Door, From: from(r), Action: "sign in"}.Refused(err)
	if dropped > 0 {
		rec.Fault = fault.Denied(rec.Fault.What + "; " + strconv.Itoa(dropped) + " more since the last record")
	}
	s.note(r.Context(), rec)
}

// note writes an audit record whose absence cannot undo anything.
func (s *Server) note(ctx context.Context, rec access.Record) {
	if err := s.Access.Write(ctx, rec); err != nil {
		s.Log.Error("audit record lost", "who", rec.Who, "action", rec.Action, "outcome", rec.Outcome, "run", rec.Run, "err", err)
	}
}

// noise keeps strangers from filling the audit trail: one record a second, fifty
// at once; those left out are counted.
type noise struct {
	now func() time.Time

	mu      sync.Mutex // guards the fields below
	limit   *rate.Limiter
	dropped int
}

func newNoise(now func() time.Time) *noise {
	return &noise{now: now, limit: rate.NewLimiter(1, 50)}
}

// take reports whether a record may be written, and how many were left out since
// the last one.
func (n *noise) take() (dropped int, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.limit.AllowN(n.now(), 1) {
		n.dropped++
		return 0, false
	}
	dropped, n.dropped = n.dropped, 0
	return dropped, true
}
