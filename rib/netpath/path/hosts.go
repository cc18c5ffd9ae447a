package path

import (
	"slices"

	"kaname.dev/kaname/rib/netpath/intent"
	"kaname.dev/kaname/rib/netpath/trace"
)

// Hosts lists the hosts whose facts a question needs, as far as the intent tells, sorted:
// those of both ends, of the routers that may lie between, of DHCP. A walk may come to
// others; its trace then names them (trace.Trace.Unseen).
func Hosts(c *intent.Cloud, q trace.Question) ([]string, error) {
	w := NewWorld(c, nil)
	src, dst, err := w.ends(q)
	if err != nil {
		return nil, err
	}
	var list []string
	for _, s := range []side{src, dst} {
		list = append(list, s.Host)
		if s.Kind == kindDHCP && s.network != nil {
			list = append(list, s.network.DHCP...)
		}
	}
	same := src.networkID() == dst.networkID() && src.networkID() != ""
	for _, s := range []side{src, dst} {
		for _, leg := range w.index.taps[s.networkID()] {
			ro := w.index.routers[leg.Device]
			if ro == nil || same {
				continue
			}
			if !ro.Distributed || src.Kind == kindOutside || dst.Kind == kindOutside || dst.Float.IsValid() {
				list = append(list, ro.Hosts...)
				list = append(list, w.centres(ro)...)
			}
		}
	}
	slices.Sort(list)
	list = slices.Compact(list)
	return slices.DeleteFunc(list, func(h string) bool { return h == "" }), nil
}

// centres lists the hosts on which a router has its gateway.
func (w *World) centres(ro *intent.Router) []string {
	var list []string
	for _, leg := range w.index.legs[ro.ID] {
		if leg.Owner == intent.OwnerGateway || leg.Owner == intent.OwnerSNAT || leg.Owner == intent.OwnerRouter {
			list = append(list, leg.Host)
		}
	}
	return list
}
