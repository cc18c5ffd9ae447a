package store

import (
	"crypto/sha256"
	"hash"
	"io"

	"kaname.dev/kaname/rib/release/manifest"
)

// counter hashes and counts what is read through it.
type counter struct {
	r io.Reader
	h hash.Hash
	n int64
}

func newCounter(r io.Reader) *counter { return &counter{r: r, h: sha256.New()} }

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	_, _ = c.h.Write(p[:n]) // a hash never fails
	c.n += int64(n)
	return n, err
}

// sum returns the digest and the size of what was read.
func (c *counter) sum() (manifest.Digest, int64) { return manifest.Digest(c.h.Sum(nil)), c.n }
