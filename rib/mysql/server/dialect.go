package server

import (
	"context"
	"strings"
	"time"

	"kaname.dev/kaname/rib/mysql/gtid"
)

// dialect is what the flavours call or do differently.
type dialect struct {
	flavour string
	// replica is the word in STOP REPLICA.
	replica string
	// channels reads the state of replication from each source.
	channels func(ctx context.Context, x *session) ([]channel, error)
	// executed reads what the server has.
	executed func(ctx context.Context, x *session) (gtid.Set, error)
	// purged reads what the binary logs no longer have.
	purged func(ctx context.Context, x *session) (string, error)
	// own reads which transactions began on the server itself.
	own func(ctx context.Context, x *session) (string, error)
	// state reads what tells more of where transactions began: the binary log's state and
	// the position of the applier; nil when executed tells all.
	state func(ctx context.Context, x *session) (binlog, applied string, err error)
	// of names a channel in a statement: before and after what is to be done.
	of func(name string) (before, after string)
	// restartLoses: starting a thread while both are stopped deletes the relay log, with
	// all that was received and not applied.
	restartLoses bool
	// slowStop: a receiver whose source is silent takes long to end.
	slowStop bool
	// change makes the statement that points a channel to a source.
	change func(channel string, src Source) (query string, args []any)
	// closed are the statements that close the server for ordinary clients, open those that
	// open it.
	closed, open []string
	// half keeps ordinary clients out and lets an administrator write.
	half []string
	// cut are statements that cut clients besides killing them, before the fence.
	cut []string
	// uncut undoes cut.
	uncut []string
	// quiet keeps a session out of the server's logs where these would have the password of
	// change, loud ends that. MySQL leaves it out by itself.
	quiet, loud []string
	// netTimeout is the variable with the time after which a silent source is dropped.
	netTimeout string
	// hosts lists the replicas that have registered.
	hosts string
}

// channel is the state of replication from one source.
type channel struct {
	name     string
	source   string // host:port
	receiver string // Yes, No, Connecting
	stopping bool   // it is being stopped
	recvErr  string
	applying bool
	applyErr string
	lag      time.Duration // negative: unknown
	delay    time.Duration
	byGTID   bool
	filtered bool     // it leaves out a part
	received gtid.Set // in the relay log, applied or not; without what was there before it
	marks    string   // counters that change with each event or heartbeat
}

// chief returns the channel that counts: the unnamed one, else the first.
func chief(all []channel) *channel {
	for i := range all {
		if all[i].name == "" {
			return &all[i]
		}
	}
	if len(all) == 0 {
		return nil
	}
	return &all[0]
}

// filtered reports whether a channel leaves out a part of what it receives, on either side
// of the relay log.
func filtered(r row) bool {
	for name, v := range r {
		if v != "" && (strings.HasPrefix(name, "replicate_do") || strings.HasPrefix(name, "replicate_ignore") || strings.HasPrefix(name, "replicate_wild")) && name != "replicate_ignore_server_ids" {
			return true
		}
	}
	return false
}

// replication makes a statement on a channel: verb is "STOP" or "START", what a thread or
// "".
func (d *dialect) replication(verb, channel, what string) string {
	before, after := d.of(channel)
	q := verb + " " + d.replica + before
	if what != "" {
		q += " " + what
	}
	return q + after
}
