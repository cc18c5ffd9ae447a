package stretcher

import (
	"crypto/md5"  //nolint:gosec // the manifest's author chose it; kaname's own digests are SHA-256
	"crypto/sha1" //nolint:gosec // as above
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"strings"

	"kaname.dev/kaname/fault"
)

func newHash(checksum string) (hash.Hash, error) {
	if _, err := hex.DecodeString(checksum); err != nil {
		return nil, fmt.Errorf("checksum %q is not hexadecimal", checksum)
	}
	switch len(checksum) {
	case 2 * md5.Size:
		return md5.New(), nil //nolint:gosec // see the import
	case 2 * sha1.Size:
		return sha1.New(), nil //nolint:gosec // see the import
	case 2 * sha256.Size:
		return sha256.New(), nil
	case 2 * sha512.Size:
		return sha512.New(), nil
	default:
		return nil, fmt.Errorf("checksum of %d hex digits is none of md5 (32), sha1 (40), sha256 (64), sha512 (128)", len(checksum))
	}
}

// Verifier passes a reader through and compares its bytes with the manifest's
// checksum at the end.
type Verifier struct {
	r    io.Reader
	h    hash.Hash
	want string
	src  string
}

// Verify returns a reader of r whose Read returns a Corrupt fault instead of io.EOF
// when the bytes do not have the manifest's checksum. Without a checksum it is r.
func (m *Manifest) Verify(r io.Reader) io.Reader {
	if m.Checksum == "" {
		return r
	}
	h, err := newHash(m.Checksum)
	if err != nil {
		return r // Parse has refused it already
	}
	return &Verifier{r: r, h: h, want: strings.ToLower(m.Checksum), src: m.Src}
}

// Read implements io.Reader.
func (v *Verifier) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.h.Write(p[:n])
	if err == io.EOF {
		if got := hex.EncodeToString(v.h.Sum(nil)); got != v.want {
			return n, fault.Corrupt(fmt.Sprintf("%s has checksum %s, the manifest says %s", v.src, got, v.want)).Try("build and upload the archive and its manifest again, together")
		}
	}
	return n, err
}
