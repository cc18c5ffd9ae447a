package api_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"kaname.dev/kaname/access"
	"kaname.dev/kaname/action"
	"kaname.dev/kaname/door/api"
	"kaname.dev/kaname/door/api/apitest"
	"kaname.dev/kaname/fault"
)

func TestRoles(t *testing.T) {
	a := apitest.Start(t, apitest.Actions(&apitest.Counter{})...)
	may := map[access.Role]map[string]bool{
		access.RoleViewer:   {"test.rows": true, "test.wait": false, "test.wipe": false, "user.list": true, "user.role": false, "token.create": false, "audit.list": true},
		access.RoleOperator: {"test.rows": true, "test.wait": true, "test.wipe": false, "user.list": true, "user.role": false, "token.create": false, "audit.list": true},
		access.RoleAdmin:    {"test.rows": true, "test.wait": true, "test.wipe": true, "user.list": true, "user.role": true, "token.create": true, "audit.list": true},
	}
	inputs := map[string]map[string]any{"user.role": {"name": "nobody", "role": "admin"}, "token.create": {"role": "viewer"}}
	for role, actions := range may {
		c := a.Remote(t, role)
		catalogue, err := c.Catalogue(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for id, want := range actions {
			_, err := c.Call(t.Context(), id, values(t, inputs[id]), api.CallOptions{}, nil)
			if got := !fault.Is(err, fault.KindDenied); got != want {
				t.Errorf("%s calls %s: %v, want allowed %v", role, id, err, want)
			}
			if _, err := c.Plan(t.Context(), id, values(t, inputs[id])); fault.Is(err, fault.KindDenied) == want {
				t.Errorf("%s plans %s: %v, want allowed %v", role, id, err, want)
			}
			for _, d := range catalogue.Actions {
				if d.ID == id && d.Allowed != want {
					t.Errorf("catalogue tells %s that %s is allowed: %v", role, id, d.Allowed)
				}
			}
		}
	}
}

func TestNobodyGetsNothing(t *testing.T) {
	a := apitest.Start(t, apitest.Actions(&apitest.Counter{})...)
	good := strings.Split(a.Token, ".")
	for name, set := range map[string]func(http.Header){
		"nothing":          func(http.Header) {},
		"other scheme":     func(h http.Header) { h.Set("Authorization", "Basic cm9vdDpyb290") },
		"no token":         func(h http.Header) { h.Set("Authorization", "Bearer") },
		"unknown token":    func(h http.Header) { h.Set("Authorization", "Bearer kt1.aaaaaaaa."+good[2]) },
		"wrong secret":     func(h http.Header) { h.Set("Authorization", "Bearer kt1."+good[1]+".aaaa") },
		"no secret":        func(h http.Header) { h.Set("Authorization", "Bearer kt1."+good[1]+".") },
		"path in the id":   func(h http.Header) { h.Set("Authorization", "Bearer kt1.../../x."+good[2]) },
		"wildcard as id":   func(h http.Header) { h.Set("Authorization", "Bearer kt1.*."+good[2]) },
		"unknown session":  func(h http.Header) { h.Set("Cookie", api.CookieName+"=aaaa") },
		"join token":       func(h http.Header) { h.Set("Authorization", "Bearer kn1.aaaa.bbbb.cccc") },
		"very long token":  func(h http.Header) { h.Set("Authorization", "Bearer "+strings.Repeat("x", 30000)) },
		"wrong bearer too": func(h http.Header) { h.Set("Authorization", "bearer kt1.x.y"); h.Set(api.HeaderDoor, "cli") },
	} {
		for _, path := range []string{"GET /v1/actions", "POST /v1/actions/test.rows", "GET /v1/runs", "GET /v1/events", "GET /v1/whoami", "GET /v1/openapi.json", "GET /v1/complete", "DELETE /v1/session", "DELETE /v1/runs/x"} {
			method, path, _ := strings.Cut(path, " ")
			req := request(t, a, method, path, "")
			set(req.Header)
			resp := anonymous(t, a, req)
			if resp.StatusCode != http.StatusUnauthorized || resp.Header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s: %s %s: %s", name, method, path, resp.Status)
			}
			if body := readAll(t, resp); !strings.Contains(body, `"kind":"denied"`) || strings.Contains(body, good[2]) {
				t.Errorf("%s: body %s", name, body)
			}
		}
	}
}

