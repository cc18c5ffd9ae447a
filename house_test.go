package main

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"kaname.dev/kaname/agent"
	"kaname.dev/kaname/config"
)

// The plan of the house. ARCHITECTURE.md says the same in words.

const module = "kaname.dev/kaname"

// rooms says for each room which others it may import. A room holds its folder
// and the folders below it; the longest name wins. A room may always import its
// own children; "rib/*" stands for any rib, "self" for the room itself.
var rooms = map[string][]string{
	"fault":           {},
	"action":          {"fault"},
	"host":            {"fault"},
	"config":          {"fault", "host"},
	"plane":           {"action", "fault", "host", "plane/trust"}, // action for the Actor that a command carries
	"plane/trust":     {"fault", "host"},
	"plane/planetest": {"plane", "plane/trust", "fault"},
	"access":          {"action", "fault", "plane", "plane/trust"},
	"rib":             {"action", "fault", "host", "plane", "plane/trust"},
	"rib/office":      {"fault", "plane"}, // for ribs that decide in one place
	"rib/ribtest":     {"rib", "plane", "plane/trust", "plane/planetest"},
	"rib/*":           {"rib", "rib/office", "action", "fault", "host", "plane", "plane/trust"},
	// what all drivers must do, against real servers; only their tests import it
	"rib/zone/server/servertest":      {"rib/zone", "lab"},
	"rib/mysql/endpoint/endpointtest": {"rib/mysql", "lab"},
	"rib/netpath/rebuild":             {"rib/netpath"}, // hosts out of their facts, for tests
	"door/api":                        {"action", "access", "fault", "plane", "plane/trust"},
	"door/api/apitest":                {"access", "action", "door/api", "fault", "plane", "plane/planetest"},
	"door/cli":                        {"action", "fault", "door/api"},
	"door/console":                    {"action", "fault", "door/api"},
	"agent":                           {"action", "access", "config", "door/api", "door/console", "fault", "host", "plane", "plane/trust", "rib"},
	"demo":                            {"action", "agent", "door/api", "fault", "host", "rib"},
	"lab":                             {"host", "fault"},
	"story":                           {"lab", "host"},
	"tools":                           {"access", "action", "agent", "config", "demo", "door/api", "door/cli", "fault", "rib", "rib/*"},
	"bench":                           {"*"},
	".":                               {"action", "agent", "config", "demo", "door/cli", "door/console", "fault", "rib", "rib/*"},
}

// testsMay is what only the tests of a room may import besides.
var testsMay = []string{"lab", "rib/ribtest", "plane/planetest", "plane", "plane/trust", "access", "host", "fault", "action", "door/api", "door/api/apitest", "rib", "rib/zone/server/servertest", "rib/mysql/endpoint/endpointtest", "rib/netpath/rebuild"}

