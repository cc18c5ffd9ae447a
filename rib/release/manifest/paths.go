package manifest

import (
	"fmt"
	"path"
)

// paths knows which sort of thing stands at each path, to check the rules that
// concern more than one entry: no path twice, nothing below a file or a link, hard
// links only to earlier files.
type paths map[string]Type

// implied is a directory that exists only because something is below it.
const implied Type = "implied"

func (p paths) add(e *Entry) error {
	switch was, ok := p[e.Path]; {
	case ok && was == implied && e.Type != Dir:
		return fmt.Errorf("entry %q is a %s, but earlier entries are below it", e.Path, e.Type)
	case ok && was != implied:
		return fmt.Errorf("entry %q stands twice", e.Path)
	}
	if e.Type == Hardlink && p[e.Link] != File {
		return fmt.Errorf("entry %q is a hard link to %q, which is no earlier file", e.Path, e.Link)
	}
	for dir := path.Dir(e.Path); dir != "."; dir = path.Dir(dir) {
		was, ok := p[dir]
		if ok && was != Dir && was != implied {
			return fmt.Errorf("entry %q is below %q, which is a %s", e.Path, dir, was)
		}
		if ok {
			break // its own parents are known
		}
		p[dir] = implied
	}
	p[e.Path] = e.Type
	return nil
}
