package name

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	l63 := strings.Repeat("a", 63)
	long := l63 + "." + l63 + "." + l63 + "." + strings.Repeat("b", 61) // 255 octets on the wire
	for in, want := range map[string]string{
		"Example.JP": "example.jp.", "example.jp.": "example.jp.", ".": ".", "日本語.jp": "xn--wgv71a119e.jp.",
		"XN--WGV71A119E.jp": "xn--wgv71a119e.jp.", `a\.b.test`: `a\046b.test.`, `a\032b.test`: `a\032b.test.`, "a b.test": `a\032b.test.`,
		`x"};{.test`: `x\034\125\059\123.test.`, `\000.test`: `\000.test.`, `\@.test`: `\064.test.`, "_srv._tcp.test": "_srv._tcp.test.",
		l63 + ".test": l63 + ".test.", long: long + ".", "2.0.192.in-addr.arpa": "2.0.192.in-addr.arpa.", "0/25.2.0.192.in-addr.arpa": `0\04725.2.0.192.in-addr.arpa.`,
		"8.b.d.0.1.0.0.2.ip6.arpa.": "8.b.d.0.1.0.0.2.ip6.arpa.", `\065b.test`: "ab.test.",
	} {
		got, err := Parse(in)
		if err != nil || string(got) != want {
			t.Errorf("Parse(%q) = %q, %v; want %q", in, got, err, want)
		}
		if again, err := FromWire(got.Wire()); err != nil || again != got {
			t.Errorf("%q over the wire is %q, %v", got, again, err)
		}
	}
	for _, in := range []string{"", "..", "a..b", ".a", l63 + "a.test", long + "b", `a\`, `a\25`, `a\256.test`, "a\u0000\u3042.test"} {
		if got, err := Parse(in); err == nil {
			t.Errorf("Parse(%q) = %q, want an error", in, got)
		}
	}
}

func TestForms(t *testing.T) {
	n, err := Parse("日本語.jp")
	if err != nil {
		t.Fatal(err)
	}
	if got := n.Unicode(); got != "日本語.jp" {
		t.Errorf("Unicode is %q", got)
	}
	if !n.Under("jp.") || !n.Under(Root) || n.Under("p.") || Name("a.xjp.").Under("jp.") {
		t.Error("Under is wrong")
	}
	if Name("a.jp.").Parent() != "jp." || Name("jp.").Parent() != Root || Root.Parent() != Root {
		t.Error("Parent is wrong")
	}
	for _, n := range []Name{Root, `a\047\046\046b.`, Name(strings.Repeat("a.", 120)), "a.test."} {
		f := n.File()
		if f == "" || strings.ContainsAny(f, `/\ "'`) || f == "." || f == ".." || len(f) > 120 {
			t.Errorf("File of %q is %q", n, f)
		}
	}
	if Name("a.test.").File() != "a.test" {
		t.Error("a plain name has no plain file")
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"a.b", `a\.b`, `\000`, "日本.jp", `";}{`, ".", "..", "\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := Parse(s)
		if err != nil {
			return
		}
		for i := range len(n) {
			if c := n[i]; !plain(c) && c != '.' && c != '\\' {
				t.Fatalf("Parse(%q) = %q holds %q", s, n, c)
			}
		}
		again, err := Parse(string(n))
		if err != nil || again != n {
			t.Fatalf("%q is read again as %q, %v", n, again, err)
		}
	})
}
