package plane

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"kaname.dev/kaname/fault"
)

// oldestServer is the oldest NATS server that mode external accepts. It knows the
// batched reads that the plane lives on, and has the fixes of 2026 to permissions
// (advisories.nats.io, secnote-2026-16 and -18).
var oldestServer = [2]int{2, 14}

// preflight refuses an external NATS that cannot carry the plane, and returns what
// it cannot see or does not like: notes for the operator.
func preflight(ctx context.Context, o Options, l *link) (notes []string, err error) {
	refuse := func(what, remedy string) ([]string, error) {
		return nil, fault.Unsupported("the external NATS cannot carry the plane: " + what).At(l.nc.ConnectedUrlRedacted()).Try(remedy)
	}
	var major, minor int
	version := l.nc.ConnectedServerVersion()
	if _, err := fmt.Sscanf(version, "%d.%d", &major, &minor); err != nil || major < oldestServer[0] || major == oldestServer[0] && minor < oldestServer[1] {
		return refuse(fmt.Sprintf("it is version %s, older than %d.%d", version, oldestServer[0], oldestServer[1]), "upgrade it, or use mode embedded or cluster")
	}
	if l.nc.MaxPayload() < maxPayload {
		return refuse(fmt.Sprintf("its max_payload is %d bytes, less than %d", l.nc.MaxPayload(), maxPayload), "set max_payload: 1MB there")
	}
	js, err := jetstream.New(l.nc)
	if err != nil {
		return nil, err
	}
	info, err := js.AccountInfo(ctx)
	if err != nil {
		return refuse("its JetStream does not answer: "+err.Error(), "enable JetStream for the account of these credentials, and allow $JS.API.>")
	}
	if max := info.Limits.MaxStore; max == 0 {
		return refuse("the account may not store anything", "give the account disk storage in JetStream")
	}
	if o.External.Replicas < 3 {
		notes = append(notes, fmt.Sprintf("external NATS: streams have %d replica by configuration; a lost disk loses what was acknowledged", o.External.Replicas))
	}
	notes = append(notes, "external NATS: whether it syncs each write cannot be seen from here; set sync_interval: always there, else a power cut loses acknowledged writes (the seal will notice)")
	if !l.nc.TLSRequired() && !loopback(o.External.URL) {
		notes = append(notes, "external NATS: the connection is not encrypted; use tls:// there")
	}
	notes = append(notes, "external NATS: it decides who may use which subject; give each host no more than plane.HostSubjects says. Commands are signed in any case")
	return notes, nil
}

// loopback reports whether all URLs are on this machine.
func loopback(urls string) bool {
	for u := range strings.SplitSeq(urls, ",") {
		parsed, err := url.Parse(strings.TrimSpace(u))
		if err != nil {
			return false
		}
		if ip := net.ParseIP(parsed.Hostname()); parsed.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return false
		}
	}
	return true
}

// Notes returns what the operator should know about how the plane is set up, for
// kaname doctor; empty when all is as it should be.
func (p *Plane) Notes() []string { return p.notes }

// HostSubjects returns what a host's user in an external NATS must be allowed to
// publish and to subscribe, and no more. Cores need all of kn.v1.>, _INBOX.> and
// $JS.API.>.
func HostSubjects(host string) (publish, subscribe []string) {
	r := hostPermissions(host)
	return r.Publish.Allow, r.Subscribe.Allow
}
