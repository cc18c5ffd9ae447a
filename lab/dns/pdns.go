package dns

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"kaname.dev/kaname/lab"
)

const (
	pdnsSchema = "/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql"
	// pdnsFew is the number of zones up to which a NOTIFY is asked for each: beyond
	// it the server's own cycle, of one second, sends them.
	pdnsFew = 50
)

// PowerDNS runs pdns_server with an sqlite database. A primary's zones are of kind
// Master and written to the database in one transaction, as its operators do in
// bulk; with Catalogs it is the producer of the first and lists them there.
func PowerDNS(t testing.TB, o Options) *Server {
	t.Helper()
	pdns := lab.Need(t, "pdns_server")
	lab.Need(t, "pdns_control")
	lab.Need(t, "sqlite3")
	if !o.Address.IsValid() {
		o.Address = AddressOf(t)
	}
	d := dir(t, "pdns")
	api := AddressOf(t)
	s := &Server{
		Kind: "pdns", Address: o.Address, Control: "http://" + api.String(), KeyFile: filepath.Join(d, "api.key"),
		Config: filepath.Join(d, "pdns.conf"), Dir: d, t: t,
	}
	s.write("api.key", pdnsAPIKey+"\n")
	s.write("pdns.conf", s.pdnsConfig(o, api))
	s.pdnsDatabase(o)
	if o.Primary {
		z := pdnsZones{s: s}
		if len(o.Catalogs) > 0 {
			z.catalog = o.Catalogs[0]
		}
		s.AddZones, s.RemoveZones = z.add, z.remove
	}
	s.start(pdns, "--config-dir="+d)
	return s
}

// pdnsAPIKey is the API key of the lab's servers.
const pdnsAPIKey = "lab-api-key"

// pdnsConfig returns pdns.conf.
func (s *Server) pdnsConfig(o Options, api netip.AddrPort) string {
	var b strings.Builder
	ip := o.Address.Addr()
	fmt.Fprintf(&b, "local-address=%s\nlocal-port=%d\nquery-local-address=%s\n", ip, o.Address.Port(), ip)
	fmt.Fprintf(&b, "launch=gsqlite3\ngsqlite3-database=%s/pdns.db\nsocket-dir=%s\n", s.Dir, s.Dir)
	fmt.Fprintf(&b, "webserver-address=%s\nwebserver-port=%d\napi-key=%s\n", api.Addr(), api.Port(), pdnsAPIKey)
	b.WriteString(`gsqlite3-pragma-synchronous=0
gsqlite3-pragma-foreign-keys=1
gsqlite3-dnssec=yes
api=yes
webserver=yes
webserver-allow-from=127.0.0.0/8
webserver-loglevel=none
guardian=no
daemon=no
disable-syslog=yes
loglevel=4
security-poll-suffix=
zone-cache-refresh-interval=0
cache-ttl=0
query-cache-ttl=0
negquery-cache-ttl=0
allow-axfr-ips=127.0.0.0/8
only-notify=
retrieval-threads=4
max-tcp-connections=500
`)
	if o.Primary {
		b.WriteString("primary=yes\nxfr-cycle-interval=1\n")
	} else {
		b.WriteString("secondary=yes\nxfr-cycle-interval=5\n")
	}
	if len(o.Notify) > 0 {
		fmt.Fprintf(&b, "also-notify=%s\n", pdnsAddresses(o.Notify))
	}
	if len(o.From) > 0 {
		var hosts []string
		for _, a := range o.From {
			hosts = append(hosts, a.Addr().String())
		}
		fmt.Fprintf(&b, "allow-notify-from=%s\n", strings.Join(hosts, ","))
	}
	b.WriteString(o.Extra)
	return b.String()
}

// pdnsAddresses writes servers as pdns.conf and a zone's masters have them.
func pdnsAddresses(addrs []netip.AddrPort) string {
	texts := make([]string, len(addrs))
	for i, a := range addrs {
		texts[i] = a.String()
	}
	return strings.Join(texts, ",")
}

// pdnsDatabase makes the database, with the lab's key and the catalogs.
func (s *Server) pdnsDatabase(o Options) {
	s.t.Helper()
	schema, err := os.ReadFile(pdnsSchema)
	if err != nil {
		s.t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("PRAGMA journal_mode=wal;\n")
	b.Write(schema)
	fmt.Fprintf(&b, "INSERT INTO tsigkeys(name, algorithm, secret) VALUES(%s, 'hmac-sha256', %s);\n", quoteSQL(KeyName), quoteSQL(KeySecret))
	for i, c := range o.Catalogs {
		c = strings.TrimSuffix(c, ".")
		kind, masters := "CONSUMER", quoteSQL(pdnsAddresses(o.From))
		access := "AXFR-MASTER-TSIG"
		if o.Primary {
			kind, masters, access = "PRODUCER", "NULL", "TSIG-ALLOW-AXFR"
			if i > 0 {
				kind = "MASTER"
			}
		}
		fmt.Fprintf(&b, "INSERT INTO domains(name, type, master) VALUES(%s, '%s', %s);\n", quoteSQL(c), kind, masters)
		fmt.Fprintf(&b, "INSERT INTO domainmetadata(domain_id, kind, content) SELECT id, '%s', %s FROM domains WHERE name=%s;\n", access, quoteSQL(KeyName), quoteSQL(c))
		if o.Primary {
			fmt.Fprintf(&b, `INSERT INTO records(domain_id, name, type, content, ttl) SELECT id, name, 'SOA', 'invalid invalid 1 3600 600 604800 0', 0 FROM domains WHERE name=%[1]s;
INSERT INTO records(domain_id, name, type, content, ttl) SELECT id, name, 'NS', 'invalid', 0 FROM domains WHERE name=%[1]s;
`, quoteSQL(c))
		}
	}
	s.SQL(b.String())
}

// SQL runs statements on the database of a pdns_server of the lab, in one go, and
// fails the test when that fails. It returns what they select.
func (s *Server) SQL(text string) string {
	s.t.Helper()
	cmd := exec.Command("sqlite3", "-bail", filepath.Join(s.Dir, "pdns.db")) //nolint:noctx // ends by itself
	cmd.Stdin = strings.NewReader(".timeout 20000\n" + text)
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("sqlite3: %v: %s", err, out)
	}
	return string(out)
}