type pkg struct {
	ImportPath, Dir, Doc               string
	GoFiles, TestGoFiles, XTestGoFiles []string
	Imports, TestImports, XTestImports []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Dir,Doc,GoFiles,TestGoFiles,XTestGoFiles,Imports,TestImports,XTestImports", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	var list []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); err == io.EOF {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}

// local returns the path of a package inside the module, "." for its root.
func local(importPath string) (string, bool) {
	if importPath == module {
		return ".", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

// roomOf returns the room that a folder belongs to.
func roomOf(path string) string {
	best := ""
	for r := range rooms {
		prefix := r
		if r == "rib/*" {
			parts := strings.Split(path, "/")
			if parts[0] != "rib" || len(parts) < 2 {
				continue
			}
			if rib := "rib/" + parts[1]; len(rib) > len(best) {
				best = rib
			}
			continue
		}
		if (path == prefix || strings.HasPrefix(path, prefix+"/")) && len(prefix) > len(best) {
			best = prefix
		}
	}
	return best
}

func allowed(room string) []string {
	if may, ok := rooms[room]; ok || !strings.HasPrefix(room, "rib/") {
		return may
	}
	return rooms["rib/*"]
}

func TestWhoMayImportWhom(t *testing.T) {
	for _, p := range packages(t) {
		path, _ := local(p.ImportPath)
		room := roomOf(path)
		if room == "" {
			t.Errorf("%s is in no room of the plan; give it one in house_test.go and ARCHITECTURE.md", path)
			continue
		}
		look := func(imports []string, may []string) {
			for _, i := range imports {
				other, ours := local(i)
				if !ours {
					continue
				}
				r := roomOf(other)
				ribs := slices.Contains(may, "rib/*") && strings.HasPrefix(r, "rib/")
				if r != room && !ribs && !slices.Contains(may, r) && !slices.Contains(may, "*") {
					t.Errorf("%s imports %s; it may import only: %s", path, other, strings.Join(may, " "))
				}
			}
		}
		look(p.Imports, allowed(room))
		tests := append(slices.Clone(allowed(room)), testsMay...)
		look(p.TestImports, tests)
		look(p.XTestImports, tests)
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.GoFiles) > 0 && len(p.Doc) < 40 {
			t.Errorf("%s has no package comment worth the name: %q", p.ImportPath, p.Doc)
		}
	}
}

const (
	maxFile     = 500  // lines
	maxFunction = 80   // lines
	maxPackage  = 6000 // lines without tests; aim at a third of it
)

func TestSizesAndHabits(t *testing.T) {
	banned := regexp.MustCompile(`(Errorf|errors\.New|Invalid|NotFound|Denied|Unavailable|Timeout|Internal|Corrupt|Conflict|Full|Exists|Unsupported|Partial)\("(failed|unable|could not|error|can not) `)
	for _, p := range packages(t) {
		total := 0
		for i, name := range slices.Concat(p.GoFiles, p.TestGoFiles, p.XTestGoFiles) {
			path := filepath.Join(p.Dir, name)
			src, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			lines := bytes.Count(src, []byte("\n"))
			if i < len(p.GoFiles) {
				total += lines
			}
			if lines > maxFile && !generated(src) {
				t.Errorf("%s has %d lines, more than %d; split it by its nouns", path, lines, maxFile)
			}
			if m := banned.Find(src); m != nil && i < len(p.GoFiles) {
				t.Errorf("%s: an error text begins with %q; say what and where: verb + object", path, m)
			}
			if i < len(p.GoFiles) {
				functions(t, path, src)
			}
		}
		if total > maxPackage {
			t.Errorf("%s has %d lines, more than %d; split it", p.ImportPath, total, maxPackage)
		}
	}
}

func generated(src []byte) bool { return bytes.HasPrefix(src, []byte("// Code generated ")) }

// functions looks at the length of each function, and for init.
func functions(t *testing.T, path string, src []byte) {
	t.Helper()
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, path, src, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		if n := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line; n > maxFunction {
			t.Errorf("%s: %s has %d lines, more than %d", path, fn.Name.Name, n, maxFunction)
		}
		if fn.Name.Name == "init" && fn.Recv == nil {
			t.Errorf("%s: init runs behind everybody's back; call something from main", path)
		}
	}
}

func TestGeneratedFilesAreFresh(t *testing.T) {
	have, err := os.ReadFile("ribs_gen.go")
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir("rib")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() && e.Name() != "ribtest" && e.Name() != "office" && !bytes.Contains(have, []byte("rib/"+e.Name()+`"`)) {
			t.Errorf("rib/%s is not in ribs_gen.go; run make generate", e.Name())
		}
	}
	var ref bytes.Buffer
	if err := config.Reference(&ref, agent.Sections(ribs())); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile("dist/kaname.yaml")
	if err != nil || !bytes.Equal(file, ref.Bytes()) {
		t.Errorf("dist/kaname.yaml is not what config.Reference writes (%v); run make generate", err)
	}
}

func TestNothingIsLeftLyingAbout(t *testing.T) {
	forbidden := regexp.MustCompile(`\b(TODO|FIXME|XXX)\b`)
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == "node_modules" || d.Name() == "bin") {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || path == "house_test.go" {
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if m := forbidden.Find(src); m != nil {
			t.Errorf("%s has a %s; do it, or open an issue", path, m)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
