package plane_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/plane/planetest"
	"kaname.dev/kaname/plane/trust"
)

// captured is a web host's key in the hands of somebody who speaks NATS by hand.
type captured struct {
	t    *testing.T
	core *plane.Plane
	id   *trust.Identity
	nc   *nats.Conn

	mu   sync.Mutex
	said []string // the server's refusals
}

func capture(t *testing.T, core *plane.Plane, host string) *captured {
	t.Helper()
	c := &captured{t: t, core: core, id: planetest.Join(t, core, host, trust.RoleAgent).Identity}
	var err error
	c.nc, err = nats.Connect("tls://"+core.ListenAddress(), nats.Secure(c.id.ClientTLS(trust.CoreName)), nats.CustomInboxPrefix("_INBOX."+host),
		nats.NoReconnect(), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.said = append(c.said, err.Error())
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.nc.Close)
	return c
}

// refused reports whether the server said that it refused the subject.
func (c *captured) refused(subject string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.said {
		if strings.Contains(strings.ToLower(s), "permissions violation") && strings.Contains(s, `"`+subject+`"`) {
			return true
		}
	}
	return false
}

// audited waits for an audit record of a refusal.
func audited(t *testing.T, core *plane.Plane, host, what, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for e, err := range core.Follow(ctx, "audit.refused", 1) {
		var rec plane.TrustRecord
		if err != nil || json.Unmarshal(e.Data, &rec) != nil {
			t.Fatalf("%+v %v", e, err)
		}
		if rec.Host == host && rec.What == what && strings.Contains(rec.Text, text) {
			return
		}
	}
	t.Errorf("no audit record of %s by %q with %q", what, host, text)
}

