// Package server works one MySQL (8.0.23 and later) or MariaDB (10.5 and later) server over
// SQL: it looks at it, stops and starts its replication, opens it for writes and closes it.
// What the two call differently stands in mysql.go and mariadb.go; what is dangerous to do
// in another order is one method here.
//
// Each method ends soon after its context does, also when the server hangs: the connection
// is then dropped. Passwords are in no error, log or argument.
//
// Sources: MySQL Reference Manual, "Replication"; MariaDB Knowledge Base, "Replication" and
// "Semisynchronous Replication". What they do not say was found by running the servers,
// and is tested here on real ones.
package server

import (
	"context"
	"crypto/tls"
	"database/sql"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-sql-driver/mysql"
)

// Options of a Server.
type Options struct {
	Name    string // of the member, for error texts
	Socket  string // path of the unix socket; wins over Address
	Address string // host:port
	// Credentials returns the account to connect as. It is asked at each connect, so that a
	// rotated password is picked up.
	Credentials func() (user, password string, err error)
	TLS         *tls.Config // over Address; nil: no TLS
	Log         *slog.Logger
	// Dial connects, with network "unix" or "tcp"; nil: a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Server is a server that may or may not be there. It is safe for concurrent use; orders
// that change the server are for one caller at a time.
type Server struct {
	name string
	db   *sql.DB
	log  *slog.Logger
	d    atomic.Pointer[dialect] // nil until the server has said which it is

	mu   sync.Mutex
	news map[string]news // by channel: what Look saw change last
}

// news is the last sign of life of a source, as its replica counts them.
type news struct {
	mark string // of the counters
	at   time.Time
}

// idle is how many connections are kept: one for looking, one for the commits of the probe
// and two for orders, so that a server without a free connection can still be fenced.
const idle = 4

// Open returns the server of the options. It does no I/O.
func Open(o Options) (*Server, error) {
	c := mysql.NewConfig()
	switch {
	case o.Socket != "":
		c.Net, c.Addr = "unix", o.Socket
	case o.Address != "":
		c.Net, c.Addr, c.TLS = "tcp", o.Address, o.TLS
	default:
		return nil, fmt.Errorf("mysql server %s: neither socket nor address is given", o.Name)
	}
	if o.Credentials == nil {
		return nil, fmt.Errorf("mysql server %s: no credentials are given", o.Name)
	}
	s := &Server{name: o.Name, log: o.Log, news: map[string]news{}}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	c.DialFunc, c.InterpolateParams = o.Dial, true
	c.Logger = driverLog{s.log}
	// A global autocommit=0 must not keep our own rows from being committed.
	c.Params = map[string]string{"autocommit": "1"}
	c.ConnectionAttributes = "program_name:kaname"
	err := c.Apply(mysql.BeforeConnect(func(_ context.Context, c *mysql.Config) error {
		user, password, err := o.Credentials()
		if err != nil {
			return fmt.Errorf("read the credentials: %w", err)
		}
		c.User, c.Passwd = user, password
		return nil
	}))
	if err != nil {
		return nil, fmt.Errorf("mysql server %s: %w", o.Name, err)
	}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, fmt.Errorf("mysql server %s: %w", o.Name, err)
	}
	s.db = sql.OpenDB(connector)
	s.db.SetMaxIdleConns(idle)
	return s, nil
}

// Close closes the connections. The server itself stays as it is: see CloseWrites.
func (s *Server) Close() error { return s.db.Close() }

// driverLog takes what the driver would print on standard error.
type driverLog struct{ log *slog.Logger }

// Print implements mysql.Logger.
func (l driverLog) Print(v ...any) { l.log.Debug("mysql driver", "text", fmt.Sprint(v...)) }
