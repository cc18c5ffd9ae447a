package plane

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"golang.org/x/sys/unix"
)

// LeaseChildEnv names the variable that makes the test binary a process of the
// tests of leases; its value is a leaseJob as JSON.
const LeaseChildEnv = "KANAME_PLANE_TEST_LEASE"

// leaseJob is what such a process is told: to be a store, or to contend.
type leaseJob struct {
	StoreDir string // be a server of a store there, on the port
	Port     int
	Options  Options // contend, as this core
	TTL      time.Duration
}

// leaseLine is one line of what a contender tells, as JSON. Times are of
// CLOCK_MONOTONIC in nanoseconds, which all processes of a machine share.
type leaseLine struct {
	Kind  string `json:"kind"` // ready, believe, end, write, leads, follows
	Epoch Epoch  `json:"epoch,omitempty"`
	At    int64  `json:"at"`
	Until int64  `json:"until,omitempty"`
}

func monotonic() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err)
	}
	return ts.Nano()
}

func say(l leaseLine) {
	l.At = max(l.At, 0)
	if l.At == 0 {
		l.At = monotonic()
	}
	b, _ := json.Marshal(l)
	_, _ = os.Stdout.Write(append(b, '\n')) // one write, so that a kill cuts at most the last line
}

// LeaseChild is the life of such a process, until it is killed.
func LeaseChild(job string) {
	fail := func(err error) {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(1)
	}
	var j leaseJob
	if err := json.Unmarshal([]byte(job), &j); err != nil {
		fail(err)
	}
	if j.StoreDir != "" {
		s, err := server.NewServer(&server.Options{ServerName: "store", Host: "127.0.0.1", Port: j.Port, JetStream: true, StoreDir: j.StoreDir, SyncAlways: true, NoSigs: true, NoLog: true})
		if err != nil {
			fail(err)
		}
		s.Start()
		say(leaseLine{Kind: "ready"})
		s.WaitForShutdown()
		return
	}
	j.Options.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	ctx := context.Background()
	p, err := Open(ctx, j.Options)
	if err != nil {
		fail(err)
	}
	say(leaseLine{Kind: "ready"})
	if p.engine != nil {
		go tellLeadership(p)
	}
	for {
		l, err := p.Lease(ctx, "real", LeaseOptions{TTL: j.TTL, Why: "test"})
		if err != nil {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		holdAndTell(l)
		short, cancel := context.WithTimeout(ctx, time.Second)
		_ = l.Release(short) // it was lost
		cancel()
	}
}

// holdAndTell writes to the resource for as long as the lease is valid, and then,
// as one that does not look, for some time more.
func holdAndTell(l *Lease) {
	var told time.Time
	for l.Valid() {
		l.mu.Lock()
		until := l.until
		l.mu.Unlock()
		if now := monotonic(); until != told {
			say(leaseLine{Kind: "believe", Epoch: l.Epoch(), At: now, Until: now + int64(time.Until(until))})
			told = until
		}
		say(leaseLine{Kind: "write", Epoch: l.Epoch()})
		time.Sleep(5 * time.Millisecond)
	}
	say(leaseLine{Kind: "end", Epoch: l.Epoch()})
	for range 60 {
		say(leaseLine{Kind: "write", Epoch: l.Epoch()})
		time.Sleep(10 * time.Millisecond)
	}
}

// tellLeadership tells whether this core leads the stream of the documents.
func tellLeadership(p *Plane) {
	led := false
	for {
		if leads := p.engine.s.JetStreamIsStreamLeader("$G", streamDoc); leads != led {
			led = leads
			say(leaseLine{Kind: map[bool]string{true: "leads", false: "follows"}[leads]})
		}
		time.Sleep(10 * time.Millisecond)
	}
}
