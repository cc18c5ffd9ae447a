package namedconf

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Options say how a named.conf is read.
type Options struct {
	// Checkconf is the program named-checkconf; empty looks for it in PATH and the
	// sbin folders, "none" never runs it.
	Checkconf string
	// Root is the folder that named has as its root (named -t); empty for none.
	Root string
}

// How a configuration was read.
const (
	ByCheckconf = "named-checkconf" // included, checked and made canonical by BIND's own program
	ByFiles     = "files"           // by our parser of the files
)

// Read reads the configuration whose main file is path. With named-checkconf on
// the machine, BIND's own reading of it is taken; where that program is missing, or
// refuses what only the other machine has (a folder, a feature), the files are read
// and Config.Notes says so. Secrets of keys are read and never printed.
func Read(ctx context.Context, path string, o Options) (*Config, error) {
	l := loader{root: o.Root, folder: filepath.Dir(path)}
	if _, err := os.Stat(l.real(path)); err != nil {
		return nil, fmt.Errorf("configuration of named: %w; name the file that named runs with", err)
	}
	var notes []string
	if program := checkconf(o.Checkconf); program != "" {
		text, err := printed(ctx, program, path, o.Root)
		if err == nil {
			list, err := Parse("named-checkconf", text)
			if err != nil {
				return nil, fmt.Errorf("output of named-checkconf for %s: %w", path, err)
			}
			return build(list, ByCheckconf, nil)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		notes = append(notes, fmt.Sprintf("named-checkconf refuses the configuration here, so the files were read without it: %v", err))
	} else {
		notes = append(notes, "named-checkconf is not on this machine, so the files were read without BIND's own check; run it where named runs, or install the package bind9-utils")
	}
	list, err := l.file(path, 0, Place{})
	if err != nil {
		return nil, err
	}
	return build(list, ByFiles, notes)
}

// ParseConfig reads a configuration from one text without includes, for instance
// what named-checkconf -p printed on another machine. An include is refused: what it
// names is not here.
func ParseConfig(file, text string) (*Config, error) {
	list, err := Parse(file, text)
	if err != nil {
		return nil, err
	}
	if st, ok := including(list); ok {
		return nil, fmt.Errorf("%s: it includes %q, which is not in the text; give what this prints where named runs: named-checkconf -p", st.At, clip(st.Word(1)))
	}
	return build(list, ByFiles, nil)
}

// including finds an include statement, also in blocks.
func including(list []Statement) (Statement, bool) {
	for _, st := range list {
		if strings.EqualFold(st.Word(0), "include") {
			return st, true
		}
		for _, it := range st.Items {
			if found, ok := including(it.Block); ok {
				return found, true
			}
		}
	}
	return Statement{}, false
}

// checkconf returns the program to run, "" for none.
func checkconf(want string) string {
	switch want {
	case "none":
		return ""
	case "":
	default:
		return want
	}
	for _, name := range []string{"named-checkconf", "/usr/sbin/named-checkconf", "/usr/local/sbin/named-checkconf"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// printed runs named-checkconf -p, whose output has the secrets: without them no
// key could be given to another server. It goes nowhere but into the parser.
func printed(ctx context.Context, program, path, root string) (string, error) {
	args := []string{"-p"}
	if root != "" {
		args = append(args, "-t", root)
	}
	cmd := exec.CommandContext(ctx, program, append(args, path)...) //nolint:gosec // the operator's own program and file
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		if len(out) > 0 && errs.Len() == 0 { // complaints go to standard output
			errs.Write(complaints(out))
		}
		return "", fmt.Errorf("%w: %s", err, clipTail(strings.TrimSpace(errs.String()), 600))
	}
	return string(out), nil
}

// complaints are the lines of a failed run that are no configuration.
func complaints(out []byte) []byte {
	var keep [][]byte
	for line := range bytes.Lines(out) {
		if !bytes.HasPrefix(line, []byte("\t")) && !bytes.Contains(bytes.ToLower(line), []byte("secret")) {
			keep = append(keep, line)
		}
	}
	return bytes.Join(keep[:min(len(keep), 8)], nil)
}

func clipTail(s string, n int) string {
	if len(s) > n {
		return s[:n] + "..."
	}
	return s
}

// loader reads files and what they include.
type loader struct {
	root   string
	folder string // that relative includes are under: of the main file, then the option directory
	files  int
	bytes  int64
	stack  []string
}

func (l *loader) real(path string) string {
	if l.root != "" {
		return filepath.Join(l.root, path)
	}
	return path
}

// file reads one file. depth is that of the block whose include names it.
func (l *loader) file(path string, depth int, from Place) ([]Statement, error) {
	where := ""
	if from.File != "" {
		where = from.String() + ": include: "
	}
	if slices.Contains(l.stack, path) {
		return nil, fmt.Errorf("%s%s includes itself, by %s; remove one include", where, path, strings.Join(l.stack, ", "))
	}
	if len(l.stack) >= maxIncludes {
		return nil, fmt.Errorf("%s%s is included more than %d files deep; flatten the includes", where, path, maxIncludes)
	}
	if l.files++; l.files > maxFiles {
		return nil, fmt.Errorf("%s%s is file %d; no more than %d are read", where, path, l.files, maxFiles)
	}
	text, err := l.read(path)
	if err != nil {
		return nil, fmt.Errorf("%s%w; run where named runs, as a user that may read it", where, err)
	}
	l.stack = append(l.stack, path)
	defer func() { l.stack = l.stack[:len(l.stack)-1] }()
	p := parser{scanner: scanner{text: text, file: path, line: 1}, include: l.included, seen: l.seen}
	return p.nested(depth)
}

// nested reads the whole file as the contents of a block of the given depth.
func (p *parser) nested(depth int) ([]Statement, error) {
	inner := p.include
	p.include = func(st Statement, d int) ([]Statement, error) { return inner(st, depth+d) }
	if depth > 0 {
		p.seen = nil
	}
	if depth > maxDepth {
		return nil, p.errorf("blocks and includes are nested more than %d deep; flatten them", maxDepth)
	}
	return p.block(0)
}

// read reads a regular file, within the limit of all.
func (l *loader) read(path string) (string, error) {
	f, err := os.Open(l.real(path))
	if err != nil {
		return "", err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return "", errors.Join(fmt.Errorf("%s is no regular file", path), err)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxBytes-l.bytes+1))
	if err != nil {
		return "", err
	}
	if l.bytes += int64(len(b)); l.bytes > maxBytes {
		return "", fmt.Errorf("%s: the configuration is larger than %d MiB", path, maxBytes>>20)
	}
	return string(b), nil
}

// included reads the files that an include statement names: one, or those that
// match a pattern.
func (l *loader) included(st Statement, depth int) ([]Statement, error) {
	path := st.Word(1)
	if !filepath.IsAbs(path) {
		path = filepath.Join(l.folder, path)
	}
	paths := []string{path}
	if strings.ContainsAny(path, "*?[") {
		found, err := filepath.Glob(l.real(path))
		if err != nil {
			return nil, fmt.Errorf("%s: include %q: %w", st.At, clip(path), err)
		}
		if len(found) > 0 {
			paths = found
		}
		if l.root != "" {
			for i, p := range paths {
				paths[i] = "/" + strings.TrimPrefix(strings.TrimPrefix(p, l.root), "/")
			}
		}
	}
	var list []Statement
	for _, p := range paths {
		more, err := l.file(p, depth, st.At)
		if err != nil {
			return nil, err
		}
		list = append(list, more...)
	}
	return list, nil
}

// seen follows the option directory, which named changes to as it reads it.
func (l *loader) seen(st Statement) {
	if strings.EqualFold(st.Word(0), "directory") && st.Word(1) != "" {
		l.folder = st.Word(1)
	}
}
