package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strings"

	"kaname.dev/kaname/action"
)

//go:embed pages static
var files embed.FS

// pages are the templates by name and language, and the static files by a name that
// holds a hash of their contents, so that they can be cached for ever.
type pages struct {
	byName map[string]*template.Template // "home.en"
	assets map[string]asset              // by hashed name
}

type asset struct {
	kind string // content type
	body []byte
}

var languages = []string{"en", "ja"}

func newPages() (*pages, error) {
	p := &pages{byName: map[string]*template.Template{}, assets: map[string]asset{}}
	hashed := map[string]string{}
	static, err := fs.ReadDir(files, "static")
	if err != nil {
		return nil, err
	}
	for _, f := range static {
		body, err := files.ReadFile("static/" + f.Name())
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(body)
		ext := path.Ext(f.Name())
		name := strings.TrimSuffix(f.Name(), ext) + "-" + hex.EncodeToString(sum[:6]) + ext
		hashed[f.Name()] = "/static/" + name
		p.assets[name] = asset{kind: contentTypes[ext], body: body}
	}
	names, err := fs.Glob(files, "pages/*.html")
	if err != nil {
		return nil, err
	}
	for _, lang := range languages {
		funcs := template.FuncMap{
			"t":      func(en string) string { return word(lang, en) },
			"asset":  func(name string) string { return hashed[name] },
			"tone":   func(s any) string { return tone(fmt.Sprint(s)) },
			"short":  func(id string) string { return id[max(0, len(id)-6):] },
			"effect": func(e string) string { return effects[e] },
		}
		for _, n := range names {
			base := strings.TrimSuffix(path.Base(n), ".html")
			if base == "layout" || base == "parts" {
				continue
			}
			t, err := template.New(base).Funcs(funcs).ParseFS(files, "pages/layout.html", "pages/parts.html", n)
			if err != nil {
				return nil, fmt.Errorf("page %s: %w", base, err)
			}
			p.byName[base+"."+lang] = t
		}
	}
	return p, nil
}

// effects gives the css class of an action's effect.
var effects = map[string]string{
	action.Reads.String(): "soft", action.Changes.String(): "warn", action.Destroys.String(): "bad",
}

var contentTypes = map[string]string{
	".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
}

// serveStatic answers /static/NAME.
func (p *pages) serveStatic(w http.ResponseWriter, r *http.Request) {
	a, ok := p.assets[r.PathValue("name")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", a.kind)
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	_, _ = w.Write(a.body) // the reader may have gone
}

// draw writes a page; it is made whole before the first byte goes out.
func (p *pages) draw(w http.ResponseWriter, status int, name, lang string, data any) error {
	var b bytes.Buffer
	if err := p.byName[name+"."+lang].ExecuteTemplate(&b, "layout", data); err != nil {
		return fmt.Errorf("page %s: %w", name, err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the reader may have gone
	return nil
}
