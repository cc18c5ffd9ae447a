package console

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"kaname.dev/kaname/access"
	"kaname.dev/kaname/action"
	"kaname.dev/kaname/door/api"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/lab/browser"
	"kaname.dev/kaname/plane/planetest"
)

// paint is the catalogue of a rib that the console has never heard of.
type paint struct {
	colour string
	go1    chan struct{} // lets a running action go on
}

type wallRow struct {
	Wall   string `json:"wall"`
	Colour string `json:"colour"`
	State  string `json:"state"`
	Hidden string `json:"hidden"`
}

type paintIn struct {
	Colour string        `name:"colour" arg:"" required:"" help:"colour of the wall" ja:"壁の色" enum:"red,blue"`
	Coats  int           `name:"coats" help:"how many coats" default:"2"`
	Key    action.Secret `name:"key" help:"key of the house"`
}

type uploadIn struct {
	Picture action.File `name:"picture" arg:"" required:"" help:"picture to hang"`
	Title   string      `name:"title" required:"" help:"its title"`
}

func (p *paint) actions() []action.Action {
	type none struct{}
	return []action.Action{
		action.New("paint list", "List the walls", action.Reads, func(context.Context, *action.Run, none) ([]wallRow, error) {
			return []wallRow{{"north", p.colour, "live", "x"}, {"<script>alert(1)</script>", "none", "failed", "x"}}, nil
		}, action.WithColumns("wall", "colour", "state"), action.InJapanese("壁の一覧")),
		action.New("paint wall", "Paint the north wall", action.Changes, func(_ context.Context, r *action.Run, in paintIn) (wallRow, error) {
			r.Say(action.Event{Host: "north", Step: "paint", State: action.StateRunning, Done: 1, Total: 2})
			<-p.go1
			p.colour = in.Colour
			r.Say(action.Event{Host: "north", Step: "paint", State: action.StateDone, Text: "dry"})
			return wallRow{Wall: "north", Colour: in.Colour, State: "live"}, nil
		}, action.WithPlan(func(_ context.Context, in paintIn) (action.Plan, error) {
			return action.Plan{Summary: "paint it " + in.Colour, Steps: []action.Step{{Host: "north", What: p.colour + " becomes " + in.Colour}}, Ground: p.colour}, nil
		})),
		action.New("paint strip", "Strip every wall", action.Destroys, func(context.Context, *action.Run, none) (string, error) {
			p.colour = "bare"
			return "bare", nil
		}),
		action.New("paint hang", "Hang a picture", action.Changes, func(_ context.Context, _ *action.Run, in uploadIn) (map[string]any, error) {
			b, err := io.ReadAll(in.Picture.Reader)
			return map[string]any{"title": in.Title, "bytes": len(b), "name": in.Picture.Name}, err
		}),
		action.New("paint fail", "Fail on purpose", action.Changes, func(context.Context, *action.Run, none) (string, error) {
			return "", fault.Unavailable("brush is missing").At("north").Because(errors.New("no such file")).Try("buy a brush")
		}),
	}
}

type house struct {
	*paint
	url string
}

