package mysql

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"kaname.dev/kaname/rib"
	"kaname.dev/kaname/rib/mysql/controller"
	"kaname.dev/kaname/rib/mysql/judge"
	"kaname.dev/kaname/rib/mysql/order"
)

// checks are what "kaname doctor" asks about this rib.
func (r *service) checks() []rib.Check {
	return []rib.Check{
		{Name: "database servers of this host", Look: r.checkServers},
		{Name: "topologies of databases", Look: r.checkTopologies},
	}
}

// checkServers asks each server of this host whether it can be worked.
func (r *service) checkServers(ctx context.Context) rib.Verdict {
	r.mu.Lock()
	names := make([]string, 0, len(r.sites))
	for n := range r.sites {
		names = append(names, n)
	}
	r.mu.Unlock()
	slices.Sort(names)
	var bad, doubtful []string
	for _, n := range names {
		s, err := r.site(n)
		if err != nil {
			continue // gone meanwhile
		}
		done, err := s.Order(ctx, order.Order{Member: n, Verb: order.Look})
		if err != nil {
			bad = append(bad, n+": "+err.Error())
			continue
		}
		for _, f := range done.Details.Findings {
			text := n + ": " + f.What + ": " + f.Try
			if f.Level == "error" {
				bad = append(bad, text)
				continue
			}
			doubtful = append(doubtful, text)
		}
	}
	switch {
	case len(bad) > 0:
		return rib.Verdict{Evidence: strings.Join(bad, "; "), Remedy: "see what each needs: docs/mysql.md"}
	case len(doubtful) > 0:
		return rib.Verdict{Warn: true, Evidence: strings.Join(doubtful, "; "), Remedy: "see what each is good for: docs/mysql.md"}
	}
	return rib.Verdict{OK: true, Evidence: fmt.Sprintf("%d can be worked", len(names))}
}

// checkTopologies asks the controller, from a core.
func (r *service) checkTopologies(ctx context.Context) rib.Verdict {
	if r.controller == nil {
		return rib.Verdict{OK: true, Evidence: "the cores know"}
	}
	v, err := r.view(ctx, controller.Query{})
	if err != nil {
		return rib.Verdict{Evidence: err.Error(), Remedy: "wait some seconds after a start of the core"}
	}
	var bad []string
	for i := range v.Topologies {
		if t := standing(&v.Topologies[i]); t.State != judge.Fine || t.Note != "" {
			bad = append(bad, fmt.Sprintf("%s: %s %s", t.Topology, t.State, t.Note))
		}
	}
	if len(bad) > 0 {
		return rib.Verdict{Warn: true, Evidence: strings.Join(bad, "; "), Remedy: "kaname mysql status"}
	}
	return rib.Verdict{OK: true, Evidence: fmt.Sprintf("%d, all fine", len(v.Topologies))}
}
