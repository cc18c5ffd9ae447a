package manifest_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/release/manifest"
)

func digest(s string) *manifest.Digest {
	d := manifest.Sum([]byte(s))
	return &d
}

// sample has every sort of entry and every awkward string.
func sample() *manifest.Manifest {
	t := time.Date(2024, 2, 29, 12, 0, 0, 123456789, time.UTC)
	m := &manifest.Manifest{
		Header: manifest.Header{
			App: "web", Version: "1.4.2+build.7", Kind: manifest.Tree, Created: t, Source: `s3://b/<a>&"b".tar`,
			Archive: digest("archive"), Meta: map[string]string{"z": "1", "commit": "a\u2028b"},
			Root: &manifest.Entry{Path: ".", Type: manifest.Dir, Mode: 0o755, MTime: t},
		},
		Entries: []manifest.Entry{
			{Path: "bin", Type: manifest.Dir, Mode: 0o1777, MTime: t},
			{Path: "bin/app", Type: manifest.File, Mode: 0o4755, UID: 1000, GID: 33, Owner: "deploy", Group: "www-data", MTime: t, Size: 3, Digest: digest("app")},
			{Path: "bin/link", Type: manifest.Hardlink, Mode: 0o4755, MTime: t, Link: "bin/app"},
			{Path: "caf\xe9 100%/\xff", Type: manifest.File, Mode: 0o644, MTime: t},
			{Path: "日本/\n\t\"\\\x7f", Type: manifest.Symlink, Mode: 0o777, MTime: t, Link: "/etc/\xe9"},
			{Path: "sparse", Type: manifest.File, Mode: 0o644, MTime: t, Size: 9000, Digest: digest("s"), Sparse: []manifest.Extent{{Offset: 0, Length: 10}, {Offset: 4096, Length: 4904}}},
			{Path: "hole", Type: manifest.File, Mode: 0o644, MTime: t, Size: 9000, Digest: digest("h"), Sparse: []manifest.Extent{{Offset: 9000}}},
			{Path: "100%", Type: manifest.File, Mode: 0o644, MTime: t, Xattrs: map[string][]byte{"user.a": {0, 255}, "user.b": {}}},
		},
	}
	m.Tally()
	return m
}

func TestRoundTrip(t *testing.T) {
	m := sample()
	b := m.Bytes()
	var stream bytes.Buffer
	if err := m.Encode(&stream); err != nil || !bytes.Equal(b, stream.Bytes()) {
		t.Fatalf("Encode and Bytes differ (%v)", err)
	}
	if m.ID() != manifest.Sum(b) {
		t.Error("the ID is not the digest of the canonical bytes")
	}
	got, err := manifest.Decode(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, got); diff != "" {
		t.Error(diff)
	}
	for line := range bytes.Lines(b) {
		if !json.Valid(line) {
			t.Errorf("not JSON: %s", line)
		}
	}
	// A single entry survives any JSON that embeds it.
	j, err := json.Marshal(m.Entries[3])
	if err != nil {
		t.Fatal(err)
	}
	var e manifest.Entry
	if err := json.Unmarshal(j, &e); err != nil || e.Path != m.Entries[3].Path {
		t.Errorf("%s gives %q, %v", j, e.Path, err)
	}
}

// The canonical form is for ever: this ID may only change with Format.
func TestIDIsFixed(t *testing.T) {
	const want = "ca56b9f021a01b357f0d50f24e3da9c88bc3e462c36dbd649b8265edf457dcfa"
	if got := sample().ID().String(); got != want {
		t.Errorf("ID %s, want %s", got, want)
	}
}

func TestDecodeRefuses(t *testing.T) {
	good := string(sample().Bytes())
	header, _, _ := strings.Cut(good, "\n")
	tests := map[string]struct {
		text string
		kind fault.Kind
		says string
	}{
		"empty":             {"", fault.KindCorrupt, "line 1"},
		"not JSON":          {"PK\x03\x04\n", fault.KindCorrupt, "line 1"},
		"newer":             {`{"format":2,"new":true}` + "\n", fault.KindUnsupported, "upgrade"},
		"cut within a line": {good[:len(good)-5], fault.KindCorrupt, "unexpected EOF"},
		"cut between lines": {header + "\n", fault.KindCorrupt, "0 entries of 8"},
		"one entry too many": {
			good + `{"p":"x","t":"dir","m":493,"mt":"2024-02-29T12:00:00Z"}` + "\n", fault.KindCorrupt, "more than the 8",
		},
		"space":         {strings.Replace(good, `"m":`, `"m": `, 1), fault.KindCorrupt, "canonical"},
		"unknown field": {strings.Replace(good, `"t":"dir"`, `"t":"dir","q":1`, 1), fault.KindCorrupt, `"q"`},
		"other zone": {
			strings.Replace(good, `"created":"2024-02-29T12:00:00.123456789Z"`, `"created":"2024-02-29T13:00:00.123456789+01:00"`, 1),
			fault.KindCorrupt, "canonical",
		},
		"escape not needed": {strings.Replace(good, `{"p":"bin"`, `{"e":true,"p":"bin"`, 1), fault.KindCorrupt, "canonical"},
		"bad escape":        {strings.Replace(good, `%E9`, `%EZ`, 1), fault.KindCorrupt, "escape"},
		"two values":        {strings.Replace(good, "}\n{\"p\":\"bin\"", "}\n{}{\"p\":\"bin\"", 1), fault.KindCorrupt, "line 2"},
		"endless line":      {header + "\n" + strings.Repeat("x", 2<<20), fault.KindCorrupt, "longer than"},
		"too many entries":  {strings.Replace(good, `"count":8`, `"count":5000001`, 1), fault.KindInvalid, "5000000"},
		"wrong size":        {strings.Replace(good, `"size":18003`, `"size":18004`, 1), fault.KindInvalid, "counted"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if tt.text == good {
				t.Fatal("the test changes nothing")
			}
			_, err := manifest.Decode(strings.NewReader(tt.text))
			if !fault.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want %s with %q", err, tt.kind, tt.says)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(sample().Bytes())
	f.Add([]byte(`{"format":1,"app":"a","version":"1","kind":"tree","created":"2024-01-01T00:00:00Z","count":0,"files":0,"size":0}` + "\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := manifest.Decode(bytes.NewReader(b))
		if err == nil && !bytes.Equal(m.Bytes(), b) {
			t.Errorf("accepted bytes that are not the canonical form:\n%q\n%q", b, m.Bytes())
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	m := sample()
	e := m.Entries[1]
	m.Entries = nil
	for i := range 20000 {
		e.Path = strings.Repeat("dir/", 5) + time.Unix(int64(i), 0).UTC().Format("20060102T150405.go")
		m.Entries = append(m.Entries, e)
	}
	m.Tally()
	raw := m.Bytes()
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		if _, err := manifest.Decode(bytes.NewReader(raw)); err != nil {
			b.Fatal(err)
		}
	}
}
