package pack_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kaname.dev/kaname/rib/release/manifest"
	"kaname.dev/kaname/rib/release/pack"
)

// pair is two successive releases as the world made them.
type pair struct {
	name     string
	old, new func(t testing.TB) string // the directory of each, fetched once into a cache
	most     float64                   // what the delta may cost of the full pack
}

// pairs come from the Go module proxy and the npm registry. The dates make npm choose
// what a developer got on that day.
var pairs = []pair{
	{"prometheus", module("github.com/prometheus/prometheus@v0.313.4"), module("github.com/prometheus/prometheus@v0.313.5"), 0.05},
	{"kubernetes", module("k8s.io/kubernetes@v1.34.3"), module("k8s.io/kubernetes@v1.34.4"), 0.05},
	{"node", app("2025-11-01"), app("2025-11-20"), 0.5},
}

// module returns the directory of a Go module in the module cache.
func module(name string) func(t testing.TB) string {
	return func(t testing.TB) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", name)
		cmd.Dir = t.TempDir()
		out, err := cmd.Output()
		if err != nil {
			unreachable(t, fmt.Errorf("fetch %s: %w\n%s", name, err, out))
		}
		var m struct{ Dir string }
		if err := json.Unmarshal(out, &m); err != nil {
			t.Fatal(err)
		}
		return m.Dir
	}
}

// app returns the directory of a Node application with its dependencies as of a day.
func app(day string) func(t testing.TB) string {
	return func(t testing.TB) string {
		t.Helper()
		cache, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(cache, "kaname-test", "app-"+day)
		if _, err := os.Stat(filepath.Join(dir, "done")); err == nil {
			return dir
		}
		if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700)); err != nil {
			t.Fatal(err)
		}
		const app = `{"name":"app","version":"1.0.0","private":true,"dependencies":{"next":"^16.0.0","react":"^19.2.0","react-dom":"^19.2.0",` +
			`"express":"^5.1.0","eslint":"^9.37.0","webpack":"^5.102.0","typescript":"^5.9.2","lodash":"^4.17.21","axios":"^1.12.0",` +
			`"prisma":"^6.17.0","@babel/core":"^7.28.0","vite":"^7.1.0","jest":"^30.1.0"}}`
		if err := os.WriteFile(filepath.Join(dir, "package.json"), []byte(app), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--before="+day)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			unreachable(t, fmt.Errorf("npm install: %w\n%s", err, out))
		}
		if err := os.WriteFile(filepath.Join(dir, "done"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return dir
	}
}

func unreachable(t testing.TB, err error) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(err)
	}
	t.Skipf("a real pair of releases cannot be fetched here: %v", err)
}

// real is a release of a directory.
type real struct {
	index    *pack.Index
	manifest *manifest.Manifest
	contents *pack.Contents
}

// basis returns the release as a base, its contents from its full pack.
func (r *real) basis() *pack.Basis { return &pack.Basis{Manifest: r.manifest, Files: r.contents} }

// ofDir makes a release and its full pack of a directory. Times are left out, as in a
// module.
func ofDir(t testing.TB, dir, version string) *real {
	t.Helper()
	at := time.Unix(1e9, 0).UTC()
	m := &manifest.Manifest{Header: manifest.Header{App: "web", Version: version, Kind: manifest.Tree, Created: at}}
	f := tempFile(t)
	b, err := pack.NewBuilder(t.Context(), f, pack.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	root := os.DirFS(dir)
	err = fs.WalkDir(root, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || p == "done" {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		file, err := root.Open(p)
		if err != nil {
			return err
		}
		e := manifest.Entry{Path: p, Type: manifest.File, Mode: uint32(info.Mode().Perm()), MTime: at, Size: info.Size()}
		sum, err := b.Add(file, e.Size, nil)
		if e.Size > 0 {
			e.Digest = &sum
		}
		m.Entries = append(m.Entries, e)
		return errors.Join(err, file.Close())
	})
	if err != nil {
		t.Fatal(err)
	}
	m.Tally()
	x, err := b.Finish(m)
	if err != nil {
		t.Fatal(err)
	}
	c, err := pack.NewContents(t.Context(), x, m, pack.FileChunks(x, f))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return &real{x, m, c}
}

// measure makes the delta of a pair, proves it, and returns its size and the full one's,
// with the index.
func (p pair) measure(t testing.TB) (delta, full int64, took time.Duration) {
	t.Helper()
	old, next := ofDir(t, p.old(t), "1"), ofDir(t, p.new(t), "2")
	f := tempFile(t)
	start := time.Now()
	x, err := pack.BuildDelta(t.Context(), f, old.basis(), next.basis(), pack.Options{})
	if err != nil {
		t.Fatal(err)
	}
	took = time.Since(start)
	check(t, x, pack.FileChunks(x, f), old.basis(), nil, next.manifest)
	return x.Wire() + int64(len(x.Bytes())), next.index.Wire() + int64(len(next.index.Bytes())), took
}

// Two successive patch releases of a large source tree: issue #2, must show 3.
func TestRealPair(t *testing.T) {
	p := pairs[0]
	delta, full, _ := p.measure(t)
	t.Logf("%s: %d bytes of %d (%.2f %%)", p.name, delta, full, 100*float64(delta)/float64(full))
	if float64(delta) > p.most*float64(full) {
		t.Errorf("%d bytes are more than %.0f %% of %d", delta, 100*p.most, full)
	}
}

// BenchmarkPairs reports what each pair costs, and beside it the floor: zstd
// --patch-from over the tars of both releases.
func BenchmarkPairs(b *testing.B) {
	for _, p := range pairs {
		b.Run(p.name, func(b *testing.B) {
			var delta, full int64
			for b.Loop() {
				delta, full, _ = p.measure(b)
			}
			floor := patchFrom(b, p.old(b), p.new(b))
			b.ReportMetric(float64(delta), "delta-bytes")
			b.ReportMetric(float64(full), "full-bytes")
			b.ReportMetric(float64(floor), "patch-from-bytes")
			b.ReportMetric(float64(delta)/float64(full), "delta/full")
			b.ReportMetric(float64(delta)/float64(floor), "delta/floor")
			if float64(delta) > p.most*float64(full) {
				b.Errorf("%d bytes are more than %.0f %% of %d", delta, 100*p.most, full)
			}
		})
	}
}

// patchFrom returns what zstd makes of the tars of two directories.
func patchFrom(t testing.TB, old, next string) int64 {
	t.Helper()
	dir := t.TempDir()
	for name, from := range map[string]string{"old": old, "new": next} {
		run(t, "tar", "--sort=name", "--owner=0", "--group=0", "--mtime=@1000000000", "--exclude=./done", "-C", from, "-cf", filepath.Join(dir, name), ".")
	}
	out := run(t, "zstd", "-q", "-3", "--long=30", "--patch-from="+filepath.Join(dir, "old"), filepath.Join(dir, "new"), "-c")
	return int64(len(out))
}

func run(t testing.TB, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, errs.String())
	}
	return out.Bytes()
}

var _ io.ReaderAt = (*pack.ContentsFile)(nil)
