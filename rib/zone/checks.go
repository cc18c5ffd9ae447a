package zone

import (
	"context"
	"fmt"
	"strings"

	"kaname.dev/kaname/rib"
	"kaname.dev/kaname/rib/zone/exchange"
)

// checks are what "kaname doctor" asks about this rib.
func (r *service) checks() []rib.Check {
	return []rib.Check{
		{Name: "name servers of this host", Look: r.checkServers},
		{Name: "sources of zones", Look: r.checkSources},
	}
}

// checkServers asks each server of this host whether it can be worked.
func (r *service) checkServers(ctx context.Context) rib.Verdict {
	r.mu.Lock()
	sites := r.sites
	r.mu.Unlock()
	var bad []string
	for n, s := range sites {
		for _, p := range s.Problems(ctx) {
			bad = append(bad, n+": "+p)
		}
	}
	if len(bad) > 0 {
		return rib.Verdict{Evidence: strings.Join(bad, "; "), Remedy: "see what they need: kaname zone setup " + r.node.Host + "/<server>"}
	}
	return rib.Verdict{OK: true, Evidence: fmt.Sprintf("%d can be worked", len(sites))}
}

// checkSources asks the keeper, from a core.
func (r *service) checkSources(ctx context.Context) rib.Verdict {
	if r.keeper == nil {
		return rib.Verdict{OK: true, Evidence: "the cores know"}
	}
	v, err := r.view(ctx, exchange.Query{})
	if err != nil {
		return rib.Verdict{Evidence: err.Error(), Remedy: "wait some seconds after a start of the core"}
	}
	if bad := troubles(&v); len(bad) > 0 {
		return rib.Verdict{Warn: true, Evidence: strings.Join(bad, "; "), Remedy: "kaname zone sources; kaname zone servers"}
	}
	return rib.Verdict{OK: true, Evidence: fmt.Sprintf("%d sources, %d zones, %d servers", len(v.Sources), v.Zones, len(v.Servers))}
}
