package console

import (
	"net/http"
	"net/url"
	"strings"

	"kaname.dev/kaname/door/api"
	"kaname.dev/kaname/fault"
)

// next is where the visitor wanted to go, as a query value.
func next(r *http.Request) string {
	if r.Method != http.MethodGet {
		return "%2F"
	}
	return url.QueryEscape(r.URL.RequestURI())
}

// safeNext accepts only a path on this site: "//host" and "/\host" are other sites.
func safeNext(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(s, "/") || strings.HasPrefix(s, "//") || strings.Contains(s, `\`) {
		return "/"
	}
	return s
}

func (c *console) signInForm(w http.ResponseWriter, r *http.Request) {
	c.drawSignIn(w, r, http.StatusOK, r.FormValue("next"), nil)
}

func (c *console) drawSignIn(w http.ResponseWriter, r *http.Request, status int, to string, f *fault.Fault) {
	lang := language(r)
	p := view{Lang: lang, Title: word(lang, "Sign in"), Fault: f, Next: safeNext(to)}
	if err := c.pages.draw(w, status, "login", lang, p); err != nil {
		c.log.Error("page not drawn", "err", err)
		http.Error(w, "page not drawn", http.StatusInternalServerError)
	}
}

func (c *console) signIn(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 1<<16)
	client, err := c.client(r)
	if err == nil {
		var cookie *http.Cookie
		if cookie, _, err = client.SignIn(r.Context(), r.FormValue("name"), r.FormValue("password")); err == nil {
			http.SetCookie(w, cookie)
			http.Redirect(w, r, safeNext(r.FormValue("next")), http.StatusSeeOther) //nolint:gosec // safeNext lets only paths of this site through
			return
		}
	}
	c.drawSignIn(w, r, fault.HTTPStatus(err), r.FormValue("next"), fault.Of(err))
}

func (c *console) signOut(w http.ResponseWriter, r *http.Request) {
	req, err := http.NewRequestWithContext(r.Context(), http.MethodDelete, "http://kaname/v1/session", http.NoBody)
	if err == nil {
		var resp *http.Response
		if resp, err = (inProcess{c.api, r}).RoundTrip(req); err == nil {
			_ = resp.Body.Close()
		}
	}
	if err != nil {
		c.log.Warn("session not ended", "err", err)
	}
	http.SetCookie(w, &http.Cookie{Name: api.CookieName, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: -1})
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}

// language is the reader's: ?lang= once, the cookie it leaves, or the browser's.
func language(r *http.Request) string {
	if l := r.URL.Query().Get("lang"); l == "ja" || l == "en" {
		return l
	}
	if strings.HasPrefix(r.Header.Get("Accept-Language"), "ja") {
		return "ja"
	}
	return "en"
}
