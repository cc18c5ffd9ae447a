// Package expect lists what is not as Neutron's intent says it should be: on a host, and in
// the cloud as a whole. It looks for what a piece of state does, not for where it stands:
// releases of Neutron use other tables and priorities for the same work.
//
// It does not say what breaks a connection. Much that is missing breaks nothing; which
// difference does is found by repairing each in the model (package cause).
package expect

import (
	"cmp"
	"slices"
	"sync"

	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/intent"
	"kaname.dev/kaname/rib/netpath/packet"
	"kaname.dev/kaname/rib/netpath/trace"
)

// Checker compares hosts with one intent, which it indexes once. Its methods may be called
// from several goroutines.
type Checker struct {
	in    *index
	hosts map[string]*facts.Host

	once sync.Once
	macs map[string]packet.MAC // host to the address that its distributed routers send with
}

// New makes a checker. hosts is by the hosts' names; those that are not in it are not
// judged, and nothing is said about what they lack.
func New(c *intent.Cloud, hosts map[string]*facts.Host) *Checker {
	return &Checker{in: newIndex(c), hosts: hosts}
}

// Differences lists what is wrong on one host, in a stable order. To check many hosts, make
// a Checker once.
func Differences(c *intent.Cloud, hosts map[string]*facts.Host, host string) []trace.Finding {
	return New(c, hosts).Host(host)
}

// checks of one host, each of which lists what it finds.
var checks = []func(*view) []trace.Finding{
	(*view).bridges, (*view).routedTables, (*view).flowGuard, (*view).filterGuard, (*view).tunnels, (*view).underlay, (*view).plugs, (*view).routers, (*view).floats, (*view).central, (*view).services, (*view).leftovers,
}

// Host lists what is wrong on a host, in a stable order: nothing if the host is not known.
func (c *Checker) Host(name string) []trace.Finding {
	h := c.hosts[name]
	if h == nil {
		return nil
	}
	v := newView(c, h)
	var out []trace.Finding
	for _, check := range checks {
		out = append(out, check(v)...)
	}
	for i := range out {
		out[i].Host = name
		if out[i].Params == nil {
			out[i].Params = map[string]string{}
		}
		out[i].Params["host"] = name
	}
	order(out)
	return out
}

func order(list []trace.Finding) {
	slices.SortStableFunc(list, func(a, b trace.Finding) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Where, b.Where))
	})
}
