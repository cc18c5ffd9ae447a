package archive

import (
	"archive/tar"
	"maps"
	"path"
	"slices"
	"strings"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/release/manifest"
)

const xattrPrefix = "SCHILY.xattr."

// convert makes a manifest entry of a tar header; keep is false for what is no
// part of the tree (the top directory itself, volume labels, comments, stripped
// names).
func (a *Reader) convert(h *tar.Header) (e manifest.Entry, keep bool, err error) {
	switch h.Typeflag {
	case tar.TypeXGlobalHeader:
		return e, false, checkGlobal(h)
	case 'V': // GNU volume label: text for people
		return e, false, nil
	}
	e = manifest.Entry{
		Mode: uint32(h.Mode) & 0o7777, UID: h.Uid, GID: h.Gid, //nolint:gosec // cut to 12 bits
		Owner: a.tree.intern(h.Uname), Group: a.tree.intern(h.Gname), MTime: h.ModTime.UTC(),
	}
	if e.Type, err = typeOf(h); err != nil {
		return e, false, err
	}
	if e.Path, err = cleanName(h.Name, a.opt.Strip); err != nil {
		return e, false, err
	}
	switch e.Type {
	case manifest.File:
		e.Size = h.Size
	case manifest.Symlink:
		e.Link = h.Linkname
	case manifest.Hardlink:
		if e.Link, err = cleanName(h.Linkname, a.opt.Strip); err != nil {
			return e, false, refuse("hard link to %s", quote(h.Linkname)).Because(err).Try("hard links must stay inside the archive")
		}
	default: // a directory has neither
	}
	for k, v := range h.PAXRecords {
		if name, ok := strings.CutPrefix(k, xattrPrefix); ok {
			if e.Xattrs == nil {
				e.Xattrs = map[string][]byte{}
			}
			e.Xattrs[name] = []byte(v)
		}
	}
	switch {
	case e.Path == "" && e.Type != manifest.Dir && a.opt.Strip == 0:
		return e, false, refuse("has no name").Try("make the archive again")
	case e.Path == "" && a.opt.Strip == 0:
		root := e
		root.Path = "."
		a.root = &root
		return e, false, nil
	case e.Path == "":
		return e, false, nil
	}
	if err := manifest.CheckEntry(&e); err != nil {
		return e, false, refuse("cannot be unpacked").Because(err).Try("leave it out of the archive")
	}
	return e, true, nil
}

func typeOf(h *tar.Header) (manifest.Type, error) {
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		return manifest.File, nil
	case tar.TypeDir:
		return manifest.Dir, nil
	case tar.TypeSymlink:
		return manifest.Symlink, nil
	case tar.TypeLink:
		return manifest.Hardlink, nil
	case tar.TypeChar, tar.TypeBlock:
		return "", refuse("is a device").Try("devices are no part of a release: tar with --exclude")
	case tar.TypeFifo:
		return "", refuse("is a named pipe").Try("pipes are no part of a release: tar with --exclude")
	case 's':
		return "", refuse("is a socket").Try("sockets are no part of a release: tar with --exclude")
	case 'M':
		return "", refuse("continues another volume").Try("make the archive in one piece, without --multi-volume")
	case 'D':
		return "", refuse("belongs to an incremental backup").Try("make the archive without --listed-incremental")
	}
	return "", refuse("has type %q, which is not known", h.Typeflag).Try("make the archive with GNU tar or bsdtar")
}

// cleanName returns the name relative and clean without its first strip
// components, "" when nothing is left. As with tar, a leading "." counts as one.
func cleanName(name string, strip int) (string, error) {
	if strings.HasPrefix(name, "/") {
		return "", refuse("has an absolute name").Try("make the archive with relative names: tar -C DIRECTORY -cf ARCHIVE .")
	}
	if strings.ContainsRune(name, 0) {
		return "", refuse("has NUL in its name").Try("make the archive again")
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", refuse(`has ".." in its name`).Try("make the archive with names that stay below its top")
		}
	}
	for range strip {
		_, rest, ok := strings.Cut(name, "/")
		if !ok {
			return "", nil
		}
		name = strings.TrimLeft(rest, "/")
	}
	if name = path.Clean(name); name == "." {
		return "", nil
	}
	return strings.Clone(name), nil
}

// checkGlobal accepts global PAX headers that only comment (git writes the commit).
func checkGlobal(h *tar.Header) error {
	for _, k := range slices.Sorted(maps.Keys(h.PAXRecords)) {
		if k != "comment" && !strings.Contains(k, ".") {
			return fault.Unsupported("a global PAX header that sets " + quote(k)).Try("make the archive without --pax-option globals")
		}
	}
	return nil
}
