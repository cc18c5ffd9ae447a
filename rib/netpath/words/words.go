// Package words says in English and Japanese what is wrong and what happens to a packet.
// What is said is data: findings.yaml has an entry for each finding, hops.yaml a sentence
// for each thing that can happen at a kind of place.
package words

import (
	"bytes"
	_ "embed"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"text/template"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml"

	"kaname.dev/kaname/rib/netpath/packet"
	"kaname.dev/kaname/rib/netpath/trace"
)

//go:embed findings.yaml
var findingsSource []byte

//go:embed hops.yaml
var hopsSource []byte

// Languages that are spoken; anything else is answered in English.
const (
	English  = "en"
	Japanese = "ja"
)

// Text is what is said of a finding. Control characters of names are shown as \x1b, so that
// it can be written to a terminal; for HTML its writer must escape it.
type Text struct {
	Title    string   // a line
	Text     string   // first what it means, then what was seen, then what helps
	Why      string   // what lies behind it; "" where there is nothing to say
	Severity string   // "error", "warning", "note"
	Refs     []string // "LP#1460164": bug reports of Launchpad in which it was seen
}

type phrase struct {
	Title string `yaml:"title"`
	Text  string `yaml:"text"`
	Why   string `yaml:"why"`
}

type entry struct {
	Severity string   `yaml:"severity"`
	Needs    []string `yaml:"needs"` // parameters that its templates may use
	JA       phrase   `yaml:"ja"`
	EN       phrase   `yaml:"en"`
	Refs     []string `yaml:"refs"`
}

type catalogue struct {
	Findings map[string]entry             `yaml:"findings"`
	Risks    map[string]map[string]string `yaml:"risks"`
}

type sentences struct {
	// by what happens, then by place ("" for any), then by language
	Does map[string]map[string]map[string]string `yaml:"does"`
	Why  map[string]map[string]string            `yaml:"why"` // reasons of drops
}

type books struct {
	found catalogue
	hops  sentences
	texts map[string]*template.Template
}

var read = sync.OnceValue(func() *books {
	b := &books{texts: map[string]*template.Template{}}
	// both are part of the program: what a test has read cannot fail here
	if err := yaml.UnmarshalWithOptions(findingsSource, &b.found, yaml.Strict()); err != nil {
		panic("findings.yaml: " + err.Error())
	}
	if err := yaml.UnmarshalWithOptions(hopsSource, &b.hops, yaml.Strict()); err != nil {
		panic("hops.yaml: " + err.Error())
	}
	for id, e := range b.found.Findings {
		for name, s := range map[string]string{
			"ja title": e.JA.Title, "ja text": e.JA.Text, "ja why": e.JA.Why, "en title": e.EN.Title, "en text": e.EN.Text, "en why": e.EN.Why,
		} {
			b.add(id+" "+name, s)
		}
	}
	for does, places := range b.hops.Does {
		for place, langs := range places {
			for lang, s := range langs {
				b.add("hop "+does+" "+place+" "+lang, s)
			}
		}
	}
	for why, langs := range b.hops.Why {
		for lang, s := range langs {
			b.add("why "+why+" "+lang, s)
		}
	}
	return b
})

func (b *books) add(name, source string) {
	b.texts[name] = template.Must(template.New(name).Option("missingkey=zero").Parse(source))
}

// Of says what a finding means. An id that is not in the catalogue is said by its own name.
func Of(f trace.Finding, lang string) Text {
	b := read()
	e, ok := b.found.Findings[f.ID]
	if !ok {
		return Text{Title: Clean(f.ID), Text: Clean(strings.TrimSpace(f.Host + " " + f.Where)), Severity: "warning"}
	}
	if lang != Japanese {
		lang = English
	}
	say := func(part string) string { return b.say(f.ID+" "+lang+" "+part, f.Params) }
	return Text{Title: say("title"), Text: say("text"), Why: say("why"), Severity: e.Severity, Refs: e.Refs}
}

func (b *books) say(name string, params map[string]string) string {
	t := b.texts[name]
	if t == nil {
		return ""
	}
	clean := make(map[string]string, len(params))
	for k, v := range params {
		clean[k] = Clean(v)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, clean); err != nil { // only a template that compares what cannot be compared
		return name
	}
	return strings.TrimSpace(out.String())
}

// Hop says in a sentence what happens at a hop.
func Hop(h trace.Hop, lang string) string {
	b := read()
	if lang != Japanese {
		lang = English
	}
	params := map[string]string{
		"name": h.Name, "host": h.Host, "from": h.From, "to": h.To, "in": h.In.String(), "out": h.Out.String(),
	}
	in, out := h.In, h.Out
	if in.Type == 0 { // it is made here
		in = out
	}
	if out.Type == 0 { // it ends here
		out = in
	}
	for addr, value := range map[string]netip.Addr{"src": in.IPSrc, "dst": in.IPDst, "newsrc": out.IPSrc, "newdst": out.IPDst} {
		if value.IsValid() {
			params[addr] = value.String()
		}
	}
	if h.In.Type == 0 && h.Out.Type == packet.ARP && h.Out.Op == 1 {
		params["asks"] = "yes"
	}
	for k, v := range h.Facts {
		params["f_"+k] = v
	}
	if h.Does == "drop" {
		if why := h.Facts["why"]; b.texts["why "+why+" "+lang] != nil {
			return b.say("why "+why+" "+lang, params)
		}
		params["why"] = h.Facts["why"]
	}
	for _, place := range []string{h.Place, ""} {
		if name := "hop " + h.Does + " " + place + " " + lang; b.texts[name] != nil {
			return b.say(name, params)
		}
	}
	return Clean(h.Does + " " + h.Name)
}

// Risk says what a fix may harm, by the key in trace.Fix; "" for nothing.
func Risk(key, lang string) string {
	if lang != Japanese {
		lang = English
	}
	return read().found.Risks[key][lang]
}

// Severity orders findings: 0 breaks connections, 1 may, 2 is worth knowing.
func Severity(id string) int {
	switch read().found.Findings[id].Severity {
	case "error":
		return 0
	case "note":
		return 2
	}
	return 1
}

// Clean makes a name harmless for a terminal: control characters, marks that turn the
// direction of writing, and what is no UTF-8 are shown as \x.. or \u.....
func Clean(s string) string {
	if !strings.ContainsFunc(s, harmful) && utf8.ValidString(s) {
		return s
	}
	var out strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1, r < 0x100 && harmful(r):
			fmt.Fprintf(&out, `\x%02x`, s[i])
			for _, c := range []byte(s[i+1 : i+n]) {
				fmt.Fprintf(&out, `\x%02x`, c)
			}
		case harmful(r):
			fmt.Fprintf(&out, `\u%04x`, r)
		default:
			out.WriteRune(r)
		}
		i += n
	}
	return out.String()
}

func harmful(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029'
}
