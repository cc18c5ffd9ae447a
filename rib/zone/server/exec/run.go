package exec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"kaname.dev/kaname/rib/zone/server"
)

const (
	patience = 60 * time.Second // of a command whose context has no deadline
	grace    = time.Second      // from the end of the context until output is given up
	outLimit = 256 << 20        // octets of a command's output
	errLimit = 2000             // octets of a command's complaint
)

// Exit statuses with a meaning, those of sysexits(3).
const (
	exitUnavailable = 69 // the server does not answer
	exitCantCreate  = 73 // the server's disk is full
	exitNoPerm      = 77 // the server refuses
)

// run runs a command with in as its standard input and returns its output. Its
// process group ends with ctx.
func (d *driver) run(ctx context.Context, argv []string, in string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := ctx.Err(); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...) //nolint:gosec // the operator's command
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = grace
	cmd.Stdin = strings.NewReader(in)
	stdout, stderr := &capped{limit: outLimit}, &capped{limit: errLimit}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	err := cmd.Run()
	switch complaint := strings.TrimSpace(stderr.String()); {
	case ctx.Err() != nil:
		return "", fmt.Errorf("%w: %s did not end in time: %w", server.ErrUnreachable, argv[0], ctx.Err())
	case err == nil && stdout.full:
		return "", fmt.Errorf("%s printed more than %d octets", argv[0], outLimit)
	case err == nil:
		return stdout.String(), nil
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrPermission):
		return "", fmt.Errorf("%w: %w; correct exec of server %s", server.ErrUnreachable, err, d.o.Name)
	case complaint != "":
		return stdout.String(), fmt.Errorf("%w: %s: %w: %s", meaning(err), argv[0], err, complaint)
	default:
		return stdout.String(), fmt.Errorf("%w: %s: %w", meaning(err), argv[0], err)
	}
}

// errCommand is of a command that failed in a way that has no meaning here.
var errCommand = errors.New("the server's command failed")

func meaning(err error) error {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		switch exit.ExitCode() {
		case exitUnavailable:
			return server.ErrUnreachable
		case exitNoPerm:
			return server.ErrDenied
		case exitCantCreate:
			return server.ErrFull
		}
	}
	return errCommand
}

// capped keeps the beginning of what is written to it.
type capped struct {
	bytes.Buffer
	limit int
	full  bool
}

var _ io.Writer = (*capped)(nil)

func (c *capped) Write(p []byte) (int, error) {
	if room := c.limit - c.Len(); room < len(p) {
		c.full = true
		c.Buffer.Write(p[:room])
	} else {
		c.Buffer.Write(p)
	}
	return len(p), nil
}
