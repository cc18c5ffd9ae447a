package release

import (
	"errors"
	"net/http"

	"kaname.dev/kaname/plane"
)

// caller returns the host that makes a request to the peer listener.
func caller(q *http.Request) (string, error) {
	if q.TLS == nil {
		return "", errors.New("the connection is not encrypted")
	}
	return plane.PeerName(*q.TLS)
}
