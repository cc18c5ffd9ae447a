package fleet

import (
	"cmp"
	"maps"
	"slices"

	"kaname.dev/kaname/rib/release/manifest"
)

// maxDeltas is how many delta packs one deploy makes: each host of a small group of
// odd ones costs the origin a pack of its own.
const maxDeltas = 4

// Base is a release that a host has, as a base for a delta.
type Base struct {
	ID   manifest.Digest
	Live bool
}

// ChooseBases picks for each host the release against which a delta costs least; zero
// where nothing helps. known holds the manifests of releases of which the core has
// the contents. At most maxDeltas bases are used, those with most hosts.
func ChooseBases(hosts map[string][]Base, known map[manifest.Digest]*manifest.Manifest, next *manifest.Manifest) map[string]manifest.Digest {
	missing := map[manifest.Digest]int64{}
	for id, m := range known {
		missing[id] = lacks(m, next)
	}
	useful := func(id manifest.Digest) bool {
		n, ok := missing[id]
		return ok && n < next.Header.Size-next.Header.Size/20
	}
	chosen := map[string]manifest.Digest{}
	count := map[manifest.Digest]int{}
	for host, bases := range hosts {
		best := slices.MinFunc(append(slices.Clone(bases), Base{}), func(a, b Base) int {
			return cmp.Or(
				compareBool(useful(b.ID), useful(a.ID)), cmp.Compare(missing[a.ID], missing[b.ID]),
				compareBool(b.Live, a.Live), slices.Compare(a.ID[:], b.ID[:]),
			)
		})
		if useful(best.ID) {
			chosen[host] = best.ID
			count[best.ID]++
		} else {
			chosen[host] = manifest.Digest{}
		}
	}
	ranked := slices.SortedFunc(maps.Keys(count), func(a, b manifest.Digest) int {
		return cmp.Or(cmp.Compare(count[b], count[a]), slices.Compare(a[:], b[:]))
	})
	for host, id := range chosen {
		if i := slices.Index(ranked, id); i >= maxDeltas {
			chosen[host] = manifest.Digest{}
		}
	}
	return chosen
}

// lacks estimates what base costs: the bytes of the contents of next that it does not
// have, a quarter of them where it has an earlier version under the same path, since
// those travel as patches.
func lacks(base, next *manifest.Manifest) (bytes int64) {
	have := map[manifest.Digest]bool{}
	paths := map[string]bool{}
	for i := range base.Entries {
		if d := base.Entries[i].Digest; d != nil {
			have[*d] = true
			paths[base.Entries[i].Path] = true
		}
	}
	for i := range next.Entries {
		e := &next.Entries[i]
		if e.Digest == nil || have[*e.Digest] {
			continue
		}
		have[*e.Digest] = true
		if paths[e.Path] {
			bytes += e.Size / 4
		} else {
			bytes += e.Size
		}
	}
	return bytes
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
