package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"kaname.dev/kaname/access"
	"kaname.dev/kaname/action"
	"kaname.dev/kaname/door/api"
	"kaname.dev/kaname/door/cli"
	"kaname.dev/kaname/door/console"
	"kaname.dev/kaname/plane/planetest"
)

func TestEveryActionIsInEveryDoor(t *testing.T) {
	catalog := catalog()
	page := forms(t, catalog)
	root := cli.New(cli.Options{Catalog: catalog, Groups: groups()}).Command()
	for _, a := range catalog.All() {
		t.Run(a.Name, func(t *testing.T) {
			complete(t, a)
			cmd, rest, err := root.Find(strings.Fields(a.Name))
			if err != nil || len(rest) > 0 {
				t.Fatalf("no command: %v, %v", rest, err)
			}
			if !strings.Contains(help(cmd), a.Summary.EN) {
				t.Errorf("help does not say what it does:\n%s", help(cmd))
			}
			if a.Local {
				return
			}
			form := page("/action/" + a.ID())
			for _, f := range a.Fields {
				if !strings.Contains(form, `name="`+f.Name+`"`) {
					t.Errorf("the form has no input for %s", f.Name)
				}
				if _, ok := a.Schema()["properties"].(map[string]any)[f.Name]; !ok {
					t.Errorf("the schema has no property %s", f.Name)
				}
			}
		})
	}
}

func help(cmd *cobra.Command) string {
	var b bytes.Buffer
	cmd.SetOut(&b)
	_ = cmd.Help() // writes to b
	return b.String()
}

// complete looks whether a declaration says everything that the doors show.
func complete(t *testing.T, a action.Action) {
	t.Helper()
	if len(a.Examples) == 0 {
		t.Error("no example; add action.WithExample")
	}
	for _, e := range a.Examples {
		if !strings.HasPrefix(e.Line, "kaname "+a.Name) {
			t.Errorf("example %q does not call the action", e.Line)
		}
	}
	if a.Summary.JA == "" {
		t.Error("no Japanese summary; add action.InJapanese")
	}
	for _, f := range a.Fields {
		if strings.HasSuffix(f.Help.EN, ".") {
			t.Errorf("help of %s ends with a period", f.Name)
		}
	}
}

// forms returns what the console shows to an admin under a path.
func forms(t *testing.T, catalog action.Catalog) func(path string) string {
	t.Helper()
	acc := access.New()
	acc.Attach(access.Options{Plane: planetest.Core(t)})
	if _, err := acc.AddUser(t.Context(), "ada", "correct horse battery", access.RoleAdmin); err != nil {
		t.Fatal(err)
	}
	secret, _, err := acc.SignIn(t.Context(), "ada", "correct horse battery", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	srv := api.New(api.Options{Catalog: catalog, Access: acc, Host: "core1"})
	h := console.New(console.Options{API: srv, Log: slog.New(slog.DiscardHandler)})
	return func(path string) string {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, "https://core1"+path, nil)
		r.TLS = &tls.ConnectionState{}
		r.AddCookie(&http.Cookie{Name: api.CookieName, Value: secret})
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		body, err := io.ReadAll(w.Result().Body)
		if err != nil || !bytes.Contains(body, []byte("<form class=\"card\"")) {
			t.Fatalf("%s: %d, %v: %s", path, w.Code, err, body)
		}
		return string(body)
	}
}