func TestSessions(t *testing.T) {
	a := apitest.Start(t, apitest.Actions(&apitest.Counter{})...)
	if _, err := a.Access.AddUser(t.Context(), "alice", "correct horse", access.RoleOperator); err != nil {
		t.Fatal(err)
	}
	signIn := func(password string) *http.Response {
		return anonymous(t, a, request(t, a, http.MethodPost, "/v1/session", `{"name": "alice", "password": "`+password+`"}`))
	}
	resp := signIn("correct horse")
	if len(resp.Cookies()) != 1 {
		t.Fatal(resp.Status, readAll(t, resp))
	}
	cookie := resp.Cookies()[0]
	if cookie.Name != "__Host-kaname" || !cookie.Secure || !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode || cookie.Path != "/" || cookie.Domain != "" {
		t.Errorf("cookie %+v", cookie)
	}
	with := func(req *http.Request, set ...string) *http.Response {
		req.AddCookie(cookie)
		for i := 0; i < len(set); i += 2 {
			req.Header.Set(set[i], set[i+1])
		}
		return anonymous(t, a, req)
	}
	if body := readAll(t, with(request(t, a, http.MethodGet, "/v1/whoami", ""))); !strings.Contains(body, `"name":"alice","role":"operator","via":"session"`) {
		t.Errorf("whoami %s", body)
	}
	for name, site := range map[string][]string{
		"other site":       {"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"},
		"other origin":     {"Origin", "https://evil.example"},
		"sibling site":     {"Sec-Fetch-Site", "same-site", "Origin", "https://evil.example"},
		"opaque origin":    {"Origin", "null"},
		"own host, http":   {"Sec-Fetch-Site", "cross-site"},
		"form, other site": {"Sec-Fetch-Site", "cross-site", "Content-Type", "application/x-www-form-urlencoded"},
	} {
		resp := with(post(t, a, "test.wait", "{}"), site...)
		if resp.StatusCode != http.StatusForbidden || !strings.Contains(readAll(t, resp), "another site") {
			t.Errorf("%s: %s", name, resp.Status)
		}
	}
	if resp := with(post(t, a, "test.wait", "{}"), "Sec-Fetch-Site", "same-origin"); resp.StatusCode != http.StatusOK {
		t.Errorf("own site: %s", resp.Status)
	}
	if resp := with(request(t, a, http.MethodPost, "/v1/actions/test.wait", "ticks=3"), "Content-Type", "application/x-www-form-urlencoded"); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("a form is taken: %s", resp.Status)
	}
	if _, err := a.Access.SetRole(t.Context(), "alice", access.RoleViewer); err != nil {
		t.Fatal(err)
	}
	if resp := with(request(t, a, http.MethodGet, "/v1/whoami", "")); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("session outlives the change of role: %s", resp.Status)
	}
	cookie = signIn("correct horse").Cookies()[0]
	if resp := with(request(t, a, http.MethodDelete, "/v1/session", "")); resp.StatusCode != http.StatusOK {
		t.Errorf("sign out: %s", resp.Status)
	}
	if resp := with(request(t, a, http.MethodGet, "/v1/whoami", "")); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("session outlives signing out: %s", resp.Status)
	}
	limited := false
	for n := range 8 {
		body := readAll(t, signIn("guess"+strconv.Itoa(n)))
		limited = limited || strings.Contains(body, "too many")
	}
	if !limited {
		t.Error("eight guesses in a row were let through")
	}
	if resp := signIn("correct horse"); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("the right password is a guess like any other: %s", resp.Status)
	}
}

