package console

import (
	"encoding/json"
	"strings"
	"testing"
)

// A drawing is shown as an image, in which nothing runs; a text keeps its lines.
func TestDrawingsAndTexts(t *testing.T) {
	raw, err := json.Marshal(map[string]string{"drawing": `<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>`, "text": "one\n<b>two</b>"})
	if err != nil {
		t.Fatal(err)
	}
	p, err := newPages()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	v := newValue(raw)
	if err := p.byName["action.en"].ExecuteTemplate(&b, "value", v); err != nil {
		t.Fatal(err)
	}
	got := b.String()
	if !strings.Contains(got, `<img class="drawing" src="data:image/svg&#43;xml;base64,`) && !strings.Contains(got, `<img class="drawing" src="data:image/svg+xml;base64,`) {
		t.Errorf("no image: %s", got)
	}
	if strings.Contains(got, "<script") || strings.Contains(got, "<b>") || !strings.Contains(got, "<pre>one\n") {
		t.Errorf("%s", got)
	}
}
