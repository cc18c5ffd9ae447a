package compare

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kaname.dev/kaname/lab"
	labdns "kaname.dev/kaname/lab/dns"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/wire"
)

// rich is a zone with what answers can be made of.
const rich = `$TTL 3600
@	SOA	ns1 hostmaster 2026010101 7200 900 1209600 300
@	NS	ns1
@	NS	ns2
@	MX	10 mail
@	MX	20 Mail2.Example.NET.
@	TXT	"v=spf1 mx -all"
@	A	192.0.2.10
@	AAAA	2001:db8::10
@	CAA	0 issue "ca.example.net"
ns1	A	192.0.2.1
ns1	AAAA	2001:db8::1
ns2	A	192.0.2.2
mail	A	192.0.2.25
www	300 A	192.0.2.80
www	300 A	192.0.2.81
www	HTTPS	1 . alpn="h2"
alias	CNAME	www
chain	CNAME	alias
dangling	CNAME	no-such
out	CNAME	www.example.net.
viawild	CNAME	foo.wild
tosub	CNAME	host.sub
*.wild	TXT	"wild"
*.wild	A	192.0.2.99
a.b.c.ent	A	192.0.2.3
old	DNAME	www
gone	DNAME	example.net.
sub	NS	ns.sub
sub	NS	ns2
ns.sub	A	192.0.2.53
secure	NS	ns.secure
secure	DS	12345 13 2 4D5E6F708192A3B4C5D6E7F8091A2B3C4D5E6F708192A3B4C5D6E7F8091A2B3C
ns.secure	AAAA	2001:db8::53
lame	NS	ns.example.org.
_sip._tcp	SRV	10 20 5060 sip
sip	A	192.0.2.60
long	TXT	"part one, " "part two" 
long	TXT	"` + "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789" + `"
big	TXT	"` + "0 123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456" + `"
big	TXT	"` + "1 123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456" + `"
big	TXT	"` + "2 123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456" + `"
naptr	NAPTR	100 10 "u" "E2U+sip" "!^.*$!sip:info@example.com!" .
host	SSHFP	4 2 123456789abcdef67890123456789abcdef67890123456789abcdef123456789
_443._tcp.www	TLSA	3 1 1 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
ptr	PTR	www
loc	LOC	52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m
hinfo	HINFO	"PC" "Linux"
rp	RP	admin long
odd\032name	A	192.0.2.77
_dmarc	TXT	"v=DMARC1; p=none"
unknown	TYPE65280 \# 4 0A000001
`

// folder makes one that unprivileged servers can read.
func folder(t *testing.T) string {
	t.Helper()
	d, err := os.MkdirTemp("", "kaname-compare-") //nolint:usetesting // the servers of the lab, as another user, must reach it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(d) })
	if err := os.Chmod(d, 0o755); err != nil {
		t.Fatal(err)
	}
	return d
}

func put(t *testing.T, dir, file, text string) string {
	t.Helper()
	path := filepath.Join(dir, file)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// zoneFile is a zone to serve.
type zoneFile struct{ name, path string }

// sign signs a zone file with fresh keys, offline; args choose NSEC3.
func sign(t *testing.T, dir string, z zoneFile, args ...string) zoneFile {
	t.Helper()
	lab.Need(t, "dnssec-signzone")
	for _, flags := range [][]string{{"-f", "KSK"}, nil} {
		run(t, dir, "dnssec-keygen", slices.Concat([]string{"-q", "-a", "ECDSAP256SHA256"}, flags, []string{z.name})...)
	}
	out := z.path + ".signed"
	run(t, dir, "dnssec-signzone", slices.Concat([]string{"-S", "-K", dir, "-o", z.name, "-f", out}, args, []string{z.path})...)
	if err := os.Chmod(out, 0o644); err != nil {
		t.Fatal(err)
	}
	return zoneFile{z.name, out}
}

func run(t *testing.T, dir, program string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", program, strings.Join(args, " "), err, out)
	}
}

// servers of each kind that serve zone files, transfers allowed from loopback.
var servers = map[string]func(*testing.T, ...zoneFile) *labdns.Server{"bind": bind, "nsd": nsd, "knot": knot, "pdns": pdns}

func bind(t *testing.T, zones ...zoneFile) *labdns.Server {
	t.Helper()
	var b strings.Builder
	for _, z := range zones {
		fmt.Fprintf(&b, "zone \"%s\" { type primary; file \"%s\"; };\n", z.name, z.path)
	}
	return labdns.BIND(t, labdns.Options{Extra: b.String()})
}

func nsd(t *testing.T, zones ...zoneFile) *labdns.Server {
	t.Helper()
	var b strings.Builder
	for _, z := range zones {
		fmt.Fprintf(&b, "zone:\n name: \"%s\"\n zonefile: \"%s\"\n provide-xfr: 127.0.0.0/8 NOKEY\n", z.name, z.path)
	}
	return labdns.NSD(t, labdns.Options{Extra: b.String()})
}

// pdnsOf makes a secondary of old: what is signed elsewhere comes by transfer.
func pdnsOf(t *testing.T, old *labdns.Server, zones ...zoneFile) *labdns.Server {
	t.Helper()
	s := labdns.PowerDNS(t, labdns.Options{From: []netip.AddrPort{old.Address}, Extra: "dname-processing=yes\n"})
	for _, z := range zones {
		run(t, s.Dir, "pdnsutil", "--config-dir="+s.Dir, "create-secondary-zone", z.name, old.Address.String())
		s.PDNSControl("retrieve", z.name)
	}
	for _, z := range zones {
		lab.Eventually(t, "pdns has "+z.name, func() bool { _, _, ok := s.SOA(z.name); return ok })
	}
	return s
}

func pdns(t *testing.T, zones ...zoneFile) *labdns.Server {
	t.Helper()
	s := labdns.PowerDNS(t, labdns.Options{Extra: "dname-processing=yes\n"})
	for _, z := range zones {
		run(t, s.Dir, "pdnsutil", "--config-dir="+s.Dir, "load-zone", z.name, z.path)
		run(t, s.Dir, "pdnsutil", "--config-dir="+s.Dir, "rectify-zone", z.name)
	}
	return s
}

// compared runs a comparison of the zones and returns all that it found.
func compared(t *testing.T, old, other *labdns.Server, o Options, zones ...Zone) (Summary, []Difference, []Result) {
	t.Helper()
	o.Old, o.New = wire.Peer{Address: old.Address}, wire.Peer{Address: other.Address}
	var diffs []Difference
	var results []Result
	sum, err := Run(t.Context(), slices.Values(zones), o, Sink{
		Difference: func(d Difference) { diffs = append(diffs, d) },
		Result:     func(r Result) { results = append(results, r) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum, diffs, results
}

func zone(t *testing.T, s string) name.Name {
	t.Helper()
	n, err := name.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
