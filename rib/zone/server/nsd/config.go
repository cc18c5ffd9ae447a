package nsd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"kaname.dev/kaname/rib/zone/name"
)

// settings are what the driver needs of nsd.conf(5).
type settings struct {
	server   map[string]string // options of server:, the last of each
	keys     map[string]bool   // names of TSIG keys
	includes []string          // what include: names, patterns too
	files    map[string]string // zonefile of patterns, by name
	control  bool              // remote-control: control-enable
	pattern  string            // that is read now
}

// readSettings reads nsd.conf and what it includes.
func readSettings(path string) (*settings, error) {
	c := &settings{server: map[string]string{}, keys: map[string]bool{}, files: map[string]string{}}
	if err := c.read(path, 0); err != nil {
		return nil, fmt.Errorf("configuration of nsd: %w; let kaname read it", err)
	}
	return c, nil
}

func (c *settings) read(path string, depth int) error {
	text, err := os.ReadFile(path) //nolint:gosec // the configured file
	if err != nil {
		return err
	}
	section, key := "", ""
	for _, word := range words(string(text)) {
		k, isKey := strings.CutSuffix(word, ":")
		switch {
		case key != "":
			if key == "include" && depth < 10 {
				c.includes = append(c.includes, word)
				files, _ := filepath.Glob(word)
				for _, f := range files {
					if err := c.read(f, depth+1); err != nil {
						return err
					}
				}
			}
			c.note(section, key, word)
			key = ""
		case isKey && sections[k]:
			section = k
		case isKey:
			key = k
		}
	}
	return nil
}

var sections = map[string]bool{
	"server": true, "remote-control": true, "key": true, "pattern": true, "zone": true, "tls-auth": true,
	"dnstap": true, "verify": true,
}

func (c *settings) note(section, key, value string) {
	value = strings.Trim(value, `"`)
	switch {
	case section == "server":
		c.server[key] = value
	case section == "remote-control" && key == "control-enable":
		c.control = value == "yes"
	case section == "key" && key == "name":
		c.keys[strings.ToLower(strings.TrimSuffix(value, "."))] = true
	case section == "pattern" && key == "name":
		c.pattern = value
	case section == "pattern" && key == "zonefile":
		c.files[c.pattern] = value
	}
}

// words splits a configuration; a quoted word keeps none of its quotes.
func words(text string) []string {
	var list []string
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == '#':
			for i < len(text) && text[i] != '\n' {
				i++
			}
		case c == '"':
			end := strings.IndexByte(text[i+1:], '"')
			if end < 0 {
				return list
			}
			list = append(list, text[i+1:i+1+end])
			i += end + 2
		case strings.IndexByte(" \t\r\n", c) >= 0:
			i++
		default:
			end := strings.IndexAny(text[i:], " \t\r\n\"#")
			if end < 0 {
				end = len(text) - i
			}
			list = append(list, text[i:i+end])
			i += end
		}
	}
	return list
}

// zonesDir is where nsd keeps zone files.
func (c *settings) zonesDir() string {
	if d := c.server["zonesdir"]; d != "" {
		return filepath.Join(c.server["chroot"], strings.TrimPrefix(d, c.server["chroot"]))
	}
	return "/etc/nsd"
}

// file is where nsd writes a zone of a pattern, "" when that is not known or not the
// zone's alone. nsd puts the name into the path as it was given; ours are canonical
// and hold no '/'.
func (c *settings) file(n name.Name, pattern string) string {
	file := c.files[pattern]
	if strings.HasPrefix(pattern, prefix) {
		file = folder + "/%s.zone"
	}
	if strings.Count(file, "%") != 1 || !strings.Contains(file, "%s") {
		return ""
	}
	if !strings.HasPrefix(pattern, prefix) && !n.Plain() {
		return "" // who knows how it was written
	}
	file = strings.Replace(file, "%s", n.String(), 1)
	if !filepath.IsAbs(file) {
		file = filepath.Join(c.zonesDir(), file)
	}
	return file
}

// patternFile is the file of the driver's own patterns that nsd.conf includes, ""
// when there is none.
func (c *settings) patternFile() string {
	for _, include := range c.includes {
		if filepath.Base(include) == ownFile {
			return include
		}
	}
	for _, include := range c.includes {
		if ok, _ := filepath.Match(filepath.Base(include), ownFile); ok && !strings.ContainsAny(filepath.Dir(include), "*?[{") {
			return filepath.Join(filepath.Dir(include), ownFile)
		}
	}
	return ""
}

// ownFile is the name of the file that holds the driver's patterns.
const ownFile = "kaname.conf"
