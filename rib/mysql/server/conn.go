package server

import (
	"context"
	"database/sql"
)

// Conn returns a connection of its own, for what works with the protocol itself: package
// binlog. Whoever gets it closes it.
func (s *Server) Conn(ctx context.Context) (*sql.Conn, error) {
	c, err := s.db.Conn(ctx)
	return c, s.trouble(ctx, "connect", err)
}
