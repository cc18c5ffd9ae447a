package release

import (
	"slices"
	"time"

	"kaname.dev/kaname/rib/release/activate"
	"kaname.dev/kaname/rib/release/manifest"
	"kaname.dev/kaname/rib/release/rollout"
)

// releaseDoc is a release as pushed; its key is "app/version". It never changes but
// for Signature and Holders.
type releaseDoc struct {
	App       string            `json:"app"`
	Version   string            `json:"version"`
	Manifest  manifest.Digest   `json:"manifest"`
	Pack      manifest.Digest   `json:"pack"`  // the full one
	Files     int               `json:"files"` // of type file
	Size      int64             `json:"size"`  // bytes of all files
	Wire      int64             `json:"wire"`  // bytes of the full pack
	Created   time.Time         `json:"created"`
	By        string            `json:"by"`
	Source    string            `json:"source,omitempty"`
	Signature []byte            `json:"signature,omitempty"` // minisign
	Holders   []string          `json:"holders"`             // cores whose store has it
	Meta      map[string]string `json:"meta,omitempty"`
}

func (d *releaseDoc) String() string { return d.App + " " + d.Version }

func releaseKey(app, version string) string { return app + "/" + version }

// target is a release that is or was wanted.
type target struct {
	Version  string          `json:"version"`
	Manifest manifest.Digest `json:"manifest"`
	Deploy   string          `json:"deploy"` // that brought it
	By       string          `json:"by"`
	Time     time.Time       `json:"time"`
}

// appDoc is the desired state of an app; its key is the app's name.
type appDoc struct {
	App      string   `json:"app"`
	To       []string `json:"to"` // selects hosts, see fleet.Selector
	Settings settings `json:"settings"`
	Wanted   *target  `json:"wanted,omitempty"`  // to be live on all selected hosts
	Earlier  []target `json:"earlier,omitempty"` // what was wanted before, the last one last
	Deploy   string   `json:"deploy,omitempty"`  // key of the deploy under way
}

// maxEarlier is how many earlier targets are kept.
const maxEarlier = 20

// want makes a release the wanted one; back forgets the later ones.
func (d *appDoc) want(t target, back bool) {
	if back {
		for i, v := range slices.Backward(d.Earlier) {
			if v.Version == t.Version {
				d.Earlier = d.Earlier[:i]
				d.Wanted = &t
				return
			}
		}
	}
	if d.Wanted != nil && d.Wanted.Version != t.Version {
		d.Earlier = append(d.Earlier, *d.Wanted)
		d.Earlier = d.Earlier[max(0, len(d.Earlier)-maxEarlier):]
	}
	d.Wanted = &t
}

// settings are what an app's deploys are done with; they are remembered from one to the
// next.
type settings struct {
	Root        string          `json:"root,omitempty"`
	Owners      string          `json:"owners,omitempty"` // see unpack.Owners
	Shared      []string        `json:"shared,omitempty"`
	Keep        int             `json:"keep,omitempty"`
	Hooks       activate.Hooks  `json:"hooks"`
	Health      activate.Health `json:"health"`
	Waves       string          `json:"waves,omitempty"`
	MaxFailures int             `json:"max_failures,omitempty"`
	Scope       rollout.Scope   `json:"scope,omitempty"`
	Pause       time.Duration   `json:"pause,omitempty"` // between waves
}

// deployState is how a deploy stands.
type deployState string

const (
	deployRunning  deployState = "running"
	deployDone     deployState = "done"
	deployPartial  deployState = "partial" // done, and some hosts failed
	deployFailed   deployState = "failed"
	deployOvertook deployState = "lost" // its core died and the app moved on
)

// abort is somebody's wish to stop a deploy.
type abort struct {
	By  string `json:"by"`
	Why string `json:"why,omitempty"`
}

// deployDoc is one deploy; its key is "app/id".
type deployDoc struct {
	ID       string                `json:"id"` // a ULID
	App      string                `json:"app"`
	Version  string                `json:"version"`
	Manifest manifest.Digest       `json:"manifest"`
	From     string                `json:"from,omitempty"` // what was wanted before
	By       string                `json:"by"`
	Door     string                `json:"door,omitempty"`
	Core     string                `json:"core"` // that does it
	To       []string              `json:"to"`
	Settings settings              `json:"settings"`
	Began    time.Time             `json:"began"`
	Ended    time.Time             `json:"ended,omitzero"`
	State    deployState           `json:"state"`
	Rollout  rollout.State         `json:"rollout"`
	Hosts    map[string]hostResult `json:"hosts,omitempty"`
	Packs    []packUse             `json:"packs,omitempty"`
	Origin   int64                 `json:"origin"` // bytes that this core gave
	Abort    *abort                `json:"abort,omitempty"`
	Back     bool                  `json:"back,omitempty"` // a rollback that somebody asked for
}

func (d *deployDoc) key() string { return d.App + "/" + d.ID }

// hostResult is what a deploy came to on one host.
type hostResult struct {
	Fetched int64         `json:"fetched"` // bytes on the wire
	Reused  int64         `json:"reused"`  // bytes that were there
	Delta   bool          `json:"delta,omitempty"`
	Stage   time.Duration `json:"stage,omitempty"`
	Switch  time.Duration `json:"switch,omitempty"`
}

// packUse is a pack that a deploy spreads.
type packUse struct {
	ID          manifest.Digest `json:"id"`
	Base        manifest.Digest `json:"base"`
	BaseVersion string          `json:"base_version,omitempty"`
	Size        int64           `json:"size"`
	Hosts       int             `json:"hosts"`
}
