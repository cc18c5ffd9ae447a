package plane

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
)

// Call identifies one command on one host, as its server sees it.
type Call struct {
	ID    string       // the caller's ULID; the same id is never done twice on a host within 24 h
	Actor action.Actor // who asked, as signed by the core
	Epoch Epoch        // of the lease under which it was sent; 0 without
	Lease string       // its name; empty without
	// Progress streams a value back to the caller; at most 64 KiB as JSON.
	Progress func(v any)
}

// Limits of what travels with a command.
const (
	maxInput    = 512 << 10 // bytes of CallSpec.In as JSON
	maxProgress = 64 << 10  // bytes of one progress value as JSON
	maxResult   = 768 << 10 // bytes of a result as JSON
)

// command is one thing that this host serves.
type command struct {
	version int
	query   bool // changes nothing, so that doing it twice does no harm
	do      func(ctx context.Context, c *Call, in json.RawMessage) (json.RawMessage, error)
}

// served is the table of commands of this host and of the calls in progress.
type served struct {
	p       *Plane
	changed chan struct{} // something new is served
	memory  *memory
	fence   *fence

	mu      sync.Mutex // guards the fields below
	table   map[string]command
	running map[string]*running
}

func (p *Plane) openServed() (_ *served, err error) {
	s := &served{p: p, changed: make(chan struct{}, 1), table: map[string]command{}, running: map[string]*running{}}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.memory, err = openMemory(filepath.Join(p.o.Dir, "calls"), time.Now(), p.log); err != nil {
		return nil, err
	}
	if s.fence, err = openFence(filepath.Join(p.o.Dir, "epochs"), p.log); err != nil {
		return nil, err
	}
	_, err = p.link.nc.Subscribe(subjectHost+hostToken(p.o.Host)+".call", func(m *nats.Msg) {
		p.wg.Go(func() { s.take(m) })
	})
	if err != nil {
		return nil, fmt.Errorf("subscribe to commands: %w", err)
	}
	if p.link.nc.IsConnected() { // else it is subscribed when it connects
		ctx, cancel := context.WithTimeout(p.life, tryFor)
		defer cancel()
		if err := p.link.flush(ctx); err != nil {
			p.log.Warn("the plane does not answer yet", "err", err)
		}
	}
	return s, nil
}

// close is called when no command runs any more.
func (s *served) close() {
	if s != nil {
		s.memory.close()
		s.fence.close()
	}
}

// Serve offers a command on this host under a name such as "release.stage".
// version rises when a required field is added. A command that is unknown here,
// of a newer version, badly signed, expired, not for this host or of an epoch
// lower than one seen before for its lease is answered with a clear fault.
func Serve[In, Out any](p *Plane, name string, version int, fn func(ctx context.Context, c *Call, in In) (Out, error)) error {
	return offer(p, name, command{version: version}, fn)
}

// ServeQuery is Serve for a command that changes nothing: its calls are not
// remembered, and one that is asked for twice is done twice.
func ServeQuery[In, Out any](p *Plane, name string, version int, fn func(ctx context.Context, c *Call, in In) (Out, error)) error {
	return offer(p, name, command{version: version, query: true}, fn)
}

func offer[In, Out any](p *Plane, name string, cmd command, fn func(ctx context.Context, c *Call, in In) (Out, error)) error {
	if !topicName.MatchString(name) || cmd.version < 1 {
		return fault.Invalid(fmt.Sprintf("command %q version %d cannot be served", name, cmd.version))
	}
	cmd.do = func(ctx context.Context, c *Call, raw json.RawMessage) (json.RawMessage, error) {
		var in In
		if len(raw) > 0 {
			if err := json.Unmarshal(raw, &in); err != nil {
				return nil, fault.Invalid("the input of command " + name + " cannot be read").At(p.o.Host).Because(err)
			}
		}
		out, err := fn(ctx, c, in)
		if err != nil {
			return nil, err
		}
		b, err := json.Marshal(out)
		if err != nil {
			return nil, fmt.Errorf("encode the result of %s: %w", name, err)
		}
		if len(b) > maxResult {
			return nil, fault.Full(fmt.Sprintf("the result of command %s is %d bytes; the plane takes %d", name, len(b), maxResult)).At(p.o.Host)
		}
		return b, nil
	}
	return p.served.add(name, cmd)
}

func (s *served) add(name string, c command) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, twice := s.table[name]; twice {
		return fault.Exists("command " + name + " is served already").At(s.p.o.Host)
	}
	s.table[name] = c
	select {
	case s.changed <- struct{}{}:
	default:
	}
	return nil
}

// commands returns what is served, with versions.
func (s *served) commands() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]int{}
	for name, c := range s.table {
		out[name] = c.version
	}
	return out
}
