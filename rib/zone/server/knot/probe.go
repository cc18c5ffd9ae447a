package knot

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"kaname.dev/kaname/rib/zone/control/knotctl"
	"kaname.dev/kaname/rib/zone/server"
)

// Probe asks for the version, and looks at the process behind the socket.
func (d *driver) Probe(ctx context.Context) (server.Info, error) {
	c, err := knotctl.Dial(ctx, d.o.Control)
	if err != nil {
		return server.Info{}, d.wrap(err)
	}
	defer c.Close() //nolint:errcheck // nothing is lost
	units, err := c.Do(knotctl.Data{Command: "status", Type: "version"})
	if err != nil {
		return server.Info{}, d.wrap(err)
	}
	info := server.Info{Kind: "knot", Batch: batch}
	for _, u := range units {
		info.Version = strings.TrimPrefix(u.Value, "Version: ")
	}
	pid := c.PID()
	info.Boot = bootOf(pid)
	if !isPersistent(pid) {
		info.Problems = append(info.Problems, "knotd reads a text file as its configuration, so zones that are added are gone after a restart; "+
			"import it and start knotd with -C DIRECTORY, or without -c; run kaname zone setup "+d.o.Name)
	}
	return info, nil
}

// database is where knotd looks for a configuration database when nothing is said.
const database = "/var/lib/knot/confdb"

// isPersistent reports whether the process has a configuration database; true when its
// arguments cannot be seen.
func isPersistent(pid int) bool {
	args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err != nil || persists(strings.Split(string(args), "\x00"))
}

// persists reports whether a knotd with these arguments has a configuration database.
func persists(args []string) bool {
	for _, a := range args[min(1, len(args)):] {
		switch {
		case strings.HasPrefix(a, "-C"), strings.HasPrefix(a, "--confdb"):
			return true
		case strings.HasPrefix(a, "-c"), strings.HasPrefix(a, "--config"):
			return false
		}
	}
	_, err := os.Stat(filepath.Join(database, "data.mdb"))
	return err == nil
}

// bootOf identifies a process: its number and when it began, in ticks since the
// machine's start (proc(5), stat field 22).
func bootOf(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	if f := strings.Fields(rest); len(f) > 19 {
		return fmt.Sprintf("%d-%s", pid, f[19])
	}
	return ""
}
