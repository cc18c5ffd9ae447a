package netpath

import (
	"context"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/netpath/bundle"
	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/intent"
)

// source is where answers come from: the plane's hosts and Neutron, or a bundle.
type source interface {
	// cloud returns what Neutron says.
	cloud(ctx context.Context) (*intent.Cloud, error)
	// hosts returns the facts of those hosts that can be had, and why not of the others.
	hosts(ctx context.Context, names []string) (map[string]*facts.Host, map[string]error)
	// all lists the hosts that could be asked for.
	all(ctx context.Context) ([]string, error)
}

// source returns where to look: a bundle, if one is named, else the cloud itself.
func (r *service) source(from string, run *action.Run) (source, error) {
	switch {
	case from == "":
		return live{r, run.Actor}, nil
	case r.attached():
		return nil, fault.Unsupported("a bundle is read where it lies, not on a core").At(from).Try("use the command line on the machine that has the file: kaname netpath trace … --from FILE")
	}
	b, err := bundle.Open(from, bundle.Limits{})
	if err != nil {
		return nil, err
	}
	return packed{b}, nil
}

// packed is what was collected before.
type packed struct{ *bundle.Bundle }

func (p packed) cloud(context.Context) (*intent.Cloud, error) { return p.Cloud, nil }

func (p packed) all(context.Context) ([]string, error) { return p.Names(), nil }

func (p packed) hosts(_ context.Context, names []string) (map[string]*facts.Host, map[string]error) {
	found, failed := map[string]*facts.Host{}, map[string]error{}
	for _, n := range names {
		h, err := p.Host(n)
		if err != nil {
			failed[n] = err
		} else {
			found[n] = h
		}
	}
	return found, failed
}
