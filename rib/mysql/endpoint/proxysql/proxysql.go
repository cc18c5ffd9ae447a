// Package proxysql leads clients to the primary through ProxySQL's admin interface: it says
// which server of the writer hostgroup is ONLINE, and which servers of the reader hostgroup.
//
// ProxySQL can also guess writers by read_only (mysql_replication_hostgroups), and then takes a
// former primary that comes back writable as a second writer. Kaname warns when that is set
// for its hostgroups; remove it.
//
// A former primary becomes OFFLINE_HARD: its connections are cut, for what they wait for never
// comes. Withdraw makes the primary OFFLINE_SOFT: transactions end, and new ones wait
// in ProxySQL, up to mysql-connect_timeout_server_max (10 s), for the next.
//
// The comments of the writer hostgroup's rows are kaname's: the epoch is in them, saved to
// disk with the rest. All rows change in one statement that does nothing when a higher epoch
// is there, and take effect with one LOAD; what others have changed in mysql_servers and not
// loaded yet takes effect too.
//
// Sources: ProxySQL's documentation, "Main (runtime)" for the tables and "MySQL Server
// Configuration" for the states.
package proxysql

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-sql-driver/mysql"

	"kaname.dev/kaname/rib/mysql/endpoint"
	"kaname.dev/kaname/rib/mysql/topology"
)

type driver struct {
	topology string
	proxies  []proxy
	log      *slog.Logger
}

// timeout bounds one statement; the admin interface is a table in memory.
const timeout = 5 * time.Second

// New returns the driver. It does not connect yet. Settings:
//
//	address           host:port of an admin interface, or several with commas: all are told
//	user              admin
//	password_file     file with the user's password, read for each connection; needed
//	ca_file           TLS, with a certificate signed by one of these; empty: no TLS
//	writer_hostgroup  number of the writers' hostgroup; needed
//	reader_hostgroup  number of the readers'; empty: reads are not kaname's business. While no
//	                  replica is fit for reads the primary is used
func New(o endpoint.Options) (endpoint.Driver, error) {
	settings := map[string]string{
		"address": "127.0.0.1:6032", "user": "admin", "password_file": "", "ca_file": "", "writer_hostgroup": "", "reader_hostgroup": "",
	}
	for key, value := range o.Settings {
		if _, known := settings[key]; !known {
			return nil, fmt.Errorf("endpoint proxysql of %s: setting %s is not known; known are %s", o.Topology, key, strings.Join(slices.Sorted(maps.Keys(settings)), ", "))
		}
		settings[key] = value
	}
	if !plain.MatchString(o.Topology) {
		return nil, fmt.Errorf("endpoint proxysql of topology %q: the name has characters that kaname does not put into comments", o.Topology)
	}
	d := &driver{topology: o.Topology, log: o.Log}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	groups, err := hostgroups(settings)
	if err == nil && settings["password_file"] == "" {
		err = errors.New("no setting password_file; give a file with the admin's password")
	}
	var secure *tls.Config
	if err == nil && settings["ca_file"] != "" {
		secure, err = trusting(settings["ca_file"])
	}
	if err != nil {
		return nil, fmt.Errorf("endpoint proxysql of %s: %w", o.Topology, err)
	}
	for address := range strings.SplitSeq(settings["address"], ",") {
		p, err := open(strings.TrimSpace(address), settings, secure)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("endpoint proxysql of %s: address %q: %w", o.Topology, address, err), d.Close())
		}
		p.groups, p.mark = groups, "kaname "+o.Topology+" epoch "
		d.proxies = append(d.proxies, p)
	}
	return d, nil
}

