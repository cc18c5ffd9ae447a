package named

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	dir := t.TempDir()
	for file, text := range map[string]string{
		"named.conf": `include "keys";
options { directory "` + dir + `"; include "options"; };
statistics-channels { inet * port 8053 allow { any; }; };
view "in" { include "zones"; key "Own." { algorithm hmac-sha256; secret "eA=="; }; };
view out { new-zones-directory "new"; allow-new-zones no; catalog-zones { zone "catz.test" zone-directory "x"; }; zone b.test IN { type slave; }; zone x.test CH { type primary; }; };`,
		"keys":    `key xfr { algorithm hmac-sha256; secret "eA=="; };`,
		"options": `allow-new-zones yes;`,
		"zones":   `zone "a.test" { type primary; file "a.db"; };`,
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := Read(filepath.Join(dir, "named.conf"))
	if err != nil {
		t.Fatal(err)
	}
	if c.Directory != dir || c.Stats != "127.0.0.1:8053" || len(c.Views) != 2 {
		t.Fatalf("%+v", c)
	}
	in, out := c.Views[0], c.Views[1]
	if !in.AllowNew || in.NewZones != dir || !in.Keys["own"] || !in.Keys["xfr"] || !in.Includes[filepath.Join(dir, "zones")] {
		t.Errorf("view in: %+v", in)
	}
	if len(in.Zones) != 1 || !in.Zones[0].Primary() || in.Zones[0].File != "a.db" {
		t.Errorf("zones of view in: %+v", in.Zones)
	}
	if out.AllowNew || out.NewZones != filepath.Join(dir, "new") || !out.Catalogs["catz.test."] || out.Keys["own"] || len(out.Zones) != 1 || !out.Zones[0].Secondary() {
		t.Errorf("view out: %+v", out)
	}
	if _, err := c.View(""); err == nil {
		t.Error("one of two views is taken without being named")
	}
	if c.Changed() {
		t.Error("changed")
	}
	if err := os.WriteFile(filepath.Join(dir, "zones"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if !c.Changed() {
		t.Error("a changed file is not seen")
	}
	if err := os.WriteFile(filepath.Join(dir, "options"), []byte(`include "options";`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(filepath.Join(dir, "named.conf")); err == nil || !strings.Contains(err.Error(), "includes") && !strings.Contains(err.Error(), "include itself") {
		t.Errorf("a file that includes itself: %v", err)
	}
}

// TestShort holds that an answer that is cut off anywhere is an error, never a
// shorter list.
func TestShort(t *testing.T) {
	whole := `{"boot-time":"b","config-time":"c","version":"9","x":{"y":[1]},"views":{"_default":{"zones":[
{"name":"a.test","class":"IN","serial":1,"type":"primary","loaded":"2026"},{"name":"v","class":"CH","type":"builtin"}]}}}`
	s, err := readSnapshot(strings.NewReader(whole))
	if err != nil || len(s.Views[DefaultView]) != 1 || s.Views[DefaultView][0].Serial != 1 || !s.Views[DefaultView][0].Loaded || s.Boot != "b" {
		t.Fatalf("%+v, %v", s, err)
	}
	for i := range whole {
		if s, err := readSnapshot(strings.NewReader(whole[:i])); err == nil {
			t.Fatalf("cut off at %d it is %+v", i, s)
		}
	}
}
