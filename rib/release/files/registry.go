package files

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/rib/release/fleet"
	"kaname.dev/kaname/rib/release/manifest"
	"kaname.dev/kaname/rib/release/swarm"
	"kaname.dev/kaname/rib/release/tuggle"
)

// Found is what the cores know of a file.
type Found struct {
	tuggle.Object
	Release manifest.Digest `json:"release"`
	Pack    manifest.Digest `json:"pack"`
	Hosts   []string        `json:"hosts,omitempty"` // that have it and give it
	Edges   []tuggle.Edge   `json:"edges,omitempty"` // who took it from whom
	Peers   []swarm.Peer    `json:"peers,omitempty"` // those of Hosts that are alive; filled in when asked
}

// Got is what a host tells when it has fetched a file.
type Got struct {
	Name    string          `json:"name"`
	Content manifest.Digest `json:"content"`
	From    string          `json:"from"`
	Start   time.Time       `json:"start"`
	End     time.Time       `json:"end"`
	Gives   bool            `json:"gives"`
}

// maxEdges bounds the graph kept of one file.
const maxEdges = 2000

// registry is the cores' side.
type registry struct {
	plane *plane.Plane
	docs  plane.Docs[Found]
	log   *slog.Logger

	mu   sync.Mutex      // guards stop
	stop func()          // ends the orders under way; nil when there were none
	life context.Context //nolint:containedctx // of the orders, which outlive the question
	work sync.WaitGroup
}

func newRegistry(p *plane.Plane, log *slog.Logger) *registry {
	return &registry{plane: p, docs: plane.Documents[Found](p, "release_files"), log: log}
}

func (r *registry) answer() error {
	for _, err := range []error{
		plane.Answer(r.plane, "release.file.list", r.list),
		plane.Answer(r.plane, "release.file.find", r.find),
		plane.Answer(r.plane, "release.file.add", r.add),
		plane.Answer(r.plane, "release.file.got", r.got),
		plane.Answer(r.plane, "release.file.remove", r.remove),
		plane.Answer(r.plane, "release.file.replicate", r.replicate),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *registry) list(ctx context.Context, _ string, _ struct{}) ([]tuggle.Object, error) {
	docs, err := r.docs.List(ctx, "")
	if err != nil {
		return nil, err
	}
	list := make([]tuggle.Object, 0, len(docs))
	for _, d := range docs {
		list = append(list, d.Value.Object)
	}
	return list, nil
}

func (r *registry) find(ctx context.Context, _, name string) (Found, error) {
	d, err := r.docs.Get(ctx, name)
	if err != nil {
		return Found{}, err
	}
	members, err := r.plane.Members(ctx)
	if err != nil {
		return Found{}, err
	}
	found := d.Value
	for _, m := range members {
		if m.Alive && slices.Contains(found.Hosts, m.Host) {
			found.Peers = append(found.Peers, swarm.Peer{Host: m.Host, Address: m.Address, Place: fleet.Place(m.Labels), Origin: found.Hosts[0] == m.Host})
		}
	}
	return found, nil
}

// add registers a name for the host that asks, whoever it says has the file.
func (r *registry) add(ctx context.Context, host string, f Found) (struct{}, error) {
	if f.Name == "" || f.ID != tuggle.ID(f.Name) || f.Size < 0 {
		return struct{}{}, fault.Invalid("file to be added is malformed")
	}
	f.Hosts, f.Edges, f.Peers = []string{host}, nil, nil
	_, err := r.docs.Create(ctx, f.Name, f)
	if fault.Is(err, fault.KindExists) {
		return struct{}{}, fault.Exists("file " + f.Name + " exists already").Try("delete it first")
	}
	return struct{}{}, err
}

func (r *registry) got(ctx context.Context, host string, g Got) (struct{}, error) {
	_, err := r.docs.Update(ctx, g.Name, func(f *Found) error {
		if f.Content != g.Content || f.Name == "" {
			return fault.Conflict("file " + g.Name + " was deleted or replaced meanwhile")
		}
		if g.Gives && !slices.Contains(f.Hosts, host) {
			f.Hosts = append(f.Hosts, host)
		}
		f.Edges = append(f.Edges, tuggle.Edge{From: g.From, To: host, Start: g.Start, End: g.End})
		f.Edges = f.Edges[max(0, len(f.Edges)-maxEdges):]
		return nil
	})
	return struct{}{}, err
}

// remove takes the name away, then tells the hosts. One that does not hear of it
// keeps bytes that no name leads to until it tidies up.
func (r *registry) remove(ctx context.Context, host, name string) (struct{}, error) {
	d, err := r.docs.Get(ctx, name)
	if err != nil {
		return struct{}{}, err
	}
	if err := r.docs.Delete(ctx, d); err != nil {
		return struct{}{}, err
	}
	return struct{}{}, r.order(ctx, host, "release.file.drop", name)
}

func (r *registry) replicate(ctx context.Context, host, name string) (struct{}, error) {
	if err := r.plane.Emit(ctx, "release.file.fetch", map[string]string{"name": name, "asked_by": host}); err != nil {
		return struct{}{}, err
	}
	return struct{}{}, r.order(ctx, host, "release.file.fetch", name)
}

// ordering returns the context of orders.
func (r *registry) ordering(ctx context.Context) context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stop == nil {
		r.life, r.stop = context.WithCancel(context.WithoutCancel(ctx))
	}
	return r.life
}

// close ends the orders under way and waits for them.
func (r *registry) close() {
	r.mu.Lock()
	if r.stop != nil {
		r.stop()
		r.stop = nil
	}
	r.mu.Unlock()
	r.work.Wait()
}

// order commands all hosts that are alive and does not wait for them.
func (r *registry) order(ctx context.Context, asker, command, name string) error {
	members, err := r.plane.Members(ctx)
	if err != nil {
		return err
	}
	var hosts []string
	for _, m := range members {
		if m.Alive && m.Commands[command] > 0 {
			hosts = append(hosts, m.Host)
		}
	}
	call := plane.CallSpec{Command: command, Hosts: hosts, In: name, Actor: action.Actor{Name: asker, Door: "agent"}}
	life := r.ordering(ctx)
	r.work.Go(func() {
		for f := range r.plane.Call(life, call) {
			if f.Fault != nil {
				r.log.Warn("host did not follow", "command", command, "file", name, "host", f.Host, "err", f.Fault)
			}
		}
	})
	return nil
}
