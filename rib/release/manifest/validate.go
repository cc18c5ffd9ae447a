package manifest

import (
	"errors"
	"fmt"
	"math"
	"path"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"kaname.dev/kaname/fault"
)

var (
	appPattern     = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)
	versionPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]{0,127}$`)
)

// CheckApp returns an Invalid fault unless s can name an app.
func CheckApp(s string) error {
	if appPattern.MatchString(s) {
		return nil
	}
	return fault.Invalid(fmt.Sprintf("app %.80q is not a name", s)).
		Try("use up to 64 of a-z, 0-9, dot, hyphen and underscore, beginning with a letter or digit")
}

// CheckVersion returns an Invalid fault unless s can name a version.
func CheckVersion(s string) error {
	if versionPattern.MatchString(s) {
		return nil
	}
	return fault.Invalid(fmt.Sprintf("version %.150q is not a name", s)).
		Try("use up to 128 of letters, digits, dot, plus, hyphen and underscore, beginning with a letter or digit")
}

// Validate returns an Invalid fault that names the first rule which the manifest
// breaks. A valid manifest can be unpacked in order with nothing written outside
// the target and nothing through a symbolic link.
func (m *Manifest) Validate() error {
	if err := m.Header.validate(); err != nil {
		return err
	}
	if len(m.Entries) > MaxEntries {
		return m.bad(fmt.Errorf("%d entries; a release holds at most %d", len(m.Entries), MaxEntries))
	}
	seen := make(paths, len(m.Entries))
	files, size := 0, int64(0)
	for i := range m.Entries {
		e := &m.Entries[i]
		if err := e.validate(); err != nil {
			return m.bad(err)
		}
		if err := seen.add(e); err != nil {
			return m.bad(err)
		}
		if e.Type == File {
			files++
			if size > math.MaxInt64-e.Size {
				return m.bad(fmt.Errorf("entry %q: sizes overflow", e.Path))
			}
			size += e.Size
		}
	}
	if m.Count != len(m.Entries) || m.Files != files || m.Size != size {
		return m.bad(fmt.Errorf("header says %d entries, %d files, %d bytes; counted %d, %d, %d",
			m.Count, m.Files, m.Size, len(m.Entries), files, size))
	}
	if m.Kind == Opaque && (len(m.Entries) != 1 || m.Entries[0].Type != File || m.Root != nil) {
		return m.bad(errors.New("an opaque release is one file"))
	}
	return nil
}

func (m *Manifest) bad(err error) error {
	return fault.Invalid("release " + m.Header.String()).Because(err).Try("make the release again from its archive")
}

func (h *Header) validate() error {
	if h.Format != Format {
		return fault.Unsupported(fmt.Sprintf("manifest format %d is not known here (this version reads %d)", h.Format, Format)).
			Try("upgrade kaname on this host")
	}
	if err := CheckApp(h.App); err != nil {
		return err
	}
	if err := CheckVersion(h.Version); err != nil {
		return err
	}
	bad := func(format string, args ...any) error {
		return fault.Invalid("release " + h.String()).Because(fmt.Errorf(format, args...))
	}
	if h.Kind != Tree && h.Kind != Opaque {
		return bad("kind %.20q is neither %q nor %q", h.Kind, Tree, Opaque)
	}
	if err := checkTime(h.Created); err != nil {
		return bad("created: %w", err)
	}
	if !utf8.ValidString(h.Source) {
		return bad("source %q is not UTF-8", h.Source)
	}
	for k, v := range h.Meta {
		if k == "" || !utf8.ValidString(k) || !utf8.ValidString(v) {
			return bad("meta %q=%.80q is empty or not UTF-8", k, v)
		}
	}
	if n := len(h.appendTo(nil)); n > MaxLine {
		return bad("header of %d bytes; at most %d", n, MaxLine)
	}
	if h.Root == nil {
		return nil
	}
	if h.Root.Path != "." || h.Root.Type != Dir {
		return bad("root entry %.80q is not the directory \".\"", h.Root.Path)
	}
	if err := h.Root.checkAttributes(); err != nil {
		return bad("root entry: %w", err)
	}
	return nil
}

// CheckEntry returns an error unless the entry keeps the rules that concern it
// alone. Archive readers may call it before the digest is known.
func CheckEntry(e *Entry) error {
	if e.Type == File && e.Size > 0 && e.Digest == nil {
		known := *e
		known.Digest = &Digest{}
		return known.validate()
	}
	return e.validate()
}

// validate checks what concerns the entry alone.
func (e *Entry) validate() error {
	if err := CheckPath(e.Path); err != nil {
		return err
	}
	if err := e.checkAttributes(); err != nil {
		return fmt.Errorf("entry %q: %w", e.Path, err)
	}
	return nil
}

func (e *Entry) checkAttributes() error {
	if e.Mode&^0o7777 != 0 {
		return fmt.Errorf("mode %#o has bits outside 07777", e.Mode)
	}
	if e.UID < 0 || e.GID < 0 || e.UID >= math.MaxUint32 || e.GID >= math.MaxUint32 {
		return fmt.Errorf("owner %d:%d is out of range", e.UID, e.GID)
	}
	if len(e.Owner) > MaxName || len(e.Group) > MaxName {
		return fmt.Errorf("owner or group name of more than %d bytes", MaxName)
	}
	if err := checkTime(e.MTime); err != nil {
		return err
	}
	if err := e.checkContents(); err != nil {
		return err
	}
	sum := 0
	for k, v := range e.Xattrs {
		if k == "" || len(k) > MaxName || strings.ContainsRune(k, 0) {
			return fmt.Errorf("extended attribute %.80q is not a name", k)
		}
		sum += len(k) + len(v)
	}
	if sum > MaxXattrs {
		return fmt.Errorf("%d bytes of extended attributes; at most %d", sum, MaxXattrs)
	}
	return nil
}

func (e *Entry) checkContents() error {
	switch e.Type {
	case File:
		switch {
		case e.Link != "":
			return errors.New("a file with a link target")
		case e.Size < 0:
			return fmt.Errorf("size %d", e.Size)
		case (e.Size > 0) != (e.Digest != nil):
			return errors.New("a digest stands exactly at files that are not empty")
		}
		return checkExtents(e.Sparse, e.Size)
	case Dir, Symlink, Hardlink:
		if e.Size != 0 || e.Digest != nil || e.Sparse != nil {
			return fmt.Errorf("a %s with contents", e.Type)
		}
	default:
		return fmt.Errorf("type %.20q is not known", e.Type)
	}
	switch e.Type {
	case Hardlink:
		return CheckPath(e.Link)
	case Symlink:
		if e.Link == "" || len(e.Link) >= MaxPath || strings.ContainsRune(e.Link, 0) {
			return fmt.Errorf("symbolic link target %.80q is empty, too long or holds NUL", e.Link)
		}
	default:
		if e.Link != "" {
			return fmt.Errorf("a %s with a link target", e.Type)
		}
	}
	return nil
}

func checkExtents(extents []Extent, size int64) error {
	if len(extents) > MaxExtents {
		return fmt.Errorf("%d extents; at most %d", len(extents), MaxExtents)
	}
	if extents != nil && len(extents) == 0 {
		return errors.New("a sparse file without extents")
	}
	end := int64(0)
	for i, x := range extents {
		hole := len(extents) == 1 && x.Length == 0 && x.Offset == size && size > 0
		if !hole && (x.Length <= 0 || x.Offset < end || i > 0 && x.Offset == end || x.Offset > size-x.Length) {
			return fmt.Errorf("extent %d (%d bytes at %d) is out of order or outside the file", i, x.Length, x.Offset)
		}
		end = x.Offset + x.Length
	}
	return nil
}

// CheckPath returns an error unless p is a path that an entry may have: relative,
// clean, below the root, of at most MaxPath bytes and MaxName a component.
func CheckPath(p string) error {
	switch {
	case p == "" || p == ".":
		return fmt.Errorf("path %q is empty", p)
	case len(p) >= MaxPath:
		return fmt.Errorf("path %.80q... of %d bytes; fewer than %d are possible", p, len(p), MaxPath)
	case strings.ContainsRune(p, 0):
		return fmt.Errorf("path %q holds NUL", p)
	case p[0] == '/':
		return fmt.Errorf("path %q is absolute", p)
	case p == ".." || strings.HasPrefix(p, "../") || path.Clean(p) != p:
		return fmt.Errorf("path %q is not clean", p)
	}
	for name := range strings.SplitSeq(p, "/") {
		if len(name) > MaxName {
			return fmt.Errorf("path %.80q...: a component of %d bytes; at most %d", p, len(name), MaxName)
		}
	}
	return nil
}

func checkTime(t time.Time) error {
	if y := t.UTC().Year(); y < 1 || y > 9999 {
		return fmt.Errorf("time with year %d; 1 to 9999 can be written", y)
	}
	return nil
}
