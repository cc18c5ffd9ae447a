package dns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kaname.dev/kaname/lab"
)

// KnotBadKey is a key of a knotd of the lab with a secret that nobody else has.
const KnotBadKey = "xfr-bad"

// Knot runs knotd with a configuration database, so that zones added later survive
// restarts. A primary's zones have the template "own" and share zone.db; with
// Catalogs it generates the first of them. A secondary has the template "hand", for
// zones that its operators add.
func Knot(t testing.TB, o Options) *Server {
	t.Helper()
	knotd := lab.Need(t, "knotd")
	knotc := lab.Need(t, "knotc")
	if !o.Address.IsValid() {
		o.Address = AddressOf(t)
	}
	d := dir(t, "knot")
	s := &Server{
		Kind: "knot", Address: o.Address, Control: filepath.Join(d, "knot.sock"), Config: filepath.Join(d, "knot.conf"), Dir: d, t: t,
	}
	s.write("zone.db", ZoneFile(1))
	s.write("long.db", longZone)
	s.write("zones/README", "zones\n")
	s.write("knot.conf", s.knotConfig(o))
	db := filepath.Join(d, "confdb")
	if out, err := exec.Command(knotc, "-C", db, "conf-import", s.Config).CombinedOutput(); err != nil { //nolint:noctx // ends by itself
		t.Fatalf("knotc conf-import: %v: %s", err, out)
	}
	if o.Primary {
		s.AddZones = func(zones ...string) { s.t.Helper(); s.KnotZones("own", zones...) }
		s.RemoveZones = func(zones ...string) { s.t.Helper(); s.KnotZones("", zones...) }
	}
	args := []string{"-C", db}
	if o.Text {
		args = []string{"-c", s.Config}
	}
	s.start(append([]string{knotd}, args...)...)
	lab.Eventually(t, "knotd takes commands", func() bool { _, err := s.knot([]map[byte]string{{knotCmd: "status"}}); return err == nil })
	return s
}

// knotConfig returns the text that is imported.
func (s *Server) knotConfig(o Options) string {
	var b strings.Builder
	fmt.Fprintf(&b, "server:\n    listen: %s@%d\n    rundir: %q\n    pidfile: %q\n    tcp-max-clients: 1000\n", o.Address.Addr(), o.Address.Port(), s.Dir, filepath.Join(s.Dir, "knot.pid"))
	fmt.Fprintf(&b, "control:\n    listen: %q\n", s.Control)
	fmt.Fprintf(&b, "database:\n    storage: %q\n    journal-db-max-size: 2G\n", s.Dir)
	b.WriteString("log:\n  - target: stderr\n    any: warning\n")
	fmt.Fprintf(&b, "key:\n  - id: %s\n    algorithm: hmac-sha256\n    secret: %s\n", KeyName, KeySecret)
	fmt.Fprintf(&b, "  - id: %s\n    algorithm: hmac-sha256\n    secret: d3Jvbmc=\n", KnotBadKey)
	if len(o.Notify)+len(o.From) > 0 {
		b.WriteString("remote:\n")
	}
	for i, a := range o.Notify {
		fmt.Fprintf(&b, "  - id: notify%d\n    address: %s@%d\n    via: %s\n", i, a.Addr(), a.Port(), o.Address.Addr())
	}
	for i, a := range o.From {
		fmt.Fprintf(&b, "  - id: from%d\n    address: %s@%d\n    via: %s\n    key: %s\n", i, a.Addr(), a.Port(), o.Address.Addr(), KeyName)
	}
	b.WriteString("acl:\n  - id: near\n    address: 127.0.0.0/8\n    action: transfer\n")
	fmt.Fprintf(&b, "  - id: keyed\n    key: %s\n    action: transfer\n", KeyName)
	for i, a := range o.From {
		fmt.Fprintf(&b, "  - id: told%d\n    address: %s\n    action: notify\n", i, a.Addr())
	}
	acl := "near, keyed"
	if len(o.From) > 0 {
		acl += ", " + knotIDs("told", len(o.From))
	}
	access := "    acl: [" + acl + "]\n    zonefile-sync: -1\n"
	if len(o.Notify) > 0 {
		access += "    notify: [" + knotIDs("notify", len(o.Notify)) + "]\n"
	}
	own := fmt.Sprintf("    storage: %q\n    zonefile-load: whole\n    journal-content: none\n", s.Dir) + access
	if o.Primary && len(o.Catalogs) > 0 {
		own += "    catalog-role: member\n    catalog-zone: " + o.Catalogs[0] + "\n"
	}
	b.WriteString("template:\n  - id: own\n    file: zone.db\n" + own + "  - id: own-long\n    file: long.db\n" + own)
	hand := fmt.Sprintf("    storage: %q\n    journal-content: all\n    zonefile-load: none\n", filepath.Join(s.Dir, "zones")) + access
	if len(o.From) > 0 {
		hand += "    master: [" + knotIDs("from", len(o.From)) + "]\n"
		b.WriteString("  - id: hand\n" + hand)
	}
	for i, c := range o.Catalogs {
		if i == 0 {
			b.WriteString("zone:\n")
		}
		if o.Primary {
			fmt.Fprintf(&b, "  - domain: %s\n    catalog-role: generate\n    storage: %q\n%s", c, s.Dir, access)
			continue
		}
		fmt.Fprintf(&b, "  - domain: %s\n%s    catalog-role: interpret\n    catalog-template: hand\n", c, hand)
	}
	b.WriteString(o.Extra)
	return b.String()
}

