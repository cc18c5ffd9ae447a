package release

import (
	"context"
	"slices"
	"strings"
)

// completeApps finds apps by how their names begin.
func (r *service) completeApps(ctx context.Context, prefix string) ([]string, error) {
	docs, err := r.apps().List(ctx, prefix)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, d := range docs {
		out = append(out, d.Key)
	}
	return out, nil
}

// completeReleases finds versions, of whatever app, by how they begin.
func (r *service) completeReleases(ctx context.Context, prefix string) ([]string, error) {
	docs, err := r.releases().List(ctx, "")
	if err != nil {
		return nil, err
	}
	var out []string
	for _, d := range docs {
		if strings.HasPrefix(d.Value.Version, prefix) {
			out = append(out, d.Value.Version)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}
