package site_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/lab"
	labmysql "kaname.dev/kaname/lab/mysql"
	"kaname.dev/kaname/rib/mysql/order"
	"kaname.dev/kaname/rib/mysql/topology"
)

// cutting has something happen once when so much of a copy has come.
type cutting struct {
	io.ReadCloser
	left int
	then func()
}

func (c *cutting) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	if c.left -= n; c.left <= 0 && c.then != nil {
		c.then()
		c.then = nil
	}
	return n, err
}

// member returns a member of the record.
func (b *bed) member(i int) *topology.Member {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.record.Member(b.servers[i].Name)
}

// recloneTo orders the second server to become a copy of the first.
func (b *bed) recloneTo(ctx context.Context) (order.Done, error) {
	return b.site(1).Order(ctx, order.Order{
		Topology: "shop", Member: b.servers[1].Name, Epoch: 1, Verb: order.Reclone, Source: b.member(0), Donor: b.member(0), Acker: true,
	})
}

// untouched fails unless the server runs on its old data, and nothing is left beside them.
func (b *bed) untouched() {
	b.t.Helper()
	s := b.servers[1]
	if s.PID() == 0 || s.Value(b.t, "SELECT COUNT(*) FROM app.proof WHERE id=-5") != "1" {
		b.t.Error("its old data are not served")
	}
	if left, _ := filepath.Glob(s.DataDir + ".*"); len(left) > 0 {
		b.t.Errorf("left: %v", left)
	}
}

func TestReclone(t *testing.T) {
	b := newBed(t, labmysql.FlavourMariaDB, 2)
	s := b.servers[1]
	s.Exec(t, "SET SESSION sql_log_bin=0", "INSERT INTO app.proof (id) VALUES (-5)")

	// The donor's server dies in the middle.
	b.copied = func(r io.ReadCloser, _ topology.Member) io.ReadCloser {
		return &cutting{ReadCloser: r, left: 1 << 20, then: b.servers[0].Kill}
	}
	_, err := b.recloneTo(t.Context())
	if !fault.Is(err, fault.KindUnavailable) || !strings.Contains(err.Error(), "are as they were") {
		t.Errorf("the donor was killed: %v", err)
	}
	b.untouched()
	b.servers[0].Start(t)
	lab.Eventually(t, "the primary is open again", func() bool {
		return b.site(0).Report().Lease.Held && b.servers[0].Value(t, "SELECT @@read_only") == "0"
	})

	// The stream ends as if that were all: a copy without its end.
	b.copied = func(r io.ReadCloser, _ topology.Member) io.ReadCloser {
		return struct {
			io.Reader
			io.Closer
		}{io.LimitReader(r, 3<<20), r}
	}
	if _, err := b.recloneTo(t.Context()); err == nil {
		t.Error("a part was taken for all")
	}
	b.untouched()

	// The agent is stopped in the middle, and the order given again.
	ctx, cancel := context.WithCancel(t.Context())
	b.copied = func(r io.ReadCloser, _ topology.Member) io.ReadCloser {
		return &cutting{ReadCloser: r, left: 1 << 20, then: cancel}
	}
	if _, err := b.recloneTo(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	b.untouched()
	b.copied = nil
	done, err := b.recloneTo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Log(done.How)
	if s.Value(t, "SELECT COUNT(*) FROM app.proof WHERE id=-5") != "0" {
		t.Error("it has its old data")
	}
	b.servers[0].Exec(t, "INSERT INTO app.proof (id) VALUES (77)")
	lab.Eventually(t, "it applies, and the old data are gone", func() bool {
		left, _ := filepath.Glob(s.DataDir + ".*")
		return len(left) == 0 && s.Value(t, "SELECT COUNT(*) FROM app.proof WHERE id=77") == "1" && b.site(1).Report().Self.SemiSync.Replies
	})
}

// Nothing is copied where it would not fit.
func TestRecloneWithoutRoom(t *testing.T) {
	lab.NeedRoot(t)
	lab.Need(t, "mariadbd")
	dir, err := os.MkdirTemp("", "kmr") //nolint:usetesting // short, as a socket's name must be
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=120m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	b := newBedOf(t, labmysql.Topology(t, labmysql.FlavourMariaDB, 2, labmysql.Options{}, labmysql.Options{Dir: dir}), labmysql.FlavourMariaDB)
	b.servers[1].Exec(t, "SET SESSION sql_log_bin=0", "INSERT INTO app.proof (id) VALUES (-5)")
	start := time.Now()
	_, err = b.recloneTo(t.Context())
	if !fault.Is(err, fault.KindFull) || !strings.Contains(err.Error(), "MiB are free there") {
		t.Errorf("no room: %v", err)
	}
	t.Logf("refused after %v: %v", time.Since(start), err)
	b.untouched()
}
