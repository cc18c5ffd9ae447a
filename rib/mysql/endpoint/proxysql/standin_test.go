package proxysql_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/server"

	"kaname.dev/kaname/lab"
)

// standIn speaks the protocol of ProxySQL's admin interface and has its tables in SQLite, as
// ProxySQL has, here through the sqlite3 program. LOAD and SAVE copy tables, and nothing is
// behind them. It stands here because ProxySQL cannot be installed from Debian.
type standIn struct {
	server.EmptyHandler // refuses prepared statements, as ProxySQL does

	t       testing.TB
	address string

	talk sync.Mutex // one statement after the other
	in   io.Writer
	out  *bufio.Scanner

	lock     sync.Mutex
	said     []string // statements that change something
	password string
	open     []net.Conn
	// before runs once, before the next UPDATE.
	before func()
	// guessing: at each LOAD the runtime gets what ProxySQL makes of read_only.
	guessing string
}

const schema = `CREATE TABLE %s (hostgroup_id INT NOT NULL DEFAULT 0 CHECK (hostgroup_id >= 0), hostname VARCHAR NOT NULL, port INT NOT NULL DEFAULT 3306,
gtid_port INT NOT NULL DEFAULT 0, status VARCHAR CHECK (UPPER(status) IN ('ONLINE','SHUNNED','OFFLINE_SOFT','OFFLINE_HARD')) NOT NULL DEFAULT 'ONLINE',
weight INT NOT NULL DEFAULT 1, compression INT NOT NULL DEFAULT 0, max_connections INT NOT NULL DEFAULT 1000, max_replication_lag INT NOT NULL DEFAULT 0,
use_ssl INT NOT NULL DEFAULT 0, max_latency_ms INT NOT NULL DEFAULT 0, comment VARCHAR NOT NULL DEFAULT '', PRIMARY KEY (hostgroup_id, hostname, port));`

