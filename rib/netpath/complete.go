package netpath

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/rib/netpath/intent"
)

// completeEnds finds what can be an end of a path.
func (r *service) completeEnds(ctx context.Context, prefix string) ([]string, error) {
	c, err := live{r, action.Actor{}}.cloud(ctx)
	if err != nil {
		return nil, err
	}
	names := []string{"internet", "metadata", "dhcp", "dns", "gateway"}
	for i := range c.Ports {
		if p := &c.Ports[i]; strings.HasPrefix(p.Owner, intent.OwnerCompute) {
			names = append(names, cmp.Or(p.VM, p.Name, p.ID))
		}
	}
	for i := range c.Floating {
		names = append(names, c.Floating[i].Addr.String())
	}
	return begins(names, prefix), nil
}

// completeHosts finds hosts that can be looked at.
func (r *service) completeHosts(ctx context.Context, prefix string) ([]string, error) {
	names, err := live{r, action.Actor{}}.all(ctx)
	return begins(names, prefix), err
}

func begins(names []string, prefix string) []string {
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasPrefix(n, prefix) })
	slices.Sort(names)
	return slices.Compact(names)
}
