package trust

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"kaname.dev/kaname/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func kind(err error) fault.Kind {
	if err == nil {
		return ""
	}
	if f, ok := errors.AsType[*fault.Fault](err); ok {
		return f.Kind
	}
	return "no fault: " + fault.Kind(err.Error())
}

func authority(t *testing.T) *Authority {
	t.Helper()
	a, err := NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func identity(t *testing.T, a *Authority, g Grant) *Identity {
	t.Helper()
	i, err := a.NewIdentity(g)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func TestCheckName(t *testing.T) {
	for _, good := range []string{"a", "web1", "web1.example.jp", "0", strings.Repeat("a", 63)} {
		if err := CheckName(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "Web1", "web_1", "web1.", ".", "a..b", "-a", "a-", "a b", "*", "a>", "core.kaname", "localhost", "ü", strings.Repeat("a", 64), strings.Repeat("a.", 140) + "a"} {
		if err := CheckName(bad); kind(err) != fault.KindInvalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestAuthorityIsMadeOnceAndPrivately(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "trust")
	var wg sync.WaitGroup
	got := make([]*Authority, 8)
	for i := range got {
		wg.Go(func() {
			a, err := OpenAuthority(dir)
			if err != nil {
				t.Error(err)
				return
			}
			got[i] = a
		})
	}
	wg.Wait()
	for _, a := range got {
		if a == nil || a.Print() != got[0].Print() || a.Keys()[0].ID() != got[0].Keys()[0].ID() {
			t.Fatal("openers at the same time got different authorities")
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Fatalf("left in the directory: %v %v", files, err)
	}
	path := filepath.Join(dir, authorityFile)
	if st, _ := os.Stat(path); st.Mode().Perm() != 0o600 {
		t.Errorf("mode is %v", st.Mode())
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadAuthority(dir); kind(err) != fault.KindDenied || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a readable key file: %v", err)
	}
}

func TestImportRefusesPartsThatDoNotBelongTogether(t *testing.T) {
	a, b := authority(t), authority(t)
	good, err := Import(a.Export())
	if err != nil || good.Print() != a.Print() {
		t.Fatal(err)
	}
	bad := map[string][]byte{
		"empty":           nil,
		"garbage":         []byte("hello"),
		"other CA":        parts{key: a.key, command: a.command, certs: b.cas, keys: a.keys}.encode(),
		"other pin":       parts{key: a.key, command: a.command, certs: a.cas, keys: b.keys}.encode(),
		"no command key":  parts{key: a.key, certs: a.cas, keys: a.keys}.encode(),
		"a foreign block": append(a.Export(), []byte("-----BEGIN X-----\nAAAA\n-----END X-----\n")...),
	}
	for name, b := range bad {
		if _, err := Import(b); kind(err) != fault.KindCorrupt {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestIdentitySurvivesSaveAndLoad(t *testing.T) {
	a, dir := authority(t), t.TempDir()
	i := identity(t, a, Grant{Host: "web1.example.jp", Role: RoleCore, Names: []string{"plane.example.jp", "192.0.2.7"}})
	if err := i.Save(dir); err != nil {
		t.Fatal(err)
	}
	j, err := LoadIdentity(dir)
	if err != nil {
		t.Fatal(err)
	}
	if j.Host() != "web1.example.jp" || j.Role() != RoleCore || j.Keys()[0].ID() != a.Keys()[0].ID() || !j.Certificate().Equal(i.Certificate()) {
		t.Error("loaded identity differs")
	}
	if half := time.Until(j.RenewAt()); half < 3*24*time.Hour || half > 4*24*time.Hour {
		t.Errorf("renewal is due in %v", half)
	}
	if err := j.Certificate().VerifyHostname("192.0.2.7"); err != nil {
		t.Error(err)
	}
	if _, err := LoadIdentity(t.TempDir()); kind(err) != fault.KindNotFound {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(dir, identityFile), a.Export(), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadIdentity(dir); kind(err) != fault.KindCorrupt {
		t.Errorf("an authority taken for an identity: %v", err)
	}
}

func TestOpenSSLAgrees(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	a, dir := authority(t), t.TempDir()
	i := identity(t, a, Grant{Host: "web1", Role: RoleAgent})
	ca, leaf := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "leaf.pem")
	for path, b := range map[string][]byte{ca: PEM(a.CAs()[0]), leaf: PEM(i.Certificate())} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(arg ...string) (string, error) {
		out, err := exec.CommandContext(t.Context(), openssl, arg...).CombinedOutput()
		return string(out), err
	}
	for _, purpose := range []string{"sslclient", "sslserver"} {
		if out, err := run("verify", "-x509_strict", "-purpose", purpose, "-CAfile", ca, leaf); err != nil {
			t.Errorf("openssl verify for %s: %v\n%s", purpose, err, out)
		}
	}
	if out, err := run("verify", "-verify_hostname", "web2", "-CAfile", ca, leaf); err == nil {
		t.Errorf("openssl takes web1 for web2:\n%s", out)
	}
	text, err := run("x509", "-in", leaf, "-noout", "-ext", "subjectAltName")
	if err != nil || !strings.Contains(text, "URI:kaname://host/web1") || !strings.Contains(text, "DNS:web1") {
		t.Errorf("names as openssl reads them: %v\n%s", err, text)
	}
}

func TestIssueRefuses(t *testing.T) {
	a := authority(t)
	_, csr, err := newKey("web1")
	if err != nil {
		t.Fatal(err)
	}
	broken := append([]byte(nil), csr...)
	broken[len(broken)-3] ^= 1 // in the signature
	for name, c := range map[string]struct {
		csr  []byte
		g    Grant
		want fault.Kind
	}{
		"bad name":   {csr, Grant{Host: "*", Role: RoleAgent}, fault.KindInvalid},
		"bad role":   {csr, Grant{Host: "web1", Role: "king"}, fault.KindUnsupported},
		"bad CSR":    {[]byte("x"), Grant{Host: "web1", Role: RoleAgent}, fault.KindInvalid},
		"forged CSR": {broken, Grant{Host: "web1", Role: RoleAgent}, fault.KindDenied},
	} {
		if _, err := a.Issue(c.csr, c.g); kind(err) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	c, err := a.Issue(csr, Grant{Host: "web1", Role: RoleAgent, Names: []string{"bank.example"}})
	if err != nil || c.VerifyHostname("bank.example") == nil || RoleOf(c) != RoleAgent {
		t.Errorf("an agent got further names: %v %v", c.DNSNames, err)
	}
}

// handshake runs TLS between the two configurations and returns what each saw.
func handshake(t *testing.T, server, client *tls.Config) (peer tls.ConnectionState, serverErr, clientErr error) {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	var wg sync.WaitGroup
	s := tls.Server(a, server)
	wg.Go(func() {
		serverErr = s.HandshakeContext(t.Context())
		if serverErr != nil {
			a.Close()
			return
		}
		peer = s.ConnectionState()
		_, serverErr = s.Write([]byte("x"))
	})
	c := tls.Client(b, client)
	if clientErr = c.HandshakeContext(t.Context()); clientErr == nil {
		_, clientErr = io.ReadFull(c, make([]byte, 1)) // in TLS 1.3 a refusal of the client's certificate arrives here
	}
	b.Close()
	wg.Wait()
	return peer, serverErr, clientErr
}

// named is what callers do with a configuration that names no server.
func named(c *tls.Config, name string) *tls.Config {
	c = c.Clone()
	c.ServerName = name
	return c
}

func TestWhoMayTalkToWhom(t *testing.T) {
	a, foreign := authority(t), authority(t)
	core := identity(t, a, Grant{Host: "core1", Role: RoleCore})
	core2 := identity(t, a, Grant{Host: "core2", Role: RoleCore})
	web1 := identity(t, a, Grant{Host: "web1", Role: RoleAgent})
	web2 := identity(t, a, Grant{Host: "web2", Role: RoleAgent})
	expired := identity(t, a, Grant{Host: "web3", Role: RoleAgent, Life: -time.Minute})
	liar := identity(t, foreign, Grant{Host: "web1", Role: RoleCore})
	none := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13} //nolint:gosec // a client that shows nothing
	old := web1.ClientTLS("web2")
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12

	for name, c := range map[string]struct {
		server, client *tls.Config
		ok             bool
		peer           string
	}{
		"host to host":              {web2.ServerTLS(), web1.ClientTLS("web2"), true, "web1"},
		"host to core":              {core.ServerTLS(), web1.ClientTLS(CoreName), true, "web1"},
		"core to core":              {core.RouteTLS(), core2.RouteTLS(), true, ""},
		"host by a clone":           {web2.ServerTLS(), named(web1.ClientTLS(""), "web2"), true, "web1"},
		"another by a clone":        {web2.ServerTLS(), named(web1.ClientTLS("web2"), "web9"), false, ""},
		"no name":                   {web2.ServerTLS(), web1.ClientTLS(""), false, ""},
		"host in place of another":  {web2.ServerTLS(), web1.ClientTLS("web9"), false, ""},
		"host in place of a core":   {web2.ServerTLS(), web1.ClientTLS(CoreName), false, ""},
		"host as a route":           {core.RouteTLS(), web1.ClientTLS(CoreName), false, ""},
		"route to a host":           {web1.ServerTLS(), core.RouteTLS(), false, ""},
		"foreign client":            {core.ServerTLS(), liar.ClientTLS(CoreName), false, ""},
		"foreign client, no checks": {core.ServerTLS(), &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{liar.state.Load().cert}}, false, ""}, //nolint:gosec // as an attacker would
		"foreign server":            {liar.ServerTLS(), web1.ClientTLS(CoreName), false, ""},
		"foreign route":             {core.RouteTLS(), liar.RouteTLS(), false, ""},
		"expired client":            {core.ServerTLS(), expired.ClientTLS(CoreName), false, ""},
		"expired server":            {expired.ServerTLS(), web1.ClientTLS("web3"), false, ""},
		"no certificate":            {core.ServerTLS(), none, false, ""},
		"TLS 1.2":                   {web2.ServerTLS(), old, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			peer, serverErr, clientErr := handshake(t, c.server, c.client)
			if c.ok != (serverErr == nil && clientErr == nil) {
				t.Fatalf("server: %v, client: %v", serverErr, clientErr)
			}
			if c.peer != "" {
				if got, err := PeerName(peer); got != c.peer || err != nil {
					t.Errorf("peer is %q, %v", got, err)
				}
			}
		})
	}
	if _, err := PeerName(tls.ConnectionState{PeerCertificates: []*x509.Certificate{web1.Certificate()}}); kind(err) != fault.KindDenied {
		t.Errorf("an unverified certificate got a name: %v", err)
	}
}

func TestConfigurationsFollowARenewal(t *testing.T) {
	a := authority(t)
	core := identity(t, a, Grant{Host: "core1", Role: RoleCore})
	web1 := identity(t, a, Grant{Host: "web1", Role: RoleAgent, Life: -time.Minute})
	client := web1.ClientTLS(CoreName)
	if _, _, err := handshake(t, core.ServerTLS(), client); err == nil {
		t.Fatal("an expired certificate was accepted")
	}
	csr, err := web1.Request()
	if err != nil {
		t.Fatal(err)
	}
	out, err := (&Enroller{Authority: a}).issue(csr, Grant{Host: "web1", Role: RoleAgent})
	if err != nil {
		t.Fatal(err)
	}
	if err := web1.Install(out); err != nil {
		t.Fatal(err)
	}
	if _, _, err := handshake(t, core.ServerTLS(), client); err != nil {
		t.Fatal(err)
	}
}

// registrar is tokens and hosts in memory; the plane's own stands on its documents.
type registrar struct {
	mu     sync.Mutex
	tokens map[string]string // ID to hash
	hosts  map[string]string // name to key
	role   Role
}

func (r *registrar) Consume(_ context.Context, tok Token, a Applicant) (Grant, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !tok.Matches(r.tokens[tok.ID]) {
		return Grant{}, fault.Denied("join token is wrong or spent")
	}
	delete(r.tokens, tok.ID)
	r.hosts[a.Host] = a.Key
	return Grant{Host: a.Host, Role: r.role}, nil
}

func (r *registrar) Renew(_ context.Context, a Applicant) (Grant, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.hosts[a.Host] != a.Key {
		return Grant{}, fault.Denied("host is not enrolled")
	}
	return Grant{Host: a.Host, Role: r.role}, nil
}

// enroller starts the core side on loopback.
func enroller(t *testing.T, a *Authority, r *registrar, seen *[]string) string {
	t.Helper()
	core := identity(t, a, Grant{Host: "core1", Role: RoleCore})
	e := &Enroller{Authority: a, Registrar: r, Log: slog.New(slog.DiscardHandler), Cores: func() []string { return []string{"core1:7420"} }}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if seen != nil {
			*seen = append(*seen, string(b))
		}
		r.Body = io.NopCloser(strings.NewReader(string(b)))
		e.ServeHTTP(w, r)
	}))
	s.TLS = core.WebTLS()
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "https://")
}

func TestJoinAndRenew(t *testing.T) {
	a := authority(t)
	r := &registrar{tokens: map[string]string{}, hosts: map[string]string{}, role: RoleAgent}
	tok := a.NewToken()
	r.tokens[tok.ID] = tok.Hash()
	addr := enroller(t, a, r, nil)
	parsed, err := ParseToken(" " + tok.Text() + "\n")
	if err != nil || parsed != tok {
		t.Fatal(parsed, err)
	}
	j, err := Join(t.Context(), addr, parsed, "web1")
	if err != nil {
		t.Fatal(err)
	}
	if j.Identity.Host() != "web1" || j.Role != RoleAgent || j.Authority != nil || len(j.Cores) != 1 || j.Identity.Keys()[0].ID() != a.Keys()[0].ID() {
		t.Errorf("joined as %+v", j)
	}
	if _, err := Join(t.Context(), addr, parsed, "web2"); kind(err) != fault.KindDenied {
		t.Errorf("a spent token: %v", err)
	}
	before := j.Identity.Certificate()
	if err := j.Identity.Renew(t.Context(), addr); err != nil {
		t.Fatal(err)
	}
	if after := j.Identity.Certificate(); after.SerialNumber.Cmp(before.SerialNumber) == 0 || KeyPrint(after) != KeyPrint(before) {
		t.Error("renewal did not give a new certificate for the same key")
	}
	r.mu.Lock()
	delete(r.hosts, "web1")
	r.mu.Unlock()
	if err := j.Identity.Renew(t.Context(), addr); kind(err) != fault.KindDenied {
		t.Errorf("renewal of a host that is not enrolled: %v", err)
	}
	other := identity(t, a, Grant{Host: "web2", Role: RoleAgent})
	csr, _ := other.Request()
	if _, err := post(t.Context(), addr, PathRenew, other.ClientTLS(CoreName), request{Host: "web1", CSR: csr}); kind(err) != fault.KindDenied {
		t.Errorf("renewal of another host's name: %v", err)
	}
	anyone := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13} //nolint:gosec // a client that shows nothing
	if _, err := post(t.Context(), addr, PathRenew, anyone, request{Host: "web2", CSR: csr}); kind(err) != fault.KindDenied {
		t.Errorf("renewal without a certificate: %v", err)
	}
}

func TestJoinOfACoreBringsTheAuthority(t *testing.T) {
	a := authority(t)
	r := &registrar{tokens: map[string]string{}, hosts: map[string]string{}, role: RoleCore}
	tok := a.NewToken()
	r.tokens[tok.ID] = tok.Hash()
	j, err := Join(t.Context(), enroller(t, a, r, nil), tok, "core2")
	if err != nil {
		t.Fatal(err)
	}
	if j.Authority == nil || j.Authority.Print() != a.Print() || j.Role != RoleCore {
		t.Errorf("joined as %+v", j)
	}
}

func TestJoinChecksThePinBeforeTheSecretLeaves(t *testing.T) {
	a, impostor := authority(t), authority(t)
	var seen []string
	r := &registrar{tokens: map[string]string{}, hosts: map[string]string{}, role: RoleAgent}
	tok := a.NewToken()
	if _, err := Join(t.Context(), enroller(t, impostor, r, &seen), tok, "web1"); kind(err) != fault.KindDenied {
		t.Errorf("joined an impostor: %v", err)
	}
	if len(seen) != 0 {
		t.Errorf("the impostor was sent %q", seen)
	}
}

func TestTokenHidesItsSecret(t *testing.T) {
	tok := authority(t).NewToken()
	if strings.Contains(tok.String()+tok.GoString()+tok.Hash(), tok.Secret) {
		t.Error("the secret shows")
	}
	for _, bad := range []string{"", "kn1", tok.Text()[1:], tok.Text() + "x", strings.ToUpper(tok.Text())} {
		if _, err := ParseToken(bad); kind(err) != fault.KindInvalid || strings.Contains(err.Error(), tok.Secret) {
			t.Errorf("%v", err)
		}
	}
	if _, err := ParseToken("kn2.future"); kind(err) != fault.KindUnsupported {
		t.Error(err)
	}
}
