package access_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"kaname.dev/kaname/access"
	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/plane/planetest"
)

func attach(t *testing.T, p *plane.Plane) *access.Access {
	t.Helper()
	a := access.New()
	a.Attach(access.Options{Plane: p, JoinToken: func(ctx context.Context, ttl time.Duration, host, by string) (string, error) {
		tok, err := p.CreateToken(ctx, plane.TokenSpec{TTL: ttl, Host: host, By: by})
		return tok.Text(), err
	}})
	return a
}

func TestBeforeAttachNothingWorksAndAllIsListed(t *testing.T) {
	a := access.New()
	if len(a.Actions()) < 12 {
		t.Errorf("%d actions", len(a.Actions()))
	}
	_, err := a.Users(t.Context())
	if !fault.Is(err, fault.KindUnavailable) {
		t.Error(err)
	}
}

func TestRolesCover(t *testing.T) {
	order := []access.Role{access.RoleViewer, access.RoleOperator, access.RoleAdmin}
	for i, have := range order {
		for j, need := range order {
			if have.Covers(need) != (i >= j) {
				t.Errorf("%s covers %s: %v", have, need, !(i >= j))
			}
		}
		if access.Role("root").Covers(have) || have.Covers("root") || access.Role("").Covers(have) {
			t.Error("an unknown role counts")
		}
	}
}

func TestPeople(t *testing.T) {
	a, ctx := attach(t, planetest.Core(t)), t.Context()
	for _, name := range []string{"", "Alice", "../x", "a b", "-a", "a*", "a>", strings.Repeat("a", 65)} {
		if _, err := a.AddUser(ctx, name, "correct horse", access.RoleViewer); !fault.Is(err, fault.KindInvalid) {
			t.Errorf("name %q: %v", name, err)
		}
	}
	for _, pw := range []string{"", "short", strings.Repeat("x", 2000)} {
		if _, err := a.AddUser(ctx, "alice", pw, access.RoleViewer); !fault.Is(err, fault.KindInvalid) {
			t.Errorf("password of %d bytes: %v", len(pw), err)
		}
	}
	if _, err := a.AddUser(ctx, "alice", "correct horse", access.RoleOperator); err != nil {
		t.Fatal(err)
	}
	if _, err := a.AddUser(ctx, "alice", "another horse", access.RoleAdmin); !fault.Is(err, fault.KindExists) {
		t.Error(err)
	}
	secret, id, err := a.SignIn(ctx, "alice", "correct horse", "192.0.2.1")
	if err != nil || id.Role != access.RoleOperator {
		t.Fatal(id, err)
	}
	if id, err := a.Session(ctx, secret); err != nil || id.Name != "alice" || id.Via != access.ViaSession {
		t.Errorf("%+v, %v", id, err)
	}
	wrong, unknown := signInFault(t, a, "alice"), signInFault(t, a, "bob")
	if wrong != unknown {
		t.Errorf("a wrong password and an unknown name differ: %q, %q", wrong, unknown)
	}
	if _, err := a.SetPassword(ctx, "alice", "another horse"); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Session(ctx, secret); !fault.Is(err, fault.KindDenied) {
		t.Errorf("session outlives the password: %v", err)
	}
	if secret, _, err = a.SignIn(ctx, "alice", "another horse", "192.0.2.1"); err != nil {
		t.Fatal(err)
	}
	if _, err := a.RemoveUser(ctx, "alice"); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Session(ctx, secret); !fault.Is(err, fault.KindDenied) {
		t.Errorf("session outlives the user: %v", err)
	}
	for _, do := range []func() error{
		func() error { _, err := a.RemoveUser(ctx, "alice"); return err },
		func() error { _, err := a.SetRole(ctx, "alice", access.RoleAdmin); return err },
		func() error { _, err := a.SetPassword(ctx, "alice", "another horse"); return err },
	} {
		if err := do(); !fault.Is(err, fault.KindNotFound) {
			t.Errorf("of a user who is gone: %v", err)
		}
	}
	if people, err := a.Users(ctx); err != nil || len(people) != 0 {
		t.Errorf("SetRole made a user out of nothing: %v, %v", people, err)
	}
}

func signInFault(t *testing.T, a *access.Access, name string) string {
	t.Helper()
	_, _, err := a.SignIn(t.Context(), name, "wrong horse", "192.0.2.2")
	if !fault.Is(err, fault.KindDenied) {
		t.Errorf("%s: %v", name, err)
	}
	return err.Error()
}

