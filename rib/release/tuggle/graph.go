package tuggle

import (
	"bytes"
	"mime"
	"net/http"
	"os/exec"
	"strconv"
	"text/template"
	"time"

	"kaname.dev/kaname/fault"
)

var dot = template.Must(template.New("dot").Funcs(template.FuncMap{
	"clock":   func(t time.Time) string { return t.Format("15:04:05") },
	"seconds": func(e Edge) string { return strconv.FormatFloat(e.End.Sub(e.Start).Seconds(), 'f', 2, 64) + "s" },
}).Parse(`digraph {{printf "%q" .Name}} {
  graph [charset="UTF-8", label={{printf "%q" .Name}}, rankdir=LR];
  node [shape=box];
  edge [color=gray, fontsize=12];
{{range .Edges}}  {{printf "%q" .From}} -> {{printf "%q" .To}} [headlabel="{{clock .End}}", label="{{seconds .}}"];
{{end}}}
`))

// graph draws who fetched the object from whom: as DOT, or with ?format=svg, png or
// gif as a picture made by graphviz.
func (h *handler) graph(w http.ResponseWriter, r *http.Request, o Object) {
	edges, err := h.Graph(r.Context(), o.Name)
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	var text bytes.Buffer
	if err := dot.Execute(&text, struct {
		Name  string
		Edges []Edge
	}{o.Name, edges}); err != nil {
		h.refuse(w, r, err)
		return
	}
	format := r.URL.Query().Get("format")
	switch format {
	case "svg", "png", "gif":
	default:
		w.Header().Set("Content-Type", "text/vnd.graphviz")
		_, _ = w.Write(text.Bytes()) // the reader may have gone
		return
	}
	cmd := exec.CommandContext(r.Context(), "dot", "-T"+format) //nolint:gosec // one of three words
	cmd.Stdin = &text
	picture, err := cmd.Output()
	if err != nil {
		h.refuse(w, r, fault.Unsupported("graph of "+o.Name+" as "+format).Because(err).Try("install graphviz on this host, or ask without format"))
		return
	}
	w.Header().Set("Content-Type", mime.TypeByExtension("."+format))
	_, _ = w.Write(picture) //nolint:gosec // what graphviz drew of quoted names; the reader may have gone
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
