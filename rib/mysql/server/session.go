package server

import (
	"context"
	"database/sql"
	"strconv"
	"strings"
	"time"

	"kaname.dev/kaname/rib/mysql/gtid"
)

// session is one connection, for as long as a method works.
type session struct {
	*sql.Conn
	d *dialect
}

// row is a row of a result by column, in lower case; NULL is left out.
type row map[string]string

// session takes a connection that is kept, or a fresh one.
func (s *Server) session(ctx context.Context) (*session, error) {
	c, err := s.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	x := &session{Conn: c, d: s.d.Load()}
	if x.d != nil {
		return x, nil
	}
	var version string
	if err := c.QueryRowContext(ctx, "SELECT VERSION()").Scan(&version); err != nil {
		_ = c.Close()
		return nil, err
	}
	x.d = &mysqlDialect
	if strings.Contains(strings.ToLower(version), "mariadb") {
		x.d = &mariadbDialect
	}
	s.d.Store(x.d)
	return x, nil
}

// with runs f in a session and says what was being done when it fails. That a kept
// connection has ended since, the driver notices before it asks anything.
func (s *Server) with(ctx context.Context, what string, f func(*session) error) error {
	x, err := s.session(ctx)
	if err != nil {
		return s.trouble(ctx, what, err)
	}
	defer func() { _ = x.Close() }()
	return s.trouble(ctx, what, f(x))
}

// do executes statements one after the other.
func (x *session) do(ctx context.Context, statements ...string) error {
	for _, q := range statements {
		if _, err := x.ExecContext(ctx, q); err != nil {
			return err
		}
	}
	return nil
}

// rows returns all rows of a result.
func (x *session) rows(ctx context.Context, query string, args ...any) ([]row, error) {
	rs, err := x.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rs.Close() }()
	columns, err := rs.Columns()
	if err != nil {
		return nil, err
	}
	values, into := make([]sql.NullString, len(columns)), make([]any, len(columns))
	for i := range values {
		into[i] = &values[i]
	}
	var out []row
	for rs.Next() {
		if err := rs.Scan(into...); err != nil {
			return nil, err
		}
		r := row{}
		for i, c := range columns {
			if values[i].Valid {
				r[strings.ToLower(c)] = values[i].String
			}
		}
		out = append(out, r)
	}
	return out, rs.Err()
}

// value returns the first column of the only row.
func (x *session) value(ctx context.Context, query string, args ...any) (string, error) {
	var v sql.NullString
	err := x.QueryRowContext(ctx, query, args...).Scan(&v)
	return v.String, err
}

// pairs returns a result of names and values, names in lower case and as MySQL 9 has them:
// rpl_semi_sync_source_*, rpl_semi_sync_replica_*.
func (x *session) pairs(ctx context.Context, query string) (row, error) {
	rs, err := x.rows(ctx, query)
	if err != nil {
		return nil, err
	}
	out := row{}
	for _, r := range rs {
		out[modern(strings.ToLower(r["variable_name"]))] = r["value"]
	}
	return out, nil
}

// variables returns global variables.
func (x *session) variables(ctx context.Context) (row, error) {
	return x.pairs(ctx, "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('"+strings.Join(wanted, "','")+"') OR Variable_name LIKE 'rpl\\_semi\\_sync\\_%'")
}

// status returns global status variables.
func (x *session) status(ctx context.Context) (row, error) {
	return x.pairs(ctx, "SHOW GLOBAL STATUS WHERE Variable_name IN ('Uptime','Threads_connected') OR Variable_name LIKE 'Rpl\\_semi\\_sync\\_%'")
}

// wanted are the variables that Look, Details and Check know.
var wanted = []string{
	"version", "server_id", "server_uuid", "read_only", "super_read_only", "offline_mode", "report_host",
	"log_bin", "log_slave_updates", "log_replica_updates", "binlog_format", "binlog_row_image", "sync_binlog",
	"innodb_flush_log_at_trx_commit", "gtid_mode", "enforce_gtid_consistency", "gtid_strict_mode",
	"sync_relay_log", "relay_log_recovery", "slave_net_timeout", "replica_net_timeout", "skip_replica_start",
	"slave_parallel_threads", "slave_parallel_mode", "replica_parallel_workers", "replica_preserve_commit_order",
	"performance_schema", "innodb_fast_shutdown", "max_connections", "expire_logs_days", "binlog_expire_logs_seconds",
}

// modern returns the name that MySQL 9 gives a variable of semi-synchronous replication.
func modern(name string) string {
	rest, ok := strings.CutPrefix(name, "rpl_semi_sync_")
	if !ok {
		return name
	}
	rest = strings.NewReplacer("master", "source", "slave", "replica").Replace(rest)
	return "rpl_semi_sync_" + rest
}

func on(v string) bool { return v == "ON" || v == "1" || v == "Yes" || v == "YES" }

func number(v string) int64 {
	n, _ := strconv.ParseInt(v, 10, 64)
	return n
}

// seconds reads a number of seconds; -1 s when it is not there.
func seconds(v string, ok bool) time.Duration {
	if !ok {
		return -time.Second
	}
	return time.Duration(number(v)) * time.Second
}

func (x *session) set(texts ...string) (gtid.Set, error) {
	var all gtid.Set
	for _, t := range texts {
		one, err := gtid.Parse(x.d.flavour, t)
		if err != nil {
			return all, err
		}
		all = all.Union(one)
	}
	return all, nil
}

// literal quotes the name of a channel, which no statement takes as a parameter.
func literal(s string) string {
	return "'" + strings.NewReplacer("'", "''", `\`, `\\`).Replace(s) + "'"
}
