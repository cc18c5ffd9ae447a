package trust

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"kaname.dev/kaname/fault"
)

// maxAnswer bounds the answer of a core, in bytes.
const maxAnswer = 256 << 10

// Joined is what a host has after Join.
type Joined struct {
	Identity *Identity
	Role     Role
	Cores    []string // host:port of the plane's cores, as the core told
	// Authority is set when the token was of role core: save it on this host,
	// which is a core now.
	Authority *Authority
}

// Join makes a key for the host and has it certified by the core whose API listens
// at addr (host:port), with a token from kaname token create. The core must show
// a certificate of the CA that the token pins, before the token's secret is sent.
// Nothing is written to disk: call Identity.Save.
func Join(ctx context.Context, addr string, t Token, host string) (*Joined, error) {
	if err := CheckName(host); err != nil {
		return nil, err
	}
	key, csr, err := newKey(host)
	if err != nil {
		return nil, err
	}
	c := &tls.Config{
		MinVersion:         tls.VersionTLS13,
		ServerName:         CoreName,
		InsecureSkipVerify: true, //nolint:gosec // no CA is known yet; VerifyConnection checks the pin
		VerifyConnection: func(cs tls.ConnectionState) error {
			_, err := verifyPin(cs.PeerCertificates, t.Pin, time.Now())
			return err
		},
	}
	in := request{Token: t.ID, Secret: t.Secret, Host: host, CSR: csr}
	var out Issued
	for try := 1; ; try++ { // with the same key, so that a lost answer costs no token
		out, err = post(ctx, addr, PathJoin, c, in)
		f, ok := errors.AsType[*fault.Fault](err)
		if err == nil || try == 3 || !ok || f.Kind != fault.KindTimeout {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	return joined(key, host, t, out)
}

// joined checks the core's answer against what was asked and pinned.
func joined(key crypto.Signer, host string, t Token, out Issued) (*Joined, error) {
	leaf, cas, err := out.certificates()
	if err != nil {
		return nil, err
	}
	if len(cas) == 0 || KeyPrint(cas[0]) != t.Pin {
		return nil, fault.Denied("the core's answer names another CA than the token pins").Try("ask for a new token and check the address of the core")
	}
	now := time.Now()
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return nil, fault.Denied("the clock of this host says " + now.UTC().Format(time.RFC3339) + ", but the new certificate is valid from " +
			leaf.NotBefore.UTC().Format(time.RFC3339) + " to " + leaf.NotAfter.UTC().Format(time.RFC3339)).Try("set the clock (timedatectl set-ntp true) and join with a new token")
	}
	id, err := newIdentity(key, leaf, cas, out.Keys)
	if err != nil {
		return nil, err
	}
	if id.Host() != host {
		return nil, fault.Denied("the core certified the name " + id.Host() + " instead of " + host)
	}
	j := &Joined{Identity: id, Role: id.Role(), Cores: out.Cores}
	if len(out.Authority) > 0 {
		if j.Authority, err = Import(out.Authority); err != nil {
			return nil, err
		}
	}
	return j, nil
}

// verifyPin checks that the first certificate is a core's, valid now, and issued by
// a CA among the others whose key has the pin. It returns that CA's certificate.
func verifyPin(certs []*x509.Certificate, pin string, now time.Time) (*x509.Certificate, error) {
	for _, c := range certs {
		if c.IsCA && KeyPrint(c) == pin {
			pool := x509.NewCertPool()
			pool.AddCert(c)
			return c, verifyPeer(certs, pool, CoreName, now)
		}
	}
	return nil, fault.Denied("what answers there is not the core of the plane that made this token (its CA key is another)").Try("check the address; if the plane was set up anew, make a new token")
}

// Renew asks the core whose API listens at addr for a new certificate, over a
// connection with the present one, and installs it. The caller saves it.
func (i *Identity) Renew(ctx context.Context, addr string) error {
	csr, err := i.Request()
	if err != nil {
		return err
	}
	out, err := post(ctx, addr, PathRenew, i.ClientTLS(CoreName), request{Host: i.host, CSR: csr})
	if err != nil {
		return err
	}
	return i.Install(out)
}

// Install replaces certificate, CAs and pinned keys by what a core issued: the keys
// must be endorsed by those pinned before (Keyring.Adopt).
func (i *Identity) Install(out Issued) error {
	leaf, cas, err := out.certificates()
	if err != nil {
		return err
	}
	keys, err := i.Keys().Adopt(out.Keys)
	if err != nil {
		return err
	}
	return i.replace(leaf, cas, keys)
}

// post makes one call to a core and closes the connection.
func post(ctx context.Context, addr, path string, c *tls.Config, in request) (Issued, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	body, err := json.Marshal(in) //nolint:gosec // the token's secret is what this call is for; the CA was checked before
	if err != nil {
		return Issued{}, fault.Internal("encode the request").Because(err)
	}
	tr := &http.Transport{TLSClientConfig: c, DisableKeepAlives: true, DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext}
	defer tr.CloseIdleConnections()
	client := &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+addr+path, bytes.NewReader(body))
	if err != nil {
		return Issued{}, fault.Invalid("address of the core " + quote(addr) + " cannot be used").Because(err).Try("write it as host:port, such as core1:7421")
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(r)
	if err != nil {
		return Issued{}, unanswered(addr, err)
	}
	defer resp.Body.Close() //nolint:errcheck // read to the end below
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return Issued{}, fault.Timeout("the core's answer was cut off").At(addr).Because(err)
	}
	return readAnswer(addr, resp, b)
}

// unanswered gives a failed exchange its kind: a refused certificate is final, the
// outcome of anything else unknown.
func unanswered(addr string, err error) error {
	if f, ok := errors.AsType[*fault.Fault](err); ok {
		return f.At(addr)
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return fault.Unavailable("the core does not answer").At(addr).Because(err).Try("is kaname up running there, and the port open?")
	}
	if strings.Contains(err.Error(), "tls: ") { // alerts have no exported type that covers all
		return fault.Denied("the core and this host do not agree on TLS").At(addr).Because(err).Try("compare the clocks; if this host was revoked, join again with a new token")
	}
	return fault.Timeout("the core gave no answer").At(addr).Because(err)
}

func readAnswer(addr string, resp *http.Response, b []byte) (Issued, error) {
	var out Issued
	if resp.StatusCode == http.StatusOK {
		if err := json.Unmarshal(b, &out); err != nil {
			return out, fault.Corrupt("the core's answer cannot be read").At(addr).Because(err)
		}
		return out, nil
	}
	f := &fault.Fault{}
	if err := json.Unmarshal(b, f); err != nil || f.Kind == "" {
		return out, fault.Unavailable("the core answered " + resp.Status).At(addr).Try("is this the address of the API (port 7421)?")
	}
	return out, f.At(addr)
}
