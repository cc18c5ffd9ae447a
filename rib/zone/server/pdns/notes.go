package pdns

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"sync"

	"kaname.dev/kaname/rib/zone/control/pdnsapi"
	"kaname.dev/kaname/rib/zone/name"
)

// notes are the names of zones that are being added, on disk before the server is
// asked: after a crash of either side they may lack their keys or metadata.
type notes struct {
	path string // none: they are not kept

	mu    sync.Mutex
	names map[name.Name]bool
}

func (n *notes) load() error {
	n.names = map[name.Name]bool{}
	if n.path == "" {
		return nil
	}
	b, err := os.ReadFile(n.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var list []name.Name
	if err := json.Unmarshal(b, &list); err != nil {
		return fmt.Errorf("%s: %w; remove it, and the zones added last may lack their TSIG key until they are added again", n.path, err)
	}
	for _, z := range list {
		n.names[z] = true
	}
	return nil
}

// has reports whether a zone is noted.
func (n *notes) has(z name.Name) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.names[z]
}

// put notes zones, or takes them off, and returns when that is on disk.
func (n *notes) put(zones []name.Name, noted bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	changed := false
	for _, z := range zones {
		if n.names[z] != noted {
			changed = true
		}
		if noted {
			n.names[z] = true
		} else {
			delete(n.names, z)
		}
	}
	if n.path == "" || !changed {
		return nil
	}
	b, err := json.Marshal(slices.Sorted(maps.Keys(n.names)))
	if err != nil {
		return err
	}
	return replace(n.path, b)
}

// keep takes the zones off that are not there.
func (n *notes) keep(there []pdnsapi.Zone) error {
	n.mu.Lock()
	gone := make(map[name.Name]bool, len(n.names))
	for z := range n.names {
		gone[z] = true
	}
	n.mu.Unlock()
	for _, z := range there {
		delete(gone, z.Name)
	}
	return n.put(slices.Collect(maps.Keys(gone)), false)
}

// replace writes a file so that it is there in the old or the new form.
func replace(path string, b []byte) error {
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
