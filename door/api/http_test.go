package api_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"strings"
	"testing"

	"kaname.dev/kaname/door/api/apitest"
)

// browser is an HTTP client that knows the CA and nothing else.
func browser(t *testing.T, a *apitest.API) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	for _, c := range a.Plane.Authority().CAs() {
		roots.AddCert(c)
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// do sends a request as the admin, unless it says who it is.
func do(t *testing.T, a *apitest.API, req *http.Request) *http.Response {
	t.Helper()
	if req.Header.Get("Authorization") == "" && req.Header.Get("Cookie") == "" {
		req.Header.Set("Authorization", "Bearer "+a.Token)
	}
	return anonymous(t, a, req)
}

func anonymous(t *testing.T, a *apitest.API, req *http.Request) *http.Response {
	t.Helper()
	resp, err := browser(t, a).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func request(t *testing.T, a *apitest.API, method, path, body string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, a.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func post(t *testing.T, a *apitest.API, id, body string) *http.Request {
	t.Helper()
	req := request(t, a, http.MethodPost, "/v1/actions/"+id, body)
	req.Header.Set("Content-Type", "application/json")
	return req
}

func readAll(t *testing.T, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
