package bundle

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"kaname.dev/kaname/fault"
)

// entry is a piece of a forged bundle.
type entry struct {
	name, text string
	kind       byte
}

const goodIntent = `{"version":1}`

// forge makes an archive of entries; with a manifest that lists them truly, unless one of
// them is a manifest.
func forge(t testing.TB, entries ...entry) []byte {
	t.Helper()
	files, own := map[string]string{}, false
	for _, e := range entries {
		sum := sha256.Sum256([]byte(e.text))
		files[e.name] = hex.EncodeToString(sum[:])
		own = own || e.name == manifestName
	}
	if !own {
		m, _ := json.Marshal(Manifest{Version: Version, Files: files})
		entries = append(entries, entry{name: manifestName, text: string(m)})
	}
	var plain bytes.Buffer
	w := tar.NewWriter(&plain)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Typeflag: e.kind, Mode: 0o600}
		if e.kind == 0 {
			h.Typeflag, h.Size = tar.TypeReg, int64(len(e.text))
		} else {
			h.Linkname, e.text = e.text, ""
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return zip(t, plain.Bytes())
}

func zip(t testing.TB, b []byte) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return z.EncodeAll(b, nil)
}

func TestHostileBundlesAreRefused(t *testing.T) {
	ok := entry{name: intentName, text: goodIntent}
	host := entry{name: "hosts/c1.json", text: `{"version":1,"name":"c1"}`}
	if _, err := Read(bytes.NewReader(forge(t, ok, host)), Limits{}); err != nil {
		t.Fatalf("a good one: %v", err)
	}
	whole := forge(t, ok, host)
	bomb := entry{name: "hosts/c1.json", text: strings.Repeat(" ", 3<<20)}
	for name, c := range map[string]struct {
		raw  []byte
		kind fault.Kind
	}{
		"empty":           {nil, fault.KindCorrupt},
		"no zstd":         {[]byte("PK\x03\x04 something else entirely"), fault.KindCorrupt},
		"no tar":          {zip(t, []byte(strings.Repeat("no tar ", 200))), fault.KindCorrupt},
		"cut off":         {whole[:len(whole)/2], fault.KindCorrupt},
		"last byte gone":  {whole[:len(whole)-1], fault.KindCorrupt},
		"damaged":         {flip(whole, len(whole)-2), fault.KindCorrupt},
		"up and out":      {forge(t, ok, entry{name: "hosts/../../etc/passwd.json"}), fault.KindCorrupt},
		"absolute":        {forge(t, ok, entry{name: "/etc/cron.d/x"}), fault.KindCorrupt},
		"a dot file":      {forge(t, ok, entry{name: "hosts/.json"}), fault.KindCorrupt},
		"below a host":    {forge(t, ok, entry{name: "hosts/a/b.json"}), fault.KindCorrupt},
		"escapes":         {forge(t, ok, entry{name: "hosts/\x1b[2Jx.json"}), fault.KindCorrupt},
		"another file":    {forge(t, ok, entry{name: "run.sh", text: "rm -rf /"}), fault.KindCorrupt},
		"a link":          {forge(t, ok, entry{name: "hosts/c1.json", text: "/etc/shadow", kind: tar.TypeSymlink}), fault.KindCorrupt},
		"a device":        {forge(t, ok, entry{name: "hosts/c1.json", kind: tar.TypeChar}), fault.KindCorrupt},
		"twice":           {forge(t, ok, host, host), fault.KindCorrupt},
		"two manifests":   {forge(t, ok, entry{name: manifestName, text: "{}"}, entry{name: manifestName, text: "{}"}), fault.KindCorrupt},
		"after the end":   {forge(t, ok, entry{name: manifestName, text: "{}"}, host), fault.KindCorrupt},
		"wrong sum":       {forge(t, ok, entry{name: manifestName, text: `{"version":1,"files":{"intent.json":"00"}}`}), fault.KindCorrupt},
		"not listed":      {forge(t, ok, host, entry{name: manifestName, text: manifestOf(ok)}), fault.KindCorrupt},
		"missing":         {forge(t, ok, entry{name: manifestName, text: manifestOf(ok, host)}), fault.KindCorrupt},
		"no intent":       {forge(t, host), fault.KindCorrupt},
		"no JSON":         {forge(t, entry{name: intentName, text: "{"}), fault.KindCorrupt},
		"a later bundle":  {forge(t, ok, entry{name: manifestName, text: `{"version":99}`}), fault.KindUnsupported},
		"a later intent":  {forge(t, entry{name: intentName, text: `{"version":99}`}), fault.KindUnsupported},
		"a large entry":   {forge(t, ok, bomb), fault.KindFull},
		"many objects":    {forge(t, entry{name: intentName, text: `{"version":1,"ports":[` + strings.Repeat("{},", 5000) + "{}]}"}), fault.KindFull},
		"many nulls":      {forge(t, entry{name: intentName, text: `{"version":1,"ports":[` + strings.Repeat("null,", 5000) + "{}]}"}), fault.KindFull},
		"many hosts":      {forge(t, ok, host, entry{name: "hosts/c2.json"}, entry{name: "hosts/c3.json"}), fault.KindFull},
		"a bomb at large": {zip(t, make([]byte, 9<<20)), fault.KindFull},
		"deep":            {forge(t, entry{name: intentName, text: strings.Repeat("[", 100_000)}), fault.KindCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Read(bytes.NewReader(c.raw), Limits{Total: 8 << 20, File: 2 << 20, Hosts: 2, Objects: 4000})
			if !fault.Is(err, c.kind) {
				t.Errorf("is %v, not of kind %s", err, c.kind)
			}
			if err != nil && strings.ContainsRune(err.Error(), 0x1b) {
				t.Errorf("%q has an escape", err)
			}
		})
	}
}

