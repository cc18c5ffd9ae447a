// Package bundle keeps a cloud's intent and its hosts' facts in one file, so that a case can
// be solved elsewhere: a tar archive compressed by zstd (RFC 8878) with
//
//	intent.json         what Neutron says
//	hosts/<name>.json   what a host has
//	manifest.json       the version, the time, and the SHA-256 of each; the last entry
//
// Secrets are taken out when it is written. Who reads one trusts nothing in it.
package bundle

import (
	"regexp"
	"strings"
	"time"

	"kaname.dev/kaname/rib/netpath/intent"
)

// Version of the form; a reader refuses a higher one.
const Version = 1

// Names of entries.
const (
	manifestName = "manifest.json"
	intentName   = "intent.json"
	hostsPrefix  = "hosts/"
	hostsSuffix  = ".json"
)

// Manifest lists what is in a bundle.
type Manifest struct {
	Version int               `json:"version"`
	Made    time.Time         `json:"made"`
	Files   map[string]string `json:"files"` // SHA-256 in hex by name of the entry
}

// Limits bound what a bundle may ask of its reader; 0 is the default.
type Limits struct {
	Total   int64 // bytes of all entries, unpacked; default 8 GiB
	File    int64 // bytes of one entry, unpacked; default 256 MiB
	Hosts   int   // default 20,000
	Objects int   // values in one entry that take memory; default 2,000,000
}

func (l Limits) filled() Limits {
	if l.Total == 0 {
		l.Total = 8 << 30
	}
	if l.File == 0 {
		l.File = 256 << 20
	}
	if l.Hosts == 0 {
		l.Hosts = 20_000
	}
	if l.Objects == 0 {
		l.Objects = 2_000_000
	}
	return l
}

// Bundle is what was read. Hosts stay compressed until they are asked for, and again once
// the caller has dropped them. It is safe for several goroutines.
type Bundle struct {
	Manifest Manifest
	Cloud    *intent.Cloud

	limits Limits
	hosts  map[string][]byte // compressed JSON by name
}

// hostName is what a host may be called: a path cannot be made of it.
var hostName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$`)

// hostOf returns the host of an entry's name; ok tells whether it is one.
func hostOf(entry string) (name string, ok bool) {
	name, ok = strings.CutPrefix(entry, hostsPrefix)
	if !ok {
		return "", false
	}
	name, ok = strings.CutSuffix(name, hostsSuffix)
	return name, ok && hostName.MatchString(name)
}
