package openflow

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"kaname.dev/kaname/lab"
	"kaname.dev/kaname/rib/netpath/facts"
)

// vswitch is a real ovs-vswitchd with the bridges, ports, flows and stations of a recorded
// host. Its data path is that of user space without devices (--enable-dummy), so that it
// needs no rights and touches no network; what is asked of it, the translation of flows into
// actions of the data path, is the same code for all data paths.
type vswitch struct {
	dir   string
	conn  net.Conn
	dec   *json.Decoder
	where map[int]place   // of a number in the data path
	vtep  map[int][]place // of a tunnel's number, which all of its kind share
}

type place struct {
	bridge string
	ofport int
	remote string // of a tunnel
}

func startVswitch(t *testing.T, o *facts.OVS) *vswitch {
	t.Helper()
	server, daemon, tool := lab.Need(t, "ovsdb-server"), lab.Need(t, "ovs-vswitchd"), lab.Need(t, "ovsdb-tool")
	v := &vswitch{dir: t.TempDir(), where: map[int]place{}, vtep: map[int][]place{}}
	v.run(t, tool, "create", "conf.db", "/usr/share/openvswitch/vswitch.ovsschema")
	v.start(t, server, "conf.db", "--remote=punix:"+v.dir+"/db.sock", "--unixctl="+v.dir+"/server.ctl", "-vconsole:off")
	lab.Eventually(t, "the database answers", func() bool { return exists(v.dir + "/db.sock") })
	v.vsctl(t, "--no-wait", "init")
	v.start(t, daemon, "unix:"+v.dir+"/db.sock", "--unixctl="+v.dir+"/daemon.ctl", "--enable-dummy", "--disable-system", "-vconsole:off")
	lab.Eventually(t, "the daemon answers", func() bool { return exists(v.dir + "/daemon.ctl") })
	c, err := net.Dial("unix", v.dir+"/daemon.ctl")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	v.conn, v.dec = c, json.NewDecoder(c)
	v.build(t, o)
	return v
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (v *vswitch) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, program, args...)
	c.Dir = v.dir
	c.Env = append(os.Environ(), "OVS_RUNDIR="+v.dir, "OVS_LOGDIR="+v.dir, "OVS_DBDIR="+v.dir, "OVS_SYSCONFDIR="+v.dir)
	return c
}

func (v *vswitch) run(t *testing.T, program string, args ...string) {
	t.Helper()
	if out, err := v.command(t.Context(), program, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %.300s: %v\n%.2000s", program, strings.Join(args, " "), err, out)
	}
}

func (v *vswitch) vsctl(t *testing.T, args ...string) {
	t.Helper()
	v.run(t, lab.Need(t, "ovs-vsctl"), append([]string{"--db=unix:" + v.dir + "/db.sock"}, args...)...)
}

// start starts a program that ends with the test.
func (v *vswitch) start(t *testing.T, program string, args ...string) {
	t.Helper()
	c := v.command(context.WithoutCancel(t.Context()), program, args...)
	if os.Geteuid() == 0 {
		// What others do to the machine's routes would make it forget its own.
		c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
}

// call asks the daemon as ovs-appctl does.
func (v *vswitch) call(t *testing.T, method string, args ...string) (string, error) {
	t.Helper()
	if args == nil {
		args = []string{}
	}
	if err := json.NewEncoder(v.conn).Encode(map[string]any{"id": 1, "method": method, "params": args}); err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Result *string `json:"result"`
		Error  *string `json:"error"`
	}
	if err := v.dec.Decode(&answer); err != nil {
		t.Fatalf("%s %q: %v", method, args, err)
	}
	if answer.Error != nil {
		return "", fmt.Errorf("%s", *answer.Error)
	}
	return *answer.Result, nil
}

var shown = regexp.MustCompile(`^(\S+) (\d+)/(\d+|none):`)

