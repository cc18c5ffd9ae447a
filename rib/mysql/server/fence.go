package server

import (
	"context"
	"fmt"
	"time"

	"kaname.dev/kaname/rib/mysql/gtid"
)

// Fence closes the server for writes whatever its clients do: also an isolated primary
// whose commits wait for acknowledgements, where read_only alone waits for ever. All
// connections are cut, first those of replicas, so that no acknowledgement comes in any
// more, then those of clients; no commit that waits is acknowledged to its client. Its
// transaction stays in the server, as one that only this server may have.
//
// When ctx ends before that, the server may still be open, and is to be killed.
func (s *Server) Fence(ctx context.Context) error {
	p, err := s.pair(ctx, true)
	if err != nil {
		return s.trouble(ctx, "fence", err)
	}
	defer p.end()
	f := &fence{s: s, pair: p}
	return s.trouble(ctx, "fence", f.do(ctx))
}

type fence struct {
	*pair

	s        *Server
	released *words // waiting for acknowledgements was switched off
}

func (f *fence) do(ctx context.Context) error {
	if err := f.cut.do(ctx, f.cut.d.cut...); err != nil {
		return err
	}
	err := f.s.until(ctx, f.pair, func(ctx context.Context, since time.Duration) error {
		if err := f.cutAll(ctx); err != nil {
			return err
		}
		if f.cut.d.flavour == gtid.MySQL && f.released == nil && since > 5*poll {
			return f.release(ctx)
		}
		return nil
	})
	if f.released != nil {
		back := f.cut.do(ctx, fmt.Sprintf("SET GLOBAL rpl_semi_sync_%s_enabled=1", f.released.source))
		err = first(err, back)
	}
	if err != nil {
		return err
	}
	// Who may write to a read-only server is cut once more.
	return f.cutAll(ctx)
}

// release lets commits end that wait for acknowledgements: a MySQL that has cut their
// clients goes on waiting, and does not close before. It does so only when every client
// is cut, for one that still listens would be told that its commit has succeeded; and no
// new one can begin to write, because the server waits to be closed.
func (f *fence) release(ctx context.Context) error {
	status, err := f.cut.status(ctx)
	if err != nil || number(status["rpl_semi_sync_source_wait_sessions"]) == 0 {
		return err
	}
	all, err := f.cut.threads(ctx, f.ids...)
	if err != nil {
		return err
	}
	for _, t := range all {
		if t.command != "Killed" && !t.idle {
			return nil // in the next round
		}
	}
	w, err := f.cut.words(ctx)
	if err != nil || w == nil {
		return err
	}
	f.released = w
	return f.cut.do(ctx, fmt.Sprintf("SET GLOBAL rpl_semi_sync_%s_enabled=0", w.source))
}
