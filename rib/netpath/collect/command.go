package collect

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"kaname.dev/kaname/host"
)

// Bounds of the programs that are asked.
const (
	maxTime   = 20 * time.Second
	maxOutput = 256 << 20 // bytes; a host with a million flows has that many
)

// find looks up programs in PATH and where those for root are, and returns the first.
func find(names ...string) (string, error) {
	for _, n := range names {
		for _, dir := range []string{"", "/usr/sbin/", "/sbin/"} {
			if path, err := exec.LookPath(dir + n); err == nil {
				return path, nil
			}
		}
	}
	return "", fmt.Errorf("%s: %w", names[0], exec.ErrNotFound)
}

// ask runs a program and returns those lines of its output that keep says belong to it;
// the rest, without comments, is what it complains of.
func ask(ctx context.Context, keep func(line string) bool, args ...string) (lines, complaint string, err error) {
	res, err := host.Run(ctx, host.Command{Args: args, Timeout: maxTime, Grace: time.Second, Keep: maxOutput, Env: []string{"LC_ALL=C"}})
	if _, ran := errors.AsType[*host.ExitError](err); err != nil && !ran {
		return "", "", err
	}
	if res.Dropped > 0 {
		return "", "", fmt.Errorf("%s: more than %d MB of output", filepath.Base(args[0]), maxOutput>>20)
	}
	var out, other strings.Builder
	for line := range strings.Lines(res.Output) {
		text := strings.TrimRight(line, "\r\n")
		switch {
		case keep(text):
			out.WriteString(strings.TrimLeft(text, " ") + "\n")
		case text != "" && !strings.HasPrefix(text, "#"):
			other.WriteString(text + "; ")
		}
	}
	complaint = strings.TrimSuffix(other.String(), "; ")
	if len(complaint) > 300 {
		complaint = complaint[:300] + "..."
	}
	if err != nil {
		if complaint == "" {
			return out.String(), "", err
		}
		err = fmt.Errorf("%s: %s", filepath.Base(args[0]), complaint)
	}
	return out.String(), complaint, err
}

// modules tells which modules the kernel has loaded, so that asking loads none.
func loaded(module string) bool {
	b, err := os.ReadFile("/proc/modules")
	if err != nil {
		return true // a kernel without modules
	}
	if strings.HasPrefix(string(b), module+" ") || strings.Contains(string(b), "\n"+module+" ") {
		return true
	}
	b, err = os.ReadFile("/lib/modules/" + kernel() + "/modules.builtin")
	return err != nil || strings.Contains(string(b), "/"+module+".ko")
}
