package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"

	"kaname.dev/kaname/access"
	"kaname.dev/kaname/fault"
)

// errUnknown marks the fault of an asker whom nobody knows, so that the status is
// 401 and not 403.
type errUnknown struct{ *fault.Fault }

func (e errUnknown) Unwrap() error { return e.Fault }

// guarded sets what every response carries and turns away what a browser sends on
// behalf of another site.
func (s *Server) guarded(next http.Handler) http.Handler {
	cross := http.NewCrossOriginProtection()
	cross.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, fault.Denied("request came from another site").Try("use the console at its own address"))
	}))
	inner := cross.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set(HeaderVersion, s.Version)
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		defer func() {
			switch p := recover(); p {
			case nil:
			case http.ErrAbortHandler: // the server's own way to break off
				panic(p)
			default:
				s.Log.Error("request panicked", "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
				s.fail(w, r, fault.Internal("request met a bug; it is in the log of "+s.Host))
			}
		}()
		inner.ServeHTTP(w, r)
	})
}

// open makes a handler for which nobody needs to be known.
func (s *Server) open(h func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			s.fail(w, r, err)
		}
	})
}

// known makes a handler that is called with the identity of the asker, and with
// none never.
func (s *Server) known(h func(http.ResponseWriter, *http.Request, access.Identity) error) http.Handler {
	return s.open(func(w http.ResponseWriter, r *http.Request) error {
		id, err := s.who(r)
		if err != nil {
			s.refuseStranger(r, id, err)
			return err
		}
		return h(w, r, id)
	})
}

func (s *Server) nothing(_ http.ResponseWriter, r *http.Request) error {
	return fault.NotFound("there is nothing at " + r.Method + " " + cut(r.URL.Path, 100)).Try("see GET /v1/openapi.json; a newer kaname may have it")
}

// fail answers with a fault, if nothing has been answered yet.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	f := fault.Of(err)
	status := fault.HTTPStatus(f)
	if _, ok := err.(errUnknown); ok { //nolint:errorlint // the mark is never wrapped
		status = http.StatusUnauthorized
		w.Header().Set("WWW-Authenticate", `Bearer realm="kaname"`)
	}
	if status >= http.StatusInternalServerError {
		s.Log.Warn("request ended with a fault", "method", r.Method, "path", cut(r.URL.Path, 100), "err", f)
	}
	reply(w, status, struct {
		Fault *fault.Fault `json:"fault"`
	}{f})
	drain(w, r)
}

// reply answers with JSON.
func reply(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		status, b = http.StatusInternalServerError, fmt.Appendf(nil, `{"fault":{"kind":"internal","what":%q}}`, "result cannot be written as JSON: "+err.Error())
	}
	b = append(b, '\n')
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(b))) // it is complete before the handler has drained the body
	w.WriteHeader(status)
	_, _ = w.Write(b) // the asker may have gone
}

// cut shortens a stranger's text for log and fault.
func cut(s string, n int) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) > n {
		return s[:n] + "…"
	}
	return s
}
