package release

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/rib/release/manifest"
)

// Config is the section "release" of the configuration file, on every host.
type Config struct {
	Root    string   `yaml:"root" help:"where apps live: <root>/<app>/releases, current, shared"`
	Roots   []string `yaml:"roots" help:"further directories that a deploy may name as root"`
	Keep    int      `yaml:"keep" help:"releases of an app kept on a host, the live one among them, unless the deploy says otherwise"`
	History int      `yaml:"history" help:"releases of an app kept in the store of a core, ready for deploys and rollbacks"`

	Quota    action.Bytes `yaml:"quota" help:"bytes that the store of packs may take on this host; 0 means a quarter of its file system"`
	Upload   action.Bytes `yaml:"upload" help:"bytes a second that this host gives to others; 0 means unlimited"`
	Download action.Bytes `yaml:"download" help:"bytes a second that this host takes from others; 0 means unlimited"`

	RequireSignature bool     `yaml:"require_signature" help:"refuse releases without a signature by one of trusted_keys"`
	TrustedKeys      []string `yaml:"trusted_keys" help:"minisign public keys whose signatures count: the key itself or the path of its file"`

	Tuggle Tuggle `yaml:"tuggle" help:"tuggle's HTTP interface on this host, for scripts written for it"`

	Hooks    bool   `yaml:"hooks" help:"whether deploys may run commands here: hooks and health commands"`
	HookUser string `yaml:"hook_user" help:"account under which hooks run; empty means that of the agent"`
}

// Tuggle is the part of the section that says how tuggle's interface is offered here.
type Tuggle struct {
	Listen       string        `yaml:"listen" help:"address of the interface, which knows no passwords: 127.0.0.1:8900; empty means none"`
	Slave        bool          `yaml:"slave" help:"fetch only: refuse PUT, and give nothing to others"`
	FetchRate    action.Bytes  `yaml:"fetch_rate" help:"bytes a second at which files are fetched; 0 means unlimited"`
	FetchTimeout time.Duration `yaml:"fetch_timeout" help:"how long fetching one file may take"`
}

// defaultConfig returns the built-in values.
func defaultConfig() Config {
	return Config{Root: "/srv/kaname", Keep: 5, History: 10, Hooks: true}
}

// Check refuses settings that do not go together.
func (c *Config) Check() error {
	for _, p := range append([]string{c.Root}, c.Roots...) {
		if !filepath.IsAbs(p) || filepath.Clean(p) != p || p == "/" {
			return fmt.Errorf("root: %q is not a clean absolute path below /", p)
		}
	}
	if c.Keep < 1 || c.History < 1 {
		return errors.New("keep, history: at least one release is kept")
	}
	if c.RequireSignature && len(c.TrustedKeys) == 0 {
		return errors.New("require_signature: needs trusted_keys, or no release would ever be accepted")
	}
	for _, k := range c.TrustedKeys {
		if strings.HasPrefix(k, "/") {
			continue // read when it is needed, so that keys can be replaced
		}
		if _, err := manifest.ParsePublicKey([]byte(k)); err != nil {
			return fmt.Errorf("trusted_keys: %w", err)
		}
	}
	return nil
}
