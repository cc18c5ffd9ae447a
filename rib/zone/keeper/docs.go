package keeper

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"time"

	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/rib/zone/exchange"
	"kaname.dev/kaname/rib/zone/guard"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/server"
)

// Key is a zone in a view; View is empty for servers without views.
type Key struct {
	View string
	Name name.Name
}

// String returns the key of the zone's documents.
func (k Key) String() string { return k.View + "/" + string(k.Name) }

// entry is a zone as a source has it, or had it: the accepted set consists of these.
type entry struct {
	Group     string           `json:"g,omitempty"`
	Coo       name.Name        `json:"c,omitempty"`
	ID        string           `json:"i,omitempty"`
	Primaries []netip.AddrPort `json:"p,omitempty"`
	Reset     string           `json:"r,omitempty"` // the ID that asked for the last reset
	Since     time.Time        `json:"s"`           // in the source without a break
	Gone      time.Time        `json:"x,omitzero"`  // when it left the source: it is in quarantine
}

// shards is into how many documents the set of a source is divided: few enough that a
// bulk change is few writes, enough that one change writes little.
const shards = 64

// shard is a document with a part of a source's set.
type shard struct {
	Zones map[name.Name]entry `json:"zones"`
}

func shardOf(n name.Name) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(n)) // never fails
	return int(h.Sum32() % shards)
}

func shardKey(source string, i int) string { return fmt.Sprintf("%s/%02d", source, i) }

// sourceDoc is what is known of a source; its key is the source's name. The keeper
// alone writes it.
type sourceDoc struct {
	Name    string           `json:"name"`
	Host    string           `json:"host"`
	Kind    string           `json:"kind"`
	View    string           `json:"view,omitempty"`
	Group   string           `json:"group,omitempty"`
	Catalog name.Name        `json:"catalog,omitempty"`
	Primary []server.Primary `json:"primary,omitempty"`
	Serial  *uint32          `json:"serial,omitempty"`
	Guard   guard.State      `json:"guard"`
	Held    *exchange.Held   `json:"held,omitempty"`
}

// Word is what operators have said of a source; its key is the source's name.
type Word struct {
	Host     string    `json:"host,omitempty"`     // that may report it
	By       string    `json:"by,omitempty"`       // who admitted it
	Accepted string    `json:"accepted,omitempty"` // hash of the held change that is let through
	AcceptBy string    `json:"accept_by,omitempty"`
	At       time.Time `json:"at,omitzero"` // of the acceptance
}

// Wish is a zone that people want without any source: "kaname zone add". Its key is
// Key.String.
type Wish struct {
	Group     string           `json:"group,omitempty"`
	Primaries []netip.AddrPort `json:"primaries,omitempty"`
	By        string           `json:"by"`
	Time      time.Time        `json:"time"`
}

// Mark is what operators have said of one zone; its key is Key.String.
type Mark struct {
	Pin      bool      `json:"pin,omitempty"`
	Adopt    bool      `json:"adopt,omitempty"`
	Restored time.Time `json:"restored,omitzero"` // from quarantine, at
	Forced   bool      `json:"forced,omitempty"`  // may go though its contents cannot be kept
	By       string    `json:"by,omitempty"`
	Why      string    `json:"why,omitempty"`
}

// Words returns the bucket of what operators said of sources.
func Words(p *plane.Plane) plane.Docs[Word] { return plane.Documents[Word](p, "zone.words") }

// Wishes returns the bucket of zones that people want.
func Wishes(p *plane.Plane) plane.Docs[Wish] { return plane.Documents[Wish](p, "zone.wishes") }

// Marks returns the bucket of what operators said of zones.
func Marks(p *plane.Plane) plane.Docs[Mark] { return plane.Documents[Mark](p, "zone.marks") }

func sourceDocs(p *plane.Plane) plane.Docs[sourceDoc] {
	return plane.Documents[sourceDoc](p, "zone.sources")
}
func shardDocs(p *plane.Plane) plane.Docs[shard] { return plane.Documents[shard](p, "zone.sets") }