func TestHostileInput(t *testing.T) {
	a := apitest.Start(t, apitest.Actions(&apitest.Counter{})...)
	long := strings.Repeat("x", 2<<20)
	part := func(name, file, text string) string {
		return fmt.Sprintf("--b\r\nContent-Disposition: form-data; name=%q; filename=%q\r\n\r\n%s\r\n", name, file, text)
	}
	field := func(name, text string) string {
		return fmt.Sprintf("--b\r\nContent-Disposition: form-data; name=%q\r\n\r\n%s\r\n", name, text)
	}
	multi := "multipart/form-data; boundary=b"
	for name, c := range map[string]struct {
		path, contentType, body string
		status                  int
		says                    string
	}{
		"malformed JSON":        {"test.echo", "application/json", `{"text": `, 400, "not a JSON object"},
		"list":                  {"test.echo", "application/json", `["text"]`, 400, "not a JSON object"},
		"null":                  {"test.echo", "application/json", `null`, 400, "null"},
		"deep":                  {"test.echo", "application/json", `{"text":` + strings.Repeat("[", 100000) + `}`, 400, "not a JSON object"},
		"oversized JSON":        {"test.echo", "application/json", `{"text": "` + long + `"}`, 400, "larger than 1024 KiB"},
		"unknown field":         {"test.echo", "application/json", `{"text": "a", "nope": 1}`, 400, `no field \"nope\"`},
		"missing field":         {"test.echo", "application/json", `{}`, 400, "text is required"},
		"empty required":        {"test.echo", "application/json", `{"text": ""}`, 400, "text is required"},
		"wrong kind":            {"test.echo", "application/json", `{"text": "a", "number": "many"}`, 400, "not a whole number"},
		"object as text":        {"test.echo", "application/json", `{"text": {"a": 1}}`, 400, "not a text"},
		"not in the enum":       {"test.echo", "application/json", `{"text": "a", "choice": "blue"}`, 400, "not one of red, green"},
		"file as JSON":          {"test.echo", "application/json", `{"text": "a", "file": "/etc/passwd"}`, 400, "neither a file that was sent nor an address"},
		"other type":            {"test.echo", "text/plain", `{"text": "a"}`, 400, "content type text/plain"},
		"multipart, no border":  {"test.echo", "multipart/form-data", "x", 400, "content type"},
		"multipart, garbage":    {"test.echo", multi, "garbage", 400, "cannot be read"},
		"oversized input part":  {"test.echo", multi, field("input", long) + "--b--\r\n", 400, "larger than"},
		"files is no list":      {"test.echo", multi, field("files", "{}") + "--b--\r\n", 400, "part files is not a list"},
		"file field twice":      {"test.echo", multi, field("files", `[{"field":"file"},{"field":"file"}]`) + "--b--\r\n", 400, "twice"},
		"announced, not sent":   {"test.echo", multi, field("input", `{"text":"a"}`) + field("files", `[{"field":"file","name":"x","size":3}]`) + "--b--\r\n", 400, "did not come"},
		"other file than said":  {"test.echo", multi, field("input", `{"text":"a"}`) + field("files", `[{"field":"file","name":"x","size":3}]`) + part("second", "x", "abc") + "--b--\r\n", 400, "was announced"},
		"longer than said":      {"test.echo", multi, field("input", `{"text":"a"}`) + field("files", `[{"field":"file","name":"x","size":2}]`) + part("file", "x", "abc") + "--b--\r\n", 400, "longer than the 2 bytes"},
		"shorter than said":     {"test.echo", multi, field("input", `{"text":"a"}`) + field("files", `[{"field":"file","name":"x","size":9}]`) + part("file", "x", "abc") + "--b--\r\n", 400, "broke off"},
		"cut in the file":       {"test.echo", multi, field("input", `{"text":"a"}`) + part("file", "x", "abc")[:len(part("file", "x", "abc"))-3], 400, "broke off"},
		"file for a text":       {"test.echo", multi, field("input", `{}`) + part("text", "x", "abc") + "--b--\r\n", 400, "text is required"},
		"unknown file":          {"test.echo", multi, field("input", `{"text":"a"}`) + part("nope", "x", "abc") + "--b--\r\n", 400, "no field"},
		"unknown action":        {"no.such", "application/json", `{}`, 501, "not known to kaname"},
		"path trick":            {"..%2f..%2fetc%2fpasswd", "application/json", `{}`, 501, "not known to kaname"},
		"dots":                  {"../../../etc/passwd", "application/json", `{}`, 404, "nothing at"},
		"action with NUL":       {"test%00echo", "application/json", `{}`, 501, "not known"},
		"ground of another day": {"test.count", "application/json", `{}`, 409, "ground has moved"},
	} {
		req := request(t, a, http.MethodPost, "/v1/actions/"+c.path, c.body)
		req.Header.Set("Content-Type", c.contentType)
		if c.status == http.StatusConflict {
			req.Header.Set(api.HeaderGround, "x")
		}
		resp := do(t, a, req)
		body := readAll(t, resp)
		if resp.StatusCode != c.status || !strings.Contains(body, c.says) || !strings.HasPrefix(body, `{"fault":{"kind":"`) {
			t.Errorf("%s: %s %.300s, want %d %q", name, resp.Status, body, c.status, c.says)
		}
	}
}