func newStandIn(t testing.TB) *standIn {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &standIn{t: t, address: l.Addr().String(), password: "first"}
	s.engine()
	for _, table := range []string{"mysql_servers", "runtime_mysql_servers", "disk_mysql_servers"} {
		s.sql(fmt.Sprintf(schema, table))
	}
	s.sql("CREATE TABLE mysql_replication_hostgroups (writer_hostgroup INT PRIMARY KEY, reader_hostgroup INT, check_type VARCHAR DEFAULT 'read_only', comment VARCHAR DEFAULT '')")
	conf := server.NewServer("8.0.11 (ProxySQL Admin Module)", mysql.DEFAULT_COLLATION_ID, mysql.AUTH_NATIVE_PASSWORD, nil, nil)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.lock.Lock()
			s.open = append(s.open, c)
			s.lock.Unlock()
			all.Go(func() { s.serve(conf, c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		s.cut()
		all.Wait()
	})
	return s
}

// engine starts SQLite.
func (s *standIn) engine() {
	c := exec.Command(lab.Need(s.t, "stdbuf"), "-oL", lab.Need(s.t, "sqlite3"), "-json", ":memory:")
	in, err := c.StdinPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	c.Stderr = c.Stdout
	if err := c.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.in, s.out = in, bufio.NewScanner(out)
	s.t.Cleanup(func() {
		in.Close()
		c.Wait()
	})
}

func (s *standIn) serve(conf *server.Server, c net.Conn) {
	defer c.Close()
	s.lock.Lock()
	users := server.NewInMemoryAuthenticationHandler(mysql.AUTH_NATIVE_PASSWORD)
	err := users.AddUser("admin", s.password, mysql.AUTH_NATIVE_PASSWORD)
	s.lock.Unlock()
	if err != nil {
		s.t.Error(err)
		return
	}
	conn, err := conf.NewCustomizedConn(c, users, s)
	if err != nil {
		return // a wrong password, which the other side has been told
	}
	for conn.HandleCommand() == nil && !conn.Closed() {
		continue
	}
}

// cut closes all connections.
func (s *standIn) cut() {
	s.lock.Lock()
	defer s.lock.Unlock()
	for _, c := range s.open {
		c.Close()
	}
	s.open = nil
}

// HandleQuery does a statement of the driver's.
func (s *standIn) HandleQuery(q string) (*mysql.Result, error) {
	q = strings.Clone(q) // it is in the connection's buffer
	isSelect := strings.HasPrefix(q, "SELECT ")
	s.lock.Lock()
	before := s.before
	if strings.HasPrefix(q, "UPDATE ") {
		s.before = nil
	} else {
		before = nil
	}
	if !isSelect {
		s.said = append(s.said, q)
	}
	s.lock.Unlock()
	if before != nil {
		before()
	}
	switch q {
	case "LOAD MYSQL SERVERS TO RUNTIME":
		s.sql("DELETE FROM runtime_mysql_servers; INSERT INTO runtime_mysql_servers SELECT * FROM mysql_servers;" + s.guessing)
		return &mysql.Result{}, nil
	case "SAVE MYSQL SERVERS TO DISK":
		s.sql("DELETE FROM disk_mysql_servers; INSERT INTO disk_mysql_servers SELECT * FROM mysql_servers;")
		return &mysql.Result{}, nil
	}
	if isSelect {
		return s.query(q)
	}
	out, err := s.try(q + "; SELECT changes() AS n")
	if err != nil {
		return nil, err
	}
	var n []struct{ N uint64 }
	if err := json.Unmarshal(out, &n); err != nil {
		return nil, err
	}
	return &mysql.Result{AffectedRows: n[0].N}, nil
}

func (s *standIn) query(q string) (*mysql.Result, error) {
	out, err := s.try(q)
	if err != nil {
		return nil, err
	}
	var rows []map[string]any
	if d := json.NewDecoder(bytes.NewReader(out)); len(out) > 0 {
		d.UseNumber()
		if err := d.Decode(&rows); err != nil {
			return nil, err
		}
	}
	list, _, _ := strings.Cut(strings.TrimPrefix(q, "SELECT "), " FROM ")
	names := strings.Split(list, ", ")
	var values [][]any
	for _, r := range rows {
		var line []any
		for _, n := range names {
			line = append(line, append([]byte{}, fmt.Sprint(r[n])...)) // an empty string would become NULL
		}
		values = append(values, line)
	}
	set, err := mysql.BuildSimpleTextResultset(names, values)
	if err != nil {
		return nil, err
	}
	return mysql.NewResult(set), nil
}

// try has sqlite3 do statements, and returns the JSON of the last that has a result.
func (s *standIn) try(q string) ([]byte, error) {
	s.talk.Lock()
	defer s.talk.Unlock()
	if _, err := io.WriteString(s.in, q+";\n.print "+end+"\n"); err != nil {
		return nil, err
	}
	var said []string
	for s.out.Scan() {
		line := s.out.Text()
		if line == end {
			break
		}
		said = append(said, line)
	}
	text := strings.Join(said, "\n")
	if strings.Contains(text, "error near line") {
		return nil, mysql.NewError(mysql.ER_PARSE_ERROR, "ProxySQL Admin Error: "+text)
	}
	return []byte(text), s.out.Err()
}

const end = "-- end"

// sql is for the test itself.
func (s *standIn) sql(q string) string {
	s.t.Helper()
	out, err := s.try(q)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(out)
}

// table returns "hostgroup host:port status" of each row.
func (s *standIn) table(name string) []string {
	s.t.Helper()
	var rows []struct{ Line string }
	out := s.sql("SELECT hostgroup_id || ' ' || hostname || ':' || port || ' ' || status AS line FROM " + name + " ORDER BY line")
	if out != "" {
		if err := json.Unmarshal([]byte(out), &rows); err != nil {
			s.t.Fatal(err)
		}
	}
	var all []string
	for _, r := range rows {
		all = append(all, r.Line)
	}
	return all
}

// statements returns what changed something since the last call.
func (s *standIn) statements() []string {
	s.lock.Lock()
	defer s.lock.Unlock()
	all := slices.Clone(s.said)
	s.said = nil
	return all
}
