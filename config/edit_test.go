package config

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestEdit(t *testing.T) {
	var ref bytes.Buffer
	if err := Reference(&ref, nil); err != nil {
		t.Fatal(err)
	}
	values := map[string]string{"plane.mode": "host", "plane.cores": `["a:1"]`, "host.name": "web1"}
	for name, before := range map[string]string{
		"no file": "", "the reference": ref.String(),
		"a file":       "# mine\nlog:\n  level: debug # loud\nplane:\n    mode: embedded\n",
		"a last line":  "plane:\n  listen: :1",
		"empty values": "plane:\nhost:\n",
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "sub", "kaname.yaml")
			if before != "" {
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(before), 0o640); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 { // the second time replaces
				if err := Edit(file, values); err != nil {
					t.Fatal(err)
				}
			}
			after, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for l := range strings.SplitSeq(before, "\n") {
				if !strings.Contains(string(after), l) && !strings.Contains(l, "mode:") {
					t.Errorf("line %q is gone", l)
				}
			}
			l, err := Load(Options{File: file})
			if err != nil {
				t.Fatalf("%v\n%s", err, after)
			}
			if l.Plane.Mode != "host" || l.Plane.Cores[0] != "a:1" || l.Config.Host.Name != "web1" {
				t.Errorf("%+v", l.Config)
			}
		})
	}
	file := write(t, "plane:\n  cores:\n    - a:1\n")
	if err := Edit(file, values); err == nil || !strings.Contains(err.Error(), "several lines") {
		t.Errorf("%v", err)
	}
}