func manifestOf(entries ...entry) string {
	m := Manifest{Version: Version, Files: map[string]string{}}
	for _, e := range entries {
		sum := sha256.Sum256([]byte(e.text))
		m.Files[e.name] = hex.EncodeToString(sum[:])
	}
	b, _ := json.Marshal(m)
	return string(b)
}

func flip(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 0x40
	return b
}

func TestForgedHosts(t *testing.T) {
	ok := entry{name: intentName, text: goodIntent}
	for text, kind := range map[string]fault.Kind{
		`{"version":1,"name":"other"}`:                                     fault.KindCorrupt,
		`{"version":7,"name":"c1"}`:                                        fault.KindUnsupported,
		`{"version":1,"name":"c1","namespaces":"x"}`:                       fault.KindCorrupt,
		`{"version":1,"name":"c1","namespaces":[{"links":[{"mac":1`:        fault.KindCorrupt,
		fmt.Sprintf(`{"version":1,"x":[%s]}`, strings.Repeat("{},", 5000)): fault.KindFull,
	} {
		b, err := Read(bytes.NewReader(forge(t, ok, entry{name: "hosts/c1.json", text: text})), Limits{Objects: 4000})
		if err != nil {
			t.Fatal(err) // a bad host does not spoil the others
		}
		if _, err = b.Host("c1"); !fault.Is(err, kind) {
			t.Errorf("%.60s: %v", text, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(packed(f))
	f.Add(forge(f, entry{name: intentName, text: goodIntent}))
	f.Fuzz(func(_ *testing.T, raw []byte) {
		b, err := Read(bytes.NewReader(raw), Limits{Total: 4 << 20, File: 1 << 20, Objects: 1000})
		if err != nil {
			return
		}
		for _, n := range b.Names() {
			_, _ = b.Host(n)
		}
	})
}

func FuzzTar(f *testing.F) {
	f.Add([]byte("hosts/c1.json"), []byte(`{"version":1,"name":"c1"}`))
	f.Fuzz(func(t *testing.T, name, text []byte) {
		if len(name) == 0 || len(name) > 90 || bytes.IndexByte(name, 0) >= 0 {
			return
		}
		b, err := Read(bytes.NewReader(forge(t, entry{name: intentName, text: goodIntent}, entry{name: "hosts/" + hex.EncodeToString(name)[:min(2*len(name), 60)] + ".json", text: string(text)})), Limits{})
		if err != nil {
			t.Fatal(err) // names of hosts are good ones here, and the manifest is true
		}
		for _, n := range b.Names() {
			_, _ = b.Host(n)
		}
	})
}
