package words

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"kaname.dev/kaname/rib/netpath/packet"
	"kaname.dev/kaname/rib/netpath/trace"
)

// emitted lists the ids that sources of findings name.
func emitted(t *testing.T) map[string]string {
	t.Helper()
	// ids stand in ID fields, in the fields of wants, in assignments, and as first arguments
	pattern := regexp.MustCompile(`(?:\bID:|\bid:|\bwrong:|\bid,? ?(?:params\["has"\])? ?:?=|f\.ID(?:, f\.(?:Repair|Fix))? =|id(?:, params\["has"\])? =|\bsay\(|lostRule\(|wrongRule\(|hybridLost\(p,|v\.lost\([a-z.]+,|\bnamed\(|\bv\.service\() ?"([a-z]+(?:-[a-z]+)+)"`)
	out := map[string]string{}
	for _, dir := range []string{"../expect", "../cause"} {
		files, err := filepath.Glob(dir + "/*.go")
		if err != nil || len(files) == 0 {
			t.Fatal(dir, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range pattern.FindAllStringSubmatch(string(b), -1) {
				out[m[1]] = file
			}
		}
	}
	return out
}

func TestEachFindingHasWordsAndTheReverse(t *testing.T) {
	ids := emitted(t)
	for id, file := range ids {
		if _, ok := read().found.Findings[id]; !ok {
			t.Errorf("%s emits %s, which has no entry", file, id)
		}
	}
	for id := range read().found.Findings {
		if ids[id] == "" {
			t.Errorf("%s has an entry, and nothing emits it", id)
		}
	}
}

var field = regexp.MustCompile(`(?:\{\{[^}]*?[ $]?)\.([a-z_]+)`)

func TestTemplatesUseOnlyWhatIsGiven(t *testing.T) {
	for id, e := range read().found.Findings {
		if !slices.Contains([]string{"error", "warning", "note"}, e.Severity) {
			t.Errorf("%s: severity %q", id, e.Severity)
		}
		params := map[string]string{}
		for _, n := range e.Needs {
			params[n] = "<" + n + ">"
		}
		for lang, p := range map[string]phrase{"ja": e.JA, "en": e.EN} {
			if p.Title == "" || p.Text == "" {
				t.Errorf("%s: no title or text in %s", id, lang)
			}
			for _, m := range field.FindAllStringSubmatch(p.Title+p.Text+p.Why, -1) {
				if !slices.Contains(e.Needs, m[1]) {
					t.Errorf("%s: %s uses %s, which is not among its needs", id, lang, m[1])
				}
			}
			got := Of(trace.Finding{ID: id, Params: params}, lang)
			if strings.Contains(got.Title+got.Text+got.Why, "<no value>") || strings.Contains(got.Text, "{{") {
				t.Errorf("%s %s: %+v", id, lang, got)
			}
		}
	}
}

func TestJapaneseIsJapanese(t *testing.T) {
	english := regexp.MustCompile(`[A-Za-z]+(?: [a-z]+){3,}`)
	kana := func(s string) bool {
		return strings.ContainsFunc(s, func(r rune) bool { return unicode.Is(unicode.Hiragana, r) })
	}
	check := func(name, s string) {
		plain := regexp.MustCompile(`\{\{[^}]*\}\}`).ReplaceAllString(s, "")
		if !kana(plain) || english.MatchString(plain) {
			t.Errorf("%s: %s", name, s)
		}
	}
	for id, e := range read().found.Findings {
		check(id, e.JA.Title)
		check(id, e.JA.Text)
		if e.JA.Why != "" {
			check(id, e.JA.Why)
		}
		if (e.JA.Why == "") != (e.EN.Why == "") {
			t.Errorf("%s: why in one language only", id)
		}
		if kana(e.EN.Title + e.EN.Text + e.EN.Why) {
			t.Errorf("%s: Japanese among the English", id)
		}
		if n := strings.Count(e.JA.Text, "。"); n < 3 {
			t.Errorf("%s: %d sentences; what it means, what was seen, what helps", id, n)
		}
	}
	for does, places := range read().hops.Does {
		for place, langs := range places {
			check("hop "+does+" "+place, langs["ja"])
			if langs["en"] == "" {
				t.Errorf("hop %s %s has no English", does, place)
			}
		}
	}
}

func TestEachThingThatHappensHasAWord(t *testing.T) {
	for _, does := range []string{"send", "pass", "switch", "filter", "route", "snat", "dnat", "arp", "encapsulate", "decapsulate", "deliver", "drop", "unknown"} {
		for _, lang := range []string{Japanese, English} {
			if read().hops.Does[does][""][lang] == "" {
				t.Errorf("%s has no sentence for any place in %s", does, lang)
			}
		}
	}
	h := trace.Hop{Place: trace.PlaceNamespace, Name: "snat-1", Does: "snat"}
	h.In = packet.Packet{Type: packet.IPv4}
	if s := Hop(h, Japanese); !strings.Contains(s, "送信元") {
		t.Error(s)
	}
}

func TestHostileNamesAreHarmless(t *testing.T) {
	for in, want := range map[string]string{
		"a1":                        "a1",
		"東京":                        "東京",
		"\x1b[2Jgone":               `\x1b[2Jgone`,
		"a\r\nb\x00":                `a\x0d\x0ab\x00`,
		"\u202eevil":                `\u202eevil`,
		"\xff\xfe":                  `\xff\xfe`,
		"\u009b31m":                 `\xc2\x9b31m`,
		"<script>alert(1)</script>": "<script>alert(1)</script>", // for the renderer to escape
		"{{.host}}":                 "{{.host}}",
	} {
		if got := Clean(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
		f := trace.Finding{ID: "port-dead-vlan", Params: map[string]string{"name": in}}
		for _, lang := range []string{Japanese, English} {
			if text := Of(f, lang); strings.ContainsFunc(text.Title, harmful) || !strings.Contains(text.Title, want) {
				t.Errorf("%q in %s: %q", in, lang, text.Title)
			}
		}
		if s := Hop(trace.Hop{Does: "deliver", Place: "vm", Name: in}, English); strings.ContainsFunc(s, harmful) {
			t.Errorf("%q: %q", in, s)
		}
	}
}