// build makes the bridges.
func (v *vswitch) build(t *testing.T, o *facts.OVS) {
	t.Helper()
	var args []string
	for _, b := range o.Bridges {
		args = append(args, "--", "add-br", b.Name, "--", "set", "bridge", b.Name, "fail_mode=secure", "datapath_type=dummy")
		for _, p := range b.Ports {
			if p.OFPort <= 0 {
				continue
			}
			if p.OFPort != portLocal {
				args = append(args, "--", "add-port", b.Name, p.Name, "--", "set", "interface", p.Name, "ofport_request="+strconv.Itoa(p.OFPort))
				if p.Type == "patch" || tunnels[p.Type] {
					args = append(args, "type="+p.Type)
				} else {
					args = append(args, "type=dummy")
				}
				for k, val := range p.Options {
					args = append(args, "options:"+k+"="+strings.ReplaceAll(val, ":", `\:`))
				}
			}
			args = append(args, "--", "set", "port", p.Name)
			if p.Tag != 0 {
				args = append(args, "tag="+strconv.Itoa(p.Tag))
			}
			if p.Mode != "" {
				args = append(args, "vlan_mode="+p.Mode)
			}
			if len(p.Trunks) > 0 {
				args = append(args, "trunks="+strings.Trim(strings.ReplaceAll(fmt.Sprint(p.Trunks), " ", ","), "[]"))
			}
			if args[len(args)-1] == p.Name {
				args = args[:len(args)-4]
			}
		}
	}
	v.vsctl(t, args[1:]...)
	// Tunnels as the kernel has them: their headers are in the actions, whatever the routes are.
	if _, err := v.call(t, "dpif/set-dp-features", o.Bridges[0].Name, "tnl_push_pop", "false"); err != nil {
		t.Fatal(err)
	}
	for _, b := range o.Bridges {
		file := filepath.Join(v.dir, b.Name+".flows")
		if err := os.WriteFile(file, []byte(b.Flows), 0o600); err != nil {
			t.Fatal(err)
		}
		if b.Groups != "" {
			groups := filepath.Join(v.dir, b.Name+".groups")
			if err := os.WriteFile(groups, []byte(b.Groups), 0o600); err != nil {
				t.Fatal(err)
			}
			v.run(t, lab.Need(t, "ovs-ofctl"), "-O", "OpenFlow15", "add-groups", "unix:"+v.dir+"/"+b.Name+".mgmt", groups)
		}
		v.run(t, lab.Need(t, "ovs-ofctl"), "-O", "OpenFlow14", "replace-flows", "unix:"+v.dir+"/"+b.Name+".mgmt", file)
		for _, e := range b.FDB {
			if _, err := v.call(t, "fdb/add", b.Name, e.Dev, strconv.Itoa(e.VLAN), e.MAC.String()); err != nil {
				t.Fatalf("fdb/add %s %+v: %v", b.Name, e, err)
			}
		}
	}
	v.see(t)
}

// see learns the numbers that ports have in the data path.
func (v *vswitch) see(t *testing.T) {
	t.Helper()
	out, err := v.call(t, "dpif/show")
	if err != nil {
		t.Fatal(err)
	}
	bridge := ""
	for line := range strings.Lines(out) {
		text := strings.TrimSpace(line)
		if name, ok := strings.CutSuffix(text, ":"); ok && !strings.Contains(name, " ") {
			bridge = name
			continue
		}
		if m := shown.FindStringSubmatch(text); m != nil && m[3] != "none" {
			of, _ := strconv.Atoi(m[2])
			dp, _ := strconv.Atoi(m[3])
			here := place{bridge: bridge, ofport: of}
			v.where[dp] = here
			if _, after, ok := strings.Cut(text, "remote_ip="); ok {
				here.remote = strings.TrimRight(leftOf(after, ","), ")")
				v.vtep[dp] = append(v.vtep[dp], here)
			}
		}
	}
	if len(v.where) == 0 {
		t.Fatalf("no ports in\n%s", out)
	}
}
