package server

import (
	"context"
	"errors"
	"fmt"

	"kaname.dev/kaname/rib/mysql/gtid"
)

// waitAtMost is how long a commit waits for acknowledgements, in milliseconds: the longest
// that both flavours take, 49 days. Falling back to asynchronous would acknowledge what
// nobody else has.
const waitAtMost = 4294967295

// SemiSync sets semi-synchronous replication: waits says whether commits wait for the
// acknowledgements of acks replicas, before they become visible, as long as it takes and
// with no replica connected too; replies, whether the server acknowledges as a replica, from
// the next start of its receiver on. Each can be set again as it is.
//
// Waits must be off where the server replicates: its applier would wait as well. And it
// must not be switched off while clients wait, for that acknowledges their commits: see
// Fence. MariaDB waits for one acknowledgement and cannot wait for more.
func (s *Server) SemiSync(ctx context.Context, waits bool, acks int, replies bool) error {
	return s.with(ctx, "set semi-synchronous replication", func(x *session) error {
		return s.semiSync(ctx, x, waits, acks, replies)
	})
}

func (s *Server) semiSync(ctx context.Context, x *session, waits bool, acks int, replies bool) error {
	if waits && acks < 1 {
		return fmt.Errorf("waiting for %d acknowledgements is no waiting; give 1 or more", acks)
	}
	if waits && acks > 1 && x.d.flavour == gtid.MariaDB {
		return fmt.Errorf("mariadb waits for 1 acknowledgement and cannot wait for %d; set acks to 1", acks)
	}
	w, err := x.words(ctx)
	if err != nil {
		return err
	}
	if w == nil {
		if !waits && !replies {
			return nil
		}
		return errors.New("the plugins of semi-synchronous replication are not loaded; prepare the server")
	}
	var q []string
	set := func(source bool, rest string, v any) {
		q = append(q, fmt.Sprintf("SET GLOBAL rpl_semi_sync_%s_%s=%v", w.of(source), rest, v))
	}
	if waits {
		set(true, "wait_point", "'AFTER_SYNC'")
		set(true, "timeout", uint64(waitAtMost))
		set(true, "wait_no_"+w.replica, 1)
		if x.d.flavour == gtid.MySQL {
			set(true, "wait_for_"+w.replica+"_count", acks)
		}
	} else if x.d.flavour == gtid.MariaDB {
		set(false, "kill_conn_timeout", 1)
	}
	set(true, "enabled", yes(waits))
	set(false, "enabled", yes(replies))
	return x.do(ctx, q...)
}

// words are what the loaded plugins of semi-synchronous replication are called by.
type words struct{ source, replica string }

func (w *words) of(source bool) string {
	if source {
		return w.source
	}
	return w.replica
}

// words returns nil when the plugins are not loaded. MySQL before 8.0.26, and one that was
// upgraded from it, has them by their old names.
func (x *session) words(ctx context.Context) (*words, error) {
	rows, err := x.rows(ctx, "SHOW GLOBAL VARIABLES LIKE 'rpl\\_semi\\_sync\\_%\\_enabled'")
	if err != nil {
		return nil, err
	}
	var w words
	for _, r := range rows {
		switch r["variable_name"] {
		case "rpl_semi_sync_source_enabled":
			w.source = "source"
		case "rpl_semi_sync_master_enabled":
			w.source = "master"
		case "rpl_semi_sync_replica_enabled":
			w.replica = "replica"
		case "rpl_semi_sync_slave_enabled":
			w.replica = "slave"
		}
	}
	if w.source == "" || w.replica == "" {
		return nil, nil
	}
	return &w, nil
}
