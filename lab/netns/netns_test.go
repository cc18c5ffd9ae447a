package netns_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"kaname.dev/kaname/lab/netns"
)

// TestMain lets this binary be what runs on the hosts.
func TestMain(m *testing.M) {
	switch {
	case len(os.Args) > 1 && os.Args[1] == "listen":
		l, err := net.Listen("tcp", ":7000")
		if err != nil {
			os.Exit(1)
		}
		fmt.Println("listening")
		for {
			if _, err := l.Accept(); err != nil {
				os.Exit(1)
			}
		}
	case len(os.Args) > 2 && os.Args[1] == "dial":
		if _, err := net.DialTimeout("tcp", os.Args[2], time.Second); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestCutAndRestore(t *testing.T) {
	b := netns.New(t, 2, 100_000_000)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	listener := b.Hosts[1].Command(ctx, self, "listen")
	out, err := listener.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Start(); err != nil {
		t.Fatal(err)
	}
	defer listener.Wait() //nolint:errcheck // it is killed
	defer cancel()
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	dial := func() error {
		return b.Hosts[0].Command(t.Context(), self, "dial", b.Hosts[1].IP+":7000").Run()
	}
	if err := dial(); err != nil {
		t.Fatalf("no way from host to host: %v", err)
	}
	if sent, received := b.Hosts[0].Bytes(); sent == 0 || received == 0 {
		t.Errorf("counters say %d sent, %d received", sent, received)
	}
	b.Hosts[1].Cut()
	if dial() == nil {
		t.Error("a cut link carries packets")
	}
	b.Hosts[1].Restore()
	deadline := time.Now().Add(5 * time.Second)
	for err = errors.New("not tried"); err != nil && time.Now().Before(deadline); {
		err = dial()
	}
	if err != nil {
		t.Errorf("a restored link carries nothing: %v", err)
	}
}
