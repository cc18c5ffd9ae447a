package dns

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"kaname.dev/kaname/lab"
)

// bindFew is the number of zones up to which rndc addzone and delzone are used:
// beyond it the configuration is written and read again, which is faster.
const bindFew = 8

// BIND runs named. A primary's zones share the file zone.db; with Catalogs it serves
// each of them as a dynamic zone (see Update) and lists what AddZones gets in the
// first.
func BIND(t testing.TB, o Options) *Server {
	t.Helper()
	named := lab.Need(t, "named")
	lab.Need(t, "rndc")
	if !o.Address.IsValid() {
		o.Address = AddressOf(t)
	}
	d := dir(t, "bind")
	s := &Server{
		Kind: "bind", Address: o.Address, Control: AddressOf(t).String(), Stats: AddressOf(t).String(),
		KeyFile: filepath.Join(d, "rndc.key"), Config: filepath.Join(d, "named.conf"), Dir: d, t: t,
	}
	s.write("rndc.key", fmt.Sprintf("key \"rndc\" {\n\talgorithm hmac-sha256;\n\tsecret %q;\n};\n", KeySecret))
	s.write("zone.db", ZoneFile(1))
	s.write("long.db", longZone)
	s.write("zones/README", "secondary zones\n")
	s.write("kaname/zones.conf", "")
	s.write("zones.conf", "")
	s.write("named.conf", s.bindConfig(o))
	if o.Primary {
		b := &bindZones{s: s, static: map[string]bool{}}
		if len(o.Catalogs) > 0 {
			b.catalog = o.Catalogs[0]
		}
		s.AddZones, s.RemoveZones = b.add, b.remove
	}
	s.start(named, "-g", "-c", s.Config, "-n", "2")
	lab.Eventually(t, "named takes commands", func() bool { return s.rndc("status") == nil })
	return s
}

// bindConfig returns named.conf.
func (s *Server) bindConfig(o Options) string {
	var b strings.Builder
	ip, port := o.Address.Addr(), o.Address.Port()
	control, stats := netip.MustParseAddrPort(s.Control), netip.MustParseAddrPort(s.Stats)
	fmt.Fprintf(&b, "include %q;\n", s.KeyFile)
	fmt.Fprintf(&b, "key %q { algorithm hmac-sha256; secret %q; };\n", KeyName, KeySecret)
	fmt.Fprintf(&b, "controls { inet %s port %d allow { any; } keys { \"rndc\"; }; };\n", control.Addr(), control.Port())
	fmt.Fprintf(&b, "statistics-channels { inet %s port %d allow { any; }; };\n", stats.Addr(), stats.Port())
	b.WriteString(`logging { category notify { null; }; category xfer-out { null; }; category lame-servers { null; }; };
options {
	recursion no; dnssec-validation no; empty-zones-enable no; allow-query { any; };
	pid-file "named.pid"; session-keyfile "session.key"; lock-file none; listen-on-v6 { none; };
	allow-new-zones yes; lmdb-mapsize 512M; minimal-responses yes;
	notify-delay 0; notify-rate 10000; startup-notify-rate 10000; serial-query-rate 10000;
	transfers-in 200; transfers-per-ns 200; transfers-out 1000; tcp-clients 2000; tcp-listen-queue 1000;
	min-retry-time 1; max-retry-time 5; check-names primary ignore;
`)
	fmt.Fprintf(&b, "\tdirectory %q; listen-on port %d { %s; };\n", s.Dir, port, ip)
	fmt.Fprintf(&b, "\tnotify-source %s; transfer-source %s;\n", ip, ip)
	fmt.Fprintf(&b, "\tallow-transfer { key %s; 127.0.0.0/8; };\n", KeyName)
	if o.Primary {
		fmt.Fprintf(&b, "\tnotify explicit; also-notify { %s};\n", bindAddresses(o.Notify, ""))
	} else {
		fmt.Fprintf(&b, "\tnotify no; allow-notify { %s};\n", bindHosts(o.From))
		bindConsumes(&b, o)
	}
	b.WriteString("};\ninclude \"zones.conf\";\n")
	if !o.Primary {
		b.WriteString("include \"kaname/zones.conf\";\n")
	}
	for _, c := range o.Catalogs {
		if o.Primary {
			s.write(c+".db", "$TTL 0\n@ SOA invalid. invalid. 1 3600 600 604800 60\n@ NS invalid.\nversion TXT \"2\"\n")
			fmt.Fprintf(&b, "zone %q { type primary; file %q; allow-update { key %s; }; };\n", c, c+".db", KeyName)
		} else {
			fmt.Fprintf(&b, "zone %q { type secondary; file %q; primaries { %s}; };\n", c, c+".db", bindAddresses(o.From, KeyName))
		}
	}
	b.WriteString(o.Extra)
	return b.String()
}