// plain is what needs no quotes in SQL, whichever dialect.
var plain = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,253}$`)

type groups struct{ writer, reader int } // reader is negative when there is none

func hostgroups(settings map[string]string) (g groups, err error) {
	number := func(key string) int {
		n, bad := strconv.ParseUint(settings[key], 10, 31)
		if bad != nil {
			err = fmt.Errorf("setting %s %q is not a number of a hostgroup", key, settings[key])
		}
		return int(n)
	}
	g = groups{number("writer_hostgroup"), -1}
	if settings["reader_hostgroup"] != "" {
		g.reader = number("reader_hostgroup")
	}
	if err == nil && g.writer == g.reader {
		err = errors.New("writer_hostgroup and reader_hostgroup are the same")
	}
	return g, err
}

func trusting(file string) (*tls.Config, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("ca_file: %w", err)
	}
	c := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	if !c.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca_file %s has no certificate", file)
	}
	return c, nil
}

func open(address string, settings map[string]string, secure *tls.Config) (proxy, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return proxy{}, err
	}
	c := mysql.NewConfig()
	c.Net, c.Addr, c.User = "tcp", address, settings["user"]
	c.InterpolateParams = true // the admin interface has no prepared statements
	c.Timeout, c.ReadTimeout, c.WriteTimeout = timeout, timeout, timeout
	c.Logger = &mysql.NopLogger{} // its errors are returned besides
	if secure != nil {
		c.TLS = secure.Clone()
		c.TLS.ServerName = host
	}
	err = c.Apply(mysql.BeforeConnect(func(_ context.Context, c *mysql.Config) error {
		b, err := os.ReadFile(settings["password_file"])
		c.Passwd = strings.TrimRight(string(b), "\r\n")
		return err
	}))
	if err != nil {
		return proxy{}, err
	}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return proxy{}, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(1)
	db.SetConnMaxIdleTime(time.Minute)
	return proxy{address: address, db: db}, nil
}

// each does something to all proxies at the same time; it fails when one fails, for clients of
// that one are led elsewhere.
func (d *driver) each(do func(p *proxy) error) error {
	errs := make([]error, len(d.proxies))
	var all sync.WaitGroup
	for i := range d.proxies {
		all.Go(func() {
			if err := do(&d.proxies[i]); err != nil {
				errs[i] = fmt.Errorf("proxysql %s: %w", d.proxies[i].address, err)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

func (d *driver) Publish(ctx context.Context, t endpoint.Target) error {
	if t.Primary == nil {
		return d.Withdraw(ctx, t)
	}
	want := plan{epoch: t.Epoch, name: t.Primary.Name}
	var err error
	if want.writer, err = at(*t.Primary); err != nil {
		return err
	}
	for _, r := range t.Replicas {
		s, err := at(r)
		if err != nil {
			return err
		}
		want.readers = append(want.readers, s)
	}
	if len(want.readers) == 0 {
		want.readers = []server{want.writer}
	}
	return d.each(func(p *proxy) error {
		guesses, err := p.guesses(ctx)
		if err != nil {
			return err
		}
		if guesses {
			d.log.Warn("proxysql chooses writers by read_only too; a former primary that comes back writable becomes a second writer",
				"topology", d.topology, "proxysql", p.address, "remedy", fmt.Sprintf("DELETE FROM mysql_replication_hostgroups WHERE writer_hostgroup=%d", p.groups.writer))
		}
		return p.publish(ctx, want)
	})
}

func (d *driver) Withdraw(ctx context.Context, t endpoint.Target) error {
	return d.each(func(p *proxy) error { return p.withdraw(ctx, t.Epoch) })
}

func (d *driver) Current(ctx context.Context) (endpoint.Target, error) {
	said := make([]endpoint.Target, len(d.proxies))
	err := d.each(func(p *proxy) error {
		i := slices.IndexFunc(d.proxies, func(x proxy) bool { return x.address == p.address })
		var err error
		said[i], err = p.current(ctx)
		said[i].Topology = d.topology
		return err
	})
	if err != nil {
		return endpoint.Target{}, err
	}
	for i, t := range said {
		if (t.Primary == nil) != (said[0].Primary == nil) || t.Primary != nil && t.Primary.Address != said[0].Primary.Address {
			return endpoint.Target{}, fmt.Errorf("proxysql %s and %s lead to different servers; publish the primary again", d.proxies[0].address, d.proxies[i].address)
		}
	}
	if said[0].Primary == nil {
		return endpoint.Target{}, nil
	}
	return said[0], nil
}

func (d *driver) Close() error {
	var errs []error
	for _, p := range d.proxies {
		errs = append(errs, p.db.Close())
	}
	return errors.Join(errs...)
}

// at returns where a member is, as ProxySQL writes it.
func at(m topology.Member) (server, error) {
	host, port, err := net.SplitHostPort(m.Address)
	if err != nil {
		return server{}, fmt.Errorf("endpoint proxysql: address of %s: %w", m.Name, err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || !plain.MatchString(host) || !plain.MatchString(m.Name) {
		return server{}, fmt.Errorf("endpoint proxysql: address %q of %q is not host:port with a number, or has characters that names do not have", m.Address, m.Name)
	}
	return server{host, int(n)}, nil
}
