package server

import (
	"log/slog"
	"net/netip"

	"kaname.dev/kaname/rib/zone/wire"
)

// Options say how a driver reaches its server.
type Options struct {
	Name    string   // the server's name in kaname: "ns1-bind"
	Kind    string   // bind, nsd, knot, pdns, exec
	Control string   // where it is controlled: host:port, a socket's path, a URL
	KeyFile string   // secret of the control channel, in the form that the server uses
	CertDir string   // client certificate of nsd-control over TCP
	Config  string   // path of the server's configuration, for checks and setup
	Stats   string   // BIND's statistics channel, host:port; may be empty
	View    string   // BIND's view; empty for none
	Exec    Commands // of kind exec
	Dir     string   // the driver's own state, exists
	Log     *slog.Logger
}

// Commands are what kind exec runs; see package server/exec.
type Commands struct {
	List   []string `yaml:"list,omitempty" help:"prints one zone a line"`
	Add    []string `yaml:"add,omitempty" help:"adds the zones of its standard input"`
	Remove []string `yaml:"remove,omitempty" help:"removes the zones of its standard input"`
	Kick   []string `yaml:"kick,omitempty" help:"transfers the zones of its standard input again"`
	Probe  []string `yaml:"probe,omitempty" help:"prints the server's version"`
}

// Setup is what a server's configuration is to be made for.
type Setup struct {
	Options   Options
	Templates []Template
	Keys      []wire.Key     // that the templates name
	Address   netip.AddrPort // where the server answers
}

// Recipe is the least that a server's configuration needs for kaname.
type Recipe struct {
	Files    []File     `json:"files"`
	Commands [][]string `json:"commands"` // run after the files are written, in this order
	Notes    []string   `json:"notes"`    // what cannot be done by files and commands, for a person
}

// File is a file of a recipe.
type File struct {
	Path string `json:"path"`
	Text string `json:"text"`
	Mode uint32 `json:"mode"` // 0o640
	Why  string `json:"why"`
}
