package keeper

import (
	"iter"
	"maps"

	"kaname.dev/kaname/rib/zone/name"
)

// set is what a source has and had, divided as it is stored.
type set struct {
	parts [shards]map[name.Name]entry
}

func (s *set) get(n name.Name) (entry, bool) {
	e, ok := s.parts[shardOf(n)][n]
	return e, ok
}

func (s *set) len() int {
	n := 0
	for _, p := range s.parts {
		n += len(p)
	}
	return n
}

// all yields every zone.
func (s *set) all() iter.Seq2[name.Name, entry] {
	return func(yield func(name.Name, entry) bool) {
		for _, p := range s.parts {
			for n, e := range p {
				if !yield(n, e) {
					return
				}
			}
		}
	}
}

// change is a step from one set to the next.
type change struct {
	put  map[name.Name]entry // new, or changed, or gone into quarantine
	drop []name.Name         // forgotten for good
}

// touched returns the parts that a change touches, as they are after it.
func (s *set) touched(c *change) map[int]map[name.Name]entry {
	parts := map[int]map[name.Name]entry{}
	part := func(n name.Name) map[name.Name]entry {
		i := shardOf(n)
		if parts[i] == nil {
			if parts[i] = maps.Clone(s.parts[i]); parts[i] == nil {
				parts[i] = map[name.Name]entry{}
			}
		}
		return parts[i]
	}
	for n, e := range c.put {
		part(n)[n] = e
	}
	for _, n := range c.drop {
		delete(part(n), n)
	}
	return parts
}