// bindConsumes writes the option that makes a secondary consume its catalogs.
func bindConsumes(b *strings.Builder, o Options) {
	if len(o.Catalogs) == 0 {
		return
	}
	b.WriteString("\tcatalog-zones {\n")
	for _, c := range o.Catalogs {
		fmt.Fprintf(b, "\t\tzone %q default-primaries { %s} zone-directory \"zones\" in-memory no min-update-interval 1;\n",
			c, bindAddresses(o.From, KeyName))
	}
	b.WriteString("\t};\n")
}

// bindAddresses writes servers as a list of named.conf has them.
func bindAddresses(addrs []netip.AddrPort, key string) string {
	var b strings.Builder
	for _, a := range addrs {
		fmt.Fprintf(&b, "%s port %d", a.Addr(), a.Port())
		if key != "" {
			fmt.Fprintf(&b, " key %s", key)
		}
		b.WriteString("; ")
	}
	return b.String()
}

// bindHosts writes the addresses of servers as an address match list.
func bindHosts(addrs []netip.AddrPort) string {
	if len(addrs) == 0 {
		return "none; "
	}
	var b strings.Builder
	for _, a := range addrs {
		fmt.Fprintf(&b, "%s; ", a.Addr())
	}
	return b.String()
}

// RNDC runs a command of rndc on a named of the lab, and fails the test when named
// refuses it. Names of zones that are not plain are to be quoted.
func (s *Server) RNDC(args ...string) {
	s.t.Helper()
	if err := s.rndc(args...); err != nil {
		s.t.Fatalf("%v\n%s", err, s.Log())
	}
}

func (s *Server) rndc(args ...string) error {
	control := netip.MustParseAddrPort(s.Control)
	base := []string{"-s", control.Addr().String(), "-p", strconv.Itoa(int(control.Port())), "-k", s.KeyFile}
	var out []byte
	var err error
	for range 3 {
		out, err = exec.Command("rndc", append(base, args...)...).CombinedOutput() //nolint:noctx // ends by itself
		if err == nil {
			return nil
		}
		// named resets a connection now and then while it reads its configuration.
		if args[0] != "reconfig" || !strings.Contains(string(out), "recv failed") {
			break
		}
	}
	return fmt.Errorf("rndc %s: %w: %s", strings.Join(args, " "), err, out)
}

// Rewrite gives a primary's shared zone file another serial and loads zones again.
func (s *Server) Rewrite(serial uint32, zones ...string) {
	s.t.Helper()
	s.write("zone.db", ZoneFile(serial))
	for _, z := range zones {
		s.RNDC("reload", bindQuote(z))
	}
}

