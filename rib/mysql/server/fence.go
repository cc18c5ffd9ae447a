package server

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"kaname.dev/kaname/rib/mysql/gtid"
)

// Fence closes the server for writes whatever its clients do: also an isolated primary
// whose commits wait for acknowledgements, where read_only alone waits for ever. All
// clients are cut, and no commit that waits is acknowledged to its client. Its transaction
// stays in the server, as one that only this server may have; a MySQL goes on waiting for
// its acknowledgement, is offline instead of read-only, and lets administrators in.
//
// Replicas stay connected to a MariaDB: an acknowledgement of theirs that comes after the
// fence reaches nobody, and what they still receive is not lost. Besides, a MariaDB whose
// thread for a replica is killed while it starts can wait for ever for its end, and lets
// that replica connect no more (10.11.19).
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

// fence is one that is under way.
//
// Commits wait in groups, and one session of each waits for the acknowledgement of them all.
// Killed, a MariaDB's stops waiting, and the others, whose clients still listen, are told
// that their commits have succeeded. So it is killed last, when everybody else is, and
// nobody can join: the server waits to be closed and lets no new statement write. A MySQL's
// goes on waiting although it is killed, and the server does not close before: then
// offline_mode is the fence, and that all who were connected are cut. Waiting is not
// switched off, which takes half a second and is for Follow to do.
type fence struct {
	*pair

	s *Server
	// bar is the newest connection when the server began to wait to be closed: later
	// ones have written nothing. 0: it does not wait yet.
	bar int64
}

// errOffline ends the wait for a MySQL to close that waits for acknowledgements.
var errOffline = errors.New("it is offline, and all are cut")

func (f *fence) do(ctx context.Context) error {
	if err := f.cut.do(ctx, f.cut.d.cut...); err != nil {
		return err
	}
	err := f.s.until(ctx, f.pair, f.round)
	if errors.Is(err, errOffline) { // what waits to close the server must not do so later
		return f.cut.kill(ctx, []thread{{id: f.ids[1]}})
	}
	if err != nil {
		return err
	}
	// Who may write to a read-only server is cut once more.
	_, err = f.cutWho(ctx, func(t thread) bool { return !t.dump })
	return err
}

// round cuts who is there, and at last those who wait for acknowledgements.
func (f *fence) round(ctx context.Context, _ time.Duration) error {
	all, err := f.cutWho(ctx, client)
	if err != nil {
		return err
	}
	if f.bar == 0 {
		return f.barred(ctx, all)
	}
	for _, t := range all {
		if client(t) && !t.killed && number(t.id) <= f.bar {
			return nil // killed just now: it may not know yet
		}
	}
	last := waiting(all)
	live := slices.DeleteFunc(slices.Clone(last), func(t thread) bool { return t.killed })
	if f.cut.d.flavour == gtid.MySQL && len(last) > 0 && len(live) == 0 {
		return errOffline
	}
	return f.cut.kill(ctx, live)
}

// barred sees whether the server waits to be closed.
func (f *fence) barred(ctx context.Context, all []thread) error {
	ours, err := f.cut.threads(ctx, f.ids[0])
	if err != nil {
		return err
	}
	for _, t := range ours {
		if t.id != f.ids[1] || !strings.Contains(t.state, " lock") {
			continue
		}
		for _, o := range append(all, ours...) {
			f.bar = max(f.bar, number(o.id))
		}
	}
	return nil
}

func waiting(all []thread) []thread {
	return slices.DeleteFunc(slices.Clone(all), func(t thread) bool { return !t.waits })
}

// Tail reports whether clients wait for acknowledgements of transactions that a start with
// init_rpl_role=SLAVE would drop. They are in the binary log of this MariaDB and, as far as
// anybody knows, nowhere else: a fence by SQL makes them visible here, and then it cannot
// follow another primary any more, while a server that is killed comes back without them. A
// MySQL commits them at its start in any case.
func (s *Server) Tail(ctx context.Context) (bool, error) {
	var waiting bool
	err := s.with(ctx, "see who waits for acknowledgements", func(x *session) error {
		if x.d.flavour != gtid.MariaDB {
			return nil
		}
		rows, err := x.rows(ctx, "SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_master_wait_sessions'")
		waiting = len(rows) > 0 && rows[0]["value"] != "0"
		return err
	})
	return waiting, err
}
