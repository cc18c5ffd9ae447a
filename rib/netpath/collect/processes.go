package collect

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"kaname.dev/kaname/rib/netpath/collect/mask"
	"kaname.dev/kaname/rib/netpath/facts"
)

// matters are the beginnings of names of programs that have to do with networks.
var matters = []string{"neutron-", "nova-compute", "dnsmasq", "haproxy", "keepalived", "radvd", "conntrackd", "ovs-vswitchd", "ovsdb-server", "ovn-controller", "ns-metadata-proxy"}

// processes finds the programs that matter, in the namespaces of this host, and the
// sockets that they hold.
func (w *work) processes(spaces []*space) {
	w.holders = map[uint64]string{}
	ours := map[uint64]bool{}
	for _, s := range spaces {
		ours[s.id] = true
	}
	var denied error
	for _, pid := range pids() {
		dir := "/proc/" + strconv.Itoa(pid)
		args, err := cmdline(dir)
		name := program(args)
		if err != nil || !slices.ContainsFunc(matters, func(m string) bool { return strings.HasPrefix(name, m) }) {
			continue
		}
		p := facts.Process{PID: pid, Name: name, Args: mask.Args(args)}
		var st unix.Stat_t
		if err = unix.Stat(dir+"/ns/net", &st); err == nil {
			if !ours[st.Ino] {
				continue // of a container, or of another host in a laboratory
			}
			p.Network = st.Ino
			err = w.hold(dir, name)
		}
		if errors.Is(err, fs.ErrPermission) {
			denied = fmt.Errorf("namespace and sockets of %s: %w", name, err)
		}
		w.host.Processes = append(w.host.Processes, p)
	}
	slices.SortFunc(w.host.Processes, func(a, b facts.Process) int { return a.PID - b.PID })
	if denied != nil {
		w.lacks(facts.Programs, "", "", denied)
	}
}

// cmdline reads the arguments of a process; none of a thread of the kernel.
func cmdline(dir string) ([]string, error) {
	b, err := os.ReadFile(dir + "/cmdline") //nolint:gosec // of /proc
	if err != nil || len(b) == 0 {
		return nil, err
	}
	return strings.Split(strings.TrimRight(string(b), "\x00"), "\x00"), nil
}

// program is a program's name: that of the script where an interpreter runs one, and of
// those who write a title of their own ("neutron-server: api worker"), its first word.
func program(args []string) string {
	for i, a := range args {
		name := filepath.Base(strings.TrimSuffix(strings.Fields(a + " -")[0], ":"))
		if i == 0 && (strings.HasPrefix(name, "python") || name == "sh" || name == "bash" || name == "ip" || name == "sudo") {
			continue
		}
		if i > 0 && strings.HasPrefix(a, "-") {
			continue
		}
		return name
	}
	return ""
}

// hold notes which sockets a process holds.
func (w *work) hold(dir, name string) error {
	d, err := os.Open(dir + "/fd") //nolint:gosec // of /proc
	if err != nil {
		return err
	}
	defer d.Close() //nolint:errcheck // only read
	fds, _ := d.Readdirnames(-1)
	for _, fd := range fds {
		to, err := os.Readlink(dir + "/fd/" + fd)
		inode, ok := strings.CutPrefix(to, "socket:[")
		if err != nil || !ok {
			continue
		}
		if n, err := strconv.ParseUint(strings.TrimSuffix(inode, "]"), 10, 64); err == nil {
			w.holders[n] = name
		}
	}
	return nil
}
