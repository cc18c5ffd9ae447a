package proxysql

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"kaname.dev/kaname/rib/mysql/endpoint"
	"kaname.dev/kaname/rib/mysql/topology"
)

// proxy is one ProxySQL. Its statements are plain SQLite, which the admin interface hands
// through; all that is put into them are numbers and what plain lets through.
type proxy struct {
	address string
	db      *sql.DB
	groups  groups
	mark    string // the beginning of the comments: the epoch and the primary's name follow
}

type server struct {
	host string
	port int
}

func (s server) String() string { return net.JoinHostPort(s.host, strconv.Itoa(s.port)) }

// plan is how the hostgroups are to be.
type plan struct {
	epoch   uint64
	name    string
	writer  server
	readers []server
}

// row is a line of mysql_servers; how a server is to be used is copied to one that is new.
type row struct {
	server
	group                                            int
	status, comment                                  string
	weight, compression, maxConnections, maxLag, ssl int
	maxLatency                                       int
}

const columns = "hostgroup_id, hostname, port, status, weight, compression, max_connections, max_replication_lag, use_ssl, max_latency_ms, comment"

func (p *proxy) rows(ctx context.Context, table string) ([]row, error) {
	list, err := p.db.QueryContext(ctx, "SELECT "+columns+" FROM "+table+" WHERE hostgroup_id IN ("+p.in()+") ORDER BY hostgroup_id, hostname, port") //nolint:gosec // names of tables and numbers
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", table, err)
	}
	defer func() { _ = list.Close() }() // what goes wrong is in list.Err
	var all []row
	for list.Next() {
		var r row
		err := list.Scan(&r.group, &r.host, &r.port, &r.status, &r.weight, &r.compression, &r.maxConnections, &r.maxLag, &r.ssl, &r.maxLatency, &r.comment)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", table, err)
		}
		all = append(all, r)
	}
	if err := list.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", table, err)
	}
	return all, nil
}

// in is the list of hostgroups.
func (p *proxy) in() string {
	if p.groups.reader < 0 {
		return strconv.Itoa(p.groups.writer)
	}
	return fmt.Sprintf("%d, %d", p.groups.writer, p.groups.reader)
}

// guesses reports whether ProxySQL itself chooses writers among the hostgroups.
func (p *proxy) guesses(ctx context.Context) (bool, error) {
	var n int
	err := p.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM mysql_replication_hostgroups WHERE writer_hostgroup IN ("+p.in()+") OR reader_hostgroup IN ("+p.in()+")").Scan(&n)
	if err != nil {
		return false, fmt.Errorf("read mysql_replication_hostgroups: %w", err)
	}
	return n > 0, nil
}

func (p *proxy) publish(ctx context.Context, want plan) error {
	have, err := p.rows(ctx, "mysql_servers")
	if err != nil {
		return err
	}
	if seen := p.epoch(have); seen > want.epoch {
		return fmt.Errorf("epoch %d is there, this is %d: %w", seen, want.epoch, endpoint.ErrOld)
	}
	if err := p.insert(ctx, p.groups.writer, []server{want.writer}, have); err != nil {
		return err
	}
	online := []string{fmt.Sprintf("hostgroup_id=%d AND %s", p.groups.writer, where(want.writer))}
	if p.groups.reader >= 0 {
		if err := p.insert(ctx, p.groups.reader, want.readers, have); err != nil {
			return err
		}
		for _, r := range want.readers {
			online = append(online, fmt.Sprintf("hostgroup_id=%d AND %s", p.groups.reader, where(r)))
		}
	}
	status := fmt.Sprintf("CASE WHEN %s THEN 'ONLINE' WHEN hostgroup_id=%d THEN 'OFFLINE_HARD' ELSE 'OFFLINE_SOFT' END", strings.Join(online, " OR "), p.groups.writer)
	if err := p.set(ctx, want.epoch, p.in(), status, " "+want.name); err != nil {
		return err
	}
	got, err := p.current(ctx)
	if err == nil && (got.Primary == nil || got.Primary.Address != want.writer.String()) {
		err = fmt.Errorf("hostgroup %d leads elsewhere at run time: %+v; look at runtime_mysql_servers and mysql_replication_hostgroups", p.groups.writer, got.Primary)
	}
	return err
}