// Update changes a dynamic zone of a named of the lab, RFC 2136, signed with the
// lab's key: records in presentation form, with absolute names, removed and added in
// one message.
func (s *Server) Update(zone string, remove, add []string) {
	s.t.Helper()
	m := new(dns.Msg)
	m.SetUpdate(dns.Fqdn(zone))
	m.Remove(s.records(remove))
	m.Insert(s.records(add))
	m.SetTsig(dns.Fqdn(KeyName), dns.HmacSHA256, 300, time.Now().Unix())
	c := dns.Client{Net: "tcp", Timeout: 20 * time.Second, TsigSecret: map[string]string{dns.Fqdn(KeyName): KeySecret}}
	r, _, err := c.Exchange(m, s.Address.String())
	if err != nil {
		s.t.Fatalf("update of %s: %v", zone, err)
	}
	if r.Rcode != dns.RcodeSuccess {
		s.t.Fatalf("update of %s: %s", zone, dns.RcodeToString[r.Rcode])
	}
}

func (s *Server) records(texts []string) []dns.RR {
	s.t.Helper()
	rrs := make([]dns.RR, len(texts))
	for i, text := range texts {
		rr, err := dns.NewRR(text)
		if err != nil {
			s.t.Fatalf("record %q: %v", text, err)
		}
		rrs[i] = rr
	}
	return rrs
}

// Member returns the record that lists zone in a catalog, RFC 9432, with the label
// that AddZones uses.
func Member(catalog, zone string) string {
	sum := sha256.Sum256([]byte(strings.ToLower(dns.Fqdn(zone))))
	return fmt.Sprintf("%s.zones.%s 0 IN PTR %s", hex.EncodeToString(sum[:8]), dns.Fqdn(catalog), dns.Fqdn(zone))
}

// bindZones are the zones of a primary.
type bindZones struct {
	s       *Server
	catalog string

	mu     sync.Mutex
	static map[string]bool // in zones.conf
}

func (b *bindZones) add(zones ...string) {
	b.s.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(zones) <= bindFew {
		for _, z := range zones {
			b.s.RNDC("addzone", bindQuote(z), bindPrimary(z))
		}
	} else {
		for _, z := range zones {
			b.static[z] = true
		}
		b.save()
		b.s.RNDC("reconfig")
	}
	b.publish(zones, true)
}

func (b *bindZones) remove(zones ...string) {
	b.s.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.publish(zones, false)
	var single []string
	changed := false
	for _, z := range zones {
		if b.static[z] {
			delete(b.static, z)
			changed = true
			if len(zones) > bindFew {
				continue // reconfig does it
			}
		}
		single = append(single, z)
	}
	if changed {
		b.save()
	}
	for _, z := range single {
		b.s.RNDC("delzone", bindQuote(z))
	}
	if len(single) < len(zones) {
		b.s.RNDC("reconfig")
	}
}

// save writes zones.conf anew; named reads it at its next reconfig or start.
func (b *bindZones) save() {
	b.s.t.Helper()
	names := make([]string, 0, len(b.static))
	for z := range b.static {
		names = append(names, z)
	}
	slices.Sort(names)
	var text strings.Builder
	for _, z := range names {
		fmt.Fprintf(&text, "zone %s %s\n", bindQuote(z), bindPrimary(z))
	}
	path := filepath.Join(b.s.Dir, "zones.conf")
	if err := os.WriteFile(path+".new", []byte(text.String()), 0o644); err != nil {
		b.s.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		b.s.t.Fatal(err)
	}
}

// publish lists zones in the catalog, or no longer.
func (b *bindZones) publish(zones []string, listed bool) {
	b.s.t.Helper()
	if b.catalog == "" {
		return
	}
	for chunk := range slices.Chunk(zones, 400) { // fits a message of 64 KiB
		records := make([]string, len(chunk))
		for i, z := range chunk {
			records[i] = Member(b.catalog, z)
		}
		if listed {
			b.s.Update(b.catalog, nil, records)
		} else {
			b.s.Update(b.catalog, records, nil)
		}
	}
}

// bindPrimary returns the block of a primary zone.
func bindPrimary(zone string) string {
	file := "zone.db"
	if !roomy(zone) {
		file = "long.db"
	}
	return fmt.Sprintf("{ type primary; file %q; };", file)
}

// bindQuote writes a zone's name so that named reads it as one word. Backslashes
// pass through quotes.
func bindQuote(zone string) string { return `"` + zone + `"` }
