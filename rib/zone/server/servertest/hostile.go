package servertest

import (
	"slices"
	"strings"
	"testing"

	"kaname.dev/kaname/rib/zone/name"
)

// hostileTexts are names that are hard on parsers, files and control syntax.
func hostileTexts() []string {
	l63 := strings.Repeat("a", 63)
	return []string{
		`quo"te.test`, `bra{ce}.test`, `semi;colon.test`, `sp\032ace.test`, `new\010line.test`, `nul\000.test`, `tab\009.test`,
		`back\\slash.test`, `do\.t.test`, `do$llar.test`, `per%cent.test`, `%s.test`, `ha#sh.test`, `sl/ash.test`, `am&p|ipe.test`,
		`\@.test`, `star*.test`, `tilde~.test`, `squote'.test`, `back` + "`" + `tick.test`, `par(en).test`, `c:olon.test`, `com,ma.test`,
		`eot\004.test`, `high\255.test`, `UPPER.Case.test`, `up\046\046\047.test`, `\046\046\047etc.test`, `-dash.test`, `--help.test`,
		"_srv._tcp.test", "xn--wgv71a119e.test", "日本語.test", "münchen.test", "0/25.2.0.192.in-addr.arpa", "10.in-addr.arpa", "8.b.d.0.1.0.0.2.ip6.arpa",
		l63 + ".test", l63 + "." + l63 + "." + l63 + "." + strings.Repeat("b", 61), strings.Repeat("c.", 100) + "test",
	}
}

// hostile are the names of hostileTexts.
func hostile(t *testing.T) []name.Name {
	t.Helper()
	var list []name.Name
	for _, text := range hostileTexts() {
		if n := parse(t, text); !slices.Contains(list, n) { // 日本語.test is xn--wgv71a119e.test
			list = append(list, n)
		}
	}
	return list
}

// HardNames are all names that the suite offers as hard ones, for Bench.Cannot to be
// taken from.
func HardNames(t *testing.T) []name.Name {
	t.Helper()
	return append(hostile(t), unloadable(t)...)
}

// unloadable are names that may be configured, or refused, and that the primary of
// the lab does not have.
func unloadable(t *testing.T) []name.Name {
	t.Helper()
	return []name.Name{name.Root, parse(t, "*.test"), parse(t, "test")}
}

func parse(t *testing.T, text string) name.Name {
	t.Helper()
	n, err := name.Parse(text)
	if err != nil {
		t.Fatalf("name %q %v", text, err)
	}
	return n
}
