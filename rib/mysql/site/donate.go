package site

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/host"
	"kaname.dev/kaname/rib/mysql/gtid"
	"kaname.dev/kaname/rib/mysql/server"
)

// Want is what the agent of a server says that is to become a copy of another.
type Want struct {
	Version string `json:"version"` // of its server, major.minor
	Room    int64  `json:"room"`    // bytes that are free for the copy
}

// spare is the room, in bytes, that a copy must leave: its server writes at once.
const spare = 64 << 20

// program returns the path of the first program that is installed.
func program(names ...string) (string, error) {
	for _, n := range names {
		if path, err := exec.LookPath(n); err == nil {
			return path, nil
		}
	}
	return "", fault.Unsupported(names[0] + " is not installed on this host").Try("install mariadb-backup of the server's version: apt-get install mariadb-backup")
}

// backupProgram returns the version (major.minor) of the server for which mariadb-backup was
// made.
func backupProgram(ctx context.Context) (version string, err error) {
	path, err := program("mariadb-backup", "mariabackup")
	if err != nil {
		return "", err
	}
	if _, err := program("mbstream"); err != nil {
		return "", err
	}
	r, err := host.Run(ctx, host.Command{Args: []string{path, "--no-defaults", "--version"}, Timeout: 10 * time.Second})
	if err != nil {
		return "", err
	}
	for word := range strings.FieldsSeq(r.Output) {
		if v := server.MajorMinor(word); v != "" && strings.Contains(word, "MariaDB") {
			return v, nil
		}
	}
	return "", fmt.Errorf("%s --version answers %q", path, r.Output)
}

// Donate writes a copy of the server's data, as mariadb-backup streams it. The server goes
// on; its commits stand still for the moment in which the copy ends. An error after the
// first byte leaves a copy that is none.
func (s *Site) Donate(ctx context.Context, want Want, w io.Writer) error {
	if !s.donating.TryLock() {
		return fault.Conflict("server " + s.o.Member + " is being copied already").Try("wait until that has ended")
	}
	defer s.donating.Unlock()
	i, err := s.o.Server.Instance(ctx)
	if err != nil {
		return fault.Unavailable("server " + s.o.Member + " cannot be copied").Because(err).Try("start it, or copy another")
	}
	if err := s.mayDonate(ctx, i, want); err != nil {
		return err
	}
	args, clean, err := s.backupArgs(i)
	if err != nil {
		return err
	}
	defer clean()
	start := time.Now()
	n, err := stream(ctx, args, w)
	if err != nil {
		return fault.Unavailable("the copy of server " + s.o.Member + " broke off").Because(err)
	}
	s.o.Log.Info("the server was copied", "bytes", n, "took", time.Since(start))
	return nil
}

func (s *Site) mayDonate(ctx context.Context, i server.Instance, want Want) error {
	if i.Flavour != gtid.MariaDB {
		return fault.Unsupported("server " + s.o.Member + " is no MariaDB")
	}
	version, err := backupProgram(ctx)
	if err != nil {
		return err
	}
	if want.Version != i.Version || version != i.Version {
		return fault.Conflict(fmt.Sprintf("server %s is MariaDB %s, its mariadb-backup is of %s, the server to become a copy is of %s", s.o.Member, i.Version, version, want.Version)).
			Try("data move between servers of one version: upgrade the older one first")
	}
	size, err := sizeOf(i)
	if err != nil {
		return err
	}
	if need := size + size/10 + spare; want.Room < need {
		return fault.Full(fmt.Sprintf("a copy of server %s takes %d MiB with what its server needs at once, and %d MiB are free there", s.o.Member, need>>20, want.Room>>20)).
			Try("make room on the file system of the data directory: the old data stay until the copy follows")
	}
	return nil
}

// sizeOf returns the bytes that a copy of a server takes.
func sizeOf(i server.Instance) (int64, error) {
	var sum int64
	err := filepath.WalkDir(i.DataDir, func(path string, e fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // tables go while one looks
		case err != nil:
			return err
		case e.IsDir() && path != i.DataDir && (e.Name() == copyName || strings.HasPrefix(e.Name(), insideName)):
			return filepath.SkipDir
		case e.IsDir() || slices.ContainsFunc(i.Logs, func(l string) bool { return strings.HasPrefix(path, l+".") }):
			return nil
		}
		if info, err := e.Info(); err == nil {
			sum += info.Size()
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("measure the data: %w", err)
	}
	return sum, nil
}

// backupArgs returns the command line of a backup to standard output. The account is in a
// file that only we can read; clean removes that. Of the host's own option files nothing is
// read: there may be several servers, and this one says itself where its data are.
func (s *Site) backupArgs(i server.Instance) (args []string, clean func(), err error) {
	path, err := program("mariadb-backup", "mariabackup")
	if err != nil {
		return nil, nil, err
	}
	user, password, err := s.o.Account()
	if err != nil {
		return nil, nil, fmt.Errorf("read the account: %w", err)
	}
	const name, work = "backup.cnf", "backup"
	text := "[client]\nuser=" + optionValue(user) + "\npassword=" + optionValue(password) + "\nsocket=" + optionValue(s.o.Socket) + "\n"
	clean = func() {
		if err := errors.Join(ignore(s.o.Root.Remove(name), fs.ErrNotExist), s.o.Root.RemoveAll(work)); err != nil {
			s.o.Log.Warn("what a backup left stays", "error", err)
		}
	}
	clean() // of one that was killed
	if err := host.WriteBytes(s.o.Root, name, 0o600, []byte(text)); err != nil {
		return nil, nil, err
	}
	dir := s.o.Root.Name()
	return []string{
		path, "--defaults-file=" + filepath.Join(dir, name), "--backup", "--stream=mbstream",
		"--datadir=" + i.DataDir, "--target-dir=" + filepath.Join(dir, work),
	}, clean, nil
}

// optionValue quotes a value for an option file: backslashes are escapes there, also
// within quotes; quotes inside of others are not special.
func optionValue(v string) string { return `"` + strings.ReplaceAll(v, `\`, `\\`) + `"` }

// stream runs a program that writes to w, and returns how many bytes that were. It fails
// unless the program says that it was successful.
func stream(ctx context.Context, args []string, w io.Writer) (int64, error) {
	out := &counting{Writer: w}
	said := &ending{}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...) //nolint:gosec // ours
	cmd.Stdout, cmd.Stderr, cmd.Dir = out, said, "/"
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", filepath.Base(args[0]), err, said.why())
	}
	return out.n, err
}

// counting counts what is written.
type counting struct {
	io.Writer
	n int64
}

func (c *counting) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.n += int64(n)
	return n, err
}

// ending keeps the last of what a program says.
type ending struct{ last []byte }

func (e *ending) Write(p []byte) (int, error) {
	e.last = append(e.last, p...)
	if extra := len(e.last) - 8<<10; extra > 0 {
		e.last = e.last[extra:]
	}
	return len(p), nil
}

// why returns the last line that tells of an error, else the last line.
func (e *ending) why() string {
	lines := bytes.Split(bytes.TrimSpace(e.last), []byte("\n"))
	for _, line := range slices.Backward(lines) {
		if bytes.Contains(bytes.ToLower(line), []byte("error")) {
			return string(line)
		}
	}
	return string(lines[len(lines)-1])
}
