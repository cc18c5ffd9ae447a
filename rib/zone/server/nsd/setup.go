package nsd

import (
	"fmt"
	"path/filepath"
	"strings"

	"kaname.dev/kaname/rib/zone/server"
)

// Setup returns what nsd needs: the patterns and keys in a file that nsd.conf
// includes, and control over a unix socket. Nothing is said of rrl-ratelimit, by which
// nsd answers no more than 200 questions a second of an address: nsd 4.6 counts what it
// answers for a zone by zone, SERVFAIL too, so that kaname's probes are not limited but
// for zones that nsd has not, and those are few.
func Setup(s server.Setup) server.Recipe {
	file, config := "/etc/nsd/nsd.conf.d/"+ownFile, s.Options.Config
	if config == "" {
		config = "/etc/nsd/nsd.conf"
	}
	dir := filepath.Dir(config)
	included, ready := false, false
	if c, err := readSettings(config); err == nil {
		db, says := c.server["database"]
		ready = says && db == "" && c.control
		if f := c.patternFile(); f != "" {
			file, included = f, true
		} else {
			file = filepath.Join(dir, ownFile)
		}
	}
	var patterns, notes []string
	for _, t := range s.Templates {
		text, err := patternOf(t)
		if err != nil {
			notes = append(notes, err.Error())
			continue
		}
		patterns = append(patterns, text)
	}
	var keys strings.Builder
	for _, k := range s.Keys {
		fmt.Fprintf(&keys, "key:\n\tname: %q\n\talgorithm: %s\n\tsecret: %q\n", strings.TrimSuffix(k.Name, "."), strings.TrimSuffix(k.Algorithm, "."), k.Secret)
	}
	r := server.Recipe{
		Files:    []server.File{{Path: file, Mode: 0o640, Why: "the patterns and keys of kaname's zones; the file is rewritten by kaname", Text: keys.String() + strings.Join(patterns, "")}},
		Commands: [][]string{{"nsd-checkconf", config}, {"nsd-control", "-c", config, "reconfig"}},
		Notes:    append(notes, "kaname has to write "+file+" and the folder "+folder+" below zonesdir, and to open the control socket"),
	}
	if !ready {
		r.Notes = append(r.Notes, "in nsd.conf: server: database: \"\" and zonefiles-write: 3600; remote-control: control-enable: yes and control-interface: a path, then start nsd again")
	}
	if !included {
		r.Notes = append([]string{fmt.Sprintf("add to %s: include: %q", config, file)}, r.Notes...)
	}
	return r
}
