package conf

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	list, err := Parse("/* a\nb */ zone \"a\\032b.test\" IN { type primary; file x.db; # end\n masters { 192.0.2.1 port 53 key k; }; };\n// c\noptions { };")
	if err != nil || len(list) != 2 {
		t.Fatalf("%v, %v", list, err)
	}
	z := list[0]
	if z.Word(0) != "zone" || z.Word(1) != `a\032b.test` || z.Word(2) != "IN" || z.Word(3) != "" || !z.Words[1].Quoted {
		t.Errorf("words %v", z.Words)
	}
	if file, ok := z.Find("file"); !ok || file.Word(1) != "x.db" {
		t.Errorf("file %v", file)
	}
	if m, _ := z.Find("masters"); len(m.Block) != 1 || m.Block[0].Word(4) != "k" {
		t.Errorf("masters %v", m)
	}
	if !list[1].Has || list[1].Block != nil {
		t.Errorf("options %v", list[1])
	}
}

func TestWrong(t *testing.T) {
	for text, want := range map[string]string{
		"a":                               "semicolon",
		"a {;":                            "braces",
		"a; }":                            "braces",
		"a \"b\n\";":                      "line 1: a quote",
		"\n\na \"b":                       "line 3: a quote",
		"/* a":                            "comment",
		"a { b }; ":                       "semicolon",
		strings.Repeat("a {", maxDepth+2): "nested",
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestQuoteAndCheck(t *testing.T) {
	for _, s := range []string{`a"b`, "a\nb", "a\x00", `a\`} {
		if q, err := Quote(s); err == nil {
			t.Errorf("%q becomes %s", s, q)
		}
	}
	for _, s := range []string{"}; x {", "a", "a; # b", "a; // b\n", "/* a */ b;", `a "`, "{"} {
		if Check(s) == nil {
			t.Errorf("%q passes", s)
		}
	}
	for _, s := range []string{"", "a b;", "a { b; };", `a "{";`} {
		if err := Check(s); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
}

// FuzzQuote holds that what is quoted is read as one word, the same.
func FuzzQuote(f *testing.F) {
	f.Add(`a\032b`)
	f.Add(`a\\`)
	f.Fuzz(func(t *testing.T, s string) {
		q, err := Quote(s)
		if err != nil {
			return
		}
		list, err := Parse("x " + q + " y;")
		if err != nil || len(list) != 1 || len(list[0].Words) != 3 || list[0].Word(1) != s {
			t.Errorf("%q is read as %v, %v", s, list, err)
		}
	})
}

// FuzzCheck holds that statements that pass stay inside of their block.
func FuzzCheck(f *testing.F) {
	f.Add("a { b; };")
	f.Add("}; x {")
	f.Fuzz(func(t *testing.T, s string) {
		if Check(s) != nil {
			return
		}
		list, err := Parse("zone x { " + s + " }; last;")
		if err != nil || len(list) != 2 || list[1].Word(0) != "last" {
			t.Errorf("%q: %v, %v", s, list, err)
		}
	})
}
