// Package config reads kaname's one configuration file into one struct, strictly:
// an unknown, doubled or misspelt key is refused with file, line, column and a
// caret under the word.
//
// A setting comes from one of four layers, the later winning: built-in default,
// file, environment (KANAME_SECTION_KEY), flag. The origin of each value is kept,
// so that `kaname config show --effective` can tell. Each rib has a section of
// its own name; the struct for it is handed in. Secrets are never values here,
// only paths of files that hold them.
package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"slices"
	"strings"
)

// DefaultFile is where the configuration stands unless told otherwise.
const DefaultFile = "/etc/kaname/kaname.yaml"

// Config is everything that is set apart from the ribs' sections.
type Config struct {
	Host    Host    `yaml:"host" help:"this machine"`
	Plane   Plane   `yaml:"plane" help:"what the hosts hang on: membership, documents, leases, events, commands"`
	API     API     `yaml:"api" help:"where people and programs come in, on cores"`
	Peer    Peer    `yaml:"peer" help:"where other hosts fetch bytes from this one (mTLS, plane certificates only)"`
	Log     Log     `yaml:"log" help:"log lines on standard error"`
	Metrics Metrics `yaml:"metrics" help:"the private listener: /metrics, /healthz, /readyz, /debug/pprof"`
}

// Host is the section about this machine.
type Host struct {
	Name   string            `yaml:"name" help:"name in the plane, a DNS name in lower case; empty means the first part of the machine's own name"`
	Labels map[string]string `yaml:"labels" help:"key: value pairs that select hosts (role: web) and say where it stands (zone, rack); reloaded on SIGHUP"`
	Dir    string            `yaml:"dir" help:"state directory, on a local file system"`
}

// Plane is the section about the plane.
type Plane struct {
	Mode      string   `yaml:"mode" enum:"embedded,cluster,external,host" help:"embedded: this host is the only core; cluster: one of 3 or 5 cores; external: a core on an existing NATS cluster; host: no core, only an agent"`
	Listen    string   `yaml:"listen" help:"address on which a core takes hosts (TLS)"`
	Advertise string   `yaml:"advertise" help:"host:port under which hosts reach this core; empty means host name and port of listen"`
	Cores     []string `yaml:"cores" help:"host:port of the cores' plane listeners, for mode host"`
	API       []string `yaml:"api" help:"host:port of the cores' API listeners, where a host renews its certificate"`
	Cluster   Cluster  `yaml:"cluster" help:"for mode cluster"`
	External  External `yaml:"external" help:"for mode external"`
}

// Cluster is the part of Plane for several cores.
type Cluster struct {
	Name   string   `yaml:"name" help:"the same on all cores"`
	Listen string   `yaml:"listen" help:"address on which cores take each other (mTLS)"`
	Peers  []string `yaml:"peers" help:"host:port of the other cores' cluster listeners"`
}

// External is the part of Plane for an existing NATS cluster.
type External struct {
	URL             string `yaml:"url" help:"nats:// or tls:// addresses, comma-separated"`
	CredentialsFile string `yaml:"credentials_file" help:"NATS credentials file"`
}

// API is the section about the HTTP interface and console of a core.
type API struct {
	Listen    string   `yaml:"listen" help:"address for API, console and joining hosts (HTTPS); empty means none"`
	Names     []string `yaml:"names" help:"further DNS names and addresses for the certificate of listen"`
	Advertise string   `yaml:"advertise" help:"host:port under which others reach it; empty means host name and port of listen"`
	Socket    string   `yaml:"socket" help:"unix socket for people on this machine: root and the group kaname; empty means none"`
}

// Peer is the section about the listener between hosts.
type Peer struct {
	Listen    string `yaml:"listen" help:"address of the listener; empty means none, then this host only takes"`
	Advertise string `yaml:"advertise" help:"host:port under which other hosts reach it; empty means the address towards the cores and the port of listen"`
}

// Log is the section about log lines.
type Log struct {
	Level  string `yaml:"level" enum:"debug,info,warn,error" help:"least level shown; reloaded on SIGHUP"`
	Format string `yaml:"format" enum:"auto,text,json" help:"auto means coloured on a terminal, text elsewhere"`
}

