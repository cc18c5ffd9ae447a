package watch

import (
	"context"
	"database/sql"
	"strings"
	"time"
)

// connects is what a Server can do besides: server.Server can.
type connects interface {
	Conn(ctx context.Context) (*sql.Conn, error)
}

// stuckAfter is how long a commit may be under way until the server is asked why.
const stuckAfter = time.Second

// explain asks the server, while the probe's commit is stuck, what it waits for. An answer
// counts for that commit only.
func (l *Local) explain(ctx context.Context) {
	l.mu.Lock()
	since := l.probe.since
	l.mu.Unlock()
	c, able := l.server.(connects)
	if !able || since.IsZero() || time.Since(since) < stuckAfter {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, pingWithin)
	defer cancel()
	state, err := probeState(ctx, c)
	if err != nil {
		l.log.Debug("ask what a commit waits for", "error", err)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.probe.since.Equal(since) {
		l.waits = state
	}
}

// probeState returns the state of the thread that executes the probe, in the server's own
// words; empty when there is none. The state that both flavours give a commit that
// waits for replicas begins with "Waiting for semi-sync ACK".
func probeState(ctx context.Context, c connects) (string, error) {
	conn, err := c.Conn(ctx)
	if err != nil {
		return "", err
	}
	defer conn.Close() //nolint:errcheck // it goes back to its pool
	rows, err := conn.QueryContext(ctx, "SHOW FULL PROCESSLIST")
	if err != nil {
		return "", err
	}
	defer rows.Close() //nolint:errcheck // read to its end, or given up
	columns, err := rows.Columns()
	if err != nil {
		return "", err
	}
	values, into := make([]sql.NullString, len(columns)), make([]any, len(columns))
	for i := range values {
		into[i] = &values[i]
	}
	state := ""
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return "", err
		}
		of := map[string]string{}
		for i, name := range columns {
			of[name] = values[i].String
		}
		if strings.HasPrefix(of["Info"], "INSERT INTO kaname.beat") {
			state = of["State"]
		}
	}
	return state, rows.Err()
}

// forAcks reports whether a state says that a commit waits for replicas.
func forAcks(state string) bool { return strings.Contains(state, "semi-sync ACK") }
