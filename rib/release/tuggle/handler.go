package tuggle

import (
	"cmp"
	"encoding/json"
	"log/slog"
	"net/http"

	"kaname.dev/kaname/fault"
)

// Internal is the header with which tuggle's hosts ask each other: no bytes are
// fetched from elsewhere to answer it.
const Internal = "X-Tuggle-Internal"

// Options are a host's settings of the interface.
type Options struct {
	Slave bool // fetches only: PUT is refused
	Log   *slog.Logger
}

// New returns the handler of tuggle's interface.
func New(c Cluster, o Options) http.Handler {
	h := &handler{Cluster: c, Options: o}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", h.list)
	mux.HandleFunc("PUT /{name}", h.put)
	mux.HandleFunc("GET /{name}", h.get) // HEAD too
	mux.HandleFunc("DELETE /{name}", h.remove)
	return mux
}

type handler struct {
	Cluster
	Options
}

func (h *handler) list(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Has("ping") {
		return
	}
	objects, err := h.List(r.Context())
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	if objects == nil {
		objects = []Object{}
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(objects); err != nil {
		h.Log.Debug("list not delivered", "error", err)
	}
}

func (h *handler) put(w http.ResponseWriter, r *http.Request) {
	if h.Slave {
		http.Error(w, "slave mode", http.StatusMethodNotAllowed)
		return
	}
	kind := cmp.Or(r.Header.Get("Content-Type"), "application/octet-stream")
	o, err := h.Create(r.Context(), r.PathValue("name"), kind, r.Body)
	if fault.Is(err, fault.KindExists) {
		http.Error(w, "exists", http.StatusMethodNotAllowed) // 405, as tuggle's clients expect
		return
	}
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	if r.URL.Query().Has("sync") {
		if err := h.Replicate(r.Context(), o); err != nil {
			// The object is stored: it is fetched on demand, only later.
			h.Log.Warn("replication not started", "name", o.Name, "error", err)
		}
	}
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(http.StatusCreated)
}

func (h *handler) get(w http.ResponseWriter, r *http.Request) {
	o, err := h.Find(r.Context(), r.PathValue("name"))
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	if r.URL.Query().Has("graph") {
		h.graph(w, r, o)
		return
	}
	w.Header().Set("Content-Type", o.ContentType)
	w.Header().Set("X-Tuggle-Object-Id", o.ID)
	w.Header().Set("ETag", `"`+o.Content.String()+`"`)
	if r.Method == http.MethodHead {
		w.Header().Set("Last-Modified", o.CreatedAt.UTC().Format(http.TimeFormat))
		w.Header().Set("Content-Length", itoa(o.Size))
		return
	}
	body, err := h.Read(r.Context(), o, r.Header.Get(Internal) == "")
	if err != nil {
		for _, k := range []string{"X-Tuggle-Object-Id", "ETag", "Content-Type"} {
			w.Header().Del(k)
		}
		h.refuse(w, r, err)
		return
	}
	defer body.Close()
	http.ServeContent(w, r, "", o.CreatedAt, body)
}

func (h *handler) remove(w http.ResponseWriter, r *http.Request) {
	if err := h.Delete(r.Context(), r.PathValue("name")); err != nil {
		h.refuse(w, r, err)
	}
}

func (h *handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if fault.Is(err, fault.KindNotFound) {
		http.Error(w, "Not Found", http.StatusNotFound)
		return
	}
	h.Log.Warn("tuggle request not answered", "method", r.Method, "path", r.URL.Path, "error", err)
	http.Error(w, err.Error(), fault.HTTPStatus(err))
}
