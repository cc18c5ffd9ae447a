package api

import (
	"encoding/json"
	"net/http"

	"kaname.dev/kaname/access"
	"kaname.dev/kaname/fault"
)

// CookieName is the session cookie. The prefix makes browsers insist on Secure,
// Path=/ and no Domain (RFC 6265bis §4.1.3.2).
const CookieName = "__Host-kaname"

// signIn begins a session: POST /v1/session with {"name": …, "password": …}.
func (s *Server) signIn(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Name     string `json:"name"`
		Password string `json:"password"`
	}
	body, err := readJSON(w, r)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return fault.Invalid("sign-in is not {\"name\": …, \"password\": …}").Because(err)
	}
	secret, id, err := s.Access.SignIn(r.Context(), in.Name, in.Password, from(r))
	rec := access.Record{Who: cut(in.Name, 64), Role: string(id.Role), Door: "console", From: from(r), Action: "sign in", Outcome: access.OutcomeDone}
	if err != nil {
		if fault.Is(err, fault.KindDenied) {
			if _, ok := s.noise.take(); ok {
				s.note(r.Context(), rec.Refused(err))
			}
			return errUnknown{fault.Of(err)}
		}
		return err
	}
	s.note(r.Context(), rec)
	http.SetCookie(w, &http.Cookie{
		Name: CookieName, Value: secret, Path: "/", Secure: true, HttpOnly: true,
		SameSite: http.SameSiteLaxMode, MaxAge: int(access.SessionMax.Seconds()),
	})
	reply(w, http.StatusOK, id)
	return nil
}

// signOut ends the session of the cookie.
func (s *Server) signOut(w http.ResponseWriter, r *http.Request, _ access.Identity) error {
	if c, err := r.Cookie(CookieName); err == nil {
		if err := s.Access.SignOut(r.Context(), c.Value); err != nil {
			return err
		}
	}
	http.SetCookie(w, &http.Cookie{Name: CookieName, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: -1})
	reply(w, http.StatusOK, struct{}{})
	return nil
}

// Whoami is the answer to GET /v1/whoami.
type Whoami struct {
	access.Identity
	Host    string `json:"host"`    // the core that answered
	Version string `json:"version"` // of kaname there
}

func (s *Server) whoami(w http.ResponseWriter, _ *http.Request, id access.Identity) error {
	reply(w, http.StatusOK, Whoami{id, s.Host, s.Version})
	return nil
}

// complete answers GET /v1/complete?kind=hosts&prefix=we with {"values": […]}.
func (s *Server) complete(w http.ResponseWriter, r *http.Request, _ access.Identity) error {
	values := []string{}
	if s.Complete != nil {
		found, err := s.Complete(r.Context(), r.URL.Query().Get("kind"), r.URL.Query().Get("prefix"))
		if err != nil {
			return err
		}
		values = append(values, found...)
	}
	reply(w, http.StatusOK, map[string][]string{"values": values})
	return nil
}
