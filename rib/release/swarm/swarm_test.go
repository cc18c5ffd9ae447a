package swarm

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"kaname.dev/kaname/fault"
)

// all runs the fetches of all receivers.
func (c *cluster) all(t *testing.T, change func(*FetchSpec)) {
	t.Helper()
	g, ctx := errgroup.WithContext(t.Context())
	for i := 1; i < len(c.hosts); i++ {
		g.Go(func() error { return c.fetch(ctx, i, change) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	for i, p := range c.packs {
		if err := p.complete(); err != nil {
			t.Errorf("host %d: %v", i, err)
		}
	}
}

func TestSpread(t *testing.T) {
	for _, n := range []int{1, 4, 8} {
		c := newCluster(t, n, 64, 64<<10, nil)
		start := time.Now()
		c.all(t, nil)
		t.Logf("%d hosts: %v, origin %.2f copies", n, time.Since(start), c.origin())
		if c.origin() > 1.3 {
			t.Errorf("the origin sent %.2f copies", c.origin())
		}
		for i := 1; i <= n; i++ {
			if got := c.hosts[i].stats.Total(); got.Received != 64*64<<10 || got.Corrupt != 0 || got.Dropped != 0 {
				t.Errorf("host %d counts %+v", i, got)
			}
		}
	}
}

func TestCompletePackNeedsNobody(t *testing.T) {
	c := newCluster(t, 1, 4, 1000, nil)
	if err := Fetch(t.Context(), c.packs[0], FetchSpec{}); err != nil {
		t.Error(err)
	}
}

func TestLimitsBoundAllPacks(t *testing.T) {
	const size, rate = 32 << 10, 512 << 10
	c := newCluster(t, 1, 32, size, func(i int) *Limits {
		if i == 0 {
			return NewLimits(rate, 0)
		}
		return nil
	})
	start := time.Now()
	c.all(t, nil)
	least := time.Duration(float64(32*size-burst) / rate * float64(time.Second))
	if took := time.Since(start); took < least*9/10 {
		t.Errorf("%d bytes at %d bytes a second took %v, less than %v", 32*size, rate, took, least)
	}
}

func TestDownloadLimitCanBeLifted(t *testing.T) {
	c := newCluster(t, 1, 64, 64<<10, nil)
	limits := NewLimits(0, 1<<10) // it would take an hour
	g, ctx := errgroup.WithContext(t.Context())
	g.Go(func() error { return c.fetch(ctx, 1, func(s *FetchSpec) { s.Limits = limits }) })
	limits.Set(0, 0)
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

func TestPeerThatComesLaterIsFound(t *testing.T) {
	c := newCluster(t, 2, 16, 32<<10, nil)
	c.stops[0]() // the origin does not share yet
	g, ctx := errgroup.WithContext(t.Context())
	waiting := make(chan string, 100)
	g.Go(func() error {
		return c.fetch(ctx, 1, func(s *FetchSpec) {
			s.Retry = 300 * time.Millisecond
			s.Progress = func(p Progress) {
				select {
				case waiting <- p.Waiting:
				default:
				}
			}
		})
	})
	for text := ""; text == ""; {
		select {
		case text = <-waiting:
			if text != "" && !strings.Contains(text, "is not shared here") {
				t.Errorf("it waits because of %q", text)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("it does not say why it waits")
		}
	}
	stop, err := c.hosts[0].server.Share(c.packs[0], ShareSpec{Hosts: c.names, Origin: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

func TestGivesUpWithReasons(t *testing.T) {
	c := newCluster(t, 1, 4, 1000, nil)
	c.hosts[0].close()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	err := c.fetch(ctx, 1, nil)
	if !fault.Is(err, fault.KindTimeout) || !errors.Is(err, context.DeadlineExceeded) ||
		!strings.Contains(err.Error(), "lacks 4 of 4 chunks") || !strings.Contains(err.Error(), "h0: ") {
		t.Errorf("%v", err)
	}
}

// failingPack is on a disk that takes nothing.
type failingPack struct{ *testPack }

func (failingPack) Put(context.Context, int, []byte) error {
	return fault.Full("no space is left")
}

func TestOwnDiskFull(t *testing.T) {
	c := newCluster(t, 1, 4, 1000, nil)
	h := c.hosts[1]
	err := Fetch(t.Context(), failingPack{c.packs[1]}, FetchSpec{Self: h.name, Peers: c.peers, Client: h.client, Stats: h.stats})
	if !fault.Is(err, fault.KindFull) {
		t.Errorf("%v", err)
	}
	if got := h.stats.Total(); got.Dropped != 0 {
		t.Errorf("a peer is blamed: %+v", got)
	}
}

func TestStrangersAreRefused(t *testing.T) {
	c := newCluster(t, 1, 4, 1000, nil)
	conf, err := c.ca.config("stranger")
	if err != nil {
		t.Fatal(err)
	}
	stranger := &testHost{name: "stranger", tls: conf}
	id := c.packs[0].ID()
	for path, want := range map[string]int{
		"/release/packs/" + id + "/chunks":                                    http.StatusForbidden,
		"/release/packs/" + id + "/index":                                     http.StatusForbidden,
		"/release/packs/" + strings.Repeat("0", 64) + "/chunks":               http.StatusNotFound,
		"/release/packs/" + id + "%2f..%2f..%2fetc%2fpasswd/index":            http.StatusNotFound,
		"/release/packs/" + strings.Repeat("x", 10_000) + "%00\"\n/index"[:3]: http.StatusNotFound,
	} {
		resp, err := stranger.client("h0").Get("https://" + c.hosts[0].addr + path)
		if err != nil {
			t.Errorf("%.80s: %v", path, err)
			continue
		}
		if resp.StatusCode != want {
			t.Errorf("%.80s: %s", path, resp.Status)
		}
		resp.Body.Close() //nolint:errcheck // a test's
	}
	b, err := FetchIndex(t.Context(), c.hosts[1].client("h0"), c.peers[0], id)
	if err != nil || string(b) != string(c.packs[0].raw) {
		t.Errorf("index for a member: %q %v", b, err)
	}
	if _, err := FetchIndex(t.Context(), stranger.client("h0"), c.peers[0], id); !fault.Is(err, fault.KindDenied) {
		t.Errorf("index for a stranger: %v", err)
	}
}

// TestHostileAskers sends what no honest asker sends: each is cut off, and the server goes on.
func TestHostileAskers(t *testing.T) {
	c := newCluster(t, 1, 70, 1000, nil)
	long := frame(nil, frameHello, 1<<20)
	good := hello(nil, c.packs[1].Have())
	for name, bytes := range map[string][]byte{
		"other count":        frame(nil, frameHello, 71),
		"huge bitmap":        append(long, make([]byte, 1<<17)...),
		"bits beyond":        append(frame(nil, frameHello, 70), []byte(strings.Repeat("\xff", 16))...),
		"no hello":           frame(nil, frameTake, 3),
		"chunk beyond":       frame(good, frameTake, 70),
		"number without end": append(append(slices.Clip(good), frameTake), []byte(strings.Repeat("\xff", 20))...),
		"unknown frame":      frame(slices.Clip(good), '?', 1),
		"supplier's own":     frame(slices.Clip(good), frameOffer, 1),
		"negative as varint": append(append(slices.Clip(good), frameTake), binary.AppendUvarint(nil, 1<<63)...),
	} {
		stream := c.stream(t)
		if _, err := stream.Write(bytes); err != nil {
			t.Logf("%s: %v", name, err) // it may be cut off before all is written
		}
		ended := make(chan error, 1)
		go func() {
			_, err := io.Copy(io.Discard, stream)
			ended <- err
		}()
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			t.Errorf("%s: it is not cut off", name)
		}
		stream.Close() //nolint:errcheck // a test's
	}
	c.all(t, nil)
}

// TestTakesThatWereNotOffered bring nothing.
func TestTakesThatWereNotOffered(t *testing.T) {
	c := newCluster(t, 1, 4, 1000, nil)
	stream := c.stream(t)
	defer stream.Close()               //nolint:errcheck // a test's
	b := hello(nil, c.packs[0].Have()) // covers everything: nothing is offered
	for chunk := range 4 {
		b = frame(b, frameTake, chunk)
		b = frame(b, frameCancel, chunk)
	}
	if _, err := stream.Write(b); err != nil {
		t.Fatal(err)
	}
	kind, _, err := readFrame(bufio.NewReader(stream), 4)
	if err != nil || kind != framePing {
		t.Errorf("%q %v", kind, err)
	}
	if sent := c.hosts[0].stats.Total().Sent; sent != 0 {
		t.Errorf("%d bytes sent", sent)
	}
}

// stream opens a connection of host 1 to the origin.
func (c *cluster) stream(t *testing.T) io.ReadWriteCloser {
	t.Helper()
	f := &fetch{pack: c.packs[1], spec: FetchSpec{Client: c.hosts[1].client}}
	stream, err := f.dial(t.Context(), c.peers[0])
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// TestHostileSupplier is a server that sends what no honest supplier sends: it is dropped
// and named, and the fetch goes on elsewhere.
func TestHostileSupplier(t *testing.T) {
	for name, frames := range map[string][]byte{
		"data that nobody took": append(frame(nil, frameData, 1, 10), make([]byte, 10)...),
		"offer beyond":          frame(nil, frameOffer, 999),
		"unknown frame":         frame(nil, '?', 1),
		"too much data":         frame(nil, frameData, 0, 1<<30),
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, 2, 8, 1000, nil)
			c.stops[2]()
			c.hosts[2].close()
			bad, err := newTestHostWith("h2", c.hosts[2].tls, func(w http.ResponseWriter, _ *http.Request) {
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					return
				}
				defer conn.Close()                                                                                               //nolint:errcheck // a test's
				io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+protocol+"\r\n\r\n") //nolint:errcheck // the same
				conn.Write(frames)                                                                                               //nolint:errcheck // the same
				io.Copy(io.Discard, conn)                                                                                        //nolint:errcheck // until the asker leaves
			})
			if err != nil {
				t.Fatal(err)
			}
			defer bad.close()
			c.peers[2].Address = bad.addr
			c.stops[0]() // the bad one comes first
			dropped := make(chan string, 10)
			g, ctx := errgroup.WithContext(t.Context())
			g.Go(func() error {
				return c.fetch(ctx, 1, func(s *FetchSpec) {
					s.Retry = 300 * time.Millisecond
					s.Dropped = func(host string, _ error) { dropped <- host }
				})
			})
			select {
			case host := <-dropped:
				if host != "h2" {
					t.Errorf("%s was dropped", host)
				}
			case <-time.After(10 * time.Second):
				t.Error("nobody was dropped")
			}
			stop, err := c.hosts[0].server.Share(c.packs[0], ShareSpec{Hosts: c.names, Origin: true})
			if err != nil {
				t.Fatal(err)
			}
			defer stop()
			if err := g.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}
