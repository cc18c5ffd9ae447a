package rndc

import (
	"strings"
	"testing"

	"kaname.dev/kaname/rib/zone/control/rndc/conf"
	"kaname.dev/kaname/rib/zone/name"
)

// checkLine reads a command as named does.
func checkLine(t *testing.T, line, word string, n name.Name, view string, block bool) {
	t.Helper()
	if !block {
		line += ";"
	}
	list, err := conf.Parse(line)
	if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	if len(list) != 1 {
		t.Fatalf("%q is %d statements", line, len(list))
	}
	st := list[0]
	want := []string{word, string(n)}
	if view != "" {
		want = append(want, "IN", view)
	}
	if len(st.Words) != len(want) || st.Has != block {
		t.Fatalf("%q has the words %v", line, st.Words)
	}
	for i, w := range want {
		if st.Word(i) != w {
			t.Errorf("word %d of %q is %q, not %q", i, line, st.Word(i), w)
		}
	}
	if !block && strings.ContainsAny(line, "\n\r\x00") {
		t.Errorf("%q is not one line", line)
	}
}
