package guard

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"

	"kaname.dev/kaname/rib/zone/name"
)

// Limit is how much may vanish.
type Limit struct {
	Share float64 // of the zones; 0.1 is a tenth; 1 and more mean that there is no limit
	Least int     // a loss of fewer zones is always within the limit
}

// Exceeded reports whether a loss of gone zones out of total is more than may vanish
// unseen: at least Least, and more than Share of them.
func (l Limit) Exceeded(gone, total int) bool {
	return gone > 0 && gone >= l.Least && l.Share < 1 && float64(gone) > l.Share*float64(total)
}

// Why says in words that a loss exceeds the limit.
func (l Limit) Why(gone, total int) string {
	return fmt.Sprintf("%d of %d zones would go, more than %.4g %% and at least %d", gone, total, l.Share*100, max(l.Least, 1))
}

// Hash names a set of zones that would go, sorted by name: 16 hex digits. Whoever
// accepts it accepts that these go, and no others; the guard of a source and that of a
// server call the same set the same.
func Hash(gone []name.Name) string {
	h := sha256.New()
	for _, n := range gone {
		write(h, string(n))
	}
	return digest(h)
}

// write hashes one line; a line holds no newline, for names escape it.
func write(h hash.Hash, s string) {
	_, _ = io.WriteString(h, s) // never fails
	_, _ = h.Write([]byte{'\n'})
}

func digest(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)[:8]) }