// Metrics is the section about the private listener.
type Metrics struct {
	Listen string `yaml:"listen" help:"address of the listener, not to be reached from outside; empty means none"`
}

// Default returns the built-in values.
func Default() Config {
	return Config{
		Host:    Host{Dir: "/var/lib/kaname"},
		Plane:   Plane{Mode: "embedded", Listen: ":7420", Cluster: Cluster{Name: "kaname", Listen: ":7423"}},
		API:     API{Listen: ":7421", Socket: "/run/kaname/kaname.sock"},
		Peer:    Peer{Listen: ":7422"},
		Log:     Log{Level: "info", Format: "auto"},
		Metrics: Metrics{Listen: "127.0.0.1:7424"},
	}
}

// SlogLevel returns the level as log/slog knows it.
func (l Log) SlogLevel() slog.Level {
	var level slog.Level
	if level.UnmarshalText([]byte(l.Level)) != nil {
		return slog.LevelInfo
	}
	return level
}

var (
	hostName = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	labelKey = regexp.MustCompile(`^[a-z0-9]([a-z0-9._/-]{0,61}[a-z0-9])?$`)
)

// Check looks at the values alone, as each section's Check does.
func (h *Host) Check() error {
	if h.Name != "" && (len(h.Name) > 253 || !hostName.MatchString(h.Name)) {
		return fmt.Errorf("name: %q is not a host name in lower case, such as web1 or web1.example.jp", h.Name)
	}
	if !strings.HasPrefix(h.Dir, "/") {
		return fmt.Errorf("dir: %q is not an absolute path", h.Dir)
	}
	for k, v := range h.Labels {
		if !labelKey.MatchString(k) || strings.ContainsAny(v, ",= \t\n") || len(v) > 255 {
			return fmt.Errorf("labels: %q: %q is not a label; keys are of a-z, 0-9, ., _, / and -, values without space, comma and =", k, v)
		}
	}
	return nil
}

// Check refuses settings that do not go together.
func (p *Plane) Check() error {
	switch p.Mode {
	case "host":
		if len(p.Cores) == 0 {
			return errors.New("cores: mode host needs the address of at least one core; \"kaname join TOKEN\" writes it")
		}
	case "cluster":
		if n := len(p.Cluster.Peers) + 1; n != 3 && n != 5 {
			return fmt.Errorf("cluster.peers: a cluster has 3 or 5 cores, this names %d with itself", n)
		}
	case "external":
		if p.External.URL == "" {
			return errors.New("external.url: mode external needs the address of the NATS cluster")
		}
	}
	if err := addresses("listen", p.Listen); err != nil {
		return err
	}
	return errors.Join(
		addresses("cores", p.Cores...), addresses("api", p.API...), addresses("advertise", p.Advertise),
		addresses("cluster.peers", p.Cluster.Peers...), addresses("cluster.listen", p.Cluster.Listen),
	)
}

// Check refuses malformed addresses.
func (a *API) Check() error {
	if a.Socket != "" && !strings.HasPrefix(a.Socket, "/") {
		return fmt.Errorf("socket: %q is not an absolute path", a.Socket)
	}
	if len(a.Socket) > 107 {
		return fmt.Errorf("socket: the path has %d bytes, the kernel takes 107 (unix(7))", len(a.Socket))
	}
	return errors.Join(addresses("listen", a.Listen), addresses("advertise", a.Advertise))
}

// Check refuses malformed addresses.
func (p *Peer) Check() error {
	return errors.Join(addresses("listen", p.Listen), addresses("advertise", p.Advertise))
}

// Check refuses malformed addresses.
func (m *Metrics) Check() error { return addresses("listen", m.Listen) }

// addresses refuses what is neither empty nor host:port.
func addresses(key string, list ...string) error {
	for _, a := range list {
		if a == "" {
			continue
		}
		if _, port, err := net.SplitHostPort(a); err != nil || port == "" {
			return fmt.Errorf("%s: %q is not host:port or :port", key, a)
		}
	}
	return nil
}

// enumOf returns the allowed values of a struct tag enum:"a,b".
func enumOf(tag string) []string {
	if tag == "" {
		return nil
	}
	return slices.Collect(strings.SplitSeq(tag, ","))
}
