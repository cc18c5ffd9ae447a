package agent

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/pprof"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"kaname.dev/kaname/rib"
)

// Protocol is the revision of what hosts say to each other; hosts of neighbouring
// revisions understand each other.
const Protocol = 1

// Finding is one outcome of `kaname doctor`.
type Finding struct {
	Check string `json:"check"` // "clock", "rib release: disk space"
	rib.Verdict
}

// newRegistry makes the agent's own registry, with what every Go program has.
func newRegistry(b Build) *prometheus.Registry {
	reg := prometheus.NewRegistry()
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "kaname_build_info", Help: "Always 1; the labels say which build this is.",
		ConstLabels: prometheus.Labels{"version": b.Version, "revision": b.Revision, "goversion": b.Go},
	})
	info.Set(1)
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), info)
	return reg
}

// private is what the private listener serves: nothing here is for outsiders.
type private struct {
	registry *prometheus.Registry
	logs     *logs
	ready    func() Readiness
	alive    func(ctx context.Context) error
	checks   func(ctx context.Context) []Finding
}

// handler routes the private listener.
func (p private) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(p.registry, promhttp.HandlerOpts{Registry: p.registry}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
		defer cancel()
		if err := p.alive(ctx); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		state := p.ready()
		status := http.StatusOK
		if !state.Ready {
			status = http.StatusServiceUnavailable
		}
		writeJSON(w, status, state)
	})
	mux.HandleFunc("GET /debug/checks", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, http.StatusOK, p.checks(r.Context()))
	})
	mux.HandleFunc("GET /debug/log", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, p.logs.ring.recent())
	})
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the asker may have gone; nobody is left to tell
}

// Build says which build of kaname this is.
type Build struct {
	Version  string `json:"version"`  // of the module: "v1.2.0", or "(devel)"
	Revision string `json:"revision"` // of the commit, "" when built outside a checkout
	Go       string `json:"go"`
}

// ThisBuild reads what the Go linker recorded.
func ThisBuild() Build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return Build{Version: "unknown"}
	}
	b := Build{Version: info.Main.Version, Go: info.GoVersion}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			b.Revision = s.Value
		}
	}
	return b
}
