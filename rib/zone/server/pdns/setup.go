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
			{Path: filepath.Join(folder, "kaname.conf"), Text: settings(key, host, port), Mode: 0o640, Why: "the settings that kaname needs; pdns_server must be able to read it"},
		},
		Notes: []string{
			fmt.Sprintf("%s must have include-dir=%s and no other values of these settings", config, folder),
			"give kaname.conf to the group that pdns_server runs as: chgrp pdns " + filepath.Join(folder, "kaname.conf"),
			"with an sqlite database, also set gsqlite3-pragma-foreign-keys=yes: without it a transfer that ends after its zone was removed leaves records that are answered; with MySQL, apply enable-foreign-keys.mysql.sql of PowerDNS",
			"restart pdns_server after a change of the settings",
		},
	}
	for _, k := range s.Keys {
		r.Commands = append(r.Commands, []string{"pdnsutil", "--config-dir=" + filepath.Dir(config), "import-tsig-key", strings.TrimSuffix(k.Name, "."), k.Algorithm, k.Secret})
	}
	return r
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
