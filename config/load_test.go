package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"kaname.dev/kaname/fault"
)

// size stands for a type with its own text form.
type size int64

func (s *size) UnmarshalYAML(b []byte) error {
	if string(b) != "1KiB" {
		return errors.New(string(b) + " is not a size")
	}
	*s = 1024
	return nil
}

func (s size) String() string { return "1KiB" }

type ribSection struct {
	Root  string                  `yaml:"root" help:"where"`
	Keep  int                     `yaml:"keep"`
	Wait  time.Duration           `yaml:"wait"`
	Quota size                    `yaml:"quota"`
	On    bool                    `yaml:"on"`
	Ratio float64                 `yaml:"ratio"`
	Apps  map[string]ribApp       `yaml:"apps"`
	Limit struct{ Up, Down size } `yaml:"limit"`
}

type ribApp struct {
	Root string   `yaml:"root"`
	To   []string `yaml:"to"`
}

func (r *ribSection) Check() error {
	if r.Keep < 1 {
		return errors.New("keep: at least one release is kept")
	}
	return nil
}

func defaults() map[string]any {
	return map[string]any{"release": &ribSection{Root: "/srv", Keep: 5, Wait: time.Hour, Quota: 1024}}
}

func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "kaname.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestLayers(t *testing.T) {
	name := write(t, `
# a comment
host:
  labels: {role: web, rack: no}
plane:
  mode: host
  cores: [core1:7420]   # why
  cluster:
    name: tokyo
release:
  keep: 1_0
  wait: 90s
  quota: 1KiB
  on: true
  ratio: 1.5
  limit:
    up: 1KiB
  apps:
    shop: {root: /srv/shop, to: [a, b]}
    blog:
      to:
        - c
log:
`)
	l, err := Load(Options{
		File: name, Sections: defaults(),
		Env:   []string{"KANAME_PLANE_CLUSTER_NAME=osaka", "KANAME_RELEASE_ROOT=/env", "KANAME_TOKEN=x", "KANAME_LOG_LEVL=debug", "HOME=/"},
		Flags: map[string]string{"release.root": "/flag", "host.labels": "role=api,zone=a"},
	})
	if err != nil {
		t.Fatal(err)
	}
	rib := l.Sections["release"].(*ribSection)
	want := &ribSection{
		Root: "/flag", Keep: 10, Wait: 90 * time.Second, Quota: 1024, On: true, Ratio: 1.5,
		Apps: map[string]ribApp{"shop": {"/srv/shop", []string{"a", "b"}}, "blog": {To: []string{"c"}}},
	}
	want.Limit.Up = 1024
	if d := cmp.Diff(want, rib); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(map[string]string{"role": "api", "zone": "a"}, l.Host.Labels); d != "" {
		t.Error(d)
	}
	if l.Plane.Cluster.Name != "osaka" || l.Plane.Cores[0] != "core1:7420" || l.Log.Level != "info" {
		t.Errorf("%+v", l.Config)
	}
	if len(l.Warnings) != 1 || !strings.Contains(l.Warnings[0], "KANAME_LOG_LEVEL") {
		t.Errorf("warnings %q", l.Warnings)
	}
	for key, want := range map[string]string{
		"plane.mode": name + ":6:3", "plane.cluster.name": "KANAME_PLANE_CLUSTER_NAME",
		"release.root": "--release-root", "api.listen": "default", "release.keep": name + ":11:3",
	} {
		if got := l.Origin(key); got != want {
			t.Errorf("origin of %s is %q, want %q", key, got, want)
		}
	}
}

