// Package bind is the driver of BIND: zones are added by rndc addzone, or, many at
// once, in a file of the driver's own that named.conf includes.
package bind

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"kaname.dev/kaname/rib/zone/control/rndc"
	"kaname.dev/kaname/rib/zone/control/rndc/named"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/server"
)

// kind is the server's kind, and the key of its words in Template.Options.
const kind = "bind"

// Additions that are best given at once: with the included file, and without.
const (
	batchFile    = 20000
	batchAddZone = 500
)

// folder is where the driver's files are, below named's directory; the second part
// of a zone's file is its template's ID, which makes it ours.
const folder = "kaname"

// plainView are names of views that can stand in a path.
var plainView = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

type driver struct {
	o    server.Options
	view rndc.View
	// Status may run beside others, so it has a connection of its own.
	control, watch *rndc.Client

	mu sync.Mutex
	// What was read of named's files, kept while they do not change.
	config *named.Config
	added  struct {
		stamp named.Stamp
		zones []named.Zone
	}
	shown map[name.Name]named.Zone // of rndc showzone, for zones in no file
	boot  string                   // that shown is of
	swept time.Time
}

// New returns the driver. Control is host:port of named's command channel, KeyFile
// its key, Config the path of named.conf, which must be readable here, as must the
// files that named keeps in its directory.
func New(o server.Options) (server.Driver, error) {
	if o.Config == "" {
		return nil, fmt.Errorf("server %s of kind bind has no config; give the path of named.conf", o.Name)
	}
	if o.View != "" && !plainView.MatchString(o.View) {
		return nil, fmt.Errorf("server %s: the view %q has other characters than letters, digits, '-' and '_'; rename it", o.Name, o.View)
	}
	view, err := rndc.ViewOf(o.View)
	if err != nil {
		return nil, fmt.Errorf("server %s: %w", o.Name, err)
	}
	key, err := rndc.ReadKey(o.KeyFile, "")
	if err != nil {
		return nil, fmt.Errorf("server %s: %w", o.Name, err)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &driver{
		o: o, view: view, shown: map[name.Name]named.Zone{},
		control: rndc.New(o.Control, key, 0), watch: rndc.New(o.Control, key, 0),
	}, nil
}

func (d *driver) Close() error { return errors.Join(d.control.Close(), d.watch.Close()) }

// files returns the configuration and the view, read again after a change.
func (d *driver) files() (*named.Config, *named.View, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.config == nil || d.config.Changed() {
		c, err := named.Read(d.o.Config)
		if err != nil {
			return nil, nil, err
		}
		d.config = c
		clear(d.shown)
	}
	v, err := d.config.View(d.o.View)
	return d.config, v, err
}

// Probe asks named for its status and looks at its configuration.
func (d *driver) Probe(ctx context.Context) (server.Info, error) {
	info := server.Info{Kind: kind, Batch: batchAddZone}
	status, err := d.control.Do(ctx, rndc.Status)
	if err != nil {
		return info, explain(err)
	}
	for line := range strings.Lines(status) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		value = strings.TrimSpace(value)
		switch key {
		case "version":
			info.Version = versionOf(value)
		case "boot time":
			info.Boot = value
		}
	}
	c, v, err := d.files()
	if err != nil {
		info.Problems = append(info.Problems, err.Error())
		return info, nil
	}
	if c.Stats == "" {
		info.Problems = append(info.Problems, "named has no statistics-channels, by which its zones are listed; add those that \"kaname zone setup "+d.o.Name+"\" prints")
	} else if s, err := named.Stats(ctx, c.Stats); err != nil {
		info.Problems = append(info.Problems, err.Error())
	} else {
		info.Boot = s.Boot // with milliseconds
	}
	if !v.AllowNew {
		info.Problems = append(info.Problems, "allow-new-zones is not set; put \"allow-new-zones yes;\" into named's options and run rndc reconfig")
	}
	if err := d.ensure(c, folder); err != nil {
		info.Problems = append(info.Problems, err.Error())
	}
	if d.bulk(c, v) {
		info.Batch = batchFile
	}
	return info, nil
}

// versionOf takes "9.18.49" from "BIND 9.18.49-1~deb12u3-Debian (Extended ...) <id:>".
func versionOf(s string) string {
	s = strings.TrimPrefix(s, "BIND ")
	s, _, _ = strings.Cut(s, " ")
	s, _, _ = strings.Cut(s, "-")
	return s
}

// ensure makes a folder below named's directory, owned as that is.
func (d *driver) ensure(c *named.Config, below string) error {
	at := c.Directory
	for part := range strings.SplitSeq(below, "/") {
		up, err := os.Stat(at)
		if err != nil {
			return fmt.Errorf("named's directory: %w; let kaname use it", err)
		}
		at = filepath.Join(at, part)
		if err := os.Mkdir(at, 0o770); errors.Is(err, os.ErrExist) {
			continue
		} else if err != nil {
			return full(fmt.Errorf("named's directory: %w; make %s, writable by named and kaname", err, at))
		}
		_ = give(at, up)
		_ = os.Chmod(at, 0o770) //nolint:gosec // named's group writes zones there
	}
	return nil
}

// give makes a file belong to whom another belongs, where that is allowed.
func give(path string, as os.FileInfo) error {
	if st, ok := as.Sys().(*syscall.Stat_t); ok {
		return os.Lchown(path, int(st.Uid), int(st.Gid))
	}
	return nil
}

// full adds ErrFull to an error of a full disk.
func full(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", server.ErrFull, err)
	}
	return err
}

// explain gives an error of the command channel its place among package server's.
func explain(err error) error {
	var refused *rndc.Refusal
	switch {
	case err == nil:
		return nil
	case errors.Is(err, rndc.ErrAuth):
		return fmt.Errorf("%w: %w", server.ErrDenied, err)
	case errors.Is(err, rndc.ErrConnect):
		return fmt.Errorf("%w: %w", server.ErrUnreachable, err)
	case !errors.As(err, &refused):
		return err
	}
	text := strings.ToLower(refused.Result + " " + refused.Text)
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(text, w) {
				return true
			}
		}
		return false
	}
	switch {
	case has("no space", "quota", "map_full", "out of disk", "disk full"):
		return fmt.Errorf("%w: %w; free space, or raise lmdb-mapsize if the disk is not full", server.ErrFull, err)
	case has("bad name", "check-names", "name too long", "label too long"):
		return fmt.Errorf("%w: %w", server.ErrName, err)
	case has("key '", "undefined key", "unable to find key", "keyfile"):
		return fmt.Errorf("%w: %w; add the key to named.conf", server.ErrTemplate, err)
	case has("allow-new-zones", "permission denied", "not permitted"):
		return fmt.Errorf("%w; is allow-new-zones set, and named's directory writable by named?", err)
	}
	return err
}
