package unpack

import (
	"path"
	"slices"

	"kaname.dev/kaname/rib/release/manifest"
)

// plan sorts the entries of a manifest by how they are made; numbers are indices
// into its Entries.
type plan struct {
	dirs    []string                  // every directory, also implied ones, parents first, without "."
	at      map[string]int            // explicit directories
	empty   []int                     // files without contents
	links   []int                     // symbolic links
	reused  []int                     // files that the host has
	wanted  map[manifest.Digest][]int // files by the contents they wait for
	aliases []int                     // hard links, in order
}

func newPlan(m *manifest.Manifest, split *Split) *plan {
	p := &plan{at: map[string]int{}, wanted: map[manifest.Digest][]int{}}
	known := map[string]bool{".": true}
	for i := range m.Entries {
		e := &m.Entries[i]
		dir := path.Dir(e.Path)
		if e.Type == manifest.Dir {
			dir = e.Path
			p.at[dir] = i
		}
		for ; !known[dir]; dir = path.Dir(dir) {
			known[dir] = true
			p.dirs = append(p.dirs, dir)
		}
		switch {
		case e.Type == manifest.Symlink:
			p.links = append(p.links, i)
		case e.Type == manifest.Hardlink:
			p.aliases = append(p.aliases, i)
		case e.Type == manifest.File && e.Size == 0:
			p.empty = append(p.empty, i)
		case e.Type == manifest.File && split.has(e):
			p.reused = append(p.reused, i)
		case e.Type == manifest.File:
			p.wanted[*e.Digest] = append(p.wanted[*e.Digest], i)
		}
	}
	slices.Sort(p.dirs)
	return p
}