func (p *proxy) withdraw(ctx context.Context, epoch uint64) error {
	have, err := p.rows(ctx, "mysql_servers")
	if err != nil {
		return err
	}
	if seen := p.epoch(have); seen > epoch {
		return fmt.Errorf("epoch %d is there, this is %d: %w", seen, epoch, endpoint.ErrOld)
	}
	if !slices.ContainsFunc(have, func(r row) bool { return r.group == p.groups.writer }) {
		return nil
	}
	return p.set(ctx, epoch, strconv.Itoa(p.groups.writer), "CASE status WHEN 'OFFLINE_HARD' THEN status ELSE 'OFFLINE_SOFT' END", "")
}

// insert adds servers that a hostgroup lacks, closed, and like one that is there. Nobody is
// led to them before set, so that it does no harm when a higher epoch is there by then.
func (p *proxy) insert(ctx context.Context, group int, servers []server, have []row) error {
	like := row{weight: 1, maxConnections: 1000}
	for _, r := range have {
		if r.group == group && (like.host == "" || r.status == "ONLINE") {
			like = r
		}
	}
	for _, s := range servers {
		if slices.ContainsFunc(have, func(r row) bool { return r.group == group && r.server == s }) {
			continue
		}
		_, err := p.db.ExecContext(ctx, fmt.Sprintf("INSERT OR IGNORE INTO mysql_servers (%s) VALUES (%d, '%s', %d, 'OFFLINE_HARD', %d, %d, %d, %d, %d, %d, '')",
			columns, group, s.host, s.port, like.weight, like.compression, like.maxConnections, like.maxLag, like.ssl, like.maxLatency))
		if err != nil {
			return fmt.Errorf("add %s to hostgroup %d: %w", s, group, err)
		}
	}
	return nil
}

// set gives the rows of hostgroups their status, and the writers' the epoch and more, unless a
// higher epoch is there; loads and saves it.
func (p *proxy) set(ctx context.Context, epoch uint64, in, status, more string) error {
	newer := fmt.Sprintf("SELECT 1 FROM mysql_servers WHERE hostgroup_id=%d AND substr(comment, 1, %d)='%s' AND CAST(substr(comment, %d) AS INTEGER) > %d",
		p.groups.writer, len(p.mark), p.mark, len(p.mark)+1, epoch)
	done, err := p.db.ExecContext(ctx, fmt.Sprintf("UPDATE mysql_servers SET status=%s, comment=CASE hostgroup_id WHEN %d THEN '%s%d%s' ELSE comment END WHERE hostgroup_id IN (%s) AND NOT EXISTS (%s)",
		status, p.groups.writer, p.mark, epoch, more, in, newer))
	if err != nil {
		return fmt.Errorf("update mysql_servers: %w", err)
	}
	n, err := done.RowsAffected()
	if err != nil {
		return err
	}
	if n == 0 {
		return fmt.Errorf("a higher epoch than %d came in between: %w", epoch, endpoint.ErrOld)
	}
	for _, s := range []string{"LOAD MYSQL SERVERS TO RUNTIME", "SAVE MYSQL SERVERS TO DISK"} {
		if _, err := p.db.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", strings.ToLower(s), err)
		}
	}
	return nil
}

// current reads where ProxySQL sends writers now. A server that it shuns by itself, because it
// does not answer, is still the one.
func (p *proxy) current(ctx context.Context) (endpoint.Target, error) {
	all, err := p.rows(ctx, "runtime_mysql_servers")
	if err != nil {
		return endpoint.Target{}, err
	}
	var t endpoint.Target
	for _, r := range all {
		if r.group != p.groups.writer || r.status != "ONLINE" && r.status != "SHUNNED" {
			continue
		}
		if t.Primary != nil {
			return endpoint.Target{}, fmt.Errorf("hostgroup %d has two writers at run time, %s and %s; publish the primary again", p.groups.writer, t.Primary.Address, r.server)
		}
		var name string
		t.Epoch, name = p.marked(r.comment)
		t.Primary = &topology.Member{Name: name, Address: r.server.String()}
	}
	return t, nil
}

// epoch returns the highest in the writers' comments.
func (p *proxy) epoch(rows []row) (highest uint64) {
	for _, r := range rows {
		if e, _ := p.marked(r.comment); r.group == p.groups.writer {
			highest = max(highest, e)
		}
	}
	return highest
}

func (p *proxy) marked(comment string) (epoch uint64, name string) {
	rest, ok := strings.CutPrefix(comment, p.mark)
	if !ok {
		return 0, ""
	}
	number, name, _ := strings.Cut(rest, " ")
	epoch, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return 0, ""
	}
	return epoch, name
}

func where(s server) string { return fmt.Sprintf("hostname='%s' AND port=%d", s.host, s.port) }
