package named

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"

	"kaname.dev/kaname/rib/zone/control/rndc/conf"
)

// addedTries is how often the database of added zones is read while somebody writes
// it.
const addedTries = 5

// tick is more than the resolution of a file system's clock: 4 ms or 10 ms with Linux.
const tick = 50 * time.Millisecond

// plainView are names of views for which named takes the name for the file.
var plainView = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)

// ErrUnread says that what was added cannot be read from the file now, because the program
// named-nzd2nzf of package bind9 is missing, or because zones are added all the time.
// named itself can be asked instead, zone by zone.
var ErrUnread = errors.New("the zones of rndc addzone cannot be read from their file")

// AddedPath returns the file in which named keeps a view's zones of rndc addzone: an
// LMDB database, or without LMDB a text. "" when there is none yet, or when the
// view's name is written as a hash.
func (v *View) AddedPath() string {
	if !plainView.MatchString(v.Name) {
		return ""
	}
	for _, ext := range []string{".nzd", ".nzf"} {
		p := filepath.Join(v.NewZones, v.Name+ext)
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	return ""
}

// Added returns the zones of rndc addzone of a view, from the file in which named
// keeps them, with the file's stamp: the zero Stamp when the file was written so lately
// that a further change might not give it another. It takes a hundred milliseconds for
// 10,000.
func (v *View) Added(ctx context.Context) ([]Zone, Stamp, error) {
	path := v.AddedPath()
	if path == "" {
		return nil, Stamp{}, nil
	}
	for range addedTries {
		before := StampOf(path)
		text, err := addedText(ctx, path)
		if err != nil && ctx.Err() != nil {
			return nil, Stamp{}, ctx.Err()
		}
		// The tool takes no lock: what it read while named wrote may be anything.
		if StampOf(path) != before {
			continue
		}
		if err != nil {
			return nil, Stamp{}, err
		}
		list, err := conf.Parse(text)
		if err != nil {
			return nil, Stamp{}, fmt.Errorf("zones of rndc addzone in %s: %w", path, err)
		}
		zones := make([]Zone, 0, len(list))
		for _, st := range list {
			if z, ok := ZoneOf(st); ok {
				zones = append(zones, z)
			}
		}
		if time.Since(before.time) < tick {
			before = Stamp{}
		}
		return zones, before, nil
	}
	return nil, Stamp{}, fmt.Errorf("%w: %s is written all the time", ErrUnread, path)
}

func addedText(ctx context.Context, path string) (string, error) {
	if filepath.Ext(path) == ".nzf" {
		b, err := os.ReadFile(path) //nolint:gosec // named's own file
		return string(b), err
	}
	tool, err := exec.LookPath("named-nzd2nzf")
	if err != nil {
		for _, p := range []string{"/usr/bin/named-nzd2nzf", "/usr/sbin/named-nzd2nzf", "/usr/local/bin/named-nzd2nzf"} {
			if _, e := os.Stat(p); e == nil {
				tool, err = p, nil
				break
			}
		}
	}
	if err != nil {
		return "", fmt.Errorf("%w: the program named-nzd2nzf is missing, which comes with named", ErrUnread)
	}
	out, err := exec.CommandContext(ctx, tool, path).Output() //nolint:gosec // named's own file
	if err != nil {
		return "", fmt.Errorf("zones of rndc addzone: named-nzd2nzf %s: %w; let kaname read the file", path, err)
	}
	return string(out), nil
}
