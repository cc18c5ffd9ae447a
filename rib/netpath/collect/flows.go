package collect

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/packet"
)

// local is the OpenFlow number of a bridge's own port.
const local = 65534

// bridge reads what ovs-vswitchd knows of a bridge: flows, groups, stations.
func (w *work) bridge(ctx context.Context, o *facts.OVS, i int) {
	b := &o.Bridges[i]
	var err error
	if b.Flows, err = w.openflow(ctx, b.Name, "dump-flows", "cookie="); err == nil && strings.Contains(b.Flows, "group:") {
		b.Groups, err = w.openflow(ctx, b.Name, "dump-groups", "group_id=")
	}
	if err != nil {
		w.lacks(facts.Flows, "", b.Name, err)
	}
	c, err := w.daemon(ctx)
	if err == nil {
		defer c.Close() //nolint:errcheck // only read
		var text string
		if text, err = c.Command(ctx, "fdb/show", b.Name); err == nil {
			b.FDB = stations(b, text)
		}
	}
	if err != nil {
		w.lacks("fdb", "", b.Name, err)
	}
}

// openflow asks by ovs-ofctl and keeps the lines that begin with mark. Ports are numbers, as
// output that is no terminal has them in all releases.
func (w *work) openflow(ctx context.Context, bridge, command, mark string) (string, error) {
	program, err := find("ovs-ofctl")
	if err != nil {
		return "", err
	}
	keep := func(line string) bool { return strings.HasPrefix(strings.TrimLeft(line, " "), mark) }
	versions := "OpenFlow13"
	if p := w.protocols[bridge]; len(p) > 0 && !slices.Contains(p, versions) {
		versions = strings.Join(p, ",")
	}
	text, complaint, err := ask(ctx, keep, program, "-O", versions, command, "unix:"+filepath.Join(w.OVS, bridge+".mgmt"))
	if err == nil && text == "" && strings.Contains(complaint, "ovs-ofctl:") {
		err = errors.New(complaint)
	}
	if err != nil {
		return "", fmt.Errorf("%w; is ovs-vswitchd running?", err)
	}
	return text, nil
}

// stations reads fdb/show: port, VLAN, MAC, age.
func stations(b *facts.Bridge, text string) (out []facts.FDB) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 4 {
			continue
		}
		mac, err := packet.ParseMAC(f[2])
		if err != nil {
			continue // the heading
		}
		number, err := strconv.Atoi(f[0])
		if f[0] == "LOCAL" {
			number = local
		} else if err != nil {
			continue
		}
		e := facts.FDB{MAC: mac, Dev: f[0], Static: f[3] == "static"}
		e.VLAN, _ = strconv.Atoi(f[1])
		if p := b.PortAt(number); p != nil {
			e.Dev = p.Name
		}
		out = append(out, e)
	}
	return out
}
