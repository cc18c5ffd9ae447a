package knot

import (
	"cmp"
	"fmt"
	"path/filepath"
	"strings"

	"kaname.dev/kaname/rib/zone/server"
)

// Setup returns what a knotd needs: the TSIG keys in its configuration database. The
// templates are made by the driver.
func Setup(s server.Setup) server.Recipe {
	socket := cmp.Or(s.Options.Control, Socket)
	var b strings.Builder
	b.WriteString("# keys for kaname, included into the configuration before its import\n")
	if len(s.Keys) > 0 {
		b.WriteString("key:\n")
	}
	for _, k := range s.Keys {
		fmt.Fprintf(&b, "  - id: %s\n    algorithm: %s\n    secret: %s\n", k.Name, k.Algorithm, k.Secret)
	}
	conf := cmp.Or(s.Options.Config, "/etc/knot/knot.conf")
	file := filepath.Join(filepath.Dir(conf), "kaname.conf")
	return server.Recipe{
		Files: []server.File{{Path: file, Text: b.String(), Mode: 0o640, Why: "the TSIG keys of the primaries"}},
		Notes: []string{
			"add to " + conf + ": include: kaname.conf",
			"zones that are added survive a restart only in a configuration database: stop knotd, run knotc -C " + database + " conf-import " + conf + " as the user knot, and start knotd without -c (Debian: KNOTD_ARGS=\"\" in /etc/default/knot)",
			"with a database already in use, set the keys instead: knotc conf-begin; knotc conf-set key.id NAME; knotc conf-set 'key[NAME].algorithm' ALGORITHM; knotc conf-set 'key[NAME].secret' SECRET; knotc conf-commit",
			"let kaname's user use " + socket + ": usermod -a -G knot kaname",
		},
	}
}
