package plane_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/plane/planetest"
	"kaname.dev/kaname/plane/trust"
)

// natsServer starts a NATS server as a company may have it, with the users that
// the plane needs.
func natsServer(t *testing.T, change func(*server.Options)) *server.Server {
	t.Helper()
	publish, subscribe := plane.HostSubjects("web1")
	o := &server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: t.TempDir(), SyncAlways: true,
		Users: []*server.User{
			{Username: "core", Password: "core"},
			{Username: "web1", Password: "web1", Permissions: &server.Permissions{
				Publish:   &server.SubjectPermission{Allow: publish},
				Subscribe: &server.SubjectPermission{Allow: subscribe},
			}},
		},
	}
	change(o)
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("server is not ready")
	}
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	return s
}

func externalOptions(t *testing.T, s *server.Server, user string) plane.Options {
	t.Helper()
	o := plane.Options{Host: user, Mode: plane.External, Dir: t.TempDir(), Log: options(t, "").Log}
	o.External = plane.ExternalOptions{URL: "nats://" + user + ":" + user + "@" + s.Addr().String(), Replicas: 1}
	return o
}

func TestAnExternalServerCarriesThePlane(t *testing.T) {
	s := natsServer(t, func(*server.Options) {})
	o := externalOptions(t, s, "core")
	core := planetest.Open(t, o)
	w := fill(t, core, 20)
	if len(core.Notes()) < 2 {
		t.Errorf("notes: %q", core.Notes())
	}
	id, err := core.Authority().NewIdentity(trust.Grant{Host: "web1", Role: trust.RoleAgent})
	if err != nil {
		t.Fatal(err)
	}
	ho := externalOptions(t, s, "web1")
	ho.Mode, ho.Identity = plane.Host, id
	h := planetest.Open(t, ho)
	if err := plane.Serve(h, "test.echo", 1, func(_ context.Context, _ *plane.Call, in note) (note, error) { return in, nil }); err != nil {
		t.Fatal(err)
	}
	out, err := plane.CallOne[note](t.Context(), core, "web1", plane.CallSpec{Command: "test.echo", In: note{N: 3}}, nil)
	if err != nil || out.N != 3 {
		t.Fatal(out, err)
	}
	if err := h.Emit(t.Context(), "test.other", note{}); err != nil {
		t.Fatal(err)
	}
	planetest.Close(t, core)
	if core, err = reopen(t, o); err != nil {
		t.Fatal(err)
	}
	if err := w.missing(t.Context(), core); err != nil {
		t.Fatal(err)
	}
}

func TestAnExternalServerThatCannotIsRefused(t *testing.T) {
	for name, change := range map[string]func(*server.Options){
		"no JetStream":  func(o *server.Options) { o.JetStream = false },
		"small payload": func(o *server.Options) { o.MaxPayload = 1000 },
	} {
		s := natsServer(t, change)
		_, err := reopen(t, externalOptions(t, s, "core"))
		if !fault.Is(err, fault.KindUnsupported) || fault.Of(err).Remedy == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := natsServer(t, func(*server.Options) {})
	o := externalOptions(t, s, "core")
	o.External.Replicas = 3
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	_, err := plane.Open(ctx, o)
	if err == nil {
		t.Fatal("three replicas on one server")
	}
	t.Log(err)
}
