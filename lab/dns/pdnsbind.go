package dns

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"

	"kaname.dev/kaname/lab"
)

// PowerDNSBind runs pdns_server with its BIND backend, as a secondary whose zones
// stand in zones.conf of its directory: a kind of server that kaname has no driver of.
func PowerDNSBind(t testing.TB, o Options) *Server {
	t.Helper()
	pdns := lab.Need(t, "pdns_server")
	lab.Need(t, "pdns_control")
	if !o.Address.IsValid() {
		o.Address = AddressOf(t)
	}
	d := dir(t, "pdnsbind")
	s := &Server{Kind: "pdnsbind", Address: o.Address, Control: d, Config: filepath.Join(d, "pdns.conf"), Dir: d, t: t}
	s.write("zones.conf", "")
	s.write("kaname/README", "zone files\n")
	s.write("pdns.conf", fmt.Sprintf(`launch=bind
bind-config=%[1]s/zones.conf
local-address=%[2]s
local-port=%[3]d
query-local-address=%[2]s
socket-dir=%[1]s
secondary=yes
xfr-cycle-interval=1
guardian=no
daemon=no
disable-syslog=yes
loglevel=4
security-poll-suffix=
zone-cache-refresh-interval=0
cache-ttl=0
query-cache-ttl=0
negquery-cache-ttl=0
`, d, o.Address.Addr(), o.Address.Port())+o.Extra)
	s.start(pdns, "--config-dir="+d)
	lab.Eventually(t, "pdns takes commands", func() bool {
		return exec.Command("pdns_control", "--config-dir="+d, "rping").Run() == nil //nolint:noctx // ends by itself
	})
	return s
}
