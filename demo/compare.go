package demo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"kaname.dev/kaname/host"
)

// inode identifies a file with several names.
type inode struct{ device, number uint64 }

// inodeOf returns the inode, and whether the file has more than one name.
func inodeOf(info fs.FileInfo) (inode, bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return inode{}, false
	}
	return inode{st.Dev, st.Ino}, st.Nlink > 1
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// untar unpacks an archive with the machine's own tar.
func untar(ctx context.Context, archive, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	_, err := host.Run(ctx, host.Command{Args: []string{"tar", "-x", "-p", "-f", archive, "-C", dir}, Timeout: 10 * time.Minute})
	return err
}

// tree describes each entry below dir in one line: type, mode, owner, time, links,
// contents. The top directory itself is left out. Files with one inode share the
// name of the first; a hard link to something outside of the tree (a file reused
// from another release) does not show. Directories younger than made were in no
// archive, but made on the way to a file: their time is nobody's.
func tree(dir string, made time.Time) (map[string]string, error) {
	out := map[string]string{}
	first := map[inode]string{}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		line := fmt.Sprintf("%v %v", info.Mode(), info.ModTime().UnixNano())
		if info.IsDir() && info.ModTime().After(made) {
			line = fmt.Sprintf("%v -", info.Mode())
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
			line += fmt.Sprintf(" %d:%d", st.Uid, st.Gid)
		}
		what, err := contents(path, info)
		if err != nil {
			return err
		}
		if id, several := inodeOf(info); several && info.Mode().IsRegular() {
			if one, known := first[id]; known {
				what += " = " + one
			} else {
				first[id] = name
			}
		}
		out[name] = line + what
		return nil
	})
	return out, err
}

// contents describes what a file holds or a symlink names.
func contents(path string, info fs.FileInfo) (string, error) {
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		to, err := os.Readlink(path)
		return " -> " + to, err
	case info.Mode().IsRegular():
		sum, err := digest(path)
		return fmt.Sprintf(" %d %s", info.Size(), sum), err
	default:
		return "", nil
	}
}

func digest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// differences lists what differs between two trees, at most five entries.
func differences(want, got map[string]string) []string {
	var list []string
	for _, name := range sorted(want) {
		g, ok := got[name]
		if !strings.Contains(want[name], " = ") {
			g, _, _ = strings.Cut(g, " = ") // sharing what is equal anyway is thrift, not a difference
		}
		if !ok {
			list = append(list, name+" is missing")
		} else if g != want[name] {
			list = append(list, fmt.Sprintf("%s is %q, should be %q", name, g, want[name]))
		}
	}
	for _, name := range sorted(got) {
		if _, ok := want[name]; !ok {
			list = append(list, name+" is too many")
		}
	}
	return list[:min(len(list), 5)]
}