// A fault in the midst of an upload must reach the sender, who is still sending.
func TestFaultBeforeTheUploadEnds(t *testing.T) {
	big := func() io.Reader { return io.LimitReader(zeros{}, 300<<20) }
	take := action.New("test take", "Take a file", action.Changes, func(_ context.Context, _ *action.Run, in struct {
		File action.File `name:"file" required:"" help:"a file"`
	},
	) (struct{}, error) {
		_, _ = io.ReadFull(in.File.Reader, make([]byte, 1<<16))
		return struct{}{}, fault.Corrupt("archive is none")
	})
	a := apitest.Start(t, take)
	for name, c := range map[string]*api.Client{"unix": a.Client(t), "tls": a.Remote(t, access.RoleAdmin)} {
		in := action.TextInputs(nil)
		in.Files["file"] = action.File{Name: "x", Reader: big(), Size: 300 << 20}
		begun := time.Now()
		_, err := c.Call(t.Context(), "test.take", in, api.CallOptions{}, nil)
		if !fault.Is(err, fault.KindCorrupt) || err.Error() != "archive is none" {
			t.Errorf("%s: %v", name, err)
		}
		if took := time.Since(begun); took > 4*time.Second {
			t.Errorf("%s: took %v", name, took)
		}
	}
	viewer := a.Remote(t, access.RoleViewer)
	in := action.TextInputs(nil)
	in.Files["file"] = action.File{Name: "x", Reader: big(), Size: 300 << 20}
	begun := time.Now()
	if _, err := viewer.Call(t.Context(), "test.take", in, api.CallOptions{}, nil); !fault.Is(err, fault.KindDenied) {
		t.Errorf("viewer: %v", err)
	}
	if took := time.Since(begun); took > 4*time.Second {
		t.Errorf("viewer: took %v", took)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestAudit(t *testing.T) {
	a := apitest.Start(t, apitest.Actions(&apitest.Counter{})...)
	admin, viewer := a.Remote(t, access.RoleAdmin), a.Remote(t, access.RoleViewer)
	in := values(t, map[string]any{"text": strings.Repeat("long", 1000), "password": "hunter22"})
	if _, err := admin.Call(t.Context(), "test.echo", in, api.CallOptions{}, nil); err != nil {
		t.Fatal(err)
	}
	_, _ = admin.Call(t.Context(), "test.break", values(t, map[string]any{"kind": "full"}), api.CallOptions{}, nil)
	_, _ = admin.Call(t.Context(), "test.look", values(t, map[string]any{"text": "a"}), api.CallOptions{}, nil)
	_, _ = viewer.Call(t.Context(), "test.echo", in, api.CallOptions{}, nil)
	_, _ = a.Client(t).Call(t.Context(), "test.wait", action.Inputs{}, api.CallOptions{}, nil)
	bad, err := api.NewClient(api.ClientOptions{Server: a.URL, Token: "kt1.aaaa.bbbb." + a.Plane.Authority().Print()})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = bad.Whoami(t.Context())
	records, err := a.Access.Records(t.Context(), access.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range records {
		if r.N == 0 {
			continue // noted by the plane
		}
		got = append(got, fmt.Sprintf("%s %s %s: %s %s", r.Who, r.Role, r.Door, r.Action, r.Outcome))
		for k, v := range r.Inputs {
			if strings.Contains(string(v), "hunter22") || len(v) > 1100 {
				t.Errorf("record holds %s = %.200s", k, v)
			}
		}
		if r.Outcome == access.OutcomeFailed && (r.Fault == nil || r.Fault.Kind != fault.KindFull || r.Duration == "") {
			t.Errorf("record of a failure: %+v", r)
		}
		if r.From == "" || r.Host != "core" || r.Time.IsZero() {
			t.Errorf("record without from, host or time: %+v", r)
		}
	}
	want := []string{
		"admin@token admin api: test echo started", "admin@token admin api: test echo done",
		"admin@token admin api: test break started", "admin@token admin api: test break failed",
		"viewer@token viewer api: test echo refused",
		"root@unix admin cli: test wait started", "root@unix admin cli: test wait done",
		"unknown  api: sign in refused",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("trail is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if v, err := a.Access.Verify(t.Context()); err != nil || len(v.Faults) > 0 || v.Records != len(want) {
		t.Errorf("verdict %+v, %v", v, err)
	}
}

// A client that sends its header, or its body, a byte at a time does not hold a
// place for ever. The limit of the body is too long to wait for here; that of the
// header belongs to the server and is looked at instead.
func TestSlowClient(t *testing.T) {
	srv := api.NewHTTPServer(http.NotFoundHandler(), slog.New(slog.DiscardHandler))
	if srv.ReadHeaderTimeout <= 0 || srv.ReadHeaderTimeout > 30*time.Second || srv.MaxHeaderBytes > 1<<17 || srv.IdleTimeout == 0 {
		t.Errorf("limits %+v", srv)
	}
	a := apitest.Start(t, apitest.Actions(&apitest.Counter{})...)
	c, err := net.Dial("unix", a.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.Copy(c, io.MultiReader(strings.NewReader("GET /v1/whoami HTTP/1.1\r\nHost: k\r\nX: "), bytes.NewReader(make([]byte, 200<<10)))); err != nil {
		t.Log(err) // refused while it was sent: as good
	}
	b := make([]byte, 100)
	n, _ := c.Read(b)
	if answer := string(b[:n]); n > 0 && !strings.HasPrefix(answer, "HTTP/1.1 4") {
		t.Errorf("a header of 200 KiB is answered with %s", answer)
	}
}
