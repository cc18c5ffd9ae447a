package archive

import (
	"path"

	"kaname.dev/kaname/rib/release/manifest"
)

// tree keeps what an archive has built so far, as tar would on disk: which entry
// stands at a path, and which names share a file. Later entries replace earlier
// ones where tar replaces, and are refused where tar fails.
type tree struct {
	list  []manifest.Entry
	dead  map[int32]bool  // entries of list that were replaced
	file  map[int32]int32 // hard link -> the file entry it shares
	nodes map[string]node
	texts map[string]string
}

// node is what stands at a path.
type node struct {
	entry    int32 // index in list; implied for a directory that only has things below it
	children int32
}

const implied = -1

func newTree() *tree {
	return &tree{dead: map[int32]bool{}, file: map[int32]int32{}, nodes: map[string]node{}, texts: map[string]string{}}
}

// intern returns one copy of the few owner names that all entries share.
func (t *tree) intern(s string) string {
	if v, ok := t.texts[s]; ok {
		return v
	}
	if len(t.texts) < 1000 {
		t.texts[s] = s
	}
	return s
}

func (t *tree) typeOf(n node) manifest.Type {
	if n.entry == implied {
		return manifest.Dir
	}
	return t.list[n.entry].Type
}

// add places e and returns its index. A hard link to a symbolic link becomes a
// symbolic link.
func (t *tree) add(e *manifest.Entry) (int32, error) {
	if err := t.checkParents(e.Path); err != nil {
		return 0, err
	}
	shared := int32(implied)
	if e.Type == manifest.Hardlink {
		var err error
		if shared, err = t.resolve(e); err != nil {
			return 0, err
		}
	}
	old, replaces := t.nodes[e.Path]
	switch {
	case replaces && e.Type == manifest.Dir && t.typeOf(old) == manifest.Dir:
		return t.redo(old, e), nil
	case replaces && old.children > 0:
		return 0, refuse("is a %s in place of a directory that is not empty", e.Type).
			Try("remove one of the two from the archive")
	case replaces && shared != implied && (old.entry == shared || t.file[old.entry] == shared && t.list[old.entry].Type == manifest.Hardlink):
		return old.entry, nil // a link to itself
	case replaces && old.entry != implied:
		t.dead[old.entry] = true
	case !replaces:
		t.grow(e.Path)
	}
	at := int32(len(t.list)) //nolint:gosec // at most MaxEntries
	t.list = append(t.list, *e)
	t.nodes[e.Path] = node{entry: at}
	if e.Type == manifest.Hardlink {
		t.file[at] = shared
	}
	return at, nil
}

// redo gives a directory that stands already the attributes of a later entry.
func (t *tree) redo(old node, e *manifest.Entry) int32 {
	if old.entry != implied {
		t.list[old.entry] = *e
		return old.entry
	}
	at := int32(len(t.list)) //nolint:gosec // at most MaxEntries
	t.list = append(t.list, *e)
	t.nodes[e.Path] = node{entry: at, children: old.children}
	return at
}

// checkParents refuses an entry below anything that is not a directory.
func (t *tree) checkParents(p string) error {
	for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
		n, ok := t.nodes[dir]
		if !ok {
			continue
		}
		if typ := t.typeOf(n); typ != manifest.Dir {
			return refuse("would be written through %s, which is a %s", quote(dir), typ).
				Try("an archive must not write through its own links; make it again from the real tree")
		}
		return nil
	}
	return nil
}

// grow counts p at its parent and implies the directories above.
func (t *tree) grow(p string) {
	for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
		n, ok := t.nodes[dir]
		if !ok {
			n.entry = implied
		}
		n.children++
		t.nodes[dir] = n
		if ok {
			return
		}
	}
}

// resolve finds the file that a hard link shares, and completes the link's entry.
func (t *tree) resolve(e *manifest.Entry) (int32, error) {
	n, ok := t.nodes[e.Link]
	if !ok || n.entry == implied {
		return 0, refuse("is a hard link to %s, which is not earlier in the archive", quote(e.Link)).
			Try("hard links must stay inside the archive; make it with tar --hard-dereference")
	}
	target := n.entry
	if shared, ok := t.file[target]; ok {
		target = shared
	}
	switch to := &t.list[target]; to.Type {
	case manifest.File:
		e.Mode, e.UID, e.GID, e.Owner, e.Group, e.MTime, e.Xattrs = to.Mode, to.UID, to.GID, to.Owner, to.Group, to.MTime, nil
		return target, nil
	case manifest.Symlink:
		p := e.Path
		*e = *to
		e.Path = p
		return implied, nil
	default:
		return 0, refuse("is a hard link to %s, which is a directory", quote(e.Link)).Try("make the archive again")
	}
}

// complete notes what the contents of a file turned out to be.
func (t *tree) complete(at int32, d *manifest.Digest, extents []manifest.Extent) {
	t.list[at].Digest, t.list[at].Sparse = d, extents
}

// entries returns what remains, in order. When a file was replaced but hard links
// to its former contents remain, the first of them becomes the file.
func (t *tree) entries() []manifest.Entry {
	out := make([]manifest.Entry, 0, len(t.list)-len(t.dead))
	heir := map[int32]string{}
	for i := range t.list {
		at := int32(i) //nolint:gosec // at most MaxEntries
		if t.dead[at] {
			continue
		}
		e := t.list[i]
		if e.Type == manifest.Hardlink {
			shared := t.file[at]
			e.Link = t.list[shared].Path
			if t.dead[shared] {
				first, ok := heir[shared]
				if !ok {
					heir[shared] = e.Path
					p := e.Path
					e = t.list[shared]
					e.Path = p
				} else {
					e.Link = first
				}
			}
		}
		out = append(out, e)
	}
	return out
}
