package site

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"kaname.dev/kaname/host"
	"kaname.dev/kaname/rib/release/activate"
	"kaname.dev/kaname/rib/release/manifest"
	"kaname.dev/kaname/rib/release/swarm"
)

// The commands that hosts serve, all of version 1.
const (
	CommandInventory = "release.inventory"
	CommandStage     = "release.stage"
	CommandSeed      = "release.seed"
	CommandActivate  = "release.activate"
	CommandHealth    = "release.health"
	CommandRollback  = "release.rollback"
	CommandPrune     = "release.prune"
	CommandRemove    = "release.remove"
	CommandVerify    = "release.verify"
	CommandLines     = "release.lines"
)

// InventoryIn asks what is here.
type InventoryIn struct {
	App string `json:"app,omitempty"` // empty: all
}

// Inventory is what is here.
type Inventory struct {
	Host      string          `json:"host"`
	Apps      []activate.View `json:"apps,omitempty"`
	Transfers []Transfer      `json:"transfers,omitempty"`
	Packs     []string        `json:"packs,omitempty"` // complete ones, which others can fetch from here
	Stored    int64           `json:"stored"`          // bytes in the store
	Quota     int64           `json:"quota,omitempty"` // bytes that it may hold; 0: no limit
	Free      int64           `json:"free"`            // bytes on the file system of the root
	Root      string          `json:"root"`
}

// View returns what an app looks like here; the empty view when it is not here.
func (i *Inventory) View(app string) activate.View {
	for _, v := range i.Apps {
		if v.App == app {
			return v
		}
	}
	return activate.View{App: app}
}

// Transfer is a release on its way to this host, or what became of it.
type Transfer struct {
	App      string    `json:"app"`
	Version  string    `json:"version"`
	Began    time.Time `json:"began"`
	Step     string    `json:"step"`            // fetch, unpack
	Fetched  int64     `json:"fetched"`         // bytes of the pack that are here
	Size     int64     `json:"size"`            // bytes of the pack
	Unpacked int64     `json:"unpacked"`        // bytes written or linked
	Total    int64     `json:"total"`           // bytes of the tree
	Error    string    `json:"error,omitempty"` // why it ended without success
	Done     bool      `json:"done,omitempty"`
}

// Pack names a way to get a release: in full, or as a delta against another.
type Pack struct {
	ID          manifest.Digest `json:"id"`
	Base        manifest.Digest `json:"base"`                   // zero: full
	BaseVersion string          `json:"base_version,omitempty"` // of the same app
	Size        int64           `json:"size"`                   // bytes on the wire
	Peers       []swarm.Peer    `json:"peers"`                  // who takes part; the same for all
}

// StageIn asks for a release to be fetched, verified and unpacked.
type StageIn struct {
	App       string          `json:"app"`
	Version   string          `json:"version"`
	Root      string          `json:"root,omitempty"` // empty: the host's default
	Manifest  manifest.Digest `json:"manifest"`       // the one anchor of integrity
	Signature []byte          `json:"signature,omitempty"`
	Size      int64           `json:"size"` // bytes of all files
	Files     int             `json:"files"`
	Packs     []Pack          `json:"packs"`            // the best first, a full one last
	Owners    string          `json:"owners,omitempty"` // unpack.Owners
}

// Staged is what staging did.
type Staged struct {
	Already  bool             `json:"already,omitempty"` // it was here
	Delta    bool             `json:"delta,omitempty"`   // it came as a delta
	Fallback string           `json:"fallback,omitempty"`
	Fetched  int64            `json:"fetched"` // bytes on the wire
	Reused   int64            `json:"reused"`  // bytes of files that were here
	Files    int              `json:"files"`
	Size     int64            `json:"size"`
	From     map[string]int64 `json:"from,omitempty"` // bytes by peer
	Took     time.Duration    `json:"took"`
}

// Progress is how far a step is.
type Progress struct {
	Step  string `json:"step"` // fetch, unpack, or a hook's name
	Done  int64  `json:"done,omitempty"`
	Total int64  `json:"total,omitempty"`
	Unit  string `json:"unit,omitempty"` // bytes
	Text  string `json:"text,omitempty"`
}

// SeedIn asks a host to give a pack, which it has, to others.
type SeedIn struct {
	Packs []manifest.Digest `json:"packs"`
	Hosts []string          `json:"hosts"`
}

// Seeded says which packs are given now.
type Seeded struct {
	Packs []manifest.Digest `json:"packs"`
}

// ActivateIn asks for a staged release to become live.
type ActivateIn struct {
	App        string              `json:"app"`
	Root       string              `json:"root,omitempty"`
	Activation activate.Activation `json:"activation"`
}

// HealthIn asks whether a release that is live is well.
type HealthIn struct {
	App        string              `json:"app"`
	Root       string              `json:"root,omitempty"`
	Activation activate.Activation `json:"activation"`
	Health     activate.Health     `json:"health"`
}

// Well is a good answer to HealthIn.
type Well struct {
	Tries int `json:"tries"`
}

// RollbackIn asks for a release to be taken back.
type RollbackIn struct {
	App  string `json:"app"`
	Root string `json:"root,omitempty"`
	// From, when given, is the version to get away from: if another is live, nothing
	// is done.
	From string `json:"from,omitempty"`
	// To is the version to go to. When empty it is the one that was live before.
	To         string              `json:"to,omitempty"`
	Activation activate.Activation `json:"activation"` // its Version is ignored
}

// PruneIn asks for old releases to be removed.
type PruneIn struct {
	App    string   `json:"app"`
	Root   string   `json:"root,omitempty"`
	Keep   int      `json:"keep,omitempty"` // 0: as the host is configured
	Except []string `json:"except,omitempty"`
	Dry    bool     `json:"dry,omitempty"` // only say what would go
}

// RemoveIn asks for one release to be removed.
type RemoveIn struct {
	App     string `json:"app"`
	Root    string `json:"root,omitempty"`
	Version string `json:"version"`
}

// Pruned is what was removed.
type Pruned struct {
	Versions []string `json:"versions,omitempty"`
	Bytes    int64    `json:"bytes"` // of their files; linked ones may be in use by other releases
}

// VerifyIn asks for a tree to be compared with its manifest.
type VerifyIn struct {
	App     string   `json:"app"`
	Root    string   `json:"root,omitempty"`
	Version string   `json:"version,omitempty"` // empty: the live one
	Shared  []string `json:"shared,omitempty"`  // not looked at
	Owners  string   `json:"owners,omitempty"`
}

// Verified is how a tree differs from its manifest.
type Verified struct {
	Version string   `json:"version"`
	Files   int      `json:"files"`
	Drifts  int      `json:"drifts"`          // how many differences
	First   []string `json:"first,omitempty"` // the first of them
}

// readJSON reads a small file of the state directory; a missing one changes nothing.
func readJSON(root *os.Root, name string, v any) error {
	b, err := root.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return nil
}

// writeJSON replaces a small file of the state directory.
func writeJSON(root *os.Root, name string, v any) error {
	b, err := json.Marshal(v)
	if err == nil {
		err = host.WriteBytes(root, name, 0o600, b)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}
