package pdnsapi

import (
	"context"
	"net/http"
)

// Version returns the server's version, as "4.7.3".
func (c *Client) Version(ctx context.Context) (string, error) {
	var doc struct {
		Version string `json:"version"`
	}
	err := c.call(ctx, http.MethodGet, "", nil, &doc)
	return doc.Version, err
}

// Config returns the server's settings by name, as "secondary": "yes".
func (c *Client) Config(ctx context.Context) (map[string]string, error) {
	var doc []struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	if err := c.call(ctx, http.MethodGet, "/config", nil, &doc); err != nil {
		return nil, err
	}
	settings := make(map[string]string, len(doc))
	for _, s := range doc {
		settings[s.Name] = s.Value
	}
	return settings, nil
}

// Statistic returns one of the server's counters, as "uptime" in seconds.
func (c *Client) Statistic(ctx context.Context, counter string) (string, error) {
	var doc []struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	if err := c.call(ctx, http.MethodGet, "/statistics?statistic="+counter, nil, &doc); err != nil {
		return "", err
	}
	for _, s := range doc {
		if s.Name == counter {
			return s.Value, nil
		}
	}
	return "", ErrMissing
}

// Keys returns the names of the TSIG keys that the server has.
func (c *Client) Keys(ctx context.Context) ([]string, error) {
	var doc []struct {
		Name string `json:"name"`
	}
	if err := c.call(ctx, http.MethodGet, "/tsigkeys", nil, &doc); err != nil {
		return nil, err
	}
	names := make([]string, len(doc))
	for i, k := range doc {
		names[i] = k.Name
	}
	return names, nil
}
