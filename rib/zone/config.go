package zone

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/server"
)

// Config is the section "zone" of the configuration file, on every host: sources where
// primaries are, servers where secondaries are, the rest on cores.
type Config struct {
	Sources []Source         `yaml:"sources" help:"where zones come from, as far as this host can see them"`
	Servers []Server         `yaml:"servers" help:"name servers on this host that are to serve the zones"`
	Groups  map[string]Group `yaml:"groups" help:"on cores: how the zones of a group are served; the group default counts for all that have none of their own"`
	Listen  []string         `yaml:"listen" help:"addresses of the DNS listener: NOTIFY in for sources, catalogs out on cores; empty means none"`
	Keys    []string         `yaml:"keys" help:"files with TSIG keys that the DNS listener knows, in BIND's syntax"`
	Catalog []Catalog        `yaml:"catalogs" help:"on cores: catalog zones (RFC 9432) in which the zones are published"`

	Guard      Guard         `yaml:"guard" help:"on cores: how much may vanish at once without an operator"`
	Quarantine time.Duration `yaml:"quarantine" help:"on cores: how long a removed zone can be restored with its contents"`
	Resolver   string        `yaml:"resolver" help:"on cores: host:port of a resolver with which delegations are checked; empty means they are not"`
	Names      []string      `yaml:"names" help:"on cores: names of our servers, as delegations name them; empty means that strange and absent ones are not looked for"`
	Rescue     string        `yaml:"rescue" help:"loopback address from which this host's servers get the contents of restored zones"`
}

// Source is where zones come from.
type Source struct {
	Name      string   `yaml:"name" help:"letters, digits and '-', unique in the plane"`
	Kind      string   `yaml:"kind" enum:"catalog,bind,knot,pdns,directory,notify" help:"what is watched"`
	Address   string   `yaml:"address" help:"host:port at which the primary answers DNS"`
	From      string   `yaml:"from" help:"local address for questions to it"`
	Key       string   `yaml:"key" help:"file with the TSIG key for it, in BIND's syntax"`
	Primary   string   `yaml:"primary" help:"host:port from which secondaries transfer, when it differs from address"`
	Catalog   string   `yaml:"catalog" help:"name of the catalog zone, for kind catalog"`
	Control   string   `yaml:"control" help:"host:port of rndc, Knot's socket, or the URL of PowerDNS's API"`
	KeyFile   string   `yaml:"key_file" help:"file with rndc's key or the API's"`
	Config    string   `yaml:"config" help:"the primary's configuration file; for kind directory the directory of zone files"`
	Stats     string   `yaml:"stats" help:"host:port of BIND's statistics channel"`
	Native    bool     `yaml:"native" help:"for kind pdns: zones of kind Native too"`
	View      string   `yaml:"view" help:"BIND's view; servers with the same view get the zones"`
	Group     string   `yaml:"group" help:"group of zones for which the source names none"`
	Allow     []string `yaml:"allow" help:"names at or below which zones may be; empty means all but the root"`
	Names     []string `yaml:"names" help:"for kind notify: names of our servers, one of which must be in the zone's NS records"`
	AllowFrom []string `yaml:"allow_from" help:"for kind notify: addresses and prefixes that may notify"`
}

// Server is a name server on this host.
type Server struct {
	Name    string          `yaml:"name" help:"letters, digits and '-', unique on this host; empty means the kind"`
	Kind    string          `yaml:"kind" enum:"bind,nsd,knot,pdns,exec" help:"which software it is"`
	Address string          `yaml:"address" help:"host:port at which it answers DNS to this host"`
	Control string          `yaml:"control" help:"host:port of rndc, path of a socket (nsd, knot), host:port of nsd-control, or URL of the API (pdns)"`
	KeyFile string          `yaml:"key_file" help:"file with rndc's key or the API's"`
	CertDir string          `yaml:"cert_dir" help:"directory with nsd-control's certificates"`
	Config  string          `yaml:"config" help:"its configuration file"`
	Stats   string          `yaml:"stats" help:"host:port of BIND's statistics channel, for quick lists"`
	View    string          `yaml:"view" help:"BIND's view to serve; for others: the view whose zones it gets"`
	Groups  []string        `yaml:"groups" help:"groups of zones that it serves; empty means all"`
	Manual  bool            `yaml:"manual" help:"change nothing by itself: only \"kaname zone apply\" does"`
	Exec    server.Commands `yaml:"exec" help:"for kind exec: the commands that work it"`
}

