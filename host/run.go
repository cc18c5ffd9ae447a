package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Defaults of a Command.
const (
	DefaultOutput = 64 << 10        // bytes of output kept
	DefaultGrace  = 5 * time.Second // between TERM and KILL
)

// Command is a program to run, with everything that bounds it.
type Command struct {
	Args    []string      // program and arguments; the program is looked up in PATH
	Shell   string        // given instead of Args: a line for /bin/sh -c
	Dir     string        // working directory; empty means "/"
	Env     []string      // KEY=value, added to PATH, HOME and LANG of this process, and nothing else of it
	User    *User         // runs as that user; nil means as this process
	Stdin   io.Reader     // nil means /dev/null
	Timeout time.Duration // then the process group gets TERM, and KILL after Grace; 0 means none but ctx
	Grace   time.Duration // 0 means DefaultGrace
	// Keep is how many bytes of standard output and standard error together are
	// kept: the first and the last half of it, the middle is dropped.
	// 0 means DefaultOutput.
	Keep int
	// Background leaves what a successful command started in the background alone,
	// as a hook does that starts a server with "&"; otherwise it is killed.
	Background bool
	// Line, if not nil, is given each line of output as it comes, without its end;
	// lines longer than 8 KiB come in pieces. It is called by one goroutine.
	Line func(line string)
}

// String returns the command as a person would type it.
func (c Command) String() string {
	if c.Shell != "" {
		return c.Shell
	}
	return strings.Join(c.Args, " ")
}

// Result is how a command ended.
type Result struct {
	Exit     int           // exit status; -1 when it was killed by a signal or never ran
	Signal   string        // "terminated", "killed" …, if a signal ended it
	Output   string        // standard output and standard error, interleaved, bounded by Keep
	Dropped  int64         // bytes left out of the middle of Output
	Duration time.Duration // from start to end
	TimedOut bool          // whether Timeout ended it
}

// ExitError says that a command ran and did not succeed; errors.AsType finds it.
type ExitError struct {
	Command string
	Result
}

// Error names the command, how it ended, and the last line that it printed.
func (e *ExitError) Error() string {
	how := fmt.Sprintf("exit status %d", e.Exit)
	switch {
	case e.TimedOut:
		how = fmt.Sprintf("stopped after %v", e.Duration.Round(10*time.Millisecond))
	case e.Signal != "":
		how = "ended by signal: " + e.Signal
	}
	text := fmt.Sprintf("command %.200q: %s", e.Command, how)
	if last := lastLine(e.Output); last != "" {
		text += ": " + last
	}
	return text
}

// Run runs the command in a process group of its own and waits for it. When ctx
// or Timeout ends, the whole group gets TERM and, after Grace, KILL, so that no
// grandchild is left behind. A command that ran and did not exit with 0 is an
// *ExitError; one stopped by ctx returns the cause of ctx.
func Run(ctx context.Context, c Command) (Result, error) {
	if c.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, c.Timeout, errTimeout)
		defer cancel()
	}
	if err := context.Cause(ctx); err != nil {
		return Result{Exit: -1}, err
	}
	keep := c.Keep
	if keep <= 0 {
		keep = DefaultOutput
	}
	out := &tail{half: keep / 2, line: c.Line}
	cmd, err := c.prepare(out)
	if err != nil {
		return Result{Exit: -1}, err
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return Result{Exit: -1}, fmt.Errorf("start %.200q: %w", c.String(), err)
	}
	err = supervise(ctx, cmd, c.grace(), c.Background)
	res := Result{Duration: time.Since(start), Output: out.text(), Dropped: out.dropped}
	res.Exit, res.Signal = ended(cmd.ProcessState)
	res.TimedOut = errors.Is(context.Cause(ctx), errTimeout)
	if cause := context.Cause(ctx); cause != nil && !res.TimedOut && err != nil {
		return res, fmt.Errorf("command %.200q: %w", c.String(), cause)
	}
	if err != nil {
		return res, &ExitError{Command: c.String(), Result: res}
	}
	return res, nil
}

var errTimeout = errors.New("the time given ran out")

func (c Command) grace() time.Duration {
	if c.Grace > 0 {
		return c.Grace
	}
	return DefaultGrace
}

// prepare makes the exec.Cmd: own process group, clean environment, identity.
func (c Command) prepare(out io.Writer) (*exec.Cmd, error) {
	args := c.Args
	if c.Shell != "" {
		args = []string{"/bin/sh", "-c", c.Shell}
	}
	if len(args) == 0 || args[0] == "" {
		return nil, errors.New("command is empty")
	}
	cmd := exec.Command(args[0], args[1:]...) //nolint:gosec,noctx // running what the operator wrote is the purpose; supervise ends the whole group, which CommandContext would not
	cmd.Dir = c.Dir
	if cmd.Dir == "" {
		cmd.Dir = "/"
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Stdin, out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// A grandchild that holds the pipes open must not keep us after the group is gone.
	cmd.WaitDelay = time.Second
	for _, key := range []string{"PATH", "HOME", "LANG"} {
		if v, ok := os.LookupEnv(key); ok {
			cmd.Env = append(cmd.Env, key+"="+v)
		}
	}
	if u := c.User; u != nil {
		cmd.Env = append(cmd.Env, "HOME="+u.Home, "USER="+u.Name, "LOGNAME="+u.Name)
		if u.UID != os.Geteuid() {
			cmd.SysProcAttr.Credential = u.credential()
		}
	}
	cmd.Env = append(cmd.Env, c.Env...)
	return cmd, nil
}

// supervise waits for the command; when ctx ends it stops the group.
func supervise(ctx context.Context, cmd *exec.Cmd, grace time.Duration, background bool) error {
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	group := -cmd.Process.Pid
	select {
	case err := <-done:
		if !background || err != nil && !errors.Is(err, exec.ErrWaitDelay) {
			_ = unix.Kill(group, unix.SIGKILL) // what it left running in the background
		}
		if errors.Is(err, exec.ErrWaitDelay) {
			return nil // exited with 0; only its grandchildren still held the pipes
		}
		return err
	case <-ctx.Done():
	}
	_ = unix.Kill(group, unix.SIGTERM)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case err := <-done:
		_ = unix.Kill(group, unix.SIGKILL)
		return stopped(err)
	case <-timer.C:
	}
	_ = unix.Kill(group, unix.SIGKILL)
	return stopped(<-done)
}

// stopped turns the clean exit of a command that was told to stop into an error.
func stopped(err error) error {
	if err == nil {
		return errTimeout
	}
	return err
}

func ended(ps *os.ProcessState) (exit int, signal string) {
	if ps == nil {
		return -1, ""
	}
	if ws, ok := ps.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return -1, ws.Signal().String()
	}
	return ps.ExitCode(), ""
}
