package haproxy_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"kaname.dev/kaname/lab"
	"kaname.dev/kaname/rib/mysql/endpoint"
	"kaname.dev/kaname/rib/mysql/endpoint/endpointtest"
	"kaname.dev/kaname/rib/mysql/endpoint/haproxy"
	"kaname.dev/kaname/rib/mysql/topology"
)

// start runs a real HAProxy with the configuration that Setup gives.
func start(t *testing.T) (socket, listen string, cmd *exec.Cmd) {
	t.Helper()
	program := lab.Need(t, "haproxy")
	dir := t.TempDir()
	socket = filepath.Join(dir, "admin.sock")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listen = l.Addr().String()
	l.Close()
	path := filepath.Join(dir, "haproxy.cfg")
	if err := os.WriteFile(path, []byte("global\n"+haproxy.Setup(endpointtest.Topology, socket, listen, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command(program, "-f", path, "-db", "-q")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	lab.Eventually(t, "HAProxy has its socket", func() bool {
		c, err := net.Dial("unix", socket)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return socket, listen, cmd
}

func TestConforms(t *testing.T) {
	socket, listen, cmd := start(t)
	endpointtest.Conform(t, endpointtest.Bench{
		New:         haproxy.New,
		Settings:    map[string]string{"sockets": socket},
		Members:     endpointtest.Servers(t, "db1", "db2"),
		Dial:        endpointtest.At(listen),
		Epochs:      endpointtest.Kept,
		Unreachable: map[string]string{"sockets": socket + ".not"},
		Where:       socket,
		Break: func(*testing.T) func() {
			cmd.Process.Signal(syscall.SIGSTOP)
			return func() { cmd.Process.Signal(syscall.SIGCONT) }
		},
	})
}

// Two of them, one of which is not there: the other is set nevertheless.
func TestOneOfTwo(t *testing.T) {
	socket, listen, _ := start(t)
	d, err := haproxy.New(endpoint.Options{Topology: endpointtest.Topology, Settings: map[string]string{"sockets": socket + ".not, " + socket, "replicas": "shop-read"}})
	if err != nil {
		t.Fatal(err)
	}
	m := endpointtest.Servers(t, "db1", "db2")
	err = d.Publish(t.Context(), endpoint.Target{Topology: "shop", Epoch: 3, Primary: &m[0], Replicas: m[1:]})
	if err == nil || !strings.Contains(err.Error(), socket+".not") {
		t.Errorf("Publish: %v", err)
	}
	c, err := endpointtest.At(listen)(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got, err := endpointtest.Greeting(t.Context(), c); got != "db1" {
		t.Errorf("a client gets to %q, %v", got, err)
	}
}

func TestRefusesNames(t *testing.T) {
	socket, _, _ := start(t)
	d, err := haproxy.New(endpoint.Options{Topology: endpointtest.Topology, Settings: map[string]string{"sockets": socket}})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []string{"db1:3306", "127.0.0.1", "127.0.0.1:0", "127.0.0.1;:1"} {
		if err := d.Publish(t.Context(), endpoint.Target{Epoch: 1, Primary: &topology.Member{Name: "db1", Address: a}}); err == nil {
			t.Errorf("Publish to %q succeeds", a)
		}
	}
	if _, err := haproxy.New(endpoint.Options{Topology: "a; b", Settings: map[string]string{"sockets": socket}}); err == nil {
		t.Error("a name with a command in it is taken")
	}
}
