package agent

import (
	"context"
	"log/slog"
	"strconv"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"kaname.dev/kaname/host"
)

// notify tells systemd something (sd_notify(3)); without systemd it does nothing.
func notify(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("systemd cannot be told", "state", state, "error", err)
	}
}

func notifyReady(log *slog.Logger, status string) {
	notify(log, daemon.SdNotifyReady+"\nSTATUS="+status)
}

func notifyStopping(log *slog.Logger) { notify(log, daemon.SdNotifyStopping+"\nSTATUS=stopping") }

// notifyReloading begins a reload; systemd wants the monotonic time with it, so
// that it can tell this one from a later one (Type=notify-reload).
func notifyReloading(log *slog.Logger) {
	now, err := host.Monotonic()
	if err != nil {
		log.Warn("monotonic clock cannot be read", "error", err)
		return
	}
	notify(log, daemon.SdNotifyReloading+"\nMONOTONIC_USEC="+strconv.FormatInt(now.Microseconds(), 10))
}

// watchdog pings systemd at half of WatchdogSec as long as alive agrees; a part
// that hangs thus gets the agent restarted. Without a watchdog it returns at once.
func watchdog(ctx context.Context, log *slog.Logger, alive func(ctx context.Context) error) {
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil || every == 0 {
		return
	}
	tick := time.NewTicker(every / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		look, cancel := context.WithTimeout(ctx, every/2)
		err := alive(look)
		cancel()
		if err != nil {
			log.Error("not alive, so the watchdog is not fed", "error", err)
			continue
		}
		notify(log, daemon.SdNotifyWatchdog)
	}
}
