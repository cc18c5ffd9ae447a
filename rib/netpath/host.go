package netpath

import (
	"context"
	"crypto/rand"
	"io"
	"sync"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/rib/netpath/bundle"
	"kaname.dev/kaname/rib/netpath/collect"
)

// What a host serves: a core orders a look by a signed command, and fetches the bytes, which
// are too many for an answer to a command, with the ticket that it was given.
const (
	commandWho  = "netpath.who"
	commandLook = "netpath.look"
	pathFacts   = "/netpath/facts"
)

// ticketFor is how long what was collected is kept for who ordered it.
const ticketFor = time.Minute

// maxTickets bounds what is kept at once.
const maxTickets = 4

// seen is what became of a look.
type seen struct {
	Ticket string `json:"ticket"`
	Bytes  int    `json:"bytes"`
}

// who says what Neutron calls a host.
type who struct {
	Host string `json:"host"`
}

// ticketIn asks for what was collected.
type ticketIn struct {
	Ticket string `json:"ticket"`
}

// drawer keeps collected facts until they are fetched.
type drawer struct {
	mu   sync.Mutex
	kept map[string]kept
}

type kept struct {
	facts []byte // compressed
	until time.Time
}

// put keeps facts and returns the ticket for them.
func (d *drawer) put(facts []byte) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	for t, k := range d.kept {
		if now.After(k.until) {
			delete(d.kept, t)
		}
	}
	if len(d.kept) >= maxTickets {
		return "", fault.Unavailable("this host is looked at by others").Because(fault.Full("as many looks as are kept at once are waiting to be fetched")).Try("try again in a minute")
	}
	t := rand.Text()
	d.kept[t] = kept{facts, now.Add(ticketFor)}
	return t, nil
}

// take gives what was kept, once.
func (d *drawer) take(ticket string) ([]byte, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	k, is := d.kept[ticket]
	delete(d.kept, ticket)
	return k.facts, is && time.Now().Before(k.until)
}

// serveOnce serves the commands, once in the life of the process.
func (r *service) serveOnce() error {
	if r.served.Swap(true) {
		return nil
	}
	p := r.node.Plane
	if err := plane.ServeQuery(p, commandWho, 1, func(context.Context, *plane.Call, struct{}) (who, error) {
		return who{r.config.Host}, nil
	}); err != nil {
		return err
	}
	return plane.Serve(p, commandLook, 1, func(ctx context.Context, _ *plane.Call, _ struct{}) (seen, error) {
		return r.look(ctx)
	})
}

// look collects this host's facts and keeps them for who asked.
func (r *service) look(ctx context.Context) (seen, error) {
	h, err := collect.Host(ctx, collect.Options{Name: r.config.Host})
	if err != nil {
		return seen{}, err
	}
	b, err := bundle.PackHost(h)
	if err != nil {
		return seen{}, err
	}
	t, err := r.drawer.put(b)
	r.node.Log.Info("collected what this host has", "took", h.Took, "bytes", len(b), "missing", len(h.Missing))
	return seen{t, len(b)}, err
}

// hand gives what was collected to who has the ticket.
func (r *service) hand(_ context.Context, _ string, in ticketIn, w io.Writer) error {
	b, ok := r.drawer.take(in.Ticket)
	if !ok {
		return fault.Denied("nothing is kept here under this ticket")
	}
	_, err := w.Write(b)
	return err
}
