package server

import (
	"context"
	"fmt"
	"strconv"
)

// Pace is how a server treats its disk at a commit.
type Pace struct {
	Binlog int `json:"binlog"` // sync_binlog: commits between two syncs of the binary log; 0: none
	Flush  int `json:"flush"`  // innodb_flush_log_at_trx_commit: 1 syncs at each commit, 2 once a second
}

// Hurried commits without waiting for the disk: several times as fast where a replica has
// much to apply. What is lost with power then is in the relay logs of others, and the first
// commit at the former pace syncs all before it.
var Hurried = Pace{Binlog: 0, Flush: 2}

// Pace returns the pace of the server.
func (s *Server) Pace(ctx context.Context) (Pace, error) {
	var p Pace
	err := s.with(ctx, "read its pace", func(x *session) error {
		for name, to := range map[string]*int{"sync_binlog": &p.Binlog, "innodb_flush_log_at_trx_commit": &p.Flush} {
			text, err := x.value(ctx, "SELECT @@GLOBAL."+name)
			if err != nil {
				return err
			}
			if *to, err = strconv.Atoi(text); err != nil {
				return fmt.Errorf("%s is %q, not a number", name, text)
			}
		}
		return nil
	})
	return p, err
}

// SetPace sets the pace until the next restart.
func (s *Server) SetPace(ctx context.Context, p Pace) error {
	return s.with(ctx, "set its pace", func(x *session) error {
		return x.do(ctx,
			"SET GLOBAL innodb_flush_log_at_trx_commit="+strconv.Itoa(p.Flush),
			"SET GLOBAL sync_binlog="+strconv.Itoa(p.Binlog))
	})
}
