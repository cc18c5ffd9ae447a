package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"kaname.dev/kaname/lab/netns"
)

const endpoint = "http://10.250.0.10:9696/v2.0/"

// object is a Neutron resource as the API gives it.
type object map[string]any

func (o object) id() string { return o.str("id") }

func (o object) str(key string) string {
	s, _ := o[key].(string)
	return s
}

// api talks to Neutron from inside the controller's network namespace, as admin and
// without Keystone. A busy machine may answer after minutes.
func api(ctx context.Context, method, path string, body any) ([]byte, error) {
	var sent io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		sent = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, endpoint+path, sent)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Project-Id", "p1")
	req.Header.Set("X-Roles", "admin")
	host := netns.Host{Name: "nt-ctl"}
	client := http.Client{Timeout: 5 * time.Minute, Transport: &http.Transport{DialContext: host.Dial, DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask Neutron: %w", err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("answer of Neutron: %w", err)
	}
	if resp.StatusCode >= 300 {
		return nil, fmt.Errorf("%s %s: %s: %.300s", method, path, resp.Status, got)
	}
	return got, nil
}

// create makes one resource of a kind ("network") in its collection ("networks").
func create(ctx context.Context, collection, kind string, o object) (object, error) {
	o["tenant_id"] = "p1"
	b, err := api(ctx, http.MethodPost, collection, map[string]object{kind: o})
	if err != nil {
		return nil, err
	}
	var got map[string]object
	if err := json.Unmarshal(b, &got); err != nil {
		return nil, fmt.Errorf("answer to POST %s: %w", collection, err)
	}
	return got[kind], nil
}

// list reads a whole collection.
func list(ctx context.Context, collection string) ([]object, error) {
	b, err := api(ctx, http.MethodGet, collection, nil)
	if err != nil {
		return nil, err
	}
	var got map[string][]object
	if err := json.Unmarshal(b, &got); err != nil {
		return nil, fmt.Errorf("answer to GET %s: %w", collection, err)
	}
	for _, objects := range got {
		return objects, nil
	}
	return nil, nil
}