func TestTokens(t *testing.T) {
	p := planetest.Core(t)
	a, ctx := attach(t, p), t.Context()
	text, tok, err := a.CreateToken(ctx, access.RoleOperator, time.Hour, "ci", "root@unix")
	if err != nil || !strings.HasPrefix(text, "kt1."+tok.ID+".") {
		t.Fatal(text, err)
	}
	if id, err := a.Token(ctx, text); err != nil || id.Name != "ci@token" || id.Role != access.RoleOperator {
		t.Errorf("%+v, %v", id, err)
	}
	docs, err := plane.Documents[map[string]any](p, "tokens").List(ctx, "")
	if err != nil || len(docs) != 1 || strings.Contains(docs[0].Value["hash"].(string), strings.Split(text, ".")[2]) {
		t.Errorf("the store holds the secret: %v, %v", docs, err)
	}
	short, _, err := a.CreateToken(ctx, access.RoleAdmin, time.Millisecond, "", "root@unix")
	if err != nil {
		t.Fatal(err)
	}
	planetest.Eventually(t, "token expires", func() bool { _, err := a.Token(ctx, short); return fault.Is(err, fault.KindDenied) })
	if _, err := a.RevokeToken(ctx, tok.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Token(ctx, text); !fault.Is(err, fault.KindDenied) {
		t.Errorf("a revoked token works: %v", err)
	}
	if _, err := a.RevokeToken(ctx, "../x"); !fault.Is(err, fault.KindNotFound) {
		t.Error(err)
	}
	for _, ttl := range []time.Duration{0, -time.Hour, 100 * 366 * 24 * time.Hour} {
		if _, _, err := a.CreateToken(ctx, access.RoleAdmin, ttl, "", ""); !fault.Is(err, fault.KindInvalid) {
			t.Errorf("ttl %v: %v", ttl, err)
		}
	}
}

func TestOneCommandMakesBothKindsOfToken(t *testing.T) {
	a := attach(t, planetest.Core(t))
	create, err := action.NewCatalog(a.Actions()...).Find("token create")
	if err != nil {
		t.Fatal(err)
	}
	for role, prefix := range map[string]string{"agent": "kn1.", "viewer": "kt1.", "admin": "kt1."} {
		var said []string
		run := &action.Run{Actor: action.Actor{Name: "root@unix"}, Emit: func(e action.Event) { said = append(said, e.Text) }}
		out, err := create.Run(t.Context(), run, action.TextInputs(map[string][]string{"role": {role}, "ttl": {"1h"}}))
		if err != nil {
			t.Fatal(err)
		}
		tok := out.(access.NewToken)
		if !strings.HasPrefix(tok.String(), prefix) || time.Until(tok.Expires) > time.Hour {
			t.Errorf("%s: %+v", role, tok)
		}
		if strings.Contains(strings.Join(said, ""), strings.Split(tok.Token, ".")[2]) {
			t.Errorf("%s: an event, which every viewer may see, holds the token: %q", role, said)
		}
	}
	if _, err := create.Run(t.Context(), &action.Run{}, action.TextInputs(map[string][]string{"role": {"viewer"}, "host": {"web1"}})); !fault.Is(err, fault.KindInvalid) {
		t.Error(err)
	}
}

func TestUnixPeers(t *testing.T) {
	a := access.New()
	if id, err := a.Unix(access.Peer{UID: 0}); err != nil || id.Name != "root@unix" || id.Role != access.RoleAdmin {
		t.Errorf("%+v, %v", id, err)
	}
	id, err := a.Unix(access.Peer{UID: 65534, GID: 65534, Groups: []int{65534}})
	if !fault.Is(err, fault.KindDenied) || id.Role != "" || !strings.Contains(fault.Of(err).Remedy, "usermod") {
		t.Errorf("%+v, %v", id, err)
	}
}

// Several cores write one line of history.
func TestTrailOfSeveralWriters(t *testing.T) {
	p := planetest.Core(t)
	a, b := attach(t, p), attach(t, p)
	var wg sync.WaitGroup
	for _, w := range []*access.Access{a, b} {
		for range 3 {
			wg.Go(func() {
				for range 5 {
					if err := w.Write(t.Context(), access.Record{Who: "x", Action: "test", Outcome: access.OutcomeDone}); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()
	records, err := a.Records(t.Context(), access.Filter{})
	if err != nil || len(records) != 30 {
		t.Fatalf("%d records, %v", len(records), err)
	}
	for i, r := range records {
		if r.N != uint64(i+1) {
			t.Errorf("record %d is number %d", i, r.N)
		}
	}
	v, err := b.Verify(t.Context())
	if err != nil || len(v.Faults) > 0 || v.Records != 30 || v.First != 1 || v.Last != 30 {
		t.Errorf("%+v, %v", v, err)
	}
	// Somebody who can write events forges one, and one is missing.
	forged := records[29]
	forged.N, forged.Who, forged.Prev = 31, "mallory", strings.Repeat("0", 64)
	if err := p.Emit(t.Context(), access.AuditTopic, forged); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := a.Write(t.Context(), access.Record{Who: "x", Action: "test", Outcome: access.OutcomeDone}); err != nil {
			t.Fatal(err)
		}
	}
	if v, err = a.Verify(t.Context()); err != nil || len(v.Faults) == 0 {
		t.Errorf("forgery not seen: %+v, %v", v, err)
	}
	t.Log(v.Faults)
}

// A core that dies between fixing a record's place and logging it loses nothing:
// the next one logs it.
func TestTrailWhoseWriterDied(t *testing.T) {
	p := planetest.Core(t)
	a := attach(t, p)
	write := func(w *access.Access, who string) {
		t.Helper()
		if err := w.Write(t.Context(), access.Record{Who: who, Action: "test", Outcome: access.OutcomeDone}); err != nil {
			t.Fatal(err)
		}
	}
	write(a, "first")
	heads := plane.Documents[map[string]any](p, "audit")
	doc, err := heads.Get(t.Context(), "head")
	if err != nil {
		t.Fatal(err)
	}
	last := doc.Value["last"].(map[string]any)
	last["n"], last["who"], last["prev"] = 2, "dying", doc.Value["hash"]
	doc.Value["n"] = 2
	if _, err := heads.Swap(t.Context(), doc); err != nil {
		t.Fatal(err)
	}
	who := func() string {
		var names []string
		records, err := a.Records(t.Context(), access.Filter{})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			names = append(names, r.Who)
		}
		return strings.Join(names, " ")
	}
	if got := who(); got != "first dying" {
		t.Errorf("before the next writer: %s", got)
	}
	write(attach(t, p), "third")
	if got := who(); got != "first dying third" {
		t.Errorf("after the next writer: %s", got)
	}
}

func TestPastRuns(t *testing.T) {
	a := attach(t, planetest.Core(t))
	for _, r := range []access.Record{
		{Run: "01AAAAAAAAAAAAAAAAAAAAAAAA", Who: "alice", Action: "release deploy", Outcome: access.OutcomeStarted},
		{Run: "01BBBBBBBBBBBBBBBBBBBBBBBB", Who: "bob", Action: "zone add", Outcome: access.OutcomeStarted},
		{Who: "eve", Action: "release deploy", Outcome: access.OutcomeRefused},
		{Run: "01AAAAAAAAAAAAAAAAAAAAAAAA", Who: "alice", Action: "release deploy", Outcome: access.OutcomeDone, Duration: "1s"},
	} {
		if err := a.Write(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	catalog := action.NewCatalog(a.Actions()...)
	call := func(name string, in map[string][]string) (any, error) {
		act, err := catalog.Find(name)
		if err != nil {
			t.Fatal(err)
		}
		return act.Run(t.Context(), nil, action.TextInputs(in))
	}
	out, err := call("run list", nil)
	if err != nil {
		t.Fatal(err)
	}
	runs := out.([]access.PastRun)
	if len(runs) != 2 || runs[0].Who != "bob" || runs[0].State != access.OutcomeStarted || runs[1].State != access.OutcomeDone || runs[1].Duration != "1s" {
		t.Errorf("%+v", runs)
	}
	if out, err := call("run show", map[string][]string{"id": {"aaaa"}}); err != nil || out.(access.PastRun).Who != "alice" {
		t.Errorf("%+v, %v", out, err)
	}
	if _, err := call("run show", map[string][]string{"id": {"zzzz"}}); !fault.Is(err, fault.KindNotFound) {
		t.Error(err)
	}
	for in, want := range map[string]int{"": 4, "1h": 4, "7d": 4, "2099-01-01": 0} {
		out, err := call("audit list", map[string][]string{"since": {in}})
		if err != nil || len(out.([]access.Record)) != want {
			t.Errorf("since %q: %v, %v", in, out, err)
		}
	}
	if out, err := call("audit list", map[string][]string{"action": {"release"}, "who": {"alice"}, "last": {"1"}}); err != nil || len(out.([]access.Record)) != 1 {
		t.Errorf("%v, %v", out, err)
	}
	if _, err := call("audit list", map[string][]string{"since": {"yesterday"}}); !fault.Is(err, fault.KindInvalid) {
		t.Error(err)
	}
}

// What the plane itself notes stands in the trail too.
func TestTrailTellsOfHosts(t *testing.T) {
	p := planetest.Core(t)
	a := attach(t, p)
	planetest.Host(t, p, "web1", nil)
	if err := p.Emit(t.Context(), "audit.refused", plane.TrustRecord{Host: "web1", Remote: "192.0.2.7", What: "publish", Text: "kn.v1.host.web2", Count: 3}); err != nil {
		t.Fatal(err)
	}
	records, err := a.Records(t.Context(), access.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]access.Record{}
	for _, r := range records {
		if r.Who == "" || r.Time.IsZero() {
			t.Errorf("record of nobody: %+v", r)
		}
		got[r.Action] = r
	}
	if r := got["plane publish"]; r.Who != "host web1" || r.From != "192.0.2.7" || r.Outcome != access.OutcomeRefused || r.Fault.What != "publish: kn.v1.host.web2 (3 times)" {
		t.Errorf("%+v", r)
	}
	if r := got["plane token"]; r.Who != "test" || string(r.Inputs["host"]) != `"web1"` {
		t.Errorf("%+v", r)
	}
}
