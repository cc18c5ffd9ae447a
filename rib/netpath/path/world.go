// Package path follows a packet through a cloud: from a machine's device through bridges,
// tunnels, routers, address translation and filters to where it arrives or dies, and its
// answer back. It computes from facts and intent alone and touches nothing.
//
// Each station of the packet is interpreted by what the host really has there (packages
// openflow and linux); what lies between stations is here: which device leads where, which
// host has a tunnel's other end, who stands on a physical network, what a machine behind its
// device does, and what is beyond the cloud. Addresses are asked for by packets that walk as
// well, so that a broken ARP is found where it breaks.
package path

import (
	"maps"
	"slices"

	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/intent"
)

// World is a cloud with its hosts, made ready for walking. It is for one goroutine at a time.
type World struct {
	index *index
	sites map[string]*site
	names []string // of the hosts, sorted
	admit []string // ports whose security groups let the packet pass, whatever they say
}

// NewWorld makes a world of an intent and the hosts that are known, by name. Neither is
// changed, and neither may change while the world is in use.
func NewWorld(c *intent.Cloud, hosts map[string]*facts.Host) *World {
	w := &World{index: newIndex(c), sites: map[string]*site{}, names: slices.Sorted(maps.Keys(hosts))}
	for name, h := range hosts {
		w.sites[name] = newSite(h, nil)
	}
	return w
}

// With returns the world as it would be after edits of hosts, and with packets passing the
// security groups of the ports admit, which are Neutron's ids. What is not edited is shared.
func (w *World) With(edits []facts.Edit, admit []string) *World {
	c := &World{index: w.index, sites: w.sites, names: w.names, admit: append(slices.Clone(w.admit), admit...)}
	if len(edits) == 0 {
		return c
	}
	c.sites = maps.Clone(w.sites)
	copies := map[string]*facts.Host{}
	for _, e := range edits {
		old := w.sites[e.Host]
		if old == nil || e.Do == nil {
			continue
		}
		if copies[e.Host] == nil {
			copies[e.Host] = old.facts.Clone()
		}
		e.Do(copies[e.Host])
	}
	for name, h := range copies {
		c.sites[name] = newSite(h, w.sites[name])
	}
	return c
}

// Cloud is the intent that the world was made of.
func (w *World) Cloud() *intent.Cloud { return w.index.cloud }

// Host returns a host's facts, nil if it is not known.
func (w *World) Host(name string) *facts.Host {
	if s := w.sites[name]; s != nil {
		return s.facts
	}
	return nil
}
