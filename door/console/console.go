// Package console is the door for people with a browser. It draws what the API's
// catalogue says: each action as a form, its plan before it runs, its result as
// pairs or a table, a run as it happens. It knows no rib; a new one appears in it
// by itself.
//
// It holds no authority of its own. Each page is made from calls of the API as the
// person who is signed in, through the same handler that programs use. Pages are
// whole without JavaScript; with it, a run moves and inputs offer candidates.
package console

import (
	"log/slog"
	"net/http"

	"kaname.dev/kaname/door/api"
	"kaname.dev/kaname/fault"
)

// Options is what the console needs.
type Options struct {
	API *api.Server
	Log *slog.Logger
}

type console struct {
	api   http.Handler
	log   *slog.Logger
	pages *pages
}

// New returns the console's handler, for everything beside /v1/. It panics when a
// template is broken, which the first test finds.
func New(o Options) http.Handler {
	p, err := newPages()
	if err != nil {
		panic(err)
	}
	c := &console{api: o.API.Handler(), log: o.Log, pages: p}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /static/{name}", p.serveStatic)
	mux.HandleFunc("GET /login", c.signInForm)
	mux.HandleFunc("POST /login", c.signIn)
	mux.HandleFunc("POST /logout", c.signOut)
	mux.Handle("GET /{$}", c.known((*visit).home))
	mux.Handle("GET /rib/{name}", c.known((*visit).rib))
	mux.Handle("GET /action/{id}", c.known((*visit).action))
	mux.Handle("POST /action/{id}", c.known((*visit).act))
	mux.Handle("GET /runs", c.known((*visit).runs))
	mux.Handle("GET /run/{id}", c.known((*visit).run))
	mux.Handle("POST /run/{id}/cancel", c.known((*visit).cancel))
	cross := http.NewCrossOriginProtection()
	return guarded(cross.Handler(mux))
}

// guarded sets what keeps a page from being framed, or from loading anything that
// is not its own.
func guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}

// visit is one request of a person who is signed in.
type visit struct {
	*console
	w      http.ResponseWriter
	r      *http.Request
	client *api.Client
	me     api.Whoami
	what   api.Catalogue
}

// known wraps a page: who is not signed in is sent to the sign-in first.
func (c *console) known(page func(*visit)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := &visit{console: c, w: w, r: r}
		var err error
		if v.client, err = c.client(r); err == nil {
			v.me, err = v.client.Whoami(r.Context())
		}
		if err == nil {
			v.what, err = v.client.Catalogue(r.Context())
		}
		if fault.Is(err, fault.KindDenied) {
			http.Redirect(w, r, "/login?next="+next(r), http.StatusSeeOther) //nolint:gosec // next is a query value here, and safeNext checks it when it is used
			return
		}
		if err != nil {
			v.draw("runs", view{Title: word(language(r), "Runs"), Fault: fault.Of(err)})
			return
		}
		page(v)
	})
}

// client calls the API as whoever sent r.
func (c *console) client(r *http.Request) (*api.Client, error) {
	return api.NewClient(api.ClientOptions{Door: "console", Transport: inProcess{c.api, r}})
}