func knotIDs(prefix string, n int) string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprint(prefix, i)
	}
	return strings.Join(ids, ", ")
}

// KnotZones adds zones with a template, in one transaction; without a template it
// removes them and purges what they leave.
func (s *Server) KnotZones(template string, zones ...string) {
	s.t.Helper()
	requests := []map[byte]string{{knotCmd: "conf-begin"}}
	for _, z := range zones {
		if template == "" {
			requests = append(requests, map[byte]string{knotCmd: "conf-unset", knotSection: "zone", knotItem: "domain", knotData: z})
			continue
		}
		with := template
		if template == "own" && !roomy(z) {
			with = "own-long"
		}
		requests = append(requests, map[byte]string{knotCmd: "conf-set", knotSection: "zone", knotItem: "domain", knotData: z},
			map[byte]string{knotCmd: "conf-set", knotSection: "zone", knotItem: "template", knotID: z, knotData: with})
	}
	if _, err := s.knot(append(requests, map[byte]string{knotCmd: "conf-commit"})); err != nil {
		_, _ = s.knot([]map[byte]string{{knotCmd: "conf-abort"}})
		s.t.Fatalf("%v\n%s", err, s.Log())
	}
}

// KnotControl runs requests of knotd's control protocol on one connection: each a
// command and, after it, "section.item" with an id and data, as far as given.
func (s *Server) KnotControl(requests ...[]string) []string {
	s.t.Helper()
	list := make([]map[byte]string, len(requests))
	for i, r := range requests {
		r = append(r, "", "", "", "")
		section, item, _ := strings.Cut(r[1], ".")
		list[i] = map[byte]string{knotCmd: r[0], knotSection: section, knotItem: item, knotID: r[2], knotData: r[3]}
	}
	out, err := s.knot(list)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// Items of the control protocol of libknot.
const (
	knotCmd     = 0
	knotError   = 2
	knotSection = 3
	knotItem    = 4
	knotID      = 5
	knotData    = 10
)

// knot gives requests on one connection and returns the data of the replies.
func (s *Server) knot(requests []map[byte]string) ([]string, error) {
	conn, err := net.DialTimeout("unix", s.Control, 10*time.Second) //nolint:noctx // bounded
	if err != nil {
		return nil, err
	}
	defer conn.Close()                                      //nolint:errcheck // nothing is lost
	_ = conn.SetDeadline(time.Now().Add(120 * time.Second)) // a commit of 10,000 zones takes long
	defer func() { _, _ = conn.Write([]byte{0}) }()         // END
	var data []string
	var failed error
	for _, request := range requests {
		unit := []byte{1}
		for i := range byte(12) {
			if v := request[i]; v != "" {
				unit = append(binary.BigEndian.AppendUint16(append(unit, 16+i), uint16(len(v))), v...) //nolint:gosec // short
			}
		}
		if _, err := conn.Write(append(unit, 3)); err != nil {
			return data, err
		}
		more, err := knotReply(conn)
		data = append(data, more...)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("knotd: %q: %w", request, err))
			break
		}
	}
	return data, failed
}

// knotReply reads to the end of one reply.
func knotReply(r io.Reader) (data []string, err error) {
	one := make([]byte, 3)
	for {
		if _, e := io.ReadFull(r, one[:1]); e != nil {
			return data, e
		}
		switch c := one[0]; {
		case c == 3:
			return data, err
		case c >= 16:
			if _, e := io.ReadFull(r, one[1:]); e != nil {
				return data, e
			}
			text := make([]byte, binary.BigEndian.Uint16(one[1:]))
			if _, e := io.ReadFull(r, text); e != nil {
				return data, e
			}
			switch c {
			case 16 + knotError:
				err = errors.New(string(text))
			case 16 + knotData, 16 + knotID:
				data = append(data, string(text))
			}
		}
	}
}
