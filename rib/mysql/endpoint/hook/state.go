package hook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"kaname.dev/kaname/host"
	"kaname.dev/kaname/rib/mysql/endpoint"
	"kaname.dev/kaname/rib/mysql/topology"
)

// last is what scripts did last.
type last struct {
	Target    endpoint.Target  `json:"target"`
	Former    *topology.Member `json:"former,omitempty"` // the primary that clients were led to last
	Withdrawn bool             `json:"withdrawn,omitempty"`
}

// is reports whether clients are led to a target already.
func (l *last) is(t endpoint.Target) bool {
	return !l.Withdrawn && l.Target.Primary != nil && l.Target.Epoch == t.Epoch && l.Target.Primary.Address == t.Primary.Address
}

func (d *driver) load() error {
	path := d.set[state]
	if path == "" {
		return nil
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(b, &d.done)
	}
	if err != nil {
		return fmt.Errorf("endpoint hook of topology %s: state file %s: %w; remove it if nobody knows what it was", d.topology, path, err)
	}
	return nil
}

// save keeps what was done.
func (d *driver) save(l last) error {
	if path := d.set[state]; path != "" {
		b, err := json.Marshal(l)
		if err == nil {
			err = host.WritePath(path, 0o600, b)
		}
		if err != nil {
			return fmt.Errorf("endpoint hook of topology %s: state file %s: %w", d.topology, path, err)
		}
	}
	d.done = l
	return nil
}

// check runs a script that is only asked.
func (d *driver) check(ctx context.Context, line string) error {
	res, err := host.Run(ctx, host.Command{Shell: line, Timeout: d.timeout, Grace: time.Second})
	if err != nil {
		return fmt.Errorf("endpoint hook of topology %s, order status: %w%s", d.topology, err, said(res.Output))
	}
	return nil
}
