package exchange

import (
	"context"
	"encoding/json"
	"net/http"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
)

// Handle registers a function for a path. It is given the host that asks, as its
// certificate says.
func Handle[In, Out any](mux *http.ServeMux, path string, fn func(ctx context.Context, host string, in In) (Out, error)) {
	mux.HandleFunc("POST "+path, func(w http.ResponseWriter, q *http.Request) {
		out, err := serve(q, fn)
		if err != nil {
			refuse(w, err)
			return
		}
		body, err := packed(out)
		if err != nil {
			refuse(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(body) //nolint:gosec // JSON, and said to be; the asker is gone when this fails
	})
}

func serve[In, Out any](q *http.Request, fn func(ctx context.Context, host string, in In) (Out, error)) (out Out, err error) {
	if q.TLS == nil {
		return out, fault.Denied("the connection is not encrypted")
	}
	host, err := plane.PeerName(*q.TLS)
	if err != nil {
		return out, fault.Denied("the certificate names no host").Because(err)
	}
	var in In
	if err := unpack(q.Header.Get("Content-Encoding"), q.Body, &in); err != nil {
		return out, fault.Invalid("the message cannot be read").Because(err)
	}
	return fn(q.Context(), host, in)
}

// refuse answers with the fault.
func refuse(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(fault.HTTPStatus(err))
	_ = json.NewEncoder(w).Encode(fault.Of(err)) // the asker is gone when this fails
}
