package zone

import (
	"context"
	"strings"

	"kaname.dev/kaname/rib/zone/exchange"
)

// maxCandidates is how many zones are offered at a time: nobody reads more.
const maxCandidates = 100

// completeZones finds zones by how their names begin.
func (r *service) completeZones(ctx context.Context, prefix string) ([]string, error) {
	v, err := r.view(ctx, exchange.Query{Prefix: prefix, Limit: maxCandidates, States: true})
	if err != nil {
		return nil, err
	}
	var out []string
	for i := range v.States {
		out = append(out, v.States[i].Name.Bare())
	}
	return out, nil
}

// completeServers finds name servers.
func (r *service) completeServers(ctx context.Context, prefix string) ([]string, error) {
	v, err := r.view(ctx, exchange.Query{})
	if err != nil {
		return nil, err
	}
	var out []string
	for i := range v.Servers {
		if at := v.Servers[i].Host + "/" + v.Servers[i].Name; strings.HasPrefix(at, prefix) {
			out = append(out, at)
		}
	}
	return out, nil
}
