package access

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"strings"

	"kaname.dev/kaname/plane"
)

// store is what access keeps on the plane.
type store struct {
	Options
	users    plane.Docs[person]
	tokens   plane.Docs[token]
	sessions plane.Docs[session]
	audit    *trail
}

func openStore(o Options) *store {
	return &store{
		Options:  o,
		users:    plane.Documents[person](o.Plane, "users"),
		tokens:   plane.Documents[token](o.Plane, "tokens"),
		sessions: plane.Documents[session](o.Plane, "sessions"),
		audit:    newTrail(o.Plane),
	}
}

// random returns n random bytes as lower-case base32 without padding: it can be
// selected with a double click and is a valid document key.
func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // crypto/rand.Read never fails since Go 1.24
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b))
}

// sweep deletes the documents that are stale and says how many those were.
func sweep[T any](ctx context.Context, d plane.Docs[T], stale func(T) bool) (int, error) {
	docs, err := d.List(ctx, "")
	if err != nil {
		return 0, err
	}
	n := 0
	for _, doc := range docs {
		if !stale(doc.Value) {
			continue
		}
		if err := d.Delete(ctx, doc); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}
