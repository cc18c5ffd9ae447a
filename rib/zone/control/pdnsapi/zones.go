package pdnsapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"kaname.dev/kaname/rib/zone/name"
)

// The kinds of zones. Servers from 4.5 on also read and may write Primary and
// Secondary; Kind of a Zone has these.
const (
	Native   = "Native"
	Master   = "Master"
	Slave    = "Slave"
	Producer = "Producer" // of a catalog
	Consumer = "Consumer"
)

// Zone is a zone as the API shows it, without contents.
type Zone struct {
	Name     name.Name
	Kind     string
	Masters  []string // "192.0.2.1", "192.0.2.1:5300", "[2001:db8::1]:5300"
	Account  string
	Catalog  string // that it is a member of
	Serial   uint32 // 0 when it has no contents
	Notified uint32 // the serial that was last announced by NOTIFY
	Checked  int64  // when its primary was last asked, in seconds since 1970
	// Pull and Give are names of TSIG keys, with final dots: that sign its transfers
	// from the primary, and that allow transfers from here. Only One has them.
	Pull, Give []string
}

// document is a zone in JSON.
type document struct {
	Name     string   `json:"name"`
	Kind     string   `json:"kind"`
	Masters  []string `json:"masters"`
	Account  string   `json:"account"`
	Catalog  string   `json:"catalog"`
	Serial   float64  `json:"serial"`
	Notified float64  `json:"notified_serial"`
	Checked  float64  `json:"last_check"`
	Pull     []string `json:"slave_tsig_key_ids"`
	Give     []string `json:"master_tsig_key_ids"`
}

// Settings are what is to be so of a secondary zone.
type Settings struct {
	Masters []string // at least one
	Account string
	Pull    string   // name of the TSIG key that signs its transfers from the primary; empty for none
	Give    []string // names of TSIG keys that allow transfers from here
}

