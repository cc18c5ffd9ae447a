package unpack_test

import (
	"bytes"
	"context"
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

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"kaname.dev/kaname/rib/release/archive"
	"kaname.dev/kaname/rib/release/manifest"
	"kaname.dev/kaname/rib/release/unpack"
)

// bag is contents in memory, delivered as a pack would: each once, in order of
// first appearance, without what is reused.
type bag struct {
	order []manifest.Digest
	texts map[manifest.Digest][]byte
	next  int
}

func (b *bag) Next(ctx context.Context) (manifest.Digest, io.Reader, error) {
	if err := ctx.Err(); err != nil {
		return manifest.Digest{}, nil, err
	}
	if b.next == len(b.order) {
		return manifest.Digest{}, nil, io.EOF
	}
	d := b.order[b.next]
	b.next++
	return d, bytes.NewReader(b.texts[d]), nil
}

// without returns the bag with only what is needed.
func (b *bag) only(need []manifest.Digest) *bag { return &bag{order: need, texts: b.texts} }

// load reads an archive into a manifest and its contents.
func load(t testing.TB, r io.Reader, name string) (*manifest.Manifest, *bag) {
	t.Helper()
	m, b, err := read(r, name)
	if err != nil {
		t.Fatal(err)
	}
	return m, b
}

func read(r io.Reader, name string) (*manifest.Manifest, *bag, error) {
	a, err := archive.Open(r, name, archive.Options{})
	if err != nil {
		return nil, nil, err
	}
	defer a.Close()
	b := &bag{texts: map[manifest.Digest][]byte{}}
	for {
		_, body, err := a.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, nil, err
		}
		text, err := io.ReadAll(body)
		if err != nil {
			return nil, nil, err
		}
		if len(text) > 0 {
			b.texts[a.Digest()] = text
		}
	}
	m, err := a.Manifest(manifest.Header{App: "app", Version: "1", Created: time.Unix(0, 0)})
	if err != nil {
		return nil, nil, err
	}
	s, err := unpack.Missing(context.Background(), m, nil)
	if err != nil {
		return nil, nil, err
	}
	b.order = s.Need
	return m, b, nil
}

func fresh(t testing.TB) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return root
}

// facts describes every path below dir: type, mode, owner, time, size, link,
// which paths are one inode, and the contents.
func facts(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	inodes := map[uint64]string{}
	err := filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		s := fmt.Sprintf("%o %d:%d %d.%09d", st.Mode, st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec)
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFLNK:
			to, err := os.Readlink(p)
			if err != nil {
				return err
			}
			s += " -> " + to
		case unix.S_IFREG:
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			s += " " + manifest.Sum(b).Short()
			if st.Nlink > 1 {
				if _, ok := inodes[st.Ino]; !ok {
					inodes[st.Ino] = rel
				}
				s += " = " + inodes[st.Ino]
			}
		}
		out[rel] = s
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func run(t testing.TB, dir, name string, args ...string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), name, args...)
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// sameAsTar unpacks an archive with tar and with this package, and compares.
func sameAsTar(t *testing.T, file string) {
	t.Helper()
	theirs := t.TempDir()
	run(t, theirs, "tar", "-xf", file)
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // only read
	m, contents := load(t, f, file)
	ours := fresh(t)
	start := time.Now()
	if err := unpack.Tree(t.Context(), ours, m, nil, contents, nil); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d entries, %d bytes in %v", m.Count, m.Size, time.Since(start).Round(time.Millisecond))
	want, have := facts(t, theirs), facts(t, ours.Name())
	if m.Root == nil {
		delete(want, ".")
		delete(have, ".")
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("not as tar does:\n%.4000s", diff)
	}
	drifts, err := unpack.Compare(t.Context(), ours, m)
	if err != nil || len(drifts) > 0 {
		t.Errorf("Compare: %v %v", drifts, err)
	}
}

func TestRealTreesAsTar(t *testing.T) {
	goroot, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	src := filepath.Join(strings.TrimSpace(string(goroot)), "src")
	for name, args := range map[string][]string{
		"go net gnu gzip": {"-czf", "OUT", "--format=gnu", "-C", src, "net"},
		"go src ustar":    {"-cf", "OUT", "--format=ustar", "-C", src, "internal"},
		"terminfo pax":    {"-cf", "OUT", "--format=posix", "-C", "/usr/share", "terminfo", "zoneinfo"},
		"top directory":   {"--zstd", "-cf", "OUT", "-C", filepath.Join(src, "archive"), "."},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "terminfo pax" {
				if _, err := os.Stat("/usr/share/zoneinfo"); err != nil {
					t.Skip(err)
				}
			}
			file := filepath.Join(t.TempDir(), "a.tar")
			for i := range args {
				args[i] = strings.Replace(args[i], "OUT", file, 1)
			}
			run(t, "", "tar", args...)
			sameAsTar(t, file)
		})
	}
}

// zoo makes a tree with everything that a release may hold.
func zoo(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	script := `
set -e
umask 022
mkdir -p sticky setgid/deep/er empty closed "sp ace" 'new
line'
echo hello > plain; chmod 640 plain
echo script > exec; chmod 755 exec
ln plain hard1; ln plain setgid/hard2
ln -s plain soft; ln -s /etc/passwd absolute; ln -s nowhere/at/all dangling; ln -s .. up
ln soft hardsoft
: > zero
truncate -s 10M hole
truncate -s 8M sparse; printf data | dd of=sparse bs=1 seek=4194305 conv=notrunc status=none; printf end | dd of=sparse bs=1 seek=8388605 conv=notrunc status=none
head -c 3000000 /dev/zero | tr '\0' 'x' > large; cp large large2
printf 'latin' > "$(printf 'caf\351')"; mkdir "$(printf 'd\377r')"; echo x > "$(printf 'd\377r/\344')"
echo q > 'quo"te\back%41'; echo y > "sp ace/y"; echo z > 'new
line/z'; echo u > 日本語
long=$(printf 'l%.0s' $(seq 1 255)); echo l > "$long"; ln -s "$long" longlink
deep=.; for i in 1 2 3 4 5 6; do deep=$deep/$(printf 'n%.0s' $(seq 1 100)); done; mkdir -p $deep; echo d > $deep/deep
echo closed > closed/inside
touch -h -d '2001-02-03 04:05:06.789' soft; touch -d '1969-12-31 23:59:58.5' plain; touch -d '2030-01-01' exec
chmod 1777 sticky; chmod 2750 setgid; chmod 555 closed; chmod 4755 exec
touch -d '2010-01-01' sticky closed empty
`
	run(t, dir, "sh", "-c", script)
	if os.Geteuid() == 0 {
		run(t, dir, "sh", "-c", `chown 1234:4321 plain exec zero; chown -h 77:78 soft; chown daemon:mail sticky; chown 33:33 closed; chmod 4755 exec`)
	}
	return dir
}

func TestZooAsTar(t *testing.T) {
	dir := zoo(t)
	for name, args := range map[string][]string{
		"gnu":        {"--format=gnu"},
		"gnu sparse": {"--format=gnu", "--sparse"},
		"pax":        {"--format=posix"},
		"pax sparse": {"--format=posix", "--sparse", "--sparse-version=1.0"},
		"pax 0.1":    {"--format=posix", "--sparse", "--sparse-version=0.1"},
		"no top":     {"--format=posix", "--transform=s,^\\./,,"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "zoo.tar")
			args = append(args, "-cf", file, "-C", dir, ".")
			run(t, "", "tar", args...)
			sameAsTar(t, file)
		})
	}
}
