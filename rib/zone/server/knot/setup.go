package knot

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"kaname.dev/kaname/rib/zone/control/knotctl"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/server"
	"kaname.dev/kaname/rib/zone/wire"
)

// setupTime bounds what Setup asks knotd.
const setupTime = 10 * time.Second

// Setup returns what the knotd behind the control socket lacks: a configuration
// database, made of its text file, and the TSIG keys in it. The templates are made by
// the driver. The secrets of the keys are arguments of the commands, for there is no
// other way into the database of a knotd that runs.
func Setup(s server.Setup) server.Recipe {
	socket, conf := cmp.Or(s.Options.Control, Socket), cmp.Or(s.Options.Config, "/etc/knot/knot.conf")
	ctx, cancel := context.WithTimeout(context.Background(), setupTime) //nolint:forbidigo // Setup has none, and this is short
	defer cancel()
	keys, persistent, err := state(ctx, socket)
	switch {
	case err != nil:
		return server.Recipe{Notes: []string{
			err.Error() + "; start knotd, let kaname's user use the socket (usermod -a -G knot kaname), and run this again",
		}}
	case !persistent:
		return server.Recipe{
			Commands: [][]string{{"runuser", "-u", "knot", "--", "knotc", "-C", database, "conf-import", conf}},
			Notes: []string{
				"knotd reads " + conf + " and not the database that this makes of it, so zones that are added would be gone after a restart: " +
					"start knotd again without -c (Debian: KNOTD_ARGS=\"\" in /etc/default/knot, then systemctl restart knot), and run this again for the TSIG keys",
			},
		}
	}
	r := server.Recipe{}
	for _, k := range s.Keys {
		r.Commands = append(r.Commands, setKey(socket, k, keys)...)
	}
	if len(r.Commands) > 0 {
		r.Commands = slices.Concat([][]string{{"knotc", "-s", socket, "conf-begin"}}, r.Commands, [][]string{{"knotc", "-s", socket, "conf-commit"}})
	}
	return r
}

// setKey returns the commands that give knotd a key, or another secret to one that it
// has.
func setKey(socket string, k wire.Key, have map[name.Name]string) [][]string {
	set := []string{"knotc", "-s", socket, "conf-set"}
	set = set[:4:4]
	n, err := name.Parse(k.Name)
	id, there := have[n]
	if err != nil || !there {
		id = strings.TrimSuffix(k.Name, ".")
	}
	var commands [][]string
	if !there {
		commands = append(commands, append(set, "key["+id+"]"))
	}
	return append(commands, append(set, "key["+id+"].algorithm", strings.TrimSuffix(k.Algorithm, ".")), append(set, "key["+id+"].secret", k.Secret))
}

// state returns the names of the keys that knotd has, as it writes them, and whether
// its configuration is a database.
func state(ctx context.Context, socket string) (keys map[name.Name]string, persistent bool, err error) {
	c, err := knotctl.Dial(ctx, socket)
	if err != nil {
		return nil, false, err
	}
	defer c.Close() //nolint:errcheck // nothing is lost
	keys, err = keysIn(c)
	return keys, isPersistent(c.PID()), err
}
