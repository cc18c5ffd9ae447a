package site

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/host"
	"kaname.dev/kaname/rib/mysql/lease"
	"kaname.dev/kaname/rib/mysql/order"
	"kaname.dev/kaname/rib/mysql/server"
	"kaname.dev/kaname/rib/mysql/topology"
)

// The files of a site.
const (
	fileEpoch  = "epoch.json"  // promised
	fileRecord = "record.json" // recorded
	fileKept   = "server.json" // kept
)

type promised struct {
	Topology string `json:"topology"`
	lease.Promise
}

type recorded struct {
	Revision uint64           `json:"revision"`
	Record   *topology.Record `json:"record"`
}

// kept is what a site must not forget of its server.
type kept struct {
	// Closed says why the site closed the server, until it is open again.
	Closed string `json:"closed,omitempty"`
	// Ordered is the epoch in which the server was closed by an order: in that epoch it
	// opens only by an order.
	Ordered uint64 `json:"ordered,omitempty"`
	// Opened is the process (watch.ProcessState.Start) that was open last. Another one that
	// begins read-only was not closed by a person, but started again.
	Opened string `json:"opened,omitempty"`
	// Epoch is the one in which it was opened last.
	Epoch uint64 `json:"epoch,omitempty"`
	// Armed: the lease was held once in this topology. Before that, while it is being
	// adopted, the lack of a lease closes nothing.
	Armed bool `json:"armed,omitempty"`
	// Complete is the process that, as a replica, has had all that it ever acknowledged:
	// see short.
	Complete string `json:"complete,omitempty"`
	Logs     logs   `json:"logs,omitzero"`
	// Aside is what setAside has written last.
	Aside *order.Aside `json:"aside,omitempty"`
	// Before is where the data are that a copy has replaced, until that has caught up.
	Before string `json:"before,omitempty"`
	// Pace is the server's own, while it was told to hurry: see applyAll.
	Pace *server.Pace `json:"pace,omitempty"`
}

// isOpen notes that the server is open.
func (k *kept) isOpen(start string, epoch uint64) {
	k.Closed, k.Ordered, k.Opened, k.Epoch, k.Armed = "", 0, start, epoch, true
}

func (s *Site) load() error {
	var p promised
	var r recorded
	for _, f := range []struct {
		name string
		into any
	}{{fileEpoch, &p}, {fileRecord, &r}, {fileKept, &s.kept}} {
		raw, err := s.o.Root.ReadFile(f.name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = json.Unmarshal(raw, f.into)
		}
		if err != nil {
			return fault.Corrupt("state of the agent of server " + s.o.Member).At(s.o.Root.Name() + "/" + f.name).Because(err).
				Try("nothing is done to the server before that is mended: when no other member is primary, remove the file, and the agent asks the controller anew")
		}
	}
	if p.Topology == "" {
		return nil
	}
	s.topology, s.voter = p.Topology, s.newVoter(p.Topology, p.Promise)
	if r.Record != nil && r.Record.Name == p.Topology {
		s.record, s.revision = r.Record, r.Revision
		if r.Record.Primary == s.o.Member && s.kept.Opened != "" && s.kept.Closed == "" {
			s.opened = s.began // as far as is known
		}
	}
	return nil
}

func (s *Site) newVoter(topology string, p lease.Promise) *lease.Voter {
	save := func(p lease.Promise) error { return s.put(fileEpoch, promised{Topology: topology, Promise: p}) }
	return lease.NewVoter(topology, p, save, s.o.Clock)
}

// write has the record on disk soon after it has changed, until ctx ends.
func (s *Site) write(ctx context.Context) {
	tick := time.NewTicker(time.Second) // a disk that failed may be back
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-s.dirty:
		case <-tick.C:
		case <-ctx.Done():
		}
		s.mu.Lock()
		r, due := recorded{Revision: s.revision, Record: s.record}, s.unsaved && s.record != nil
		s.unsaved = false
		s.mu.Unlock()
		if !due {
			continue
		}
		if err := s.put(fileRecord, r); err != nil {
			s.o.Log.Error("the record of the topology is not on disk", "error", err)
			s.mu.Lock()
			s.unsaved = true
			s.mu.Unlock()
		}
	}
}

// keep changes what is kept of the server. A disk that fails is no reason to leave the
// server open: what is in memory changes first, and in any case.
func (s *Site) keep(change func(*kept)) error {
	s.keeping.Lock()
	defer s.keeping.Unlock()
	s.mu.Lock()
	next := s.kept
	change(&next)
	same := next == s.kept
	s.kept = next
	s.mu.Unlock()
	if same {
		return nil
	}
	return s.put(fileKept, next)
}

func (s *Site) put(name string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return host.WriteBytes(s.o.Root, name, 0o600, raw)
}

// forget makes the site belong to no topology.
func (s *Site) forget() error {
	s.taking.Lock()
	defer s.taking.Unlock()
	s.keeping.Lock()
	defer s.keeping.Unlock()
	var all []error
	for _, name := range []string{fileRecord, fileKept, fileEpoch} {
		if err := s.o.Root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			all = append(all, err)
		}
	}
	all = append(all, host.SyncDir(s.o.Root, "."))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.topology, s.record, s.revision, s.voter, s.kept = "", nil, 0, nil, kept{}
	s.opened, s.unsaved = time.Time{}, false
	s.applyLocked()
	return errors.Join(all...)
}
