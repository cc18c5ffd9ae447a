package keeper

import (
	"context"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/zone/exchange"
	"kaname.dev/kaname/rib/zone/name"
)

// observer is a server as it tells of itself.
type observer struct {
	host  string
	head  exchange.Observed // without cells
	cells map[name.Name]exchange.Cell
	heard time.Time
}

// observed takes what a server tells.
func (k *Keeper) observed(_ context.Context, host string, in exchange.Observed) (exchange.Heard, error) {
	r, err := k.current()
	if err != nil {
		return exchange.Heard{}, err
	}
	if in.Server == "" {
		return exchange.Heard{}, fault.Invalid("the message names no server")
	}
	at := host + "/" + in.Server
	r.mu.Lock()
	defer r.mu.Unlock()
	o := r.servers[at]
	if o == nil && !in.Full {
		return exchange.Heard{Resend: true}, nil
	}
	if in.Full {
		o = &observer{host: host, cells: make(map[name.Name]exchange.Cell, len(in.Cells))}
		r.servers[at] = o
	}
	for _, c := range in.Cells {
		o.cells[c.Name] = c
	}
	for _, n := range in.Gone {
		delete(o.cells, n)
	}
	in.Cells, in.Gone, in.Full = nil, nil, false
	o.head, o.heard = in, k.o.Now()
	return exchange.Heard{}, nil
}