// Spell writes a zone's name as the API reads it. It knows letters, digits and
// "_/.-" only and refuses others, as its names are in 4.7 and later.
func Spell(n name.Name) (string, error) {
	s := strings.ReplaceAll(string(n), `\047`, "/")
	if strings.Contains(s, `\`) {
		return "", errors.New("the API takes names of letters, digits, '-', '_' and '/' only; add it with pdnsutil")
	}
	return s, nil
}

// id writes a name as the API's URLs have it: all but letters, digits, '-' and dots
// as =XX. It takes the names that Spell refuses too.
func id(n name.Name) string {
	if n == name.Root {
		return "=2E"
	}
	var b strings.Builder
	for i := range len(n) {
		switch c := n[i]; c {
		case '\\', '_':
			fmt.Fprintf(&b, "=%02X", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// zone makes a Zone of what the API says.
func (d document) zone() (Zone, error) {
	n, err := name.Parse(d.Name)
	if err != nil {
		return Zone{}, fmt.Errorf("the API lists a zone whose name %q %w; remove it with pdnsutil", d.Name, err)
	}
	kind := d.Kind
	switch strings.ToLower(kind) {
	case "secondary":
		kind = Slave
	case "primary":
		kind = Master
	}
	return Zone{
		Name: n, Kind: kind, Masters: d.Masters, Account: d.Account, Catalog: d.Catalog, Serial: uint32(d.Serial),
		Notified: uint32(d.Notified), Checked: int64(d.Checked), Pull: d.Pull, Give: d.Give,
	}, nil
}

// All returns every zone, in the order of the server; an answer that is not whole is
// an error.
func (c *Client) All(ctx context.Context) ([]Zone, error) {
	var zones []Zone
	read := func(d *json.Decoder) error {
		zones = zones[:0]
		if t, err := d.Token(); err != nil {
			return err
		} else if t != json.Delim('[') {
			return errors.New("it is not a list of zones")
		}
		for d.More() {
			var doc document
			if err := d.Decode(&doc); err != nil {
				return err
			}
			z, err := doc.zone()
			if err != nil {
				return err
			}
			zones = append(zones, z)
		}
		_, err := d.Token()
		return err
	}
	if err := c.call(ctx, http.MethodGet, "/zones?dnssec=false", nil, read); err != nil {
		return nil, fmt.Errorf("list of zones: %w", err)
	}
	return zones, nil
}

// Find returns a zone without its keys, as All does, or ErrMissing.
func (c *Client) Find(ctx context.Context, n name.Name) (Zone, error) {
	text, err := Spell(n)
	if err != nil {
		return c.One(ctx, n) // the filter does not take it
	}
	var docs []document
	if err := c.call(ctx, http.MethodGet, "/zones?dnssec=false&zone="+url.QueryEscape(text), nil, &docs); err != nil {
		return Zone{}, err
	}
	// Servers before 4.1 ignore the filter.
	for _, d := range docs {
		if z, err := d.zone(); err == nil && z.Name == n {
			return z, nil
		}
	}
	return Zone{}, ErrMissing
}

// One returns a zone with its keys, or ErrMissing.
func (c *Client) One(ctx context.Context, n name.Name) (Zone, error) {
	var d document
	if err := c.call(ctx, http.MethodGet, "/zones/"+id(n)+"?rrsets=false", nil, &d); err != nil {
		return Zone{}, err
	}
	return d.zone()
}

// settings is Settings in JSON.
type settings struct {
	Name    string    `json:"name,omitempty"`
	Kind    string    `json:"kind,omitempty"`
	Masters []string  `json:"masters,omitempty"`
	Account *string   `json:"account,omitempty"`
	Pull    *[]string `json:"slave_tsig_key_ids,omitempty"`
	Give    *[]string `json:"master_tsig_key_ids,omitempty"`
}

func (s Settings) document() settings {
	d := settings{Kind: Slave, Masters: s.Masters, Account: &s.Account}
	pull := []string{}
	if s.Pull != "" {
		pull = append(pull, s.Pull)
	}
	give := append([]string{}, s.Give...)
	d.Pull, d.Give = &pull, &give
	return d
}

// Create makes a secondary zone. Kind, masters and account are there at once or not
// at all; the keys may be missing after an error or a crash of the server. ErrExists
// says that the zone was there; after a busy server it may be the one that the
// request made.
func (c *Client) Create(ctx context.Context, n name.Name, s Settings) error {
	text, err := Spell(n)
	if err != nil {
		return err
	}
	d := s.document()
	d.Name = text
	if len(*d.Pull) == 0 {
		d.Pull = nil // saves the server two statements
	}
	if len(*d.Give) == 0 {
		d.Give = nil
	}
	return c.call(ctx, http.MethodPost, "/zones?rrsets=false", d, nil)
}

// Change gives a zone, of whatever kind, other settings. It may be done in part after
// an error, the account last.
func (c *Client) Change(ctx context.Context, n name.Name, s Settings) error {
	d := s.document()
	d.Account = nil
	if err := c.call(ctx, http.MethodPut, "/zones/"+id(n), d, nil); err != nil {
		return err
	}
	return c.Label(ctx, n, s.Account)
}

// Label changes a zone's account only.
func (c *Client) Label(ctx context.Context, n name.Name, account string) error {
	return c.call(ctx, http.MethodPut, "/zones/"+id(n), settings{Account: &account}, nil)
}

// Delete removes a zone with its contents, or returns ErrMissing.
func (c *Client) Delete(ctx context.Context, n name.Name) error {
	return c.call(ctx, http.MethodDelete, "/zones/"+id(n), nil, nil)
}

// Retrieve queues a transfer of a secondary zone, before those that are due.
func (c *Client) Retrieve(ctx context.Context, n name.Name) error {
	return c.call(ctx, http.MethodPut, "/zones/"+id(n)+"/axfr-retrieve", nil, nil)
}

// Allow sets the addresses and prefixes that may take transfers of a zone (metadata
// ALLOW-AXFR-FROM), besides allow-axfr-ips of the server.
func (c *Client) Allow(ctx context.Context, n name.Name, from []string) error {
	return c.SetMeta(ctx, n, "ALLOW-AXFR-FROM", from)
}

// SetMeta sets a kind of a zone's metadata; no values remove it.
func (c *Client) SetMeta(ctx context.Context, n name.Name, kind string, values []string) error {
	path := "/zones/" + id(n) + "/metadata/" + kind
	if len(values) == 0 {
		return c.call(ctx, http.MethodDelete, path, nil, nil)
	}
	return c.call(ctx, http.MethodPut, path, map[string]any{"kind": kind, "metadata": values}, nil)
}
