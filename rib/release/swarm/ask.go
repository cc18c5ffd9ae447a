package swarm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/cenkalti/backoff/v5"

	"kaname.dev/kaname/fault"
)

// Why a supplier is dropped.
var (
	errSlow   = errors.New("far slower than the others")
	errSilent = errors.New("nothing was heard of it for " + silence.String())
	errLied   = errors.New("it sent bad bytes")
)

// shun is how long a dropped peer is left alone, times the number of its offences.
const shun = 30 * time.Second

// ask keeps asking one peer until ctx ends: it may be away now and come back.
func (f *fetch) ask(ctx context.Context, p Peer) {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 100*time.Millisecond, f.spec.Retry
	offences := 0
	for {
		began := time.Now()
		err := f.session(ctx, p)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > f.spec.Retry {
			pause.Reset()
		}
		wait := pause.NextBackOff()
		if errors.Is(err, errSlow) || errors.Is(err, errLied) || errors.Is(err, errProtocol) {
			offences++
			wait = time.Duration(offences) * shun
			f.dropped(p.Host, err)
		}
		f.mu.Lock()
		f.why[p.Host] = err
		f.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

func (f *fetch) dropped(host string, why error) {
	f.spec.Stats.count(host, func(t *Traffic) { t.Dropped++ })
	f.spec.Log.Warn("a peer was dropped", "pack", short(f.pack.ID()), "peer", host, "cause", why)
	if f.spec.Dropped != nil {
		f.spec.Dropped(host, why)
	}
}

// session is one connection to a peer, from dial to end.
func (f *fetch) session(ctx context.Context, p Peer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	late := time.AfterFunc(dialTime, cancel)
	stream, err := f.dial(ctx, p)
	late.Stop()
	if err != nil {
		return err
	}
	return f.take(ctx, p, stream)
}

// dialTime is how long a peer may take to answer the request.
const dialTime = 10 * time.Second

func (f *fetch) dial(ctx context.Context, p Peer) (io.ReadWriteCloser, error) {
	u := url.URL{Scheme: "https", Host: p.Address, Path: "/release/packs/" + f.pack.ID() + "/chunks"}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", protocol)
	resp, err := f.spec.Client(p.Host).Do(req)
	if err != nil {
		return nil, err
	}
	if stream, ok := resp.Body.(io.ReadWriteCloser); ok && resp.StatusCode == http.StatusSwitchingProtocols {
		return stream, nil
	}
	defer resp.Body.Close() //nolint:errcheck // an answer that is of no use
	return nil, answered(resp)
}

// answered makes an error of an answer that is not what was asked for.
func answered(resp *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if err != nil {
		return fmt.Errorf("it answers %s: %w", resp.Status, err)
	}
	var said fault.Fault
	if said.UnmarshalJSON(body) == nil && said.What != "" {
		return &said
	}
	return fmt.Errorf("it answers %s", resp.Status)
}

// FetchIndex gets a pack's index from a peer; the caller checks that it is the one
// with the ID. It is refused above MaxIndex bytes.
func FetchIndex(ctx context.Context, client *http.Client, p Peer, id string) ([]byte, error) {
	u := url.URL{Scheme: "https", Host: p.Address, Path: "/release/packs/" + id + "/index"}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fault.Unavailable("index of pack " + short(id)).At(p.Host).Because(err)
	}
	defer resp.Body.Close() //nolint:errcheck // only read from
	if resp.StatusCode != http.StatusOK {
		return nil, answered(resp)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, MaxIndex+1))
	if err != nil {
		return nil, fault.Unavailable("index of pack " + short(id)).At(p.Host).Because(err)
	}
	if len(b) > MaxIndex {
		return nil, fault.Corrupt(fmt.Sprintf("index of pack %s is larger than %d bytes", short(id), MaxIndex)).At(p.Host)
	}
	return b, nil
}
