package neutron

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"

	"kaname.dev/kaname/fault"
)

// client asks Neutron, and Nova where it is known.
type client struct {
	Options
	neutron *gophercloud.ServiceClient
	nova    *gophercloud.ServiceClient
}

// maxPages bounds how often a server may say that there is more.
const maxPages = 10_000

// connect authenticates, if there are credentials, and finds the services.
func connect(ctx context.Context, o Options) (*client, error) {
	c := &client{Options: o}
	if o.Credentials == nil && (o.Endpoint == "" || o.Cloud != "" || o.Clouds != "") {
		var err error
		if o.Credentials, err = FromFile(o.Cloud, places(o.Clouds)...); err != nil {
			return nil, err
		}
	}
	if o.Credentials == nil {
		p := &gophercloud.ProviderClient{}
		c.neutron = service(p, o.Endpoint)
		return c, nil
	}
	transport, err := transport(o.Credentials)
	if err != nil {
		return nil, err
	}
	p, err := openstack.NewClient(o.Credentials.AuthURL)
	if err != nil {
		return nil, fault.Invalid("the address of Keystone is none").At(o.Credentials.AuthURL).Because(err)
	}
	p.HTTPClient = http.Client{Transport: transport}
	if err = openstack.Authenticate(ctx, p, o.Credentials.options()); err != nil {
		return nil, explain(ctx, err, "log in at Keystone", o.Credentials.AuthURL)
	}
	place := gophercloud.EndpointOpts{Region: o.Credentials.Region, Availability: availability(o.Credentials.Interface)}
	// The catalogue alone says where services are. Without a version nobody is asked which
	// ones there are: proxies often answer that with addresses that cannot be reached.
	find := func(kind string) (string, error) {
		eo := place
		eo.ApplyDefaults(kind)
		return p.EndpointLocator(eo)
	}
	endpoint := o.Endpoint
	if endpoint == "" {
		if endpoint, err = find("network"); err != nil {
			return nil, fault.NotFound("Keystone's catalogue has no network service for this region and interface").At(o.Credentials.AuthURL).Because(err).
				Try("check OS_REGION_NAME and OS_INTERFACE")
		}
	}
	c.neutron = service(p, endpoint)
	if o.Servers {
		if at, err := find("compute"); err == nil { // without one there are no names
			c.nova = &gophercloud.ServiceClient{ProviderClient: p, Endpoint: at, ResourceBase: strings.TrimRight(at, "/") + "/", Type: "compute"}
		}
	}
	return c, nil
}

func service(p *gophercloud.ProviderClient, endpoint string) *gophercloud.ServiceClient {
	endpoint = strings.TrimSuffix(strings.TrimRight(endpoint, "/"), "/v2.0") + "/"
	return &gophercloud.ServiceClient{ProviderClient: p, Endpoint: endpoint, ResourceBase: endpoint + "v2.0/", Type: "network"}
}

func availability(name string) gophercloud.Availability {
	switch strings.TrimSuffix(name, "URL") {
	case "internal":
		return gophercloud.AvailabilityInternal
	case "admin":
		return gophercloud.AvailabilityAdmin
	}
	return gophercloud.AvailabilityPublic
}

// transport is the standard one, with the certificates that the credentials name.
func transport(c *Credentials) (http.RoundTripper, error) {
	base, ok := http.DefaultTransport.(*http.Transport)
	if !ok || c.CACert == "" && !c.Insecure {
		return http.DefaultTransport, nil
	}
	t := base.Clone()
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: c.Insecure} //nolint:gosec // the operator says so: OS_INSECURE, verify: false
	if c.CACert != "" {
		pem, err := os.ReadFile(c.CACert)
		if err != nil {
			return nil, fault.Of(err)
		}
		t.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fault.Invalid("no certificate is in it").At(c.CACert).Try("check OS_CACERT")
		}
	}
	return t, nil
}

// list reads all pages of a collection; each is called with one object at a time.
func list[T any](ctx context.Context, c *client, s *gophercloud.ServiceClient, path, key string, query url.Values, each func(*T) error) error {
	if query == nil {
		query = url.Values{}
	}
	query.Set("limit", strconv.Itoa(c.Page))
	for range maxPages {
		raw, next, err := c.page(ctx, s.ResourceBase+path, key, query)
		if err != nil {
			return err
		}
		for _, r := range raw {
			var object T
			if err := json.Unmarshal(r, &object); err != nil {
				return fault.Corrupt("one of the " + key + " cannot be understood").At(s.ResourceBase + path).Because(err)
			}
			if err := each(&object); err != nil {
				return err
			}
		}
		if next == nil || len(raw) == 0 {
			return nil
		}
		if next.Get("marker") == query.Get("marker") {
			break
		}
		query = next
	}
	return fault.Corrupt("its pages of " + key + " do not end").At(s.ResourceBase + path)
}

// page asks for one page, and returns the query of the next one. Of the link to it the query
// alone counts: behind a proxy the rest is often wrong.
func (c *client) page(ctx context.Context, address, key string, query url.Values) ([]json.RawMessage, url.Values, error) {
	where := address + "?" + query.Encode()
	resp, err := c.neutron.Request(ctx, http.MethodGet, where, &gophercloud.RequestOpts{KeepResponseBody: true, OkCodes: []int{http.StatusOK}})
	if resp != nil && resp.Body != nil {
		defer resp.Body.Close() //nolint:errcheck // only read
	}
	if err != nil {
		return nil, nil, explain(ctx, err, "list "+key, address)
	}
	body := &io.LimitedReader{R: resp.Body, N: c.Limit}
	var answer map[string]json.RawMessage
	if err = json.NewDecoder(body).Decode(&answer); err != nil {
		if body.N <= 0 {
			return nil, nil, fault.Full(fmt.Sprintf("the answer has more than %d MB", c.Limit>>20)).At(where).Try("ask for smaller pages")
		}
		if _, ok := errors.AsType[*json.SyntaxError](err); ok || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			return nil, nil, fault.Corrupt("the answer is no JSON, or was cut off").At(where).Because(err)
		}
		return nil, nil, explain(ctx, err, "list "+key, address)
	}
	var objects []json.RawMessage
	var links []struct{ Rel, Href string }
	if err = json.Unmarshal(answer[key], &objects); err != nil {
		return nil, nil, fault.Corrupt("the answer has no list of " + key).At(where).Try("check that the endpoint is Neutron's")
	}
	if l, ok := answer[key+"_links"]; ok && json.Unmarshal(l, &links) == nil {
		for _, l := range links {
			if u, err := url.Parse(l.Href); l.Rel == "next" && err == nil {
				return objects, u.Query(), nil
			}
		}
	}
	return objects, nil, nil
}