func TestCapturedKeyOnTheWire(t *testing.T) {
	core := planetest.Core(t)
	victim := planetest.Host(t, core, "web2", nil)
	ran := make(chan string, 10)
	err := plane.Serve(victim, "test.run", 1, func(_ context.Context, c *plane.Call, in note) (note, error) {
		ran <- in.Text
		return note{}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	secrets := plane.Documents[note](core, "secrets")
	if _, err := secrets.Create(t.Context(), "web2", note{Text: "swordfish"}); err != nil {
		t.Fatal(err)
	}
	c := capture(t, core, "web1")

	publish := []string{
		"kn.v1.host.web2.call",                   // command another host
		"kn.v1.host.web1.call",                   // even itself
		"kn.v1.all.x",                            // everybody
		"kn.v1.ev.web2.release.deploy",           // forge an event
		"kn.v1.hb.web2",                          // forge a heartbeat
		"kn.v1.fr.web2.01ABC",                    // answer in another's name
		"kn.v1.ask.web2.x",                       // ask in another's name
		"kn.v1.doc.plane%2Ehosts.web1",           // grant itself a role
		"kn.v1.doc.secrets.web2",                 // write a document
		"kn.v1.log.web2.x", "kn.v1.audit.core.x", // write the logs
		"kn.v1.note.DOC",                          // wake the cores
		"$JS.API.INFO", "$JS.API.STREAM.INFO.DOC", // ask the store about itself
		"$JS.API.STREAM.MSG.GET.DOC",                                // read another's secret
		"$JS.API.DIRECT.GET.DOC.kn.v1.doc.secrets.web2",             // likewise
		"$JS.API.CONSUMER.CREATE.DOC.x.kn.v1.doc.>",                 // likewise, all of them
		"$JS.API.STREAM.PURGE.AUDIT", "$JS.API.STREAM.DELETE.AUDIT", // cover the traces
		"$JS.API.STREAM.UPDATE.DOC",    // lift the limits
		"$KV.secrets.web2", "$O.x.C.y", // where others keep such things
		"$SYS.REQ.SERVER.PING", "$SYS.REQ.USER.INFO", "$SRV.PING", // the server
		"_INBOX.core.abc.1", "_INBOX.web2.abc.1", "_INBOX.abc", "other", // answer in a core's name
	}
	for _, subject := range publish {
		if err := c.nc.PublishRequest(subject, "_INBOX.web1.x", []byte(`{}`)); err != nil {
			t.Fatal(err)
		}
	}
	subscribe := []string{
		"kn.v1.host.web2.call", "kn.v1.host.web2.>", "kn.v1.host.*.call", "kn.v1.host.>", // another's commands
		">", "*.>", "kn.>", "kn.v1.>", "kn.v1.*.web1.>", // everything
		"_INBOX.>", "_INBOX.web2.>", "_INBOX.core.>", "_INBOX.*.>", // others' answers
		"kn.v1.ev.>", "kn.v1.hb.*", "kn.v1.fr.>", "kn.v1.ask.>", "kn.v1.ask.*.release.file", // what cores hear
		"kn.v1.doc.>", "kn.v1.log.>", "kn.v1.audit.>", "kn.v1.note.*", // the store's
		"$JS.>", "$JS.EVENT.>", "$KV.>", "$SYS.>", "$SYS.ACCOUNT.>", // the engine's
	}
	for _, subject := range subscribe {
		if _, err := c.nc.Subscribe(subject, func(m *nats.Msg) { t.Errorf("got a message on %s", m.Subject) }); err != nil {
			t.Fatal(err)
		}
		if _, err := c.nc.QueueSubscribe(subject, "cores", func(m *nats.Msg) { t.Errorf("got a message on %s", m.Subject) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	// Life goes on in the meantime, and nothing of it reaches the thief.
	if _, err := plane.CallOne[note](t.Context(), core, "web2", plane.CallSpec{Command: "test.run", In: note{Text: "by right"}}, nil); err != nil {
		t.Fatal(err)
	}
	for _, subject := range append(publish, subscribe...) {
		planetest.Eventually(t, "refusal of "+subject, func() bool { return c.refused(subject) })
	}
	// Three by name; of more than 50 sorts from one host the rest is counted together.
	audited(t, core, "web1", "publish", `"kn.v1.host.web2.call"`)
	audited(t, core, "web1", "publish", `"kn.v1.doc.plane%2Ehosts.web1"`)
	audited(t, core, "web1", "publish", `"$JS.API.STREAM.MSG.GET.DOC"`)
	planetest.Eventually(t, "every attempt is counted", func() bool { return attempts(t, core, "web1") == len(publish)+2*len(subscribe) })
	if got := <-ran; got != "by right" || len(ran) != 0 {
		t.Errorf("web2 ran %q", got)
	}
}

// attempts counts the refusals of a host in the audit.
func attempts(t *testing.T, core *plane.Plane, host string) (n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	for e, err := range core.Follow(ctx, "audit.refused", 1) {
		var rec plane.TrustRecord
		if err != nil || json.Unmarshal(e.Data, &rec) != nil {
			t.Fatalf("%+v %v", e, err)
		}
		if rec.Host == host {
			n += max(rec.Count, 1)
		}
	}
	return n
}

func TestCapturedKeyCannotUseTheCoreAsItsHand(t *testing.T) {
	core := planetest.Core(t)
	if err := plane.Answer(core, "test.echo", func(_ context.Context, host string, in note) (note, error) { return in, nil }); err != nil {
		t.Fatal(err)
	}
	c := capture(t, core, "web1")
	overheard, err := core.Conn().SubscribeSync("_INBOX.web2.>")
	if err != nil {
		t.Fatal(err)
	}
	before, err := plane.Documents[note](core, "plane.hosts").Get(t.Context(), "web1")
	if err != nil {
		t.Fatal(err)
	}
	for _, reply := range []string{"kn.v1.doc.plane%2Ehosts.web1", "kn.v1.doc.plane.hosts.web1", "kn.v1.audit.core.x", "_INBOX.web2.x", "kn.v1.host.web2.call", "_INBOX.web1"} {
		for _, subject := range []string{"kn.v1.ask.web1.test.echo", "kn.v1.ev.web1.some.topic", "kn.v1.ev.web1.audit"} {
			if err := c.nc.PublishRequest(subject, reply, []byte(`{"v":{"role":"core"}}`)); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.nc.Flush(); err != nil {
			t.Fatal(err)
		}
		audited(t, core, "web1", "reply", reply)
	}
	after, err := plane.Documents[note](core, "plane.hosts").Get(t.Context(), "web1")
	if err != nil || after.Revision != before.Revision {
		t.Errorf("the enrolment moved: %+v %v", after, err)
	}
	if m, err := overheard.NextMsg(50 * time.Millisecond); err == nil {
		t.Errorf("a core wrote %s to web2", m.Subject)
	}
	if _, err := c.nc.Request("kn.v1.ev.web1.audit", []byte(`{}`), 5*time.Second); err != nil {
		t.Fatal(err)
	}
	audited(t, core, "web1", "event", "audit")
	if r, err := c.nc.Request("kn.v1.ask.web1.test.echo", []byte(`{"text":"hi"}`), 5*time.Second); err != nil || !strings.Contains(string(r.Data), "hi") {
		t.Errorf("its own questions: %v", err)
	}
}

func TestCapturedKeyCannotMakeItselfACore(t *testing.T) {
	core := planetest.Core(t)
	web := planetest.Host(t, core, "web1", nil)
	_, err := plane.Documents[note](web, "secrets").Get(t.Context(), "web2")
	wantKind(t, err, fault.KindDenied)
	_, err = web.Lease(t.Context(), "deploy", plane.LeaseOptions{Try: true})
	wantKind(t, err, fault.KindDenied)
	_, err = web.CreateToken(t.Context(), plane.TokenSpec{Role: trust.RoleCore})
	wantKind(t, err, fault.KindDenied)
	wantKind(t, web.Emit(t.Context(), "audit", note{}), fault.KindDenied)
	_, err = plane.CallOne[note](t.Context(), web, "core", plane.CallSpec{Command: "x"}, nil)
	wantKind(t, err, fault.KindDenied)

	c := capture(t, core, "web9")
	beat, err := json.Marshal(plane.Member{Host: "core", Core: true, Version: "evil"})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.nc.Publish("kn.v1.hb.web9", beat); err != nil {
		t.Fatal(err)
	}
	planetest.Eventually(t, "web9 is heard of", func() bool {
		members, err := core.Members(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range members {
			if m.Version == "evil" {
				if m.Core || m.Host != "web9" {
					t.Fatalf("believed: %+v", m)
				}
				return true
			}
		}
		return false
	})
}

// TestForgedCommandsAreRefusedByTheHost goes around the server's permissions, as
// a flaw in them would, and finds the signatures.
func TestForgedCommandsAreRefusedByTheHost(t *testing.T) {
	core := planetest.Core(t)
	ran := make(chan string, 10)
	for _, name := range []string{"web1", "web2"} {
		h := planetest.Host(t, core, name, nil)
		err := plane.Serve(h, "test.run", 1, func(_ context.Context, c *plane.Call, in note) (note, error) {
			ran <- name + " " + in.Text
			return note{}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	heard, err := core.Conn().SubscribeSync("kn.v1.host.web1.call") // what the captured web1 received
	if err != nil {
		t.Fatal(err)
	}
	if _, err := plane.CallOne[note](t.Context(), core, "web1", plane.CallSpec{Command: "test.run", In: note{Text: "by right"}}, nil); err != nil {
		t.Fatal(err)
	}
	own, err := heard.NextMsg(5 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	thief, err := trust.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	forged, err := thief.Sign(trust.Command{Call: "01X", Name: "test.run", Version: 1, Args: json.RawMessage(`{}`), Hosts: []string{"web2"}, Until: time.Now().Add(time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	altered := []byte(strings.Replace(string(own.Data), "by right", "by mght!", 1))
	retarget := []byte(strings.Replace(string(own.Data), `"web1"`, `"web2"`, 1))
	for text, data := range map[string][]byte{
		"not for this host":     own.Data,
		"altered or forged":     altered,
		"signature is wrong":    retarget,
		"does not trust":        forged,
		"not a signed command":  []byte(`{"command":"test.run","hosts":["web2"]}`),
		"this is not a signed ": nil,
	} {
		if err := core.Conn().PublishMsg(&nats.Msg{Subject: "kn.v1.host.web2.call", Reply: "kn.v1.fr.web2.x", Data: data, Header: own.Header}); err != nil {
			t.Fatal(err)
		}
		audited(t, core, "web2", "command", text)
	}
	if got := <-ran; got != "web1 by right" || len(ran) != 0 {
		t.Errorf("ran %q", got)
	}
}

func TestConnectionsThatAreRefused(t *testing.T) {
	core := planetest.Core(t)
	dial := func(c *tls.Config, o ...nats.Option) error {
		nc, err := nats.Connect("tls://"+core.ListenAddress(), append(o, nats.Secure(c), nats.NoReconnect(), nats.Timeout(3*time.Second))...)
		if err == nil {
			defer nc.Close()
			err = nc.Flush()
		}
		return err
	}
	issue := func(a *trust.Authority, g trust.Grant) *trust.Identity {
		id, err := a.NewIdentity(g)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	foreign, err := trust.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	web1 := planetest.Join(t, core, "web1", trust.RoleAgent).Identity
	if err := dial(web1.ClientTLS(trust.CoreName)); err != nil {
		t.Fatal("the enrolled host:", err)
	}
	none := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13} //nolint:gosec // as an attacker would
	lax := func(id *trust.Identity) *tls.Config {
		c := id.ClientTLS(trust.CoreName)
		c.VerifyConnection = nil // the attacker trusts anybody
		return c
	}
	for name, c := range map[string]struct {
		tls  *tls.Config
		o    []nats.Option
		host string
		text string
	}{
		"not enrolled":    {lax(issue(core.Authority(), trust.Grant{Host: "web7", Role: trust.RoleAgent})), nil, "web7", "not enrolled"},
		"a second key":    {lax(issue(core.Authority(), trust.Grant{Host: "web1", Role: trust.RoleAgent})), nil, "web1", "another key"},
		"a forged core":   {lax(issue(core.Authority(), trust.Grant{Host: "core", Role: trust.RoleCore})), nil, "core", "another key"},
		"expired":         {lax(issue(core.Authority(), trust.Grant{Host: "web1", Role: trust.RoleAgent, Life: -time.Minute})), nil, "", "expired"},
		"another plane's": {lax(issue(foreign, trust.Grant{Host: "web1", Role: trust.RoleAgent})), nil, "", "unknown authority"},
		"no certificate":  {none, nil, "", "didn't provide a certificate"},
		"a password":      {none, []nats.Option{nats.Token("x"), nats.UserInfo("core", "core")}, "", "didn't provide a certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := dial(c.tls, c.o...); err == nil {
				t.Error("let in")
			}
			audited(t, core, c.host, "connection", c.text)
		})
	}
	plain, err := nats.Connect("nats://"+core.ListenAddress(), nats.NoReconnect(), nats.Timeout(3*time.Second))
	if err == nil {
		plain.Close()
		t.Error("let in without TLS")
	}
}

func TestRevocationCutsTheConnection(t *testing.T) {
	core := planetest.Core(t)
	c := capture(t, core, "web1")
	if err := core.Revoke(t.Context(), "web1", "alice", "laptop stolen"); err != nil {
		t.Fatal(err)
	}
	revoked := time.Now()
	planetest.Eventually(t, "the connection is cut", c.nc.IsClosed)
	took := time.Since(revoked)
	if took > time.Second {
		t.Errorf("revocation took %v", took)
	}
	t.Logf("cut after %v", took)
	if nc, err := nats.Connect("tls://"+core.ListenAddress(), nats.Secure(c.id.ClientTLS(trust.CoreName))); err == nil {
		nc.Close()
		t.Error("a revoked host came back")
	}
	audited(t, core, "web1", "connection", "laptop stolen")
	addr := planetest.Enroller(t, core)
	wantKind(t, c.id.Renew(t.Context(), addr), fault.KindDenied)
	audited(t, core, "web1", "renewal", "revoked")

	free, err := core.CreateToken(t.Context(), plane.TokenSpec{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = trust.Join(t.Context(), addr, free, "web1")
	wantKind(t, err, fault.KindDenied)
	audited(t, core, "web1", "join", "belongs to another host")
	again := planetest.Join(t, core, "web1", trust.RoleAgent).Identity // a token bound to the name
	nc, err := nats.Connect("tls://"+core.ListenAddress(), nats.Secure(again.ClientTLS(trust.CoreName)))
	if err != nil {
		t.Fatal("the host that joined anew:", err)
	}
	nc.Close()
	if nc, err = nats.Connect("tls://"+core.ListenAddress(), nats.Secure(c.id.ClientTLS(trust.CoreName))); err == nil {
		nc.Close()
		t.Error("the old key came back with the name")
	}
	wantKind(t, core.Revoke(t.Context(), "core", "alice", "x"), fault.KindInvalid)
	wantKind(t, core.Revoke(t.Context(), "web99", "alice", "x"), fault.KindNotFound)
}

func TestTokensAreSpentOnce(t *testing.T) {
	core := planetest.Core(t)
	addr := planetest.Enroller(t, core)
	ctx := t.Context()
	make1 := func(s plane.TokenSpec) trust.Token {
		tok, err := core.CreateToken(ctx, s)
		if err != nil {
			t.Fatal(err)
		}
		return tok
	}
	tok := make1(plane.TokenSpec{By: "alice"})
	errs := make(chan error, 5)
	for i := range 5 {
		go func() {
			_, err := trust.Join(ctx, addr, tok, fmt.Sprintf("web%d", i))
			errs <- err
		}()
	}
	joined := 0
	for range 5 {
		if err := <-errs; err == nil {
			joined++
		} else {
			wantKind(t, err, fault.KindDenied)
		}
	}
	if joined != 1 {
		t.Errorf("%d hosts joined with one token", joined)
	}
	guess := tok
	guess.Secret = strings.Repeat("A", 27)
	bound, spare := make1(plane.TokenSpec{Host: "db1"}), make1(plane.TokenSpec{Uses: 2})
	if err := core.RevokeToken(ctx, spare.ID, "alice"); err != nil {
		t.Fatal(err)
	}
	short := make1(plane.TokenSpec{TTL: time.Nanosecond})
	for name, c := range map[string]struct {
		tok  trust.Token
		host string
		text string
	}{
		"guessed": {guess, "web9", "not known"},
		"bound":   {bound, "web9", "for another host"},
		"revoked": {spare, "web9", "revoked"},
		"expired": {short, "web9", "expired"},
	} {
		_, err := trust.Join(ctx, addr, c.tok, c.host)
		if !fault.Is(err, fault.KindDenied) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", name, err)
		}
		audited(t, core, "web9", "join", c.text)
	}
	list, err := core.Tokens(ctx)
	if err != nil || len(list) != 4 {
		t.Fatalf("%v %v", list, err)
	}
	for _, info := range list {
		b, err := json.Marshal(info)
		if err != nil || strings.Contains(string(b), bound.Secret) || strings.Contains(string(b), tok.Secret) {
			t.Error("a secret is stored")
		}
		if want := info.ID == bound.ID; info.Open(time.Now()) != want {
			t.Errorf("%+v", info)
		}
	}
	wantKind(t, core.RevokeToken(ctx, "0000000000000000", "alice"), fault.KindNotFound)
	for _, bad := range []plane.TokenSpec{{Role: "king"}, {TTL: 365 * 24 * time.Hour}, {Uses: 2, Host: "a"}, {Host: "A"}, {Role: trust.RoleCore, Uses: 2}, {Uses: -1}} {
		if _, err := core.CreateToken(ctx, bad); err == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
}
