// Package namedconf reads a named.conf into a model: views, zones with what they
// inherit, keys, access lists resolved (BIND 9 Administrator Reference Manual,
// chapter 8). It reads what named-checkconf prints, or the files themselves.
package namedconf

import (
	"net/netip"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/rib/zone/name"
)

// Config is a named.conf.
type Config struct {
	By        string      `json:"by"` // ByCheckconf or ByFiles
	Notes     []string    `json:"notes,omitempty"`
	Directory string      `json:"directory,omitempty"` // that relative file names are under
	Keys      []Key       `json:"keys,omitempty"`
	Views     []View      `json:"views"`              // at least one; without view statements one without a name
	Catalogs  []Catalog   `json:"catalogs,omitempty"` // that the server consumes
	Policies  []Statement `json:"-"`                  // dnssec-policy statements, as they stand
	Global    []Statement `json:"-"`                  // all statements of the top but views, zones and keys
	Options   []Statement `json:"-"`                  // of the options statement
}

// Key is a TSIG key. Its secret is never printed or marshalled; Secret.Reveal gives it.
type Key struct {
	Name      string        `json:"name"`      // canonical, without the final dot
	Algorithm string        `json:"algorithm"` // "hmac-sha256", in lower case
	Secret    action.Secret `json:"secret"`    // base64
	View      string        `json:"view,omitempty"`
}

// View is a view, or the whole server when it has none.
type View struct {
	Name         string      `json:"name,omitempty"`
	Class        string      `json:"class,omitempty"` // "IN" is left out
	Match        []Match     `json:"match,omitempty"` // match-clients
	Destinations []Match     `json:"destinations,omitempty"`
	Recursion    bool        `json:"recursion,omitempty"`
	Zones        []Zone      `json:"zones,omitempty"`
	Statements   []Statement `json:"-"` // all but zones and keys
}

// Zone is a zone with what it inherits from its view and the options.
type Zone struct {
	Name   name.Name `json:"name"`
	View   string    `json:"view,omitempty"`
	Class  string    `json:"class,omitempty"`
	Type   string    `json:"type"` // primary, secondary, forward, stub, hint, mirror, redirect, static-stub, in-view, delegation-only
	File   string    `json:"file,omitempty"`
	Format string    `json:"format,omitempty"` // masterfile-format, when it is set: text, raw
	InView string    `json:"in_view,omitempty"`
	DLZ    string    `json:"dlz,omitempty"`

	Primaries  []Server `json:"primaries,omitempty"` // lists resolved
	AlsoNotify []Server `json:"also_notify,omitempty"`
	Notify     string   `json:"notify,omitempty"` // yes, no, explicit, primary-only; empty is yes

	Transfer      []Match  `json:"transfer,omitempty"` // allow-transfer; nil: not said, which named 9.18 takes as any
	Query         []Match  `json:"query,omitempty"`
	Update        []Match  `json:"update,omitempty"`
	AcceptNotify  []Match  `json:"accept_notify,omitempty"` // allow-notify
	Forwarding    []Match  `json:"forwarding,omitempty"`    // allow-update-forwarding
	Policy        string   `json:"dnssec_policy,omitempty"` // "" for none
	AutoDNSSEC    string   `json:"auto_dnssec,omitempty"`
	InlineSigning bool     `json:"inline_signing,omitempty"`
	KeyDirectory  string   `json:"key_directory,omitempty"`
	UpdatePolicy  []string `json:"update_policy,omitempty"` // its rules, or "local"

	Path       string      `json:"path"` // "view inside > zone example.com"
	At         Place       `json:"at"`
	Statements []Statement `json:"-"` // its own, not inherited
}

// Server is one server of a primaries or also-notify list.
type Server struct {
	Address netip.AddrPort `json:"address"`
	Key     string         `json:"key,omitempty"`
	TLS     string         `json:"tls,omitempty"` // name of a tls statement; empty for none
}

// Kinds of elements of an address match list.
const (
	MatchPrefix    = "prefix"
	MatchKey       = "key"
	MatchAny       = "any"
	MatchLocalhost = "localhost" // the addresses of the server itself
	MatchLocalnets = "localnets" // the networks of its interfaces
	MatchOther     = "other"     // what other servers have no like of: geoip, nested negations, transports
)

// Match is one element of an address match list, names of lists resolved. The first
// element that fits decides; none is the empty, non-nil list.
type Match struct {
	Not    bool         `json:"not,omitempty"`
	Kind   string       `json:"kind"`
	Prefix netip.Prefix `json:"prefix,omitzero"`
	Key    string       `json:"key,omitempty"`
	Text   string       `json:"text,omitempty"` // of MatchOther: as it is written
}

// Catalog is a catalog zone that the server consumes.
type Catalog struct {
	Zone      name.Name `json:"zone"`
	View      string    `json:"view,omitempty"`
	Primaries []Server  `json:"primaries,omitempty"` // default-primaries
	Folder    string    `json:"folder,omitempty"`    // zone-directory
	InMemory  bool      `json:"in_memory,omitempty"`
}

// Key returns the key of that name as the view sees it.
func (c *Config) Key(view, key string) (Key, bool) {
	key = KeyName(key)
	var found Key
	ok := false
	for _, k := range c.Keys {
		if k.Name == key && (k.View == view || k.View == "" && !ok) {
			found, ok = k, true
		}
	}
	return found, ok
}

// Zones returns the zones of all views, in the order of the file.
func (c *Config) Zones() []Zone {
	var list []Zone
	for _, v := range c.Views {
		list = append(list, v.Zones...)
	}
	return list
}
