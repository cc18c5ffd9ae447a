// Package named reads what a named on this machine was configured with, and what it
// says on its statistics channel.
package named

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"kaname.dev/kaname/rib/zone/control/rndc/conf"
	"kaname.dev/kaname/rib/zone/name"
)

// DefaultView is what named calls the view when its configuration has none.
const DefaultView = "_default"

// maxIncludes bounds the files of a configuration.
const maxIncludes = 1000

// Config is what named.conf and the files that it includes say, as far as kaname
// asks.
type Config struct {
	Directory string // of options: what files of zones are relative to
	Stats     string // host:port of the statistics channel, "" for none
	Views     []*View
	stamps    map[string]Stamp
	loads     int // files read, the same one again counted
}

// View is a view of a configuration; without views there is one, DefaultView.
type View struct {
	Name     string
	AllowNew bool            // allow-new-zones
	NewZones string          // new-zones-directory
	Includes map[string]bool // paths of the files included in it
	Zones    []Zone          // in the configuration files, not those of rndc addzone
	Catalogs map[name.Name]bool
	Keys     map[string]bool // names of the TSIG keys it can use, as KeyName writes them
}

// KeyName returns the name of a key in the form in which two are compared.
func KeyName(s string) string { return strings.ToLower(strings.TrimSuffix(s, ".")) }

func newView(s string) *View {
	return &View{Name: s, Includes: map[string]bool{}, Catalogs: map[name.Name]bool{}, Keys: map[string]bool{}}
}

// Zone is a zone of a configuration.
type Zone struct {
	Name name.Name
	Type string // "secondary", "primary", as written or in the older words
	File string // "" when it has none
}

// Secondary reports whether the zone is of type secondary.
func (z Zone) Secondary() bool { return z.Type == "secondary" || z.Type == "slave" }

// Primary reports whether the zone is of type primary.
func (z Zone) Primary() bool { return z.Type == "primary" || z.Type == "master" }

// Stamp differs after a file was changed.
type Stamp struct {
	time time.Time
	size int64
}

// StampOf returns the stamp of a file, the zero Stamp when it cannot be seen.
func StampOf(path string) Stamp {
	st, err := os.Stat(path)
	if err != nil {
		return Stamp{}
	}
	return Stamp{st.ModTime(), st.Size()}
}

// Read reads a configuration. Zones whose names cannot be read are left out.
func Read(path string) (*Config, error) {
	c := &Config{Directory: filepath.Dir(path), stamps: map[string]Stamp{}}
	list, err := c.load(path)
	if err != nil {
		return nil, err
	}
	r := reader{c: c, def: newView(DefaultView)}
	if err := r.top(list); err != nil {
		return nil, err
	}
	if len(c.Views) == 0 {
		c.Views = []*View{r.def}
	}
	for _, v := range c.Views {
		if v.NewZones == "" {
			v.NewZones = c.Directory
		}
		v.NewZones = c.Path(v.NewZones)
		maps.Copy(v.Keys, r.def.Keys)
	}
	return c, nil
}

// Path returns the absolute path of a file that the configuration names.
func (c *Config) Path(p string) string {
	if filepath.IsAbs(p) {
		return filepath.Clean(p)
	}
	return filepath.Join(c.Directory, p)
}

// Changed reports whether a file of the configuration is another than when it was
// read.
func (c *Config) Changed() bool {
	for path, s := range c.stamps {
		if StampOf(path) != s {
			return true
		}
	}
	return false
}

// View returns the view of that name; "" means the only one.
func (c *Config) View(s string) (*View, error) {
	if s == "" && len(c.Views) == 1 {
		return c.Views[0], nil
	}
	names := make([]string, len(c.Views))
	for i, v := range c.Views {
		if v.Name == s {
			return v, nil
		}
		names[i] = v.Name
	}
	return nil, fmt.Errorf("the configuration has the views %s, and not %q; set view", strings.Join(names, ", "), s)
}

