package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"kaname.dev/kaname/access"
	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
)

// DefaultSocket is the local socket of a kaname installed by package.
const DefaultSocket = "/run/kaname/kaname.sock"

// DefaultPort is the port of the API and the console on a core.
const DefaultPort = "7421"

// ClientOptions says which kaname to call, and as whom.
type ClientOptions struct {
	Socket string // path of the unix socket; used when Server is empty
	Server string // "https://core1:7421"; scheme and port may be left out
	Token  string // API token; one with a pin also says which CA to trust
	CAFile string // PEM file of the CA to trust; empty trusts the token's pin, or the system's
	Door   string // cli, console or bot
	// Transport replaces the connection, for calls within the process; see InProcess.
	Transport http.RoundTripper
	Version   string // of the caller; empty reads it from the build
}

// Client calls a kaname. It is safe for concurrent use.
type Client struct {
	o    ClientOptions
	base string // "https://core1:7421", or "http://kaname" for the socket
	http *http.Client
}

// NewClient makes a client; it connects at the first call.
func NewClient(o ClientOptions) (*Client, error) {
	if o.Version == "" {
		o.Version = BuildVersion()
	}
	c := &Client{o: o, base: "http://kaname", http: &http.Client{Transport: o.Transport}}
	switch {
	case o.Transport != nil:
	case o.Server != "":
		u, err := serverURL(o.Server)
		if err != nil {
			return nil, err
		}
		tlsConf, err := trusted(o)
		if err != nil {
			return nil, err
		}
		c.base = u
		c.http.Transport = &http.Transport{
			TLSClientConfig: tlsConf, ForceAttemptHTTP2: true, Proxy: http.ProxyFromEnvironment,
			DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext, TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: time.Minute,
		}
	default:
		c.http.Transport = &http.Transport{IdleConnTimeout: time.Minute, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "unix", o.Socket)
		}}
	}
	return c, nil
}

// serverURL completes "core1" to "https://core1:7421".
func serverURL(s string) (string, error) {
	if !strings.Contains(s, "://") {
		s = "https://" + s
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" {
		return "", fault.Invalid("server \"" + s + "\" is not an address such as https://core1:" + DefaultPort)
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), DefaultPort)
	}
	return "https://" + u.Host, nil
}

// At says in words where the client calls.
func (c *Client) At() string {
	if c.o.Server != "" {
		return c.base
	}
	return c.o.Socket
}

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// do sends a request and returns the response if it is a success, otherwise the
// fault. The caller closes the body.
func (c *Client) do(ctx context.Context, method, path string, body io.Reader, set func(http.Header)) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, fault.Invalid("request cannot be made").Because(err)
	}
	req.Header.Set(HeaderVersion, c.o.Version)
	if c.o.Door != "" {
		req.Header.Set(HeaderDoor, c.o.Door)
	}
	if c.o.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.o.Token)
	}
	if set != nil {
		set(req.Header)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	if resp.StatusCode >= http.StatusBadRequest {
		defer func() { _ = resp.Body.Close() }()
		return nil, c.faultOf(resp)
	}
	return resp, nil
}

// unreachable says why there was no answer.
func (c *Client) unreachable(ctx context.Context, err error) error {
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err
	}
	if ctx.Err() != nil {
		return (&fault.Fault{Kind: fault.Of(ctx.Err()).Kind, What: "call to kaname at " + c.At() + " was given up"}).Because(err)
	}
	if f, ok := errors.AsType[*fault.Fault](err); ok {
		return f
	}
	f := fault.Unavailable("kaname does not answer at " + c.At()).Because(err)
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return f.Try("use a token that this plane made, which says whom to trust, or give the CA with --ca-file")
	}
	if c.o.Server != "" {
		return f.Try("check the address, the port " + DefaultPort + " and that the core runs: systemctl status kaname")
	}
	if errors.Is(err, errPermission) {
		f.Kind = fault.KindDenied
		return f.Try("use sudo, or become a member of the group " + access.Group + ", or give --server and a token")
	}
	return f.Try("start it with: systemctl start kaname, or give --server https://CORE:" + DefaultPort)
}

