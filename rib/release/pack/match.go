package pack

import (
	"path"
	"strings"

	"kaname.dev/kaname/rib/release/manifest"
)

// matcher finds, for a file of a new release, the file of the base release that is
// likely to be most like it.
type matcher struct {
	size  []int64          // by object; 0 is the manifest
	names map[string][]int // the objects under each key, see keys
}

// newMatcher reads the base's manifest; all is Objects(base, nil).
func newMatcher(base *manifest.Manifest, all []Object) *matcher {
	m := &matcher{size: make([]int64, len(all)+1), names: map[string][]int{}}
	number := make(map[manifest.Digest]int, len(all))
	for i, o := range all {
		m.size[i+1] = o.Size
		number[o.Digest] = i + 1
	}
	for i := range base.Entries {
		e := &base.Entries[i]
		if e.Digest == nil {
			continue
		}
		for _, k := range keys(e.Path) {
			m.names[k] = append(m.names[k], number[*e.Digest])
		}
	}
	return m
}

// keys returns what a file may be found by, the most telling first: its path, its path
// without what looks like a version or a digest, ever shorter ends of it, and its kind in
// its directory.
func keys(p string) []string {
	plain := unversioned(p)
	k := []string{p, "~" + plain}
	for at, n := len(plain), 0; n < 4; n++ {
		at = strings.LastIndexByte(plain[:at], '/')
		if at < 0 {
			break
		}
		k = append(k, plain[at:])
	}
	// From the longest end to the shortest.
	for i, j := 2, len(k)-1; i < j; i, j = i+1, j-1 {
		k[i], k[j] = k[j], k[i]
	}
	return append(k, "."+path.Dir(plain)+"/*"+path.Ext(p))
}

// unversioned leaves out digits and what looks like a digest in hexadecimal or base 64:
// runs of eight letters and digits or more with a digit among them.
func unversioned(p string) string {
	var b strings.Builder
	for i := 0; i < len(p); {
		j, digits := i, 0
		for j < len(p) && isWord(p[j]) {
			if p[j] >= '0' && p[j] <= '9' {
				digits++
			}
			j++
		}
		switch {
		case j == i:
			b.WriteByte(p[i])
			j++
		case digits == 0:
			b.WriteString(p[i:j])
		case j-i < 8:
			b.WriteString(strings.Map(func(r rune) rune {
				if r >= '0' && r <= '9' {
					return -1
				}
				return r
			}, p[i:j]))
		}
		i = j
	}
	return b.String()
}

func isWord(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' }

// tried bounds how many files under one key are compared.
const tried = 256

// find returns the object, or 0 if none is likely.
func (m *matcher) find(p string, size int64) int {
	for _, k := range keys(p) {
		list := m.names[k]
		if len(list) == 0 {
			continue
		}
		best := list[0]
		for _, o := range list[:min(len(list), tried)] {
			if away(m.size[o], size) < away(m.size[best], size) {
				best = o
			}
		}
		return best
	}
	return 0
}

func away(a, b int64) int64 { return max(a-b, b-a) }
