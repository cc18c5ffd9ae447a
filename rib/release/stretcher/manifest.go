// Package stretcher reads the manifests of stretcher and does on a host what
// stretcher did there, so that deploy scripts need not change.
//
// A manifest names an archive, its checksum, a destination directory that is made
// equal to it (by rsync or by a rename), and commands around that. The archive
// itself reaches the host as a kaname release: it is fetched from its source once,
// not once a host. What this package does not do is fetch.
package stretcher

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"text/template"

	"github.com/goccy/go-yaml"

	"kaname.dev/kaname/fault"
)

// Strategy says how the destination is made equal to the archive.
type Strategy string

// The strategies of stretcher's README, "sync_strategy".
const (
	Rsync Strategy = "rsync" // rsync -a --delete, the default
	Move  Strategy = "mv"    // rename; refused when the destination exists
)

// Manifest is a stretcher manifest, as its README specifies it.
type Manifest struct {
	Src          string   `yaml:"src"`           // s3, http, https or file URL; empty: commands only
	Checksum     string   `yaml:"checksum"`      // hex of md5, sha1, sha256 or sha512, told apart by length
	Dest         string   `yaml:"dest"`          // absolute directory; required with Src
	DestMode     *Mode    `yaml:"dest_mode"`     // of Dest, unless the archive has an entry "."; 0755 by default
	Commands     Commands `yaml:"commands"`      // each line runs in /bin/sh -c
	Excludes     []string `yaml:"excludes"`      // patterns for rsync --exclude
	ExcludeFrom  string   `yaml:"exclude_from"`  // file inside the archive, for rsync --exclude-from
	SyncStrategy Strategy `yaml:"sync_strategy"` // see Strategy

	// Warnings name what stretcher would have passed over in silence, such as a
	// misspelt key.
	Warnings []string `yaml:"-"`
}

// Commands are the lines run around the synchronisation, in order; the first that
// ends with another status than 0 ends the deploy.
type Commands struct {
	Pre     []string `yaml:"pre" json:"pre,omitempty"`         // before the archive is unpacked into place
	Post    []string `yaml:"post" json:"post,omitempty"`       // after the destination is in place
	Success []string `yaml:"success" json:"success,omitempty"` // when all went well; the log comes on standard input
	Failure []string `yaml:"failure" json:"failure,omitempty"` // when not; the log comes on standard input
}

// Mode is a file mode written in octal, with or without a leading 0.
type Mode os.FileMode

// UnmarshalYAML reads an octal mode of at most 07777. YAML 1.1 reads 0711 as a
// number in base 8 and 1.2 in base 10; here the digits are octal in either case.
func (m *Mode) UnmarshalYAML(b []byte) error {
	text := strings.Trim(strings.TrimSpace(string(b)), `"'`)
	n, err := strconv.ParseUint(strings.TrimPrefix(text, "0o"), 8, 32)
	if err != nil || n > 0o7777 {
		return fmt.Errorf("dest_mode: %q is not an octal mode such as 0755", text)
	}
	*m = Mode(n)
	return nil
}

// Parse reads a manifest after filling its environment templates: {{ env "NAME" "default" }}
// and {{ must_env "NAME" }}. name is shown in errors; lookup is usually os.LookupEnv.
func Parse(name string, text []byte, lookup func(string) (string, bool)) (*Manifest, error) {
	filled, err := fill(name, text, lookup)
	if err != nil {
		return nil, fault.Invalid("stretcher manifest " + name).Because(err).Try("set the variable where kaname runs, or write the value into the manifest")
	}
	m := &Manifest{}
	if err := yaml.UnmarshalWithOptions(filled, m, yaml.Strict()); err != nil {
		// stretcher ignores keys that it does not know, and scripts may rely on it.
		strict := errors.New(yaml.FormatError(err, false, true))
		m = &Manifest{}
		if err := yaml.Unmarshal(filled, m); err != nil {
			return nil, fault.Invalid("stretcher manifest " + name).Because(strict).Try("see stretcher's README, \"Manifest spec\"")
		}
		m.Warnings = append(m.Warnings, strict.Error())
	}
	if err := m.check(); err != nil {
		return nil, fault.Invalid("stretcher manifest " + name).Because(err).Try("see stretcher's README, \"Manifest spec\"")
	}
	return m, nil
}

func fill(name string, text []byte, lookup func(string) (string, bool)) ([]byte, error) {
	t, err := template.New(name).Funcs(template.FuncMap{
		"env": func(key string, defaults ...string) string {
			if v, ok := lookup(key); ok && v != "" {
				return v
			}
			if len(defaults) > 0 {
				return defaults[0]
			}
			return ""
		},
		"must_env": func(key string) (string, error) {
			if v, ok := lookup(key); ok {
				return v, nil
			}
			return "", fmt.Errorf("environment variable %s is not set", key)
		},
	}).Parse(string(text))
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := t.Execute(&out, nil); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func (m *Manifest) check() error {
	if m.Src == "" {
		if m.Dest != "" {
			return errors.New("dest without src: there is nothing to put there")
		}
		return nil
	}
	if m.Dest == "" {
		return errors.New("dest is required with src")
	}
	if !path.IsAbs(m.Dest) || path.Clean(m.Dest) == "/" {
		return fmt.Errorf("dest %q is not an absolute directory below /", m.Dest)
	}
	m.Dest = path.Clean(m.Dest)
	if m.Checksum != "" {
		if _, err := newHash(m.Checksum); err != nil {
			return err
		}
	}
	switch m.SyncStrategy {
	case "":
		m.SyncStrategy = Rsync
	case Rsync, Move:
	default:
		return fmt.Errorf("sync_strategy %q is neither rsync nor mv", m.SyncStrategy)
	}
	if m.ExcludeFrom != "" && (path.IsAbs(m.ExcludeFrom) || strings.HasPrefix(path.Clean(m.ExcludeFrom), "..")) {
		return fmt.Errorf("exclude_from %q must be a file inside the archive", m.ExcludeFrom)
	}
	if m.SyncStrategy == Move && (len(m.Excludes) > 0 || m.ExcludeFrom != "") {
		return errors.New("excludes need sync_strategy rsync; mv moves everything")
	}
	if m.DestMode == nil {
		mode := Mode(0o755)
		m.DestMode = &mode
	}
	return nil
}
