package mysql_test

import (
	"context"
	"os/exec"
	"testing"
	"time"

	"kaname.dev/kaname/lab"
	"kaname.dev/kaname/lab/mysql"
	"kaname.dev/kaname/lab/netns"
)

func TestTopology(t *testing.T) {
	for _, flavour := range []string{mysql.FlavourMariaDB, mysql.FlavourMySQL} {
		t.Run(flavour, func(t *testing.T) {
			b := mysql.Topology(t, flavour, 3)
			p, r := b.Primary(), b.Replicas()
			r[0].Kill()
			p.Exec(t, "INSERT INTO app.acks (id, writer) VALUES (1, 0)")
			r[0].Start(t)
			lab.Eventually(t, "the restarted replica has caught up", func() bool { return r[0].Has(t, 1) })

			p.Kill()
			r[0].Promote(t, true)
			r[1].Follow(t, r[0])
			p.Start(t)
			p.Follow(t, r[0])
			b.Prove(t, r[0])
			if ro := p.Value(t, "SELECT @@read_only"); ro != "1" {
				t.Errorf("the old primary has read_only %s", ro)
			}
		})
	}
}

// TestOnAHost runs a server on a host of a small network, lets a script start it again,
// and reaches it from another host.
func TestOnAHost(t *testing.T) {
	net := netns.New(t, 2, 0)
	s := mysql.MariaDB(t, mysql.Options{Host: net.Hosts[0], Name: "a"})
	s.Kill()
	if pid := s.PID(); pid != 0 {
		t.Fatalf("process %d is there after a kill", pid)
	}
	if out, err := exec.CommandContext(t.Context(), s.StartFile).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	greeting := func(h *netns.Host) bool {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		c, err := h.Dial(ctx, "tcp", s.Address())
		if err != nil {
			return false
		}
		defer c.Close()
		_ = c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		_, err = c.Read(make([]byte, 100))
		return err == nil
	}
	lab.Eventually(t, "the server that the script started greets the other host", func() bool { return greeting(net.Hosts[1]) })
	s.Stop()
	if greeting(net.Hosts[1]) {
		t.Error("a stopped server greets")
	}
	s.Cont()
	lab.Eventually(t, "it greets again", func() bool { return greeting(net.Hosts[1]) })
	s.Shutdown()
	if pid := s.PID(); pid != 0 {
		t.Errorf("process %d is there after its end", pid)
	}
}
