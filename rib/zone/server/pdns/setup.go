package pdns

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"kaname.dev/kaname/rib/zone/server"
)

// Where Debian's package looks for settings, and where the driver's key lies when
// the options do not say.
const (
	mainConfig = "/etc/powerdns/pdns.conf"
	defaultKey = "/etc/powerdns/kaname-api.key"
)

// Setup returns what pdns_server needs: a file of settings, a file with the API key
// (the one that is there, or a new one), and the TSIG keys of the templates.
func Setup(s server.Setup) server.Recipe {
	config := cmp.Or(s.Options.Config, mainConfig)
	folder := filepath.Join(filepath.Dir(config), "pdns.d")
	keyFile := cmp.Or(s.Options.KeyFile, defaultKey)
	ours, sqlite := filepath.Join(folder, "kaname.conf"), ""
	if launches(config, folder, "gsqlite3") { // another server does not know the setting, and does not start
		sqlite = "# a transfer that ends after its zone was removed must leave no records\ngsqlite3-pragma-foreign-keys=yes\n"
	}
	key := ""
	if b, err := os.ReadFile(keyFile); err == nil {
		key = strings.TrimSpace(string(b))
	}
	if key == "" {
		key = rand.Text()
	}
	host, port := "127.0.0.1", "8081"
	if u, err := url.Parse(s.Options.Control); err == nil && u.Host != "" {
		host, port = cmp.Or(u.Hostname(), host), cmp.Or(u.Port(), port)
	}
	r := server.Recipe{
		Files: []server.File{
			{Path: keyFile, Text: key + "\n", Mode: 0o600, Why: "the API key, for kaname's driver"},
			{Path: ours, Text: settings(key, host, port) + sqlite, Mode: 0o640, Why: "the settings that kaname needs; pdns_server must be able to read it"},
		},
		Commands: [][]string{{"chgrp", "--reference=" + config, ours}}, // pdns_server reads both
		Notes: []string{
			fmt.Sprintf("%s must have include-dir=%s and no other values of these settings", config, folder),
			"restart pdns_server after a change of the settings",
		},
	}
	if sqlite == "" {
		r.Notes = append(r.Notes, "records must go with their zone: with an sqlite database set gsqlite3-pragma-foreign-keys=yes, with MySQL apply enable-foreign-keys.mysql.sql of PowerDNS; "+
			"else a transfer that ends after its zone was removed leaves records that are answered")
	}
	for _, k := range s.Keys {
		r.Commands = append(r.Commands, []string{"pdnsutil", "--config-dir=" + filepath.Dir(config), "import-tsig-key", strings.TrimSuffix(k.Name, "."), k.Algorithm, k.Secret})
	}
	return r
}

// launches reports whether a configuration launches a backend.
func launches(config, folder, backend string) bool {
	files, _ := filepath.Glob(filepath.Join(folder, "*.conf"))
	for _, f := range append(files, config) {
		b, _ := os.ReadFile(f) //nolint:gosec // the server's configuration
		for line := range strings.Lines(string(b)) {
			what, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			if strings.HasPrefix(what, "launch") && strings.Contains(value, backend) {
				return true
			}
		}
	}
	return false
}

// settings returns kaname.conf.
func settings(key, host, port string) string {
	return fmt.Sprintf(`# written by kaname zone setup
api=yes
api-key=%s
webserver=yes
webserver-address=%s
webserver-port=%s
webserver-allow-from=127.0.0.0/8,::1
secondary=yes
# how soon, in seconds, the zones of a large addition are transferred
xfr-cycle-interval=%d
retrieval-threads=4
# kaname takes the contents of removed zones from this host
allow-axfr-ips=127.0.0.0/8,::1
`, key, host, port, longestCycle)
}
