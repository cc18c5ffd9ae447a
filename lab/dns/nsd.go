package dns

import (
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kaname.dev/kaname/lab"
)

// NSD runs nsd, controlled by a unix socket. A secondary includes conf.d/*.conf,
// where kaname's patterns go; a primary's zones share the file zone.db. The zones
// that a secondary is given by hand use the pattern "hand", from the first of From.
func NSD(t testing.TB, o Options) *Server {
	t.Helper()
	nsd := lab.Need(t, "nsd")
	lab.Need(t, "nsd-control")
	if !o.Address.IsValid() {
		o.Address = AddressOf(t)
	}
	d := dir(t, "nsd")
	s := &Server{
		Kind: "nsd", Address: o.Address, Control: filepath.Join(d, "nsd.ctl"), Config: filepath.Join(d, "nsd.conf"), Dir: d, t: t,
	}
	s.write("zones/zone.db", ZoneFile(1))
	s.write("zones/long.db", longZone)
	s.write("conf.d/README", "patterns of kaname\n")
	s.write("nsd.conf", s.nsdConfig(o))
	if o.Primary {
		s.AddZones = func(zones ...string) {
			s.nsdBulk("addzones", zones, func(z string) string {
				if !roomy(z) {
					return z + " own-long"
				}
				return z + " own"
			})
		}
		s.RemoveZones = func(zones ...string) { s.nsdBulk("delzones", zones, strings.Clone) }
	}
	s.start(nsd, "-d", "-c", s.Config)
	lab.Eventually(t, "nsd takes commands", func() bool { _, err := s.nsdControl("", "status"); return err == nil })
	return s
}

// NSDBadKey is the name of a key that an nsd of the lab has with another secret than
// the primaries.
const NSDBadKey = "wrong"

// nsdConfig returns nsd.conf.
func (s *Server) nsdConfig(o Options) string {
	var b strings.Builder
	fmt.Fprintf(&b, "server:\n\tip-address: %s@%d\n\tport: %d\n", o.Address.Addr(), o.Address.Port(), o.Address.Port())
	for option, file := range map[string]string{
		"zonesdir": "zones", "pidfile": "nsd.pid", "xfrdfile": "xfrd.state", "xfrdir": ".", "zonelistfile": "zone.list",
	} {
		fmt.Fprintf(&b, "\t%s: %q\n", option, filepath.Join(s.Dir, file))
	}
	b.WriteString(`	username: ""
	chroot: ""
	database: ""
	server-count: 1
	verbosity: 1
	xfrd-reload-timeout: 1
	zonefiles-write: 3600
	xfrd-tcp-max: 128
	xfrd-tcp-pipeline: 128
	rrl-ratelimit: 0
	rrl-whitelist-ratelimit: 0
`)
	b.WriteString("remote-control:\n\tcontrol-enable: yes\n")
	if !strings.Contains(o.Extra, "control-interface") { // nsd speaks TLS only where no socket is first
		fmt.Fprintf(&b, "\tcontrol-interface: %q\n", s.Control)
	}
	fmt.Fprintf(&b, "key:\n\tname: %q\n\talgorithm: hmac-sha256\n\tsecret: %q\n", KeyName, KeySecret)
	fmt.Fprintf(&b, "key:\n\tname: %q\n\talgorithm: hmac-sha256\n\tsecret: \"d3Jvbmc=\"\n", NSDBadKey)
	for pattern, file := range map[string]string{"own": "zone.db", "own-long": "long.db"} {
		fmt.Fprintf(&b, "pattern:\n\tname: %q\n\tzonefile: %q\n", pattern, file)
		for _, a := range o.Notify {
			fmt.Fprintf(&b, "\tnotify: %s@%d NOKEY\n", a.Addr(), a.Port())
		}
		fmt.Fprintf(&b, "\tprovide-xfr: 0.0.0.0/0 %s\n\tprovide-xfr: 127.0.0.0/8 NOKEY\n", KeyName)
	}
	b.WriteString("pattern:\n\tname: \"hand\"\n\tzonefile: \"hand/%s.zone\"\n")
	for _, a := range o.From {
		fmt.Fprintf(&b, "\trequest-xfr: %s@%d %s\n\tallow-notify: %s NOKEY\n", a.Addr(), a.Port(), KeyName, a.Addr())
	}
	fmt.Fprintf(&b, "include: %q\n", filepath.Join(s.Dir, "conf.d/*.conf"))
	b.WriteString(o.Extra)
	return b.String()
}

// NSDControl runs nsd-control on an nsd of the lab and returns what it prints; the
// test fails when it does.
func (s *Server) NSDControl(args ...string) string {
	s.t.Helper()
	out, err := s.nsdControl("", args...)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

func (s *Server) nsdControl(in string, args ...string) (string, error) {
	cmd := exec.Command("nsd-control", append([]string{"-c", s.Config}, args...)...) //nolint:noctx // ends by itself
	cmd.Stdin = strings.NewReader(in)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("nsd-control %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// nsdBulk gives nsd zones, few at a time: nsd-control writes all of its input before
// it reads replies, and both sides wait for ever when they are many.
func (s *Server) nsdBulk(command string, zones []string, line func(zone string) string) {
	s.t.Helper()
	const few = 100
	for chunk := range slices.Chunk(zones, few) {
		var lines strings.Builder
		for _, z := range chunk {
			lines.WriteString(line(z) + "\n")
		}
		if _, err := s.nsdControl(lines.String(), command); err != nil {
			s.t.Fatal(err)
		}
	}
}

// NSDCertificates makes what nsd-control-setup makes, in a directory, and returns
// the lines of remote-control that use it on an address.
func NSDCertificates(t testing.TB, control netip.AddrPort) (certs, lines string) {
	t.Helper()
	setup := lab.Need(t, "nsd-control-setup")
	certs = dir(t, "nsdcerts")
	if out, err := exec.Command(setup, "-d", certs).CombinedOutput(); err != nil { //nolint:noctx // ends by itself
		t.Fatalf("nsd-control-setup: %v: %s", err, out)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "remote-control:\n\tcontrol-interface: %s\n\tcontrol-port: %d\n", control.Addr(), control.Port())
	for option, file := range map[string]string{
		"server-key-file": "nsd_server.key", "server-cert-file": "nsd_server.pem",
		"control-key-file": "nsd_control.key", "control-cert-file": "nsd_control.pem",
	} {
		fmt.Fprintf(&b, "\t%s: %q\n", option, filepath.Join(certs, file))
	}
	own(t, certs)
	return certs, b.String()
}