// Group is how the zones of a group are served.
type Group struct {
	Primaries []string          `yaml:"primaries" help:"host:port of each primary, with the name of the TSIG key behind a blank: \"192.0.2.1:53 xfr\"; empty means the source's"`
	Transfer  []string          `yaml:"transfer" help:"who may take transfers from the servers: addresses, prefixes, \"key NAME\""`
	Options   map[string]string `yaml:"options" help:"by kind of server: lines for its configuration of these zones"`
}

// Catalog is a catalog zone that is published.
type Catalog struct {
	Name   string   `yaml:"name" help:"name of the catalog zone"`
	View   string   `yaml:"view" help:"view whose zones are in it"`
	Groups []string `yaml:"groups" help:"groups whose zones are in it; empty means all"`
	For    string   `yaml:"for" enum:",bind,knot,nsd,pdns" help:"software of its consumers; empty means any"`
	Key    string   `yaml:"key" help:"name of the TSIG key that a transfer needs; empty means that allow decides alone"`
	Allow  []string `yaml:"allow" help:"addresses and prefixes that may transfer it; empty means any with the key"`
	Notify []string `yaml:"notify" help:"host:port of consumers that are told of changes"`
}

// Guard says how much may vanish at once.
type Guard struct {
	Share  int           `yaml:"share" help:"percent of a source's zones that may go within the window; 100 lets all go"`
	Least  int           `yaml:"least" help:"fewer than so many may always go"`
	Window time.Duration `yaml:"window" help:"time over which removals are summed up"`
}

// defaultConfig returns the built-in values.
func defaultConfig() Config {
	return Config{Guard: Guard{Share: 10, Least: 5, Window: time.Hour}, Quarantine: 72 * time.Hour, Rescue: "127.0.0.1:7453"}
}