// open serves API and console over TLS on loopback, on a real plane, for two people.
func open(t *testing.T) *house {
	t.Helper()
	core := planetest.Core(t)
	acc := access.New()
	acc.Attach(access.Options{Plane: core})
	for name, role := range map[string]access.Role{"ola": access.RoleOperator, "vik": access.RoleViewer} {
		if _, err := acc.AddUser(t.Context(), name, "correct horse battery", role); err != nil {
			t.Fatal(err)
		}
	}
	p := &paint{colour: "white", go1: make(chan struct{}, 1)}
	srv := api.New(api.Options{Catalog: action.NewCatalog(append(p.actions(), acc.Actions()...)...), Access: acc, Host: "core", Version: "test"})
	mux := http.NewServeMux()
	mux.Handle("/v1/", srv.Handler())
	mux.Handle("/", New(Options{API: srv, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() {
		done <- api.Serve(ctx, ln, core.Identity().WebTLS(), mux, slog.New(slog.DiscardHandler), time.Second)
	}()
	t.Cleanup(func() {
		stop()
		<-done
		end, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
		defer cancel()
		if err := srv.Close(end); err != nil {
			t.Error(err)
		}
	})
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	return &house{p, "https://localhost:" + port}
}

func signIn(p *browser.Page, h *house, name, password string) {
	p.Go(h.url + "/")
	p.See("#password")
	p.Type("#name", name)
	p.Type("#password", password+"\n")
}

func contains(t *testing.T, what, got string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(got, w) {
			t.Errorf("%s lacks %q:\n%s", what, w, got)
		}
	}
}

func TestAnUnknownRibIsUsedInABrowser(t *testing.T) {
	h := open(t)
	p := browser.Open(t, "en")
	signIn(p, h, "ola", "wrong")
	p.See(".fault")
	p.Has("main", "denied")
	signIn(p, h, "ola", "correct horse battery")
	p.See("nav")
	p.Has("main", "paint wall", "Paint the north wall", "No runs yet")
	p.Shot("overview")

	p.Go(h.url + "/rib/paint")
	p.Has("main", "north", "white", "<script>alert(1)</script>", "destroys")
	if strings.Contains(p.Text("main"), "hidden") {
		t.Error("a column that the action does not name is shown")
	}
	p.Shot("rib")

	plan := func(colour string) {
		p.Go(h.url + "/action/paint.wall")
		p.Choose("#f-colour", colour)
		p.Click("button[value=plan]")
		p.See("#plan")
	}
	plan("blue")
	p.Has("main", "paint it blue", "white becomes blue", "Run this plan", "kaname paint wall blue")
	p.Shot("plan")
	p.Click("button[value=run]")
	p.See("#board progress")
	p.Has("main", "running", "north", "Cancel this run")
	p.Shot("running")
	h.go1 <- struct{}{}
	p.See("#state.good")
	p.Has("main", "done", "dry", "blue")
	p.Shot("ended")

	plan("red")
	h.colour = "green" // the ground moves between plan and run
	p.Click("button[value=run]")
	p.See(".fault")
	p.Has("main", "conflict", "ground")

	file := filepath.Join(t.TempDir(), "sunset.png")
	if err := os.WriteFile(file, make([]byte, 3<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	p.Go(h.url + "/action/paint.hang")
	p.Type("#f-title", "Sunset")
	p.Attach("#f-picture", file)
	p.Click("main form button")
	p.See("#outcome dl")
	p.Has("main", "Sunset", "3145728", "sunset.png")

	p.Go(h.url + "/action/paint.fail")
	p.Click("button[value=plan]")
	p.See("#plan")
	p.Click("button[value=run]")
	p.See("#state.bad")
	p.Has("main", "brush is missing", "buy a brush", "north")
	p.Shot("failed")

	p.Go(h.url + "/action/paint.strip")
	p.Click("button[value=plan]")
	p.See(".fault")
	p.Has("main", "denied")
	p.Click("header button")
	p.See("#password")
}

func TestJapanese(t *testing.T) {
	h := open(t)
	p := browser.Open(t, "ja")
	signIn(p, h, "vik", "correct horse battery")
	p.See("nav")
	p.Go(h.url + "/rib/paint")
	p.Has("body", "概要", "壁の一覧", "サインアウト")
	p.Shot("japanese")
}

// web is a person's HTTP client that keeps cookies.
func web(t *testing.T, h *house, name string) *http.Client {
	t.Helper()
	jar, _ := cookiejar.New(nil)
	tr := http.DefaultTransport.(*http.Transport).Clone()
	tr.TLSClientConfig.InsecureSkipVerify = true
	t.Cleanup(tr.CloseIdleConnections)
	c := &http.Client{Jar: jar, Transport: tr}
	r, err := c.PostForm(h.url+"/login", url.Values{"name": {name}, "password": {"correct horse battery"}, "next": {"/"}})
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != 200 || r.Request.URL.Path != "/" {
		t.Fatalf("sign-in of %s: %d at %s", name, r.StatusCode, r.Request.URL)
	}
	return c
}

func TestNothingIsDoneThatWasNotShown(t *testing.T) {
	h := open(t)
	c := web(t, h, "ola")
	post := func(v url.Values) string {
		r, err := c.PostForm(h.url+"/action/paint.wall", v)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		b, _ := io.ReadAll(r.Body)
		return string(b)
	}
	page := post(url.Values{"kaname-do": {"run"}, "colour": {"blue"}})
	contains(t, "run without a plan", page, "white becomes blue")
	shown := regexp.MustCompile(`kaname-shown" value="([0-9a-f]+)"`).FindStringSubmatch(page)
	if shown == nil {
		t.Fatal("the plan's page has no digest")
	}
	page = post(url.Values{"kaname-do": {"run"}, "colour": {"red"}, "kaname-shown": {shown[1]}, "kaname-ground": {"white"}})
	contains(t, "run with other values than shown", page, "white becomes red")
	if h.colour != "white" {
		t.Error("an action was done that was not shown")
	}
}

func TestAnUploadArrivesWhole(t *testing.T) {
	h := open(t)
	c := web(t, h, "ola")
	for _, size := range []int{0, 1, 4095, 4096, 4097, 100_000, 3 << 20} {
		var b bytes.Buffer
		m := multipart.NewWriter(&b)
		for k, v := range map[string]string{"kaname-do": "run", "title": "x"} {
			if err := m.WriteField(k, v); err != nil {
				t.Fatal(err)
			}
		}
		w, err := m.CreateFormFile("picture", "p.png")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(bytes.Repeat([]byte("-"), size)); err != nil {
			t.Fatal(err)
		}
		m.Close()
		r, err := c.Post(h.url+"/action/paint.hang", m.FormDataContentType(), &b)
		if err != nil {
			t.Fatal(err)
		}
		page, _ := io.ReadAll(r.Body)
		r.Body.Close()
		if want := fmt.Sprintf(">%d<", size); !strings.Contains(string(page), want) {
			t.Errorf("%d bytes: the page lacks %q: %.200s", size, want, regexp.MustCompile(`<dd class="num">\d+`).FindString(string(page)))
		}
	}
}

func TestStrangersAndOtherSites(t *testing.T) {
	h := open(t)
	c := web(t, h, "ola")
	for name, set := range map[string]func(*http.Request){
		"other site":   func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
		"other origin": func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") },
	} {
		r, _ := http.NewRequest("POST", h.url+"/action/paint.fail", strings.NewReader("kaname-do=run"))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		set(r)
		resp, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %d", name, resp.StatusCode)
		}
	}
	stranger := &http.Client{Transport: c.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, path := range []string{"/", "/rib/paint", "/action/paint.list?kaname-do=run", "/runs", "/run/X"} {
		r, err := stranger.Get(h.url + path)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != http.StatusSeeOther || !strings.HasPrefix(r.Header.Get("Location"), "/login?next=") {
			t.Errorf("%s for a stranger: %d %s", path, r.StatusCode, r.Header.Get("Location"))
		}
	}
	r, err := c.Get(h.url + "/action/paint.list?kaname-do=run")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, _ := io.ReadAll(r.Body)
	if strings.Contains(string(b), "<script>alert") {
		t.Error("a result is not escaped")
	}
	if csp := r.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'self'") || strings.Contains(string(b), " style=") {
		t.Errorf("content security policy %q", csp)
	}
}

func TestSafeNext(t *testing.T) {
	for in, want := range map[string]string{
		"/runs?x=1": "/runs?x=1", "": "/", "//evil.example": "/", `/\evil.example`: "/", "https://evil.example": "/", "runs": "/",
	} {
		if got := safeNext(in); got != want {
			t.Errorf("safeNext(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestEveryWordIsJapaneseToo(t *testing.T) {
	used := regexp.MustCompile(`\{\{t "([^"]*)"\}\}`)
	names, _ := filepath.Glob("pages/*.html")
	if len(names) == 0 {
		t.Fatal("no pages")
	}
	for _, n := range names {
		b, err := os.ReadFile(n)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range used.FindAllStringSubmatch(string(b), -1) {
			if ja[m[1]] == "" {
				t.Errorf("%s: no Japanese for %q", n, m[1])
			}
		}
	}
}