// faultOf reads the fault that an answer carries.
func (c *Client) faultOf(resp *http.Response) error {
	var l Line // read no further than the value: the end may come only when all is sent
	if json.NewDecoder(io.LimitReader(resp.Body, maxJSON)).Decode(&l) == nil && l.Fault != nil {
		return c.hint(l.Fault, resp)
	}
	return fault.Unavailable("answer of " + c.At() + " is not kaname's: " + resp.Status).Try("check that the address is the API of a core")
}

// hint adds the versions to a fault that may come from their difference.
func (c *Client) hint(f *fault.Fault, resp *http.Response) *fault.Fault {
	theirs := resp.Header.Get(HeaderVersion)
	if f.Kind == fault.KindUnsupported && theirs != c.o.Version && theirs != "" {
		f.What += " (kaname " + theirs + " there, " + c.o.Version + " here)"
	}
	return f
}

// ask sends a request and decodes the JSON answer into out.
func (c *Client) ask(ctx context.Context, method, path string, out any) error {
	resp, err := c.do(ctx, method, path, nil, nil)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return c.unreachable(ctx, err)
	}
	return nil
}

// Catalogue returns what can be called there.
func (c *Client) Catalogue(ctx context.Context) (Catalogue, error) {
	var out Catalogue
	err := c.ask(ctx, http.MethodGet, "/v1/actions", &out)
	return out, err
}

// Whoami returns who the client is to that kaname.
func (c *Client) Whoami(ctx context.Context) (Whoami, error) {
	var out Whoami
	err := c.ask(ctx, http.MethodGet, "/v1/whoami", &out)
	return out, err
}

// Complete returns candidates for a field.
func (c *Client) Complete(ctx context.Context, kind, prefix string) ([]string, error) {
	var out struct {
		Values []string `json:"values"`
	}
	err := c.ask(ctx, http.MethodGet, "/v1/complete?"+url.Values{"kind": {kind}, "prefix": {prefix}}.Encode(), &out)
	return out.Values, err
}

// Plan returns what the action would do. Files are sent by name and size only.
func (c *Client) Plan(ctx context.Context, id string, in action.Inputs) (action.Plan, error) {
	var out struct {
		Plan action.Plan `json:"plan"`
	}
	body, contentType, err := planBody(in)
	if err != nil {
		return out.Plan, err
	}
	resp, err := c.do(ctx, http.MethodPost, actionPath(id)+"?plan=1", body, func(h http.Header) { h.Set("Content-Type", contentType) })
	if err != nil {
		return out.Plan, err
	}
	defer func() { _ = resp.Body.Close() }()
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		return out.Plan, c.unreachable(ctx, err)
	}
	return out.Plan, nil
}

func actionPath(id string) string {
	return "/v1/actions/" + url.PathEscape(strings.ReplaceAll(id, " ", "."))
}

// Runs returns the runs that the core remembers, newest first.
func (c *Client) Runs(ctx context.Context) ([]Run, error) {
	var out struct {
		Runs []Run `json:"runs"`
	}
	err := c.ask(ctx, http.MethodGet, "/v1/runs", &out)
	return out.Runs, err
}

// Run returns one run; the end of its id is enough.
func (c *Client) Run(ctx context.Context, id string) (Run, error) {
	var out Run
	err := c.ask(ctx, http.MethodGet, "/v1/runs/"+url.PathEscape(id), &out)
	return out, err
}

// Cancel asks a run to stop.
func (c *Client) Cancel(ctx context.Context, id string) error {
	return c.ask(ctx, http.MethodDelete, "/v1/runs/"+url.PathEscape(id), nil)
}

// SignIn begins a session and returns its cookie.
func (c *Client) SignIn(ctx context.Context, name, password string) (*http.Cookie, access.Identity, error) {
	b, err := json.Marshal(map[string]string{"name": name, "password": password})
	if err != nil {
		return nil, access.Identity{}, err
	}
	resp, err := c.do(ctx, http.MethodPost, "/v1/session", bytes.NewReader(b), nil)
	if err != nil {
		return nil, access.Identity{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	var id access.Identity
	if err := json.NewDecoder(resp.Body).Decode(&id); err != nil {
		return nil, id, c.unreachable(ctx, err)
	}
	for _, cookie := range resp.Cookies() {
		if cookie.Name == CookieName {
			return cookie, id, nil
		}
	}
	return nil, id, fault.Internal("sign-in was answered without a session")
}
