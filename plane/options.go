package plane

import (
	"log/slog"
	"path/filepath"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane/trust"
)

// Mode says how a process takes part in the plane.
type Mode string

// The modes.
const (
	Embedded Mode = "embedded" // a core with the only store inside it
	Cluster  Mode = "cluster"  // one of three or five cores, each with a replica inside it
	External Mode = "external" // a core whose store is an existing NATS cluster
	Host     Mode = "host"     // a plain host, a client of the cores
)

// Options say how Open takes part in the plane.
type Options struct {
	Host    string            // this host's name, unique in the plane
	Dir     string            // state directory, on a local file system; made when missing
	Mode    Mode              // Embedded when empty
	Labels  map[string]string // this host's labels, as told to the cores
	Version string            // of kaname, as told to the cores
	Address string            // host:port of this host's peer listener, as told to the cores

	// Listen is the host:port at which an embedded core takes hosts, "host:0" for
	// any free port; when empty, no port is opened and only this process has the
	// plane. Other modes but Host: as given, required in Cluster.
	Listen   string
	Cluster  ClusterOptions  // for Cluster
	External ExternalOptions // for External, and for Host when its cores are External
	Cores    []string        // for Host: host:port of the cores, any of which will do

	// Identity is who this host is, and Authority what makes a core a core. When
	// nil they are read from Dir/trust, where a core that finds none makes them.
	Identity  *trust.Identity
	Authority *trust.Authority

	// Seal is the directory of the seal, outside the store, better on another disk;
	// Dir/seal when empty. Recover says what to do with a store that lost something.
	Seal    string
	Recover Recover

	MaxStore int64         // bytes that the store may take on disk; 4 GiB when 0
	Keep     time.Duration // how long events are kept; 14 days when 0. The audit has no end
	Beat     time.Duration // between heartbeats; 2 s when 0

	Log *slog.Logger // discarded when nil
}

// ClusterOptions describe the group of cores.
type ClusterOptions struct {
	Name   string   // of the cluster, the same on all cores; "kaname" when empty
	Listen string   // host:port for the other cores
	Peers  []string // host:port of the other cores' Listen; three or five cores in all
}

// ExternalOptions describe an existing NATS cluster.
type ExternalOptions struct {
	URL         string // nats://… or tls://…, several separated by commas
	Credentials string // path of a credentials file; empty for none
	// Replicas asked of it for the streams; 3 when 0.
	Replicas int
}

func (o Options) withDefaults() Options {
	if o.Mode == "" {
		o.Mode = Embedded
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.MaxStore == 0 {
		o.MaxStore = 4 << 30
	}
	if o.Keep == 0 {
		o.Keep = 14 * 24 * time.Hour
	}
	if o.Beat == 0 {
		o.Beat = 2 * time.Second
	}
	if o.Cluster.Name == "" {
		o.Cluster.Name = "kaname"
	}
	if o.External.Replicas == 0 {
		o.External.Replicas = 3
	}
	return o
}

// check refuses what cannot work, naming the field.
func (o Options) check() error {
	if err := checkHost(o.Host); err != nil {
		return err
	}
	if o.Dir == "" {
		return fault.Invalid("plane: Dir is empty").Try("name a state directory")
	}
	if o.Recover != RecoverNot && o.Recover != RecoverRestore && o.Recover != RecoverAccept {
		return fault.Invalid("plane: recover " + string(o.Recover) + " is unknown").Try("use restore or accept-loss, once")
	}
	switch o.Mode {
	case Embedded:
	case Cluster:
		n := len(o.Cluster.Peers) + 1
		if n != 3 && n != 5 {
			return fault.Invalid("plane: a cluster has three or five cores, not " + itoa(n)).
				Try("name the other two or four under peers, or use mode embedded for one")
		}
		if o.Cluster.Listen == "" {
			return fault.Invalid("plane: a cluster needs an address for the other cores")
		}
	case External:
		if o.External.URL == "" {
			return fault.Invalid("plane: mode external needs the URL of a NATS cluster")
		}
	case Host:
		if len(o.Cores) == 0 && o.External.URL == "" {
			return fault.Invalid("plane: a plain host needs the address of a core").Try("join with a token: kaname join")
		}
	default:
		return fault.Invalid("plane: mode " + string(o.Mode) + " is unknown").Try("use embedded, cluster, external or host")
	}
	return nil
}

// replicas is how many copies of each stream there are.
func (o Options) replicas() int {
	switch o.Mode {
	case Cluster:
		return min(len(o.Cluster.Peers)+1, 3)
	case External:
		return o.External.Replicas
	default:
		return 1
	}
}

func (o Options) storeDir() string { return filepath.Join(o.Dir, "store") }
func (o Options) sealDir() string {
	if o.Seal != "" {
		return o.Seal
	}
	return filepath.Join(o.Dir, "seal")
}
func (o Options) trustDir() string { return filepath.Join(o.Dir, "trust") }

// identify fills Identity and Authority from the state directory.
func (o *Options) identify() (err error) {
	if o.Mode == Host {
		if o.Identity == nil {
			o.Identity, err = trust.LoadIdentity(o.trustDir())
		}
	} else {
		if o.Authority == nil {
			if o.Authority, err = o.openAuthority(); err != nil {
				return err
			}
		}
		if o.Identity == nil {
			o.Identity, err = coreIdentity(o.Authority, o.trustDir(), o.Host)
		}
	}
	if err == nil && o.Identity.Host() != o.Host {
		err = fault.Invalid("the identity kept here is of host " + o.Identity.Host() + ", not of " + o.Host).
			At(o.trustDir()).Try("set the host's name back, or join again under the new one")
	}
	return err
}

// openAuthority returns the authority kept here; a core that is alone makes it. One of
// several must be given that of the others, or they would be so many planes.
func (o *Options) openAuthority() (*trust.Authority, error) {
	if o.Mode != Cluster {
		return trust.OpenAuthority(o.trustDir())
	}
	a, err := trust.LoadAuthority(o.trustDir())
	if fault.Is(err, fault.KindNotFound) {
		err = fault.Invalid("a core of a cluster needs the authority of the plane, and there is none").At(o.trustDir()).
			Try("make it on one core by starting that once with plane.mode embedded, then copy its authority.pem here, mode 0600")
	}
	return a, err
}

// coreIdentity returns the identity of a core, which the authority at hand makes
// when there is none or it is past half of its life.
func coreIdentity(a *trust.Authority, dir, host string) (*trust.Identity, error) {
	id, err := trust.LoadIdentity(dir)
	if err == nil && id.Host() == host && time.Now().Before(id.RenewAt()) {
		return id, nil
	}
	if err != nil && !fault.Is(err, fault.KindNotFound) {
		return nil, err
	}
	if id, err = a.NewIdentity(trust.Grant{Host: host, Role: trust.RoleCore}); err != nil {
		return nil, err
	}
	return id, id.Save(dir)
}
