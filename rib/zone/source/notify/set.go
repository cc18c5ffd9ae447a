package notify

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"kaname.dev/kaname/host"
	"kaname.dev/kaname/rib/zone/name"
)

// setFile is the set on disk: lines "+ name" and "- name" in the order of the changes. An
// unfinished last line is of a change that was never told.
const setFile = "zones"

// set is the durable set.
type set struct {
	root *os.Root
	file *os.File
}

// openSet reads the set, and writes it anew without its history.
func openSet(root *os.Root) (*set, []name.Name, error) {
	raw, err := root.ReadFile(setFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	names, err := parseSet(raw)
	if err != nil {
		return nil, nil, err
	}
	var b bytes.Buffer
	for _, n := range names {
		fmt.Fprintf(&b, "+ %s\n", n)
	}
	if err := host.WriteBytes(root, setFile, 0o640, b.Bytes()); err != nil {
		return nil, nil, err
	}
	file, err := root.OpenFile(setFile, os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		return nil, nil, err
	}
	return &set{root, file}, names, nil
}

// parseSet returns the names of a set, sorted.
func parseSet(raw []byte) ([]name.Name, error) {
	whole := raw[:bytes.LastIndexByte(raw, '\n')+1]
	names := map[name.Name]bool{}
	line := 0
	for text := range strings.Lines(string(whole)) {
		line++
		op, rest, ok := strings.Cut(strings.TrimSuffix(text, "\n"), " ")
		n, err := name.Parse(rest)
		switch {
		case !ok || err != nil || op != "+" && op != "-":
			return nil, fmt.Errorf("%s: line %d is not a change (%.80q); remove the line, or restore the file", setFile, line, text)
		case op == "+":
			names[n] = true
		default:
			delete(names, n)
		}
	}
	return slices.Sorted(maps.Keys(names)), nil
}

// change adds and removes names; they are on disk when it returns nil.
func (s *set) change(add, remove []name.Name) error {
	var b bytes.Buffer
	for _, n := range add {
		fmt.Fprintf(&b, "+ %s\n", n)
	}
	for _, n := range remove {
		fmt.Fprintf(&b, "- %s\n", n)
	}
	size, err := s.file.Seek(0, 2)
	if err != nil {
		return err
	}
	if _, err = s.file.Write(b.Bytes()); err == nil {
		err = s.file.Sync()
	}
	if err != nil {
		_ = s.file.Truncate(size) // so that the next line does not follow half of one
	}
	return err
}

func (s *set) close() error { return errors.Join(s.file.Close(), s.root.Close()) }
