package ovsdb

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kaname.dev/kaname/lab"
)

// The server is the real one, with the schema that it comes with.
func TestRealServer(t *testing.T) {
	server, tool := lab.Need(t, "ovsdb-server"), lab.Need(t, "ovsdb-tool")
	client := lab.Need(t, "ovs-vsctl")
	dir := t.TempDir()
	db, sock := filepath.Join(dir, "conf.db"), filepath.Join(dir, "db.sock")
	run(t, tool, "create", db, "/usr/share/openvswitch/vswitch.ovsschema")
	// Away from the machine's own, for it writes where it is told only.
	cmd := exec.Command(server, db, "--remote=punix:"+sock, "--unixctl="+filepath.Join(dir, "ctl"), "--no-chdir")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lab.Eventually(t, "the server listens", func() bool {
		c, err := net.Dial("unix", sock)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	run(t, client, "--db=unix:"+sock, "--no-wait", "init", "--", "add-br", "br0", "--", "add-port", "br0", "p1", "tag=7", "trunks=1,2",
		"--", "set", "interface", "p1", "type=vxlan", "options:remote_ip=10.0.0.1", "options:key=flow")

	c, err := Dial(t.Context(), sock)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // test
	rows, err := c.Select(t.Context(), "Open_vSwitch",
		Table{"Bridge", []string{"name", "ports", "no_such_column"}}, Table{"Port", []string{"name", "tag", "trunks"}}, Table{"Interface", []string{"name", "type", "options", "ofport"}})
	if err != nil {
		t.Fatal(err)
	}
	if b := rows[0][0]; b.Text("name") != "br0" || len(b.References("ports")) != 2 || b.UUID() == "" {
		t.Errorf("bridge %s", b)
	}
	for _, p := range rows[1] {
		if tag, ok := p.Number("tag"); p.Text("name") == "p1" && (!ok || tag != 7 || !slices.Equal(p.Numbers("trunks"), []int{1, 2})) {
			t.Errorf("port %s", p)
		} else if p.Text("name") == "br0" && ok {
			t.Errorf("port %s has a tag", p)
		}
	}
	for _, i := range rows[2] {
		if i.Text("name") == "p1" && (i.Text("type") != "vxlan" || i.Map("options")["remote_ip"] != "10.0.0.1" || len(i.Map("options")) != 2) {
			t.Errorf("interface %s", i)
		}
	}
	if _, err = c.Select(t.Context(), "Open_vSwitch", Table{Name: "Nothing"}); err == nil {
		t.Error("a table that is none")
	}
	if _, err = c.Call(t.Context(), "get_schema", "nothing"); err == nil {
		t.Error("a database that is none")
	}
}

func run(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// odd answers once with what it is given, after a line that it is sent.
func odd(t *testing.T, answers ...string) *Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_ = json.NewDecoder(conn).Decode(&struct{}{})
		for _, a := range answers {
			_, _ = conn.Write([]byte(a))
		}
		if c, ok := conn.(*net.UnixConn); ok && len(answers) > 0 {
			_ = c.CloseWrite()
		}
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	}()
	c, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestOddServers(t *testing.T) {
	if got, err := odd(t, `{"id":"echo","method":"echo","params":["x"]}`, `{"id":99,"result":1,"error":null}`, `{"id":1,"result":"text","error":null}`).Command(t.Context(), "x"); err != nil || got != "text" {
		t.Errorf("%q, %v", got, err)
	}
	for _, a := range []string{"no JSON\n", `{"id":1,"res`, `{"id":1,"result":null,"error":"unknown command"}`} {
		if _, err := odd(t, a).Command(t.Context(), "x"); err == nil {
			t.Errorf("%s is no error", a)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := odd(t).Command(ctx, "x"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("silent: %v", err)
	}
}

func FuzzRow(f *testing.F) {
	f.Add(`["set",[["uuid","1"],2,"x"]]`)
	f.Add(`["map",[["a","b"]]]`)
	f.Fuzz(func(_ *testing.T, s string) {
		r := Row{"c": json.RawMessage(s)}
		_, _, _, _ = r.Text("c"), r.Numbers("c"), r.References("c"), r.Map("c")
		_ = r.UUID()
	})
}
