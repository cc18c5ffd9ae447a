package netns_test

import (
	"context"
	"net"
	"testing"
	"time"

	"kaname.dev/kaname/lab"
	"kaname.dev/kaname/lab/netns"
)

// TestSilentCuts looks at a connection that stands: what arrives on which way.
func TestSilentCuts(t *testing.T) {
	b := netns.New(t, 2, 0)
	l, err := b.Hosts[1].Listen("tcp", b.Hosts[1].IP+":7000")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	here, err := b.Hosts[0].Dial(t.Context(), "tcp", b.Hosts[1].IP+":7000")
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	there, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	arrives := func(from, to net.Conn) bool {
		t.Helper()
		if _, err := from.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := to.SetReadDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		_, err := to.Read(make([]byte, 100))
		return err == nil
	}
	if !arrives(here, there) || !arrives(there, here) {
		t.Fatal("nothing arrives before a cut")
	}
	b.Hosts[0].CutSilently()
	if arrives(here, there) || arrives(there, here) {
		t.Error("a silent cut carries packets")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if c, err := b.Hosts[0].Dial(ctx, "tcp", b.Hosts[1].IP+":7000"); err == nil {
		_ = c.Close()
		t.Error("a connection is made across a silent cut")
	}
	b.Hosts[0].Restore()
	lab.Eventually(t, "what was lost is sent again", func() bool { return arrives(here, there) && arrives(there, here) })

	b.Hosts[1].CutTo(b.Hosts[0])
	if arrives(there, here) {
		t.Error("a cut way carries packets")
	}
	if !arrives(here, there) {
		t.Error("the other way is cut too")
	}
	b.Hosts[1].Restore()
	lab.Eventually(t, "what was lost is sent again", func() bool { return arrives(there, here) })
	b.Hosts[1].Restore()
}