func (c *Config) load(path string) ([]conf.Statement, error) {
	if c.loads++; c.loads > maxIncludes {
		return nil, fmt.Errorf("the configuration has more than %d files; does one include itself?", maxIncludes)
	}
	stamp := StampOf(path)
	b, err := os.ReadFile(path) //nolint:gosec // named reads it too
	if err != nil {
		return nil, fmt.Errorf("named's configuration: %w; let kaname read it", err)
	}
	c.stamps[path] = stamp
	list, err := conf.Parse(string(b))
	if err != nil {
		return nil, fmt.Errorf("named's configuration %s: %w", path, err)
	}
	return list, nil
}

// reader walks over statements; def collects what stands outside of views.
type reader struct {
	c   *Config
	def *View
}

func (r reader) top(list []conf.Statement) error {
	return r.each(list, r.def, func(st conf.Statement) error {
		switch st.Word(0) {
		case "options":
			return r.each(st.Block, r.def, func(st conf.Statement) error {
				if st.Word(0) == "directory" {
					r.c.Directory = st.Word(1)
					return nil
				}
				return r.option(st, r.def)
			})
		case "statistics-channels":
			if in, ok := st.Find("inet"); ok && r.c.Stats == "" {
				r.c.Stats = inet(in)
			}
		case "view":
			v := newView(st.Word(1))
			v.AllowNew, v.NewZones = r.def.AllowNew, r.def.NewZones
			r.c.Views = append(r.c.Views, v)
			return r.each(st.Block, v, func(st conf.Statement) error { return r.option(st, v) })
		default:
			return r.option(st, r.def)
		}
		return nil
	})
}

// option reads a statement that may stand in options or in a view.
func (r reader) option(st conf.Statement, v *View) error {
	switch st.Word(0) {
	case "allow-new-zones":
		v.AllowNew = st.Word(1) == "yes" || st.Word(1) == "true" || st.Word(1) == "1"
	case "new-zones-directory":
		v.NewZones = st.Word(1)
	case "key":
		v.Keys[KeyName(st.Word(1))] = true
	case "catalog-zones":
		for _, z := range st.Block {
			if n, err := name.Parse(z.Word(1)); err == nil {
				v.Catalogs[n] = true
			}
		}
	case "zone":
		if z, ok := ZoneOf(st); ok {
			v.Zones = append(v.Zones, z)
		}
	}
	return nil
}

// each calls do for the statements, included ones in their place.
func (r reader) each(list []conf.Statement, v *View, do func(conf.Statement) error) error {
	for _, st := range list {
		if st.Word(0) != "include" {
			if err := do(st); err != nil {
				return err
			}
			continue
		}
		paths, err := filepath.Glob(r.c.Path(st.Word(1)))
		if err != nil || len(paths) == 0 {
			return fmt.Errorf("named's configuration includes %q, which cannot be seen; let kaname read it", st.Word(1))
		}
		for _, p := range paths {
			v.Includes[p] = true
			inner, err := r.c.load(p)
			if err == nil {
				err = r.each(inner, v, do)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// ZoneOf reads a zone statement of class IN.
func ZoneOf(st conf.Statement) (Zone, bool) {
	n, err := name.Parse(st.Word(1))
	if err != nil || st.Word(0) != "zone" || len(st.Words) > 2 && !strings.EqualFold(st.Word(2), "in") {
		return Zone{}, false
	}
	kind, _ := st.Find("type")
	file, _ := st.Find("file")
	return Zone{Name: n, Type: kind.Word(1), File: file.Word(1)}, true
}

// inet returns host:port of an inet clause; "*" is reached on loopback.
func inet(st conf.Statement) string {
	host, port := st.Word(1), "80"
	if host == "*" || host == "0.0.0.0" {
		host = "127.0.0.1"
	}
	if st.Word(2) == "port" {
		port = st.Word(3)
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + port
}