func TestProblemsHavePlaceAndCaret(t *testing.T) {
	for name, tc := range map[string]struct{ file, want, caret string }{
		"unknown key":      {"plane:\n  moed: host\n", `:2:3: plane has no key "moed"; did you mean "mode"?`, "moed: host"},
		"unknown section":  {"plan:\n  mode: host\n", `:1:1: there is no section "plan"; did you mean "plane"?`, "plan:"},
		"far from any":     {"log:\n  xyzzy: 1\n", `:2:3: log has no key "xyzzy"; it may have: level, format`, "xyzzy"},
		"doubled key":      {"log:\n  level: info\n  level: debug\n", `:3:3: mapping key "level" already defined at [2:3]`, "level: debug"},
		"enum":             {"log:\n  level: loud\n", `:2:10: log.level: "loud" is not one of debug, info, warn, error`, "loud"},
		"duration":         {"release:\n  wait: soon\n", `:2:9: release.wait: "soon" is not a duration such as 30s or 1h30m`, "soon"},
		"text type":        {"release:\n  quota: many\n", `:2:10: release.quota: many is not a size`, "many"},
		"bool":             {"release:\n  on: yes\n", `:2:7: release.on: "yes" is neither true nor false`, "yes"},
		"number":           {"release:\n  keep: 1.5\n", `:2:9: release.keep: "1.5" is not a whole number`, "1.5"},
		"scalar for list":  {"plane:\n  cores: a\n", `plane.cores takes a list`, "a"},
		"list for scalar":  {"plane:\n  mode: [a]\n", `plane.mode takes a single value`, "[a]"},
		"text for section": {"plane: host\n", `:1:8: plane takes keys, not a single value`, "host"},
		"nested":           {"release:\n  apps:\n    shop:\n      rot: x\n", `:4:7: release.apps.shop has no key "rot"; did you mean "root"?`, "rot"},
		"check of a rib":   {"release:\n  root: /a\n  keep: 0\n", `:3:3: release.keep: at least one release is kept`, "keep: 0"},
		"check of ours":    {"plane:\n  mode: cluster\n", `plane.cluster.peers: a cluster has 3 or 5 cores, this names 1 with itself`, "plane"},
		"address":          {"api:\n  listen: 7421\n", `:2:3: api.listen: "7421" is not host:port or :port`, "listen"},
		"host name":        {"host:\n  name: Web_1\n", `:2:3: host.name: "Web_1" is not a host name`, "name"},
		"label":            {"host:\n  labels: {role: a b}\n", `:2:3: host.labels: "role": "a b" is not a label`, "labels"},
		"bad indentation":  {"log:\n  level: info\n format: json\n", `:3:`, "format"},
		"anchor":           {"log: &x\n  level: info\n", `anchors and aliases are not used`, "&x"},
		"two documents":    {"log:\n  level: info\n---\nlog:\n  level: info\n", `a second document`, ""},
		"no closing quote": {"log:\n  level: \"info\n", `:2:`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			file := write(t, tc.file)
			_, err := Load(Options{File: file, Sections: defaults()})
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "kaname.yaml:") {
				t.Errorf("%v\nwant %s", err, tc.want)
			}
			if !strings.Contains(err.Error(), "^") || !strings.Contains(err.Error(), tc.caret) {
				t.Errorf("no caret under %q in:\n%v", tc.caret, err)
			}
			if fault.ExitCode(err) != fault.ExitUsage {
				t.Errorf("exit code %d", fault.ExitCode(err))
			}
		})
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	file := write(t, "log:\n  level: loud\n  colour: no\napi:\n  lisen: x\n")
	problems, err := Check(Options{File: file, Env: []string{"KANAME_RELEASE_KEEP=x"}, Sections: defaults(), Flags: map[string]string{"no.such": "1"}})
	if err != nil || len(problems) != 5 {
		t.Errorf("%d problems, %v:\n%v", len(problems), err, problems)
	}
	if _, err := Load(Options{File: file, Sections: defaults()}); err == nil || !strings.Contains(err.Error(), "3 things are wrong") {
		t.Errorf("%v", err)
	}
}

func TestMissingFile(t *testing.T) {
	if _, err := Load(Options{File: "/no/such.yaml"}); !fault.Is(err, fault.KindNotFound) {
		t.Errorf("%v", err)
	}
	for _, empty := range []string{"", "# nothing\n", "---\n"} {
		if _, err := Load(Options{File: write(t, empty)}); err != nil {
			t.Errorf("%q: %v", empty, err)
		}
	}
}

func TestShowAndReferenceReadBack(t *testing.T) {
	l, err := Load(Options{File: write(t, "host:\n  labels: {role: web}\nrelease:\n  wait: 1h30m\n  apps: {shop: {root: /x, to: [a]}}\n  limit: {up: 1KiB, down: 1KiB}\n"), Sections: defaults()})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := l.Show(&b); err != nil {
		t.Fatal(err)
	}
	again, err := Load(Options{File: write(t, b.String()), Sections: map[string]any{"release": &ribSection{}}})
	if err != nil {
		t.Fatalf("%v in\n%s", err, b.String())
	}
	if d := cmp.Diff(l.Sections, again.Sections); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(l.Host, again.Host); d != "" {
		t.Error(d)
	}

	b.Reset()
	if err := Reference(&b, defaults()); err != nil {
		t.Fatal(err)
	}
	uncommented := strings.NewReplacer("  #", "  ").Replace(strings.ReplaceAll(b.String(), "  # ", "## "))
	for text, what := range map[string]string{b.String(): "as written", uncommented: "with all keys"} {
		back, err := Load(Options{File: write(t, text), Sections: defaults()})
		if err != nil {
			t.Fatalf("%s: %v in\n%s", what, err, text)
		}
		if d := cmp.Diff(Default(), back.Config, cmp.Comparer(func(a, b []string) bool { return len(a) == 0 && len(b) == 0 || cmp.Equal(a, b) }),
			cmp.Comparer(func(a, b map[string]string) bool { return len(a) == 0 && len(b) == 0 || cmp.Equal(a, b) })); d != "" {
			t.Errorf("%s: %s", what, d)
		}
	}
	if !strings.Contains(b.String(), "#mode: embedded") {
		t.Errorf("reference:\n%s", b.String())
	}
}

func TestSchemaTakesTheDefaults(t *testing.T) {
	raw, err := json.Marshal(Schema(defaults()))
	if err != nil {
		t.Fatal(err)
	}
	s := Schema(defaults())
	resolved, err := s.Resolve(nil)
	if err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
	l, err := Load(Options{File: write(t, ""), Sections: defaults()})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := l.Show(&b); err != nil {
		t.Fatal(err)
	}
	var doc any
	if err := yaml.Unmarshal(b.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	if err := resolved.Validate(doc); err != nil {
		t.Errorf("%v\n%s\n%s", err, b.String(), raw)
	}
	if err := resolved.Validate(map[string]any{"plane": map[string]any{"moed": "host"}}); err == nil {
		t.Error("the schema takes an unknown key")
	}
}

func FuzzFile(f *testing.F) {
	f.Add("host:\n  labels: {role: web}\n")
	f.Add("plane: [&a *b\n")
	f.Add("release:\n  apps:\n    ? x\n    : - y\n")
	f.Fuzz(func(t *testing.T, text string) {
		name := filepath.Join(t.TempDir(), "kaname.yaml")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, _ = Load(Options{File: name, Sections: defaults()})
	})
}
