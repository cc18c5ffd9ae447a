package trust

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"net/http"

	"kaname.dev/kaname/fault"
)

// The paths that a core serves; see Enroller.
const (
	PathJoin  = "/v1/join"
	PathRenew = "/v1/renew"
)

// maxRequest bounds the body of a join or renewal, in bytes.
const maxRequest = 16 << 10

// Applicant is who asks for a certificate, as far as it has been checked: it has
// the private key to Key, and shows a token or, for a renewal, its certificate.
type Applicant struct {
	Host   string // the name asked for; passes CheckName
	Key    string // SHA-256 of its public key, as KeyPrint has it
	Remote string // address it came from, for the audit
}

// Registrar is a core's memory of tokens and hosts. Each method decides by
// compare-and-set and leaves an audit record, also when it refuses.
type Registrar interface {
	// Consume spends the token for the applicant and enrols the host with the
	// key. A wrong, spent, expired or revoked token, one bound to another name,
	// and a name that another key has, are Denied faults. The same applicant with
	// the same key may ask again while the token lasts, since an answer can get
	// lost.
	Consume(ctx context.Context, t Token, a Applicant) (Grant, error)
	// Renew returns what the host may have now; one that is not enrolled, is
	// revoked or has another key is a Denied fault.
	Renew(ctx context.Context, a Applicant) (Grant, error)
}

// Enroller serves PathJoin and PathRenew on a core. Mount it on a listener with
// the configuration of Identity.WebTLS.
type Enroller struct {
	Authority *Authority
	Registrar Registrar
	Cores     func() []string // host:port of the cores, told to those who join; may be nil
	Log       *slog.Logger
}

// request is the body of both calls.
type request struct {
	Token  string `json:"token,omitempty"`  // the ID
	Secret string `json:"secret,omitempty"` // of the token
	Host   string `json:"host"`
	CSR    []byte `json:"csr"` // DER
}

// Issued is the answer to both calls.
type Issued struct {
	Certificate []byte   `json:"certificate"`         // DER
	CAs         [][]byte `json:"cas"`                 // DER, the issuing one first
	Keys        Keyring  `json:"keys"`                // to be pinned
	Cores       []string `json:"cores,omitempty"`     // host:port to dial
	Authority   []byte   `json:"authority,omitempty"` // Authority.Export, only for cores that join
}

// ServeHTTP answers POST on PathJoin and PathRenew with JSON: an Issued, or a
// fault with a fitting status.
func (e *Enroller) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	out, err := e.answer(w, r)
	if err == nil {
		writeJSON(w, http.StatusOK, out)
		return
	}
	f, ok := errors.AsType[*fault.Fault](err)
	if !ok {
		f = fault.Internal("the core cannot issue a certificate now").Because(err)
	}
	if f.Kind != fault.KindInvalid {
		e.Log.Warn("certificate refused", "path", r.URL.Path, "remote", r.RemoteAddr, "error", err)
	}
	writeJSON(w, status(f.Kind), f)
}

func (e *Enroller) answer(w http.ResponseWriter, r *http.Request) (Issued, error) {
	if r.Method != http.MethodPost {
		return Issued{}, fault.Invalid("only POST is served here")
	}
	var in request
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest)).Decode(&in); err != nil {
		return Issued{}, fault.Invalid("request cannot be read").Because(err)
	}
	if err := CheckName(in.Host); err != nil {
		return Issued{}, err
	}
	pub, err := requestKey(in.CSR)
	if err != nil {
		return Issued{}, err
	}
	spki, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return Issued{}, fault.Internal("encode the public key").Because(err)
	}
	a := Applicant{Host: in.Host, Key: KeyPrint(&x509.Certificate{RawSubjectPublicKeyInfo: spki}), Remote: r.RemoteAddr}
	switch r.URL.Path {
	case PathJoin:
		return e.join(r.Context(), in, a)
	case PathRenew:
		return e.renew(r, in, a)
	default:
		return Issued{}, fault.NotFound("nothing is served at this path")
	}
}

func (e *Enroller) join(ctx context.Context, in request, a Applicant) (Issued, error) {
	// The text form is rebuilt and read back, so that what reaches the registrar
	// is well-formed.
	t, err := ParseToken(Token{ID: in.Token, Secret: in.Secret, Pin: e.Authority.Print()}.Text())
	if err != nil {
		return Issued{}, err
	}
	g, err := e.Registrar.Consume(ctx, t, a)
	if err != nil {
		return Issued{}, err
	}
	out, err := e.issue(in.CSR, g)
	if err != nil {
		return Issued{}, err
	}
	if g.Role == RoleCore {
		out.Authority = e.Authority.Export()
	}
	e.Log.Info("host joined", "joined", a.Host, "role", g.Role, "remote", a.Remote, "token", in.Token)
	return out, nil
}

func (e *Enroller) renew(r *http.Request, in request, a Applicant) (Issued, error) {
	if r.TLS == nil {
		return Issued{}, fault.Denied("renewal needs TLS")
	}
	c, err := PeerCertificate(*r.TLS)
	if err != nil {
		return Issued{}, err
	}
	name, err := Name(c)
	if err != nil {
		return Issued{}, err
	}
	if name != a.Host || KeyPrint(c) != a.Key {
		return Issued{}, fault.Denied("host " + name + " asked for a certificate of host " + a.Host + " or for another key").Try("a host renews its own name with its own key")
	}
	g, err := e.Registrar.Renew(r.Context(), a)
	if err != nil {
		return Issued{}, err
	}
	return e.issue(in.CSR, g)
}

func (e *Enroller) issue(csr []byte, g Grant) (Issued, error) {
	c, err := e.Authority.Issue(csr, g)
	if err != nil {
		return Issued{}, err
	}
	out := Issued{Certificate: c.Raw, Keys: e.Authority.Keys()}
	for _, ca := range e.Authority.CAs() {
		out.CAs = append(out.CAs, ca.Raw)
	}
	if e.Cores != nil {
		out.Cores = e.Cores()
	}
	return out, nil
}

// certificates parses what issue sent.
func (o Issued) certificates() (leaf *x509.Certificate, cas []*x509.Certificate, err error) {
	if leaf, err = x509.ParseCertificate(o.Certificate); err != nil {
		return nil, nil, fault.Corrupt("the core's answer has no readable certificate").Because(err)
	}
	for _, der := range o.CAs {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, nil, fault.Corrupt("the core's answer has no readable CA certificate").Because(err)
		}
		cas = append(cas, c)
	}
	return leaf, cas, nil
}

// status maps a fault to an HTTP status; the doors have the full table.
func status(k fault.Kind) int {
	switch k {
	case fault.KindInvalid, fault.KindUnsupported:
		return http.StatusBadRequest
	case fault.KindDenied:
		return http.StatusForbidden
	case fault.KindNotFound:
		return http.StatusNotFound
	case fault.KindConflict, fault.KindExists:
		return http.StatusConflict
	case fault.KindUnavailable, fault.KindTimeout, fault.KindFull:
		return http.StatusServiceUnavailable
	default:
		return http.StatusInternalServerError
	}
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // the other side is gone; it will ask again
}

// PEM returns a certificate as PEM, for files that other programs read.
func PEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: blockCert, Bytes: c.Raw})
}
