// Package api is the one HTTP surface of kaname: every other door, the command
// line, the console and chat, calls it, and so may a program.
//
// It knows actions, not ribs. GET /v1/actions tells what can be done; POST
// /v1/actions/{id} does it. Each call of an action is a run with a ULID: its
// events are streamed to whoever asked, kept for a while, and can be followed by
// others. A run that changes something goes on when its asker goes away; one that
// only reads is cancelled.
//
// The same handler serves a unix socket, where the kernel says who asks, and TLS,
// where a token or a session cookie does. The client half of the package, Client,
// is what Go programs use.
package api

import (
	"context"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"kaname.dev/kaname/access"
	"kaname.dev/kaname/action"
)

// Header names of this API beyond the standard ones.
const (
	HeaderVersion = "Kaname-Version" // kaname's version, on every request and response of ours
	HeaderRun     = "Kaname-Run"     // a run's id; a client may choose it, and asking again with it joins the run
	HeaderDoor    = "Kaname-Door"    // the door through which a person came: cli, console, bot
	HeaderGround  = "Kaname-Ground"  // the ground of the plan that was agreed to
)

// Options is what a server needs.
type Options struct {
	Catalog action.Catalog // what can be called; actions marked Local are left out
	Access  *access.Access
	Runs    *Runs  // made with NewRuns; nil makes one
	Host    string // this host's name
	Version string // of kaname; empty reads it from the build
	// Complete returns candidates for a kind of Field.Complete that begin with
	// prefix; nil knows none.
	Complete func(ctx context.Context, kind, prefix string) ([]string, error)
	Log      *slog.Logger
}

// Server is the server half of the API.
type Server struct {
	Options
	actions action.Catalog // those that can be called here
	noise   *noise         // limits the audit of strangers
	mux     *http.ServeMux
}

// New makes a server. It serves nothing by itself: see Handler and Serve.
func New(o Options) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Runs == nil {
		o.Runs = NewRuns()
	}
	if o.Version == "" {
		o.Version = BuildVersion()
	}
	var callable []action.Action
	for _, a := range o.Catalog.All() {
		if !a.Local {
			callable = append(callable, a)
		}
	}
	s := &Server{Options: o, actions: action.NewCatalog(callable...), noise: newNoise(time.Now), mux: http.NewServeMux()}
	s.routes()
	return s
}

// BuildVersion returns the version of the running binary as the build recorded
// it; "devel" when it recorded none.
func BuildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "devel"
	}
	return info.Main.Version
}

func (s *Server) routes() {
	handle := func(pattern string, h func(http.ResponseWriter, *http.Request, access.Identity) error) {
		s.mux.Handle(pattern, s.known(h))
	}
	handle("GET /v1/actions", s.catalogue)
	handle("GET /v1/actions/{id}", s.describe)
	handle("POST /v1/actions/{id}", s.call)
	handle("GET /v1/runs", s.listRuns)
	handle("GET /v1/runs/{id}", s.showRun)
	handle("DELETE /v1/runs/{id}", s.cancelRun)
	handle("GET /v1/runs/{id}/events", s.followRun)
	handle("GET /v1/events", s.followAll)
	handle("GET /v1/whoami", s.whoami)
	handle("GET /v1/complete", s.complete)
	handle("GET /v1/openapi.json", s.openAPI)
	handle("DELETE /v1/session", s.signOut)
	s.mux.Handle("POST /v1/session", s.open(s.signIn))
	s.mux.Handle("/", s.open(s.nothing))
}

// Handler returns everything under /v1/. It is to be served by Serve or ServeUnix,
// which set the limits.
func (s *Server) Handler() http.Handler { return s.guarded(s.mux) }

// Close cancels all runs and waits until they have ended or ctx has.
func (s *Server) Close(ctx context.Context) error { return s.Runs.close(ctx) }
