package named

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"kaname.dev/kaname/rib/zone/name"
)

// timeouts bound one question to the statistics channel.
const (
	zonesTimeout = 30 * time.Second
	timesTimeout = 5 * time.Second
)

// Running is a zone that a named has.
type Running struct {
	Name   name.Name
	Type   string // primary, secondary, builtin, ...
	Serial uint32
	Loaded bool
}

// Snapshot is what a named has at one time.
type Snapshot struct {
	Boot       string // when it was started, RFC 3339 with milliseconds
	Configured string // when its set of zones, or its configuration, last changed
	Version    string
	Views      map[string][]Running // nil when it was not asked for
}

// Stats asks a statistics channel, host:port, for all zones (JSON version 1). What
// is not complete is an error.
func Stats(ctx context.Context, address string) (*Snapshot, error) {
	s, err := ask(ctx, address, "zones", zonesTimeout)
	if err == nil && s.Views == nil {
		err = fmt.Errorf("statistics channel %s: the answer has no views", address)
	}
	return s, err
}

// Times asks a statistics channel for a Snapshot without zones. It takes named less
// than a millisecond.
func Times(ctx context.Context, address string) (*Snapshot, error) {
	s, err := ask(ctx, address, "status", timesTimeout)
	if err == nil && (s.Boot == "" || s.Configured == "") {
		err = fmt.Errorf("statistics channel %s: the answer has no boot-time and config-time", address)
	}
	return s, err
}

func ask(ctx context.Context, address, what string, limit time.Duration) (*Snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/json/v1/"+what, nil)
	if err != nil {
		return nil, fmt.Errorf("statistics channel %s: %w", address, err)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return nil, fmt.Errorf("statistics channel %s: %w", address, err)
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("statistics channel %s: HTTP %s; is named built with JSON, is this address in its allow?", address, resp.Status)
	}
	s, err := readSnapshot(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("statistics channel %s: %w", address, err)
	}
	return s, nil
}

// readSnapshot reads zone by zone: of 50,000 zones the text is 13 MB.
func readSnapshot(r io.Reader) (*Snapshot, error) {
	d := json.NewDecoder(r)
	s := &Snapshot{}
	err := object(d, func(key string) error {
		switch key {
		case "boot-time":
			return d.Decode(&s.Boot)
		case "config-time":
			return d.Decode(&s.Configured)
		case "version":
			return d.Decode(&s.Version)
		case "views":
			s.Views = map[string][]Running{}
			return object(d, func(view string) error { return s.view(d, view) })
		}
		var skip json.RawMessage
		return d.Decode(&skip)
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Snapshot) view(d *json.Decoder, view string) error {
	s.Views[view] = []Running{}
	return object(d, func(key string) error {
		if key != "zones" {
			var skip json.RawMessage
			return d.Decode(&skip)
		}
		if err := delim(d, '['); err != nil {
			return err
		}
		for d.More() {
			var z struct {
				Name   string  `json:"name"`
				Class  string  `json:"class"`
				Type   string  `json:"type"`
				Serial *uint32 `json:"serial"`
				Loaded string  `json:"loaded"`
			}
			if err := d.Decode(&z); err != nil {
				return err
			}
			n, err := name.Parse(z.Name)
			if err != nil || z.Class != "IN" {
				continue
			}
			zone := Running{Name: n, Type: z.Type, Loaded: z.Serial != nil && z.Loaded != ""}
			if z.Serial != nil {
				zone.Serial = *z.Serial
			}
			s.Views[view] = append(s.Views[view], zone)
		}
		return delim(d, ']')
	})
}

// object reads an object; member reads the value of a key.
func object(d *json.Decoder, member func(key string) error) error {
	if err := delim(d, '{'); err != nil {
		return err
	}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return err
		}
		key, ok := t.(string)
		if !ok {
			return fmt.Errorf("%v stands where a name should", t)
		}
		if err := member(key); err != nil {
			return err
		}
	}
	return delim(d, '}')
}

func delim(d *json.Decoder, want json.Delim) error {
	t, err := d.Token()
	if err != nil {
		if errors.Is(err, io.EOF) {
			return io.ErrUnexpectedEOF
		}
		return err
	}
	if t != want {
		return fmt.Errorf("%v stands where %v should", t, want)
	}
	return nil
}