var wellNamed = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{0,39}$`)

// Check refuses settings that do not go together.
func (c *Config) Check() error {
	seen := map[string]bool{}
	for i := range c.Sources {
		s := &c.Sources[i]
		if err := s.check(); err != nil {
			return fmt.Errorf("sources[%d]: %w", i, err)
		}
		if seen["source "+s.Name] || s.Name == "plane" {
			return fmt.Errorf("sources[%d]: the name %s is taken", i, s.Name)
		}
		seen["source "+s.Name] = true
	}
	for i := range c.Servers {
		s := &c.Servers[i]
		if err := s.check(); err != nil {
			return fmt.Errorf("servers[%d]: %w", i, err)
		}
		if seen["server "+s.Name] {
			return fmt.Errorf("servers[%d]: the name %s is taken", i, s.Name)
		}
		seen["server "+s.Name] = true
	}
	for g, v := range c.Groups {
		if _, err := v.template(g); err != nil {
			return fmt.Errorf("groups.%s: %w", g, err)
		}
	}
	for i := range c.Catalog {
		if err := c.Catalog[i].check(); err != nil {
			return fmt.Errorf("catalogs[%d]: %w", i, err)
		}
	}
	if c.Guard.Share < 1 || c.Guard.Share > 100 || c.Guard.Least < 0 || c.Guard.Window <= 0 {
		return errors.New("guard: share is 1 to 100 percent, least at least 0, window longer than 0")
	}
	if c.Quarantine < 0 {
		return errors.New("quarantine: a time that is not negative")
	}
	if a, err := netip.ParseAddrPort(c.Rescue); c.Rescue != "" && (err != nil || !a.Addr().IsLoopback()) {
		return fmt.Errorf("rescue: %q is not a loopback address with a port", c.Rescue)
	}
	return c.checkDelegations()
}

func (c *Config) checkDelegations() error {
	if _, err := netip.ParseAddrPort(c.Resolver); c.Resolver != "" && err != nil {
		return fmt.Errorf("resolver: %q is not an IP address and port (127.0.0.1:53)", c.Resolver)
	}
	if _, err := names(c.Names); err != nil {
		return fmt.Errorf("names: %w", err)
	}
	return nil
}

func (s *Source) check() error {
	if !wellNamed.MatchString(s.Name) {
		return fmt.Errorf("name: %q is not 1 to 40 letters, digits and '-'", s.Name)
	}
	if s.Kind == "" {
		return errors.New("kind: one of catalog, bind, knot, pdns, directory, notify")
	}
	if s.Kind != "directory" && s.Address == "" {
		return errors.New("address: the primary's host:port is needed")
	}
	if s.Kind == "directory" && (!filepath.IsAbs(s.Config) || s.Primary == "" && s.Address == "") {
		return errors.New("config: the absolute path of the directory is needed, and primary, from where secondaries transfer")
	}
	for _, a := range []string{s.Address, s.Primary} {
		if _, err := netip.ParseAddrPort(a); a != "" && err != nil {
			return fmt.Errorf("%q is not an IP address and port (192.0.2.1:53)", a)
		}
	}
	if _, err := netip.ParseAddr(s.From); s.From != "" && err != nil {
		return fmt.Errorf("from: %q is not an IP address", s.From)
	}
	if s.Kind == "catalog" && s.Catalog == "" {
		return errors.New("catalog: the name of the catalog zone is needed")
	}
	if s.Kind == "notify" && (len(s.Names) == 0 || len(s.AllowFrom) == 0 && s.Key == "") {
		return errors.New("names, allow_from: kind notify needs the names of our servers, and who may notify or a key")
	}
	if _, err := prefixes(s.AllowFrom); err != nil {
		return fmt.Errorf("allow_from: %w", err)
	}
	_, err := names(slices.Concat(s.Allow, s.Names, nonEmpty(s.Catalog)))
	return err
}

func (s *Server) check() error {
	if s.Kind == "" {
		return errors.New("kind: one of bind, nsd, knot, pdns, exec")
	}
	if s.Name == "" {
		s.Name = s.Kind
	}
	if !wellNamed.MatchString(s.Name) {
		return fmt.Errorf("name: %q is not 1 to 40 letters, digits and '-'", s.Name)
	}
	if _, err := netip.ParseAddrPort(s.Address); err != nil {
		return fmt.Errorf("address: %q is not an IP address and port (127.0.0.1:53)", s.Address)
	}
	if s.Kind == "exec" && (len(s.Exec.List) == 0 || len(s.Exec.Add) == 0 || len(s.Exec.Remove) == 0) {
		return errors.New("exec: the commands list, add and remove are needed")
	}
	if s.Kind != "exec" && s.Control == "" {
		return errors.New("control: where the server is controlled")
	}
	return nil
}

func (c *Catalog) check() error {
	if _, err := name.Parse(c.Name); err != nil {
		return fmt.Errorf("name: %q %w", c.Name, err)
	}
	if c.Key == "" && len(c.Allow) == 0 {
		return errors.New("key, allow: one of them is needed; a catalog is not for everybody")
	}
	if _, err := prefixes(c.Allow); err != nil {
		return fmt.Errorf("allow: %w", err)
	}
	for _, a := range c.Notify {
		if _, err := netip.ParseAddrPort(a); err != nil {
			return fmt.Errorf("notify: %q is not an IP address and port", a)
		}
	}
	return nil
}

// template returns the group as servers know it.
func (g *Group) template(group string) (server.Template, error) {
	t := server.Template{Name: group, Transfer: g.Transfer, Options: g.Options}
	for _, p := range g.Primaries {
		at, key, _ := strings.Cut(strings.TrimSpace(p), " ")
		a, err := netip.ParseAddrPort(at)
		if err != nil {
			return t, fmt.Errorf("primaries: %q is not an IP address and port, with a key's name behind a blank", p)
		}
		t.Primaries = append(t.Primaries, server.Primary{Address: a, Key: strings.TrimSpace(key)})
	}
	return t, nil
}

// prefixes reads addresses and prefixes.
func prefixes(list []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, s := range list {
		if a, err := netip.ParseAddr(s); err == nil {
			out = append(out, netip.PrefixFrom(a, a.BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("%q is no address and no prefix", s)
		}
		out = append(out, p)
	}
	return out, nil
}

// names reads zone names.
func names(list []string) ([]name.Name, error) {
	var out []name.Name
	for _, s := range list {
		n, err := name.Parse(s)
		if err != nil {
			return nil, fmt.Errorf("%q %w", s, err)
		}
		out = append(out, n)
	}
	return out, nil
}

func nonEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}
