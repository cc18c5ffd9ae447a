package mysql

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"time"
)

// Config is the section "mysql" of the configuration file: servers on database hosts,
// routers on hosts of applications. Topologies are not configured, they are adopted.
type Config struct {
	Servers []Server `yaml:"servers" help:"database servers on this host, one for each mysqld or mariadbd"`
	Routers []Router `yaml:"routers" help:"where applications on this host find a topology"`
}

// Server is a database server on this host.
type Server struct {
	Name        string   `yaml:"name" help:"unique in the plane; empty means the host's name"`
	Address     string   `yaml:"address" help:"IP:port at which replicas and clients reach it"`
	Socket      string   `yaml:"socket" help:"its unix socket"`
	PIDFile     string   `yaml:"pid_file" help:"its pid file; only needed where the socket does not tell whose it is"`
	Credentials string   `yaml:"credentials" help:"file with the account that kaname uses, as my.cnf has it: user=, password= below [client]; read at each connection"`
	Replication string   `yaml:"replication" help:"file with the account that replicas use, in the same form"`
	CA          string   `yaml:"ca" help:"file with the CA of the servers' certificates; with it replicas and other hosts connect by TLS only"`
	Start       []string `yaml:"start" help:"command that starts it, for one that has ended; empty means that systemd or a person does"`
}

// Router is a way for applications on this host to reach a topology.
type Router struct {
	Topology string        `yaml:"topology" help:"name of the topology"`
	Listen   string        `yaml:"listen" help:"address at which applications connect, such as 127.0.0.1:3306"`
	Target   string        `yaml:"target" enum:"primary,replica" help:"to whom they are led"`
	Users    string        `yaml:"users" help:"file with \"user = password\" lines; with it sessions are kept over a switchover, without it they are closed between transactions"`
	Hold     time.Duration `yaml:"hold" help:"how long a client waits while there is no primary; 0 means 10 s"`
	Drain    time.Duration `yaml:"drain" help:"how long a transaction may go on when the primary is moved on purpose; 0 means 1 s"`
}

var wellNamed = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// Check refuses settings that do not go together.
func (c *Config) Check() error {
	seen := map[string]bool{}
	for i := range c.Servers {
		s := &c.Servers[i]
		if err := s.check(); err != nil {
			return fmt.Errorf("servers[%d]: %w", i, err)
		}
		if seen[s.Name] || seen["at "+s.Address] {
			return fmt.Errorf("servers[%d]: another server has the name %q or the address %s; give each a name", i, s.Name, s.Address)
		}
		seen[s.Name], seen["at "+s.Address] = true, true
	}
	for i := range c.Routers {
		r := &c.Routers[i]
		if err := r.check(); err != nil {
			return fmt.Errorf("routers[%d]: %w", i, err)
		}
		if seen["listen "+r.Listen] {
			return fmt.Errorf("routers[%d]: another router listens at %s", i, r.Listen)
		}
		seen["listen "+r.Listen] = true
	}
	return nil
}

func (s *Server) check() error {
	if s.Name != "" && !wellNamed.MatchString(s.Name) {
		return fmt.Errorf("name: %q is not 1 to 63 letters, digits, '.', '_' and '-'", s.Name)
	}
	a, err := netip.ParseAddrPort(s.Address)
	if err != nil || a.Addr().IsUnspecified() || a.Port() == 0 {
		return fmt.Errorf("address: %q is not the IP address and port (10.0.0.1:3306) at which others reach the server", s.Address)
	}
	for key, path := range map[string]string{"socket": s.Socket, "credentials": s.Credentials, "replication": s.Replication} {
		if !filepath.IsAbs(path) {
			return fmt.Errorf("%s: %q is not an absolute path", key, path)
		}
	}
	if s.CA != "" && !filepath.IsAbs(s.CA) {
		return fmt.Errorf("ca: %q is not an absolute path", s.CA)
	}
	return nil
}

func (r *Router) check() error {
	if !wellNamed.MatchString(r.Topology) {
		return fmt.Errorf("topology: %q is not 1 to 63 letters, digits, '.', '_' and '-'", r.Topology)
	}
	if _, err := netip.ParseAddrPort(r.Listen); err != nil {
		return fmt.Errorf("listen: %q is not an IP address and port (127.0.0.1:3306)", r.Listen)
	}
	if r.Target == "" {
		r.Target = "primary"
	}
	if r.Users != "" && !filepath.IsAbs(r.Users) {
		return fmt.Errorf("users: %q is not an absolute path", r.Users)
	}
	if r.Hold < 0 || r.Drain < 0 {
		return errors.New("hold, drain: a time cannot be negative")
	}
	return nil
}
