// Package collect makes a snapshot of a host, as far as packets are concerned. It reads and
// never writes: no rule, flow, counter, module or table is other than before. What it cannot
// see it names, with the reason and what to do.
package collect

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"kaname.dev/kaname/rib/netpath/facts"
)

// Defaults of Options.
const (
	DefaultConns   = 50_000
	DefaultWorkers = 2
	DefaultSpaces  = "/run/netns"
	DefaultOVS     = "/run/openvswitch"
)

// Options say what to collect.
type Options struct {
	Name    string // as Neutron calls the host; "" is its hostname
	Conns   int    // the most tracked connections that a table may have to be read; 0 is DefaultConns, negative reads none
	Workers int    // namespaces and bridges read at once; 0 is DefaultWorkers
	Spaces  string // directory of named namespaces; "" is DefaultSpaces
	OVS     string // directory of Open vSwitch's sockets; "" is DefaultOVS
}

// work is one collection while it runs.
type work struct {
	Options
	host      *facts.Host
	known     []*space
	holders   map[uint64]string   // programs by the inode of a socket that they hold
	protocols map[string][]string // of bridges: the versions of OpenFlow that they speak; empty: the default ones

	mu sync.Mutex // of host.Missing
}

// Host collects the facts of this host. What could not be read is in Missing; the error is
// only that ctx has ended.
func Host(ctx context.Context, o Options) (*facts.Host, error) {
	o.defaults()
	start := time.Now()
	w := &work{Options: o, host: &facts.Host{Version: facts.Version, Name: o.Name, Kernel: kernel(), Taken: start.UTC()}}
	w.known = w.spaces()
	spaces := w.known
	w.host.Namespaces = make([]facts.Namespace, len(spaces))
	w.processes(spaces)

	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(o.Workers)
	ovs := make(chan *facts.OVS, 1)
	group.Go(func() error { ovs <- w.database(ctx); return ctx.Err() })
	for i, s := range spaces {
		group.Go(func() error { w.host.Namespaces[i] = w.space(ctx, s); return ctx.Err() })
	}
	if w.host.OVS = <-ovs; w.host.OVS != nil {
		for i := range w.host.OVS.Bridges {
			group.Go(func() error { w.bridge(ctx, w.host.OVS, i); return ctx.Err() })
		}
		group.Go(func() error { w.userspace(ctx, w.host.OVS); return ctx.Err() })
	}
	err := group.Wait()
	for _, s := range spaces {
		s.close()
	}
	if err != nil {
		return nil, context.Cause(ctx)
	}
	slices.SortFunc(w.host.Missing, func(a, b facts.Missing) int {
		return strings.Compare(a.Namespace+"\x00"+a.Bridge+"\x00"+a.What, b.Namespace+"\x00"+b.Bridge+"\x00"+b.What)
	})
	w.host.Took = time.Since(start)
	return w.host, nil
}

func (o *Options) defaults() {
	if o.Name == "" {
		o.Name, _ = os.Hostname()
	}
	if o.Conns == 0 {
		o.Conns = DefaultConns
	}
	if o.Workers <= 0 {
		o.Workers = DefaultWorkers
	}
	if o.Spaces == "" {
		o.Spaces = DefaultSpaces
	}
	if o.OVS == "" {
		o.OVS = DefaultOVS
	}
}

// lacks notes that something could not be collected.
func (w *work) lacks(what, namespace, bridge string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.host.Missing = append(w.host.Missing, facts.Missing{What: what, Namespace: namespace, Bridge: bridge, Why: why(err)})
}

// why says what stood in the way, and the remedy where there is one.
func why(err error) string {
	text := err.Error()
	switch {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES),
		strings.Contains(text, "ermission denied"), strings.Contains(text, "not permitted"), strings.Contains(text, "must be root"):
		return text + "; run it as root"
	case errors.Is(err, exec.ErrNotFound):
		return text + "; install the package that has it"
	}
	return text
}

// kernel returns the release of the running kernel.
func kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}
