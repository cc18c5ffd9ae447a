// Package pdns drives the PowerDNS Authoritative Server, 4.5 and later, through its
// HTTP API.
//
// The tag of ownership is the zone's account: "kaname:" and the template's ID.
// PowerDNS writes a new zone's kind, masters and account in one statement, its TSIG
// keys and metadata in others: the driver notes in its directory what it is about to
// add, and does not take a noted zone for complete until it has set everything.
package pdns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"kaname.dev/kaname/rib/zone/control/pdnsapi"
	"kaname.dev/kaname/rib/zone/server"
)

// few is the number of zones up to which each is asked for by itself; beyond it
// the whole list is as cheap. And the number of new zones up to which a transfer is
// asked for each, which takes the server as long as making the zone: beyond it the
// server's own cycle finds them all with one query.
const few = 32

// workers is the number of requests at a time. Each makes the server open its
// database anew; more than its processors gain nothing and meet more locks.
const workers = 4

// longestCycle is how long, in seconds, new zones may wait for the server's cycle.
const longestCycle = 5

// Driver drives one server.
type Driver struct {
	api  *pdnsapi.Client
	note notes

	mu    sync.Mutex
	boot  time.Time // when the server started, as far as known
	cycle int       // seconds between its looks for zones without contents; 0: not known
}

// New returns a driver: Control is the API's URL, KeyFile holds the API key.
func New(o server.Options) (server.Driver, error) {
	api, err := pdnsapi.New(o.Control, o.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("server %s: %w", o.Name, err)
	}
	d := &Driver{api: api}
	if o.Dir != "" {
		d.note.path = filepath.Join(o.Dir, "adding.json")
	}
	if err := d.note.load(); err != nil {
		return nil, fmt.Errorf("server %s: %w", o.Name, err)
	}
	return d, nil
}

// Close ends what is idle.
func (d *Driver) Close() error {
	d.api.Close()
	return nil
}

// Probe asks for the version and looks at the settings that matter.
func (d *Driver) Probe(ctx context.Context) (server.Info, error) {
	info := server.Info{Kind: "pdns", Batch: 500}
	var err error
	if info.Version, err = d.api.Version(ctx); err != nil {
		return info, fail(err)
	}
	if info.Boot, err = d.started(ctx); err != nil {
		return info, fail(err)
	}
	settings, err := d.api.Config(ctx)
	if err != nil {
		return info, fail(err)
	}
	info.Problems = problems(info.Version, settings)
	d.mu.Lock()
	d.cycle = cycle(settings)
	d.mu.Unlock()
	return info, nil
}

// started returns the instant at which the server started. It is known from whole
// seconds of uptime, so a difference of two is none.
func (d *Driver) started(ctx context.Context) (string, error) {
	text, err := d.api.Statistic(ctx, "uptime")
	if err != nil {
		return "", err
	}
	uptime, err := strconv.Atoi(text)
	if err != nil {
		return "", fmt.Errorf("uptime %q of the server is no number of seconds", text)
	}
	boot := time.Now().Add(-time.Duration(uptime) * time.Second)
	d.mu.Lock()
	defer d.mu.Unlock()
	if boot.Sub(d.boot).Abs() > 2*time.Second {
		d.boot = boot
	}
	return d.boot.UTC().Format(time.RFC3339), nil
}

// cycle returns the seconds between looks for zones that are to be refreshed.
func cycle(settings map[string]string) int {
	least := 0
	for _, s := range []string{"xfr-cycle-interval", "slave-cycle-interval"} {
		if n, err := strconv.Atoi(settings[s]); err == nil && n > 0 && (least == 0 || n < least) {
			least = n
		}
	}
	return least
}

// problems returns what of the settings hinders the driver.
func problems(version string, settings map[string]string) []string {
	var p []string
	if old(version) {
		p = append(p, fmt.Sprintf("version %s makes zones in steps; use 4.5 or later", version))
	}
	if !yes(settings["secondary"]) && !yes(settings["slave"]) {
		p = append(p, "it does not transfer zones; set secondary=yes in pdns.conf and restart it")
	}
	if n := cycle(settings); n > longestCycle {
		p = append(p, fmt.Sprintf("new zones of a large addition may wait %d s; set xfr-cycle-interval=%d in pdns.conf and restart it", n, longestCycle))
	}
	if from, is := settings["allow-axfr-ips"]; is && !loopback(from) {
		p = append(p, "it refuses transfers to its own host, which kaname takes to keep removed zones; set allow-axfr-ips=127.0.0.0/8,::1 in pdns.conf and restart it")
	}
	for s, v := range settings {
		if strings.HasPrefix(s, "gsqlite3") && strings.HasSuffix(s, "pragma-foreign-keys") && !yes(v) {
			p = append(p, fmt.Sprintf("a transfer that ends after its zone was removed leaves records that are answered; set %s=yes in pdns.conf and restart it", s))
		}
	}
	return p
}

// old reports whether a version is before 4.5. One that is not a number is a
// development version.
func old(version string) bool {
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, err1 := strconv.Atoi(major)
	b, err2 := strconv.Atoi(minor)
	return err1 == nil && err2 == nil && a > 0 && (a < 4 || a == 4 && b < 5)
}

func yes(value string) bool { return value == "yes" || value == "on" || value == "1" }

// loopback reports whether a list of prefixes has all of 127.0.0.1.
func loopback(list string) bool {
	local := netip.MustParseAddr("127.0.0.1")
	for _, text := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }) {
		if p, err := netip.ParsePrefix(text); err == nil && p.Contains(local) {
			return true
		}
		if a, err := netip.ParseAddr(text); err == nil && a == local {
			return true
		}
	}
	return false
}

// fail says in the words of package server what an error is.
func fail(err error) error {
	r, refused := errors.AsType[*pdnsapi.Refusal](err)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, pdnsapi.ErrKey):
		return fmt.Errorf("%w: %w; put the value of api-key in pdns.conf into the key file", server.ErrDenied, err)
	case errors.Is(err, pdnsapi.ErrConnect):
		return fmt.Errorf("%w: %w", server.ErrUnreachable, err)
	case refused && (strings.Contains(r.Text, "disk is full") || strings.Contains(r.Text, "No space left")):
		return fmt.Errorf("%w: %w", server.ErrFull, err)
	}
	return err
}
