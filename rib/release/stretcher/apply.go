package stretcher

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"kaname.dev/kaname/fault"
)

// Runner runs a program to its end and returns what it wrote to both of its
// outputs; err is not nil when it could not run or ended with another status than 0.
type Runner func(ctx context.Context, argv []string, stdin []byte) ([]byte, error)

// Apply does on this host what stretcher does after it has unpacked the archive:
// pre commands, synchronisation from tree to the destination, post commands, and
// then the success or the failure commands with the log on their standard input.
// tree is the unpacked archive; with strategy mv it is renamed away. dot says
// whether the archive itself had an entry ".", whose mode then wins over dest_mode.
//
// It returns the log, also when it fails.
func Apply(ctx context.Context, m *Manifest, tree string, dot bool, run Runner) ([]byte, error) {
	log := &bytes.Buffer{}
	err := deploy(ctx, m, tree, dot, run, log)
	// What is told to the outside runs even if the deploy was cut short.
	after, lines := context.WithoutCancel(ctx), m.Commands.Success
	if err != nil {
		fmt.Fprintln(log, err)
		lines = m.Commands.Failure
	}
	told := shell(after, lines, run, log, bytes.Clone(log.Bytes()))
	return log.Bytes(), errors.Join(err, told)
}

func deploy(ctx context.Context, m *Manifest, tree string, dot bool, run Runner, log *bytes.Buffer) error {
	if err := shell(ctx, m.Commands.Pre, run, log, nil); err != nil {
		return err
	}
	if m.Src != "" {
		if err := m.sync(ctx, tree, dot, run, log); err != nil {
			return err
		}
	}
	return shell(ctx, m.Commands.Post, run, log, nil)
}

func shell(ctx context.Context, lines []string, run Runner, log *bytes.Buffer, stdin []byte) error {
	for _, line := range lines {
		fmt.Fprintln(log, "invoking command:", line)
		out, err := run(ctx, []string{"/bin/sh", "-c", line}, stdin)
		log.Write(out)
		if err != nil {
			return fmt.Errorf("command %q: %w", line, err)
		}
	}
	return nil
}

func (m *Manifest) sync(ctx context.Context, tree string, dot bool, run Runner, log *bytes.Buffer) error {
	if !dot {
		if err := os.Chmod(tree, os.FileMode(*m.DestMode)); err != nil {
			return fmt.Errorf("set dest_mode: %w", err)
		}
	}
	if m.SyncStrategy == Move {
		// stretcher renames onto an empty directory too, as rename(2) does; what it
		// documents, and scripts expect, is a refusal.
		if _, err := os.Lstat(m.Dest); err == nil {
			return fault.Exists("dest " + m.Dest + " exists already, and sync_strategy is mv").Try("move it away in a pre command, or use sync_strategy: rsync")
		}
		fmt.Fprintln(log, "rename", tree, "to", m.Dest)
		return os.Rename(tree, m.Dest)
	}
	argv := m.rsync(tree)
	fmt.Fprintln(log, strings.Join(argv, " "))
	out, err := run(ctx, argv, nil)
	log.Write(out)
	if err != nil {
		return fmt.Errorf("rsync to %s: %w", m.Dest, err)
	}
	return nil
}

// rsync returns the command line that stretcher's README promises, -a --delete and
// the excludes, and --checksum: without it a file of the same size and time as the
// one before, as reproducible builds make them, is not brought up to date.
func (m *Manifest) rsync(tree string) []string {
	argv := []string{"rsync", "-a", "--delete", "--checksum"}
	if m.ExcludeFrom != "" {
		argv = append(argv, "--exclude-from", tree+"/"+m.ExcludeFrom)
	}
	for _, x := range m.Excludes {
		argv = append(argv, "--exclude", x)
	}
	return append(argv, "--", tree+"/", m.Dest+"/")
}