// PDNSControl runs a command of pdns_control on a pdns_server of the lab.
func (s *Server) PDNSControl(args ...string) {
	s.t.Helper()
	base := []string{"--config-dir=" + s.Dir, "--socket-dir=" + s.Dir}
	out, err := exec.Command("pdns_control", append(base, args...)...).CombinedOutput() //nolint:noctx // ends by itself
	if err != nil {
		s.t.Fatalf("pdns_control %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// pdnsZones are the zones of a primary.
type pdnsZones struct {
	s       *Server
	catalog string
}

// pdnsContents are ZoneFile's records for the zones in the table added, longZone's for
// those without room, with the right to transfer them with the lab's key.
const pdnsContents = `
INSERT INTO records(domain_id, name, type, content, ttl, prio, auth)
 SELECT id, d.name, 'SOA', 'ns1.' || d.name || ' hostmaster.' || d.name || ' 1 3600 600 604800 60', 300, 0, 1 FROM domains d JOIN added USING(name) WHERE roomy
 UNION ALL SELECT id, d.name, 'NS', 'ns1.' || d.name, 300, 0, 1 FROM domains d JOIN added USING(name) WHERE roomy
 UNION ALL SELECT id, d.name, 'NS', 'ns2.' || d.name, 300, 0, 1 FROM domains d JOIN added USING(name) WHERE roomy
 UNION ALL SELECT id, 'ns1.' || d.name, 'A', '192.0.2.1', 300, 0, 1 FROM domains d JOIN added USING(name) WHERE roomy
 UNION ALL SELECT id, 'ns2.' || d.name, 'A', '192.0.2.2', 300, 0, 1 FROM domains d JOIN added USING(name) WHERE roomy
 UNION ALL SELECT id, 'www.' || d.name, 'A', '192.0.2.80', 300, 0, 1 FROM domains d JOIN added USING(name) WHERE roomy
 UNION ALL SELECT id, '*.' || d.name, 'TXT', '"wild"', 300, 0, 1 FROM domains d JOIN added USING(name) WHERE roomy
 UNION ALL SELECT id, d.name, 'SOA', 'invalid invalid 1 3600 600 604800 60', 300, 0, 1 FROM domains d JOIN added USING(name) WHERE NOT roomy
 UNION ALL SELECT id, d.name, 'NS', 'invalid', 300, 0, 1 FROM domains d JOIN added USING(name) WHERE NOT roomy;
INSERT INTO domainmetadata(domain_id, kind, content) SELECT id, 'TSIG-ALLOW-AXFR', 'xfr' FROM domains JOIN added USING(name);
`

func (z pdnsZones) add(zones ...string) {
	z.s.t.Helper()
	catalog := "NULL"
	if z.catalog != "" {
		catalog = quoteSQL(strings.TrimSuffix(z.catalog, "."))
	}
	z.s.SQL(pdnsNames(zones) + "INSERT INTO domains(name, type, catalog) SELECT name, 'MASTER', " + catalog + " FROM added;" + pdnsContents + "COMMIT;\n")
	if len(zones) <= pdnsFew {
		for _, zone := range zones {
			z.s.PDNSControl("notify", zone)
		}
	}
}

func (z pdnsZones) remove(zones ...string) {
	z.s.t.Helper()
	z.s.SQL("PRAGMA foreign_keys=1;\n" + pdnsNames(zones) + "DELETE FROM domains WHERE name IN (SELECT name FROM added);\nCOMMIT;\n")
}

// pdnsNames begins a transaction with zones in the table added.
func pdnsNames(zones []string) string {
	var b strings.Builder
	b.WriteString("BEGIN IMMEDIATE;\nCREATE TEMP TABLE added(name TEXT PRIMARY KEY COLLATE NOCASE, roomy INTEGER);\n")
	for chunk := range slices.Chunk(zones, 500) {
		b.WriteString("INSERT INTO added VALUES")
		for i, zone := range chunk {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, "(%s, %t)", quoteSQL(pdnsName(zone)), roomy(zone))
		}
		b.WriteString(";\n")
	}
	return b.String()
}

// pdnsName writes a zone's name as PowerDNS keeps it in its database: without the
// final dot, in lower case, only dots, backslashes and what does not print escaped.
func pdnsName(zone string) string {
	wire := make([]byte, 256)
	end, err := dns.PackDomainName(strings.ToLower(dns.Fqdn(zone)), wire, 0, nil, false)
	if err != nil {
		return zone
	}
	var labels []string
	for i := 0; i < end && wire[i] != 0; i += 1 + int(wire[i]) {
		var b strings.Builder
		for _, c := range wire[i+1 : i+1+int(wire[i])] {
			switch {
			case c == '.' || c == '\\':
				b.WriteByte('\\')
				b.WriteByte(c)
			case ' ' < c && c < 127:
				b.WriteByte(c)
			default:
				fmt.Fprintf(&b, "\\%03d", c)
			}
		}
		labels = append(labels, b.String())
	}
	return strings.Join(labels, ".")
}

func quoteSQL(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }
