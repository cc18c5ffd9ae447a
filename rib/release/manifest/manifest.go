// Package manifest is what a release is: a canonical, signed list of files, each
// named by the digest of its contents. It does no I/O of its own.
//
// The canonical form is JSON lines: the header, then one entry a line in the
// order of the archive, every line ended by "\n". There is exactly one way to
// write a given manifest, and Decode refuses every other, so the SHA-256 of
// those bytes, the manifest's ID, names a release once and for all.
package manifest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"
)

// Digest is a SHA-256 sum; its text form is 64 hex digits.
type Digest [sha256.Size]byte

// Sum returns the digest of b.
func Sum(b []byte) Digest { return sha256.Sum256(b) }

// IsZero reports whether d is the zero digest, which stands for "none".
func (d Digest) IsZero() bool { return d == Digest{} }

// String returns 64 hex digits.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// Short returns the first 12 hex digits, for people.
func (d Digest) Short() string { return d.String()[:12] }

// MarshalText writes the hex form.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads the hex form.
func (d *Digest) UnmarshalText(b []byte) error {
	if len(b) == 2*len(d) { // hex.Decode panics when the input is longer
		if _, err := hex.Decode(d[:], b); err == nil {
			return nil
		}
	}
	return fmt.Errorf("%.80q is not a SHA-256 digest", b)
}

// Type is the sort of an entry.
type Type string

// The types that a release may hold. Devices, sockets and pipes are refused.
const (
	File     Type = "file"
	Dir      Type = "dir"
	Symlink  Type = "symlink"
	Hardlink Type = "hardlink" // Link names an earlier entry of type file
)

// Extent is a run of data bytes in a sparse file; what lies between is a hole.
type Extent struct {
	Offset int64 `json:"o"` // bytes from the start
	Length int64 `json:"n"` // bytes
}

// Entry is one file, directory or link of a release. Its strings are bytes as the
// archive had them, not necessarily UTF-8; its JSON form keeps them all.
type Entry struct {
	Path   string            `json:"p"` // relative, slash-separated, clean, never empty, "." or with ".."
	Type   Type              `json:"t"`
	Mode   uint32            `json:"m"`           // permission, setuid, setgid and sticky bits as in chmod(2): 07777
	UID    int               `json:"u,omitempty"` // as in the archive
	GID    int               `json:"g,omitempty"`
	Owner  string            `json:"un,omitempty"` // user name in the archive
	Group  string            `json:"gn,omitempty"`
	MTime  time.Time         `json:"mt"`           // with the archive's precision
	Size   int64             `json:"s,omitempty"`  // bytes of contents, files only
	Digest *Digest           `json:"d,omitempty"`  // of the contents (holes as zeros), files of size > 0 only
	Link   string            `json:"l,omitempty"`  // symlink: target as written; hardlink: path of the earlier file linked to
	Sparse []Extent          `json:"sp,omitempty"` // data extents of a sparse file, nil when not sparse; nothing but a hole is {Size, 0}
	Xattrs map[string][]byte `json:"x,omitempty"`  // extended attributes (PAX SCHILY.xattr.*)
}

// Manifest describes one release completely.
type Manifest struct {
	Header
	Entries []Entry
}

// Header is the manifest without its entries.
type Header struct {
	Format  int               `json:"format"`            // 1
	App     string            `json:"app"`               // [a-z0-9][a-z0-9._-]{0,63}
	Version string            `json:"version"`           // [A-Za-z0-9][A-Za-z0-9._+-]{0,127}; names the directory under releases/
	Kind    Kind              `json:"kind"`              // tree or opaque
	Created time.Time         `json:"created"`           // UTC
	Source  string            `json:"source,omitempty"`  // where the archive came from, for people
	Archive *Digest           `json:"archive,omitempty"` // of the archive's bytes as given
	Count   int               `json:"count"`             // entries of every type
	Files   int               `json:"files"`             // entries of type file
	Size    int64             `json:"size"`              // bytes of all files' contents
	Root    *Entry            `json:"root,omitempty"`    // mode, owner and times of the tree itself (an archive's "./"); its path is "."
	Meta    map[string]string `json:"meta,omitempty"`    // the pusher's own: commit, build number
}

// Kind says what a release is for.
type Kind string

// The kinds of release.
const (
	Tree   Kind = "tree"   // unpacked into a directory
	Opaque Kind = "opaque" // one file that must come back bit-exact
)

// Format is the format that this version writes and reads.
const Format = 1

// Tally sets the header's Format, Count, Files and Size from the entries.
func (m *Manifest) Tally() {
	m.Format, m.Count, m.Files, m.Size = Format, len(m.Entries), 0, 0
	for i := range m.Entries {
		if m.Entries[i].Type == File {
			m.Files++
			m.Size += m.Entries[i].Size
		}
	}
}

// String returns "app version", the noun that people know a release by.
func (h *Header) String() string { return h.App + " " + h.Version }
