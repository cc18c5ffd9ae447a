package planetest

import (
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/plane/trust"
)

// Join lets a host join the core as people do it: with a token, over TLS on
// loopback.
func Join(t testing.TB, core *plane.Plane, name string, role trust.Role) *trust.Joined {
	t.Helper()
	tok, err := core.CreateToken(t.Context(), plane.TokenSpec{Role: role, Host: name, By: "test"})
	if err != nil {
		t.Fatal(err)
	}
	addr := Enroller(t, core)
	j, err := trust.Join(t.Context(), addr, tok, name)
	if err != nil {
		t.Fatalf("join %s: %v", name, err)
	}
	return j
}

// Enroller serves joining and renewing of the core on loopback until the end of
// the test, and returns its address.
func Enroller(t testing.TB, core *plane.Plane) string {
	t.Helper()
	e, err := core.Enroller(func() []string { return []string{core.ListenAddress()} }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(e)
	s.TLS = core.Identity().WebTLS()
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "https://")
}
