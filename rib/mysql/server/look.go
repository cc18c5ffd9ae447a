package server

import (
	"context"
	"time"

	"kaname.dev/kaname/rib/mysql/gtid"
	"kaname.dev/kaname/rib/mysql/topology"
)

// Ping asks the server a question that needs no table. See Refuses and Refused for what
// its error means.
func (s *Server) Ping(ctx context.Context) error {
	return s.with(ctx, "ping", func(x *session) error { return x.do(ctx, "DO 1") })
}

// Flavour returns gtid.MySQL or gtid.MariaDB.
func (s *Server) Flavour(ctx context.Context) (string, error) {
	if d := s.d.Load(); d != nil {
		return d.flavour, nil
	}
	var f string
	err := s.with(ctx, "ask which server it is", func(x *session) error {
		f = x.d.flavour
		return nil
	})
	return f, err
}

// Look returns what the server says of itself, in three or four round trips. Answers is set
// when there is no error. Process, Commit and Disk are for others to fill in.
func (s *Server) Look(ctx context.Context) (topology.Self, error) {
	var self topology.Self
	err := s.with(ctx, "look", func(x *session) error {
		var err error
		self, _, err = s.look(ctx, x)
		return err
	})
	if err != nil {
		return topology.Self{Trouble: err.Error(), Refuses: Refuses(err)}, err
	}
	return self, nil
}

func (s *Server) look(ctx context.Context, x *session) (self topology.Self, vars row, err error) {
	if vars, err = x.variables(ctx); err != nil {
		return self, nil, err
	}
	status, err := x.status(ctx)
	if err != nil {
		return self, nil, err
	}
	channels, err := x.d.channels(ctx, x)
	if err != nil {
		return self, nil, err
	}
	self = topology.Self{
		Answers: true, Version: vars["version"], ServerID: uint32(number(vars["server_id"])), UUID: vars["server_uuid"], //nolint:gosec // the server keeps to 32 bits
		ReadOnly: closedFor(vars), Uptime: time.Duration(number(status["uptime"])) * time.Second,
		Clients: int(number(status["threads_connected"])), SemiSync: semiSync(vars, status), Seen: time.Now(),
	}
	if c := chief(channels); c != nil {
		self.Replica = &topology.Replica{
			Source: c.source, Channels: len(channels), Receiving: c.receiver == "Yes", Receiver: c.receiver,
			NoNews: s.noNews(c), ReceiveErr: c.recvErr, Applying: c.applying, ApplyErr: c.applyErr,
			Lag: c.lag, Delay: c.delay, ByGTID: c.byGTID,
		}
	}
	return self, vars, nil
}

// closedFor reports whether ordinary clients cannot write. MariaDB 12 names levels of
// read_only beside ON.
func closedFor(vars row) bool {
	ro := vars["read_only"]
	return ro != "OFF" && ro != "0" || on(vars["super_read_only"]) || on(vars["offline_mode"])
}

func semiSync(vars, status row) topology.SemiSync {
	const p = "rpl_semi_sync_"
	_, source := vars[p+"source_enabled"]
	_, replica := vars[p+"replica_enabled"]
	out := topology.SemiSync{
		Loaded: source && replica, Waits: on(vars[p+"source_enabled"]), Clients: int(number(status[p+"source_clients"])),
		Timeout: time.Duration(number(vars[p+"source_timeout"])) * time.Millisecond,
		Lossy:   source && vars[p+"source_wait_point"] != "AFTER_SYNC", Replies: on(vars[p+"replica_enabled"]),
	}
	out.Active = out.Waits && on(status[p+"source_status"])
	if source {
		out.Acks = 1
		if n, ok := vars[p+"source_wait_for_replica_count"]; ok { // MariaDB always waits for one
			out.Acks = int(number(n))
		}
	}
	return out
}

// noNews returns for how long nothing has come from a channel's source, as far as the looks
// before can tell. What changes while there is no connection is no news of the source.
func (s *Server) noNews(c *channel) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	last, known := s.news[c.name]
	mark := c.source + " " + c.marks
	if !known || mark != last.mark && c.receiver == "Yes" {
		last.at = now
	}
	last.mark = mark
	s.news[c.name] = last
	return now.Sub(last.at)
}

// Positions returns what the server has executed, and what it has received, which includes
// that. MariaDB forgets what it has received and not applied when it restarts.
func (s *Server) Positions(ctx context.Context) (executed, received gtid.Set, err error) {
	err = s.with(ctx, "read the positions", func(x *session) error {
		executed, received, err = positions(ctx, x)
		return err
	})
	return executed, received, err
}

// positions reads what was received first: what is applied meanwhile is in both.
func positions(ctx context.Context, x *session) (executed, received gtid.Set, err error) {
	channels, err := x.d.channels(ctx, x)
	if err != nil {
		return executed, received, err
	}
	if executed, err = x.d.executed(ctx, x); err != nil {
		return executed, received, err
	}
	received = executed
	for _, c := range channels {
		received = received.Union(c.received)
	}
	return executed, received, nil
}
