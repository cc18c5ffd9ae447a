package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// ErrNoSystemd says that systemd does not run this machine.
var ErrNoSystemd = errors.New("systemd does not run this machine")

// UnitDo lets systemd do verb ("restart", "reload-or-restart", "stop", "start")
// to a unit and waits until it has; timeout 0 means 90 s, as systemd has it.
func UnitDo(ctx context.Context, verb, unit string, timeout time.Duration) error {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return fmt.Errorf("%s unit %s: %w", verb, unit, ErrNoSystemd)
	}
	if timeout == 0 {
		timeout = 90 * time.Second
	}
	if _, err := Run(ctx, Command{Args: []string{"systemctl", verb, "--", unit}, Timeout: timeout}); err != nil {
		return fmt.Errorf("%s unit %s: %w", verb, unit, err)
	}
	return nil
}

// UnitState returns what `systemctl is-active` says of a unit: "active",
// "inactive", "failed", "activating", "deactivating".
func UnitState(ctx context.Context, unit string) (string, error) {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return "", fmt.Errorf("state of unit %s: %w", unit, ErrNoSystemd)
	}
	res, err := Run(ctx, Command{Args: []string{"systemctl", "is-active", "--", unit}, Timeout: 10 * time.Second})
	state := strings.TrimSpace(res.Output)
	if _, exited := errors.AsType[*ExitError](err); exited && state != "" {
		return state, nil // any other state than active is told by the exit status, too
	}
	return state, err
}
