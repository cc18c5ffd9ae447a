package manifest

import (
	"bytes"
	"maps"
	"slices"
	"strings"
)

// Change is one path that differs between two releases. Old is nil for a path that
// was added, New for one that was removed.
type Change struct {
	Path string `json:"path"`
	Old  *Entry `json:"old,omitempty"`
	New  *Entry `json:"new,omitempty"`
}

// Contents reports whether more than mode, owner, times and attributes differ.
func (c *Change) Contents() bool {
	return c.Old == nil || c.New == nil || !SameContents(c.Old, c.New)
}

// Difference is what a release changes against another.
type Difference struct {
	Changes  []Change // sorted by path
	Added    int      // paths that are new
	Removed  int      // paths that are gone
	Modified int      // paths with other contents, type or link target
	Touched  int      // paths of which only mode, owner, times or attributes differ
	Fetch    int64    // bytes of distinct contents that the old release does not have, before compression
}

// Diff compares two releases; old may be nil.
func Diff(old, next *Manifest) Difference {
	var d Difference
	was := map[string]*Entry{}
	had := map[Digest]bool{}
	if old != nil {
		for i := range old.Entries {
			e := &old.Entries[i]
			was[e.Path] = e
			if e.Digest != nil {
				had[*e.Digest] = true
			}
		}
	}
	for i := range next.Entries {
		e := &next.Entries[i]
		if e.Digest != nil && !had[*e.Digest] {
			had[*e.Digest] = true
			d.Fetch += e.Size
		}
		o := was[e.Path]
		delete(was, e.Path)
		switch c := (Change{Path: e.Path, Old: o, New: e}); {
		case o == nil:
			d.Added++
			d.Changes = append(d.Changes, c)
		case c.Contents():
			d.Modified++
			d.Changes = append(d.Changes, c)
		case !SameAttributes(o, e):
			d.Touched++
			d.Changes = append(d.Changes, c)
		}
	}
	for _, o := range was {
		d.Removed++
		d.Changes = append(d.Changes, Change{Path: o.Path, Old: o})
	}
	slices.SortFunc(d.Changes, func(a, b Change) int { return strings.Compare(a.Path, b.Path) })
	return d
}

// SameContents reports whether two entries are of the same type with the same
// contents and link target.
func SameContents(a, b *Entry) bool {
	if a.Type != b.Type || a.Size != b.Size || a.Link != b.Link || (a.Digest == nil) != (b.Digest == nil) {
		return false
	}
	return a.Digest == nil || *a.Digest == *b.Digest
}

// SameAttributes reports whether two entries have the same mode, owner, group,
// modification time and extended attributes, so that they can be one inode.
func SameAttributes(a, b *Entry) bool {
	return a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID && a.Owner == b.Owner && a.Group == b.Group &&
		a.MTime.Equal(b.MTime) && maps.EqualFunc(a.Xattrs, b.Xattrs, bytes.Equal)
}
