package demo

import (
	"archive/tar"
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"

	"kaname.dev/kaname/fault"
)

// source finds a real tree to make a release of: the sources of the Go
// installation, else the folder that we run in.
func source() (string, error) {
	candidates := []string{filepath.Join(runtime.GOROOT(), "src"), "/usr/local/go/src", "/usr/lib/go/src"} //nolint:staticcheck // GOROOT is a guess like the others
	for _, dir := range candidates {
		if _, err := os.Stat(filepath.Join(dir, "fmt", "print.go")); err == nil {
			return dir, nil
		}
	}
	dir, err := os.Getwd()
	if err == nil && dir != "/" {
		return dir, nil
	}
	return "", fault.NotFound("nothing to make a release of was found").Try("name an archive: --release FILE")
}

// change is what a new version does to the tree before it.
type change struct {
	edit func(path string, size int64, n int) bool // whether the n-th file gets another line
	drop func(path string, n int) bool             // whether it is gone
	add  map[string]string                         // new files with their contents
}

// patch is like a patch release: one file in fifty edited, one in a thousand
// gone, three new.
func patch() change {
	text := func(path string) bool {
		switch filepath.Ext(path) {
		case ".go", ".js", ".ts", ".py", ".rb", ".php", ".md", ".txt", ".html", ".css", ".c", ".h", ".java", ".json", ".yml", ".yaml":
			return true
		}
		return false
	}
	return change{
		edit: func(path string, size int64, n int) bool { return size > 0 && (text(path) && n%50 == 7 || n == 0) },
		drop: func(_ string, n int) bool { return n%1000 == 500 },
		add: map[string]string{
			"RELEASE-2.txt": "the second release\n", "kaname-demo/new.txt": strings.Repeat("a new file\n", 100), "kaname-demo/empty": "",
		},
	}
}

// broken is a release that its health gate must refuse.
func broken() change {
	return change{add: map[string]string{brokenMark: "this release is broken on purpose\n"}}
}

// brokenMark is the file by which the demo's health check knows a bad release.
const brokenMark = "kaname-demo-broken"

// makeArchive writes the tree under dir, changed, as a gzipped tarball.
func makeArchive(file, dir string, c change) (err error) {
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() {
		if closed := out.Close(); err == nil {
			err = closed
		}
	}()
	buffered := bufio.NewWriterSize(out, 1<<20)
	zipped, err := gzip.NewWriterLevel(buffered, gzip.BestSpeed)
	if err != nil {
		return err
	}
	w := &archiver{tar: tar.NewWriter(zipped), change: c, dir: dir, now: time.Now().Truncate(time.Second), links: map[inode]string{}}
	if err := w.write(); err != nil {
		return fmt.Errorf("make %s from %s: %w", filepath.Base(file), dir, err)
	}
	for _, c := range []io.Closer{w.tar, zipped} {
		if err := c.Close(); err != nil {
			return err
		}
	}
	return buffered.Flush()
}

// archiver writes one tree into a tarball.
type archiver struct {
	tar    *tar.Writer
	change change
	dir    string
	now    time.Time
	links  map[inode]string // files with several names, by the first one
	files  int
}

func (w *archiver) write() error {
	err := filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(w.dir, path)
		if err != nil || name == "." {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == "node_modules" && filepath.Dir(name) == ".") {
			return fs.SkipDir
		}
		return w.entry(path, name, d)
	})
	if err != nil {
		return err
	}
	for _, name := range sorted(w.change.add) {
		text := w.change.add[name]
		h := &tar.Header{Name: name, Mode: 0o644, Size: int64(len(text)), ModTime: w.now, Typeflag: tar.TypeReg, Format: tar.FormatPAX}
		if err := w.tar.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.WriteString(w.tar, text); err != nil {
			return err
		}
	}
	return nil
}

func (w *archiver) entry(path, name string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	link := ""
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		if link, err = os.Readlink(path); err != nil {
			return err
		}
	case !info.Mode().IsRegular() && !info.IsDir():
		return nil // sockets, pipes and devices do not belong into a release
	}
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	h.Name, h.Format = filepath.ToSlash(name), tar.FormatPAX
	h.AccessTime, h.ChangeTime = time.Time{}, time.Time{}
	if info.IsDir() {
		h.Name += "/"
	}
	if !info.Mode().IsRegular() {
		return w.tar.WriteHeader(h)
	}
	return w.regular(path, name, h, info)
}

func (w *archiver) regular(path, name string, h *tar.Header, info fs.FileInfo) error {
	n := w.files
	w.files++
	if w.change.drop != nil && w.change.drop(name, n) {
		return nil
	}
	if id, several := inodeOf(info); several {
		if first, known := w.links[id]; known {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
			return w.tar.WriteHeader(h)
		}
		w.links[id] = h.Name
	}
	tail := ""
	if w.change.edit != nil && w.change.edit(name, info.Size(), n) {
		tail = fmt.Sprintf("// changed in the second release: %d\n", n)
		h.Size += int64(len(tail))
		h.ModTime = w.now
	}
	if err := w.tar.WriteHeader(h); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.CopyN(w.tar, f, info.Size()); err != nil {
		return err
	}
	_, err = io.WriteString(w.tar, tail)
	return err
}
