// Package hook leads clients by scripts of the operator's: kaname's own, which are told by
// environment variables, or MHA's, with its arguments and exit codes.
//
// What scripts did last is kept in a file, so that a script is not run again for what is
// done, and is told the former primary after a restart.
package hook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"kaname.dev/kaname/host"
	"kaname.dev/kaname/rib/mysql/endpoint"
	"kaname.dev/kaname/rib/mysql/topology"
)

// The settings.
const (
	command  = "command"  // kaname's own: a line for /bin/sh, with KANAME_* in its environment
	failover = "failover" // MHA's master_ip_failover_script
	online   = "online"   // MHA's master_ip_online_change_script, for switchovers; empty: failover's is run
	timeout  = "timeout"  // of one run; 30s
	state    = "state"    // file in which the last target is kept; empty: in memory only
	sshUser  = "ssh_user" // MHA's: told to scripts; "stopssh" is ordered where the former primary's sshd can be reached
	sshPort  = "ssh_port" // 22
	userName = "user"     // MHA's new_master_user and orig_master_user
	// The password goes to no command line. Scripts find it here, as an option file of MySQL's
	// clients, by KANAME_CREDENTIALS.
	credentials = "credentials"
)

var known = map[string]bool{
	command: true, failover: true, online: true, timeout: true, state: true,
	sshUser: true, sshPort: true, userName: true, credentials: true,
}

// DefaultTimeout of one run of a script.
const DefaultTimeout = 30 * time.Second

// Continue is the exit code with which MHA's scripts ask to go on in spite of trouble.
const Continue = 10

type driver struct {
	topology string
	set      map[string]string
	timeout  time.Duration
	log      *slog.Logger

	mu   sync.Mutex // one script at a time
	done last
}

// New makes the driver. It reads the state file and runs nothing yet.
func New(o endpoint.Options) (endpoint.Driver, error) {
	for k := range o.Settings {
		if !known[k] {
			return nil, fmt.Errorf("endpoint hook of topology %s: setting %q is unknown; known are %s",
				o.Topology, k, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		}
	}
	d := &driver{topology: o.Topology, set: maps.Clone(o.Settings), timeout: DefaultTimeout, log: o.Log}
	switch own, mha := d.set[command] != "", d.set[failover] != "" || d.set[online] != ""; {
	case own == mha:
		return nil, fmt.Errorf("endpoint hook of topology %s: set either %s, or %s and %s for scripts made for MHA", o.Topology, command, failover, online)
	case mha && d.set[failover] == "":
		return nil, fmt.Errorf("endpoint hook of topology %s: %s is set without %s, which a failover needs", o.Topology, online, failover)
	}
	if text := d.set[timeout]; text != "" {
		var err error
		if d.timeout, err = time.ParseDuration(text); err != nil || d.timeout <= 0 {
			return nil, fmt.Errorf("endpoint hook of topology %s: %s is %q, which is no duration; say e.g. 30s", o.Topology, timeout, text)
		}
	}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	return d, d.load()
}

// Publish runs the script that leads clients to t.Primary. Where clients are still led
// elsewhere it runs the one that stops that first, as MHA does.
func (d *driver) Publish(ctx context.Context, t endpoint.Target) error {
	if t.Primary == nil {
		return fmt.Errorf("endpoint hook of topology %s: no primary is named; Withdraw leads nowhere", d.topology)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.fresh(t); err != nil {
		return err
	}
	if d.done.is(t) {
		return nil
	}
	former := d.done.Former
	if former != nil && former.Address != t.Primary.Address && !d.done.Withdrawn {
		if err := d.run(ctx, stop, t, former); err != nil {
			return err
		}
		if err := d.save(last{Target: t, Former: former, Withdrawn: true}); err != nil {
			return err
		}
	}
	if err := d.run(ctx, start, t, former); err != nil {
		return err
	}
	return d.save(last{Target: t, Former: t.Primary})
}

// Withdraw runs the script that leads clients nowhere.
func (d *driver) Withdraw(ctx context.Context, t endpoint.Target) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.fresh(t); err != nil {
		return err
	}
	if d.done.Withdrawn && d.done.Target.Epoch == t.Epoch {
		return nil
	}
	if d.done.Former != nil || d.set[command] != "" {
		if err := d.run(ctx, stop, t, d.done.Former); err != nil {
			return err
		}
	}
	return d.save(last{Target: t, Former: d.done.Former, Withdrawn: true})
}

// Current returns what the scripts were told last and said yes to: nobody asks them where
// clients are led. Without a state file it knows nothing of the time before.
func (d *driver) Current(context.Context) (endpoint.Target, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.done.Target.Epoch == 0 && d.done.Former == nil && !d.done.Withdrawn:
		return endpoint.Target{}, fmt.Errorf("endpoint hook of topology %s: no script was run yet: %w", d.topology, errors.ErrUnsupported)
	case d.done.Withdrawn:
		return endpoint.Target{}, nil
	}
	return d.done.Target, nil
}

// Close does nothing: no script is left running.
func (d *driver) Close() error { return nil }

func (d *driver) fresh(t endpoint.Target) error {
	if k := d.done.Target.Epoch; t.Epoch < k {
		return fmt.Errorf("endpoint hook of topology %s: epoch %d, known is %d: %w", d.topology, t.Epoch, k, endpoint.ErrOld)
	}
	return nil
}

// Orders to scripts.
const (
	start  = "start"
	stop   = "stop"
	stopBy = "stopssh"
)

// run runs the script for an order and judges how it ended.
func (d *driver) run(ctx context.Context, order string, t endpoint.Target, former *topology.Member) error {
	line, env := d.set[command], d.environment(order, t, former)
	if line == "" {
		line = d.mha(ctx, order, t, former)
	}
	res, err := host.Run(ctx, host.Command{Shell: line, Env: env, Timeout: d.timeout, Grace: time.Second, Background: true})
	if e, ok := errors.AsType[*host.ExitError](err); ok && e.Exit == Continue && d.set[command] == "" {
		d.log.Warn("a script asks to go on in spite of trouble", "topology", d.topology, "script", line, "output", e.Output)
		return nil
	}
	if err != nil {
		return fmt.Errorf("endpoint hook of topology %s, order %s: %w%s", d.topology, order, err, said(res.Output))
	}
	return nil
}

// said returns the end of a script's output, for an error.
func said(output string) string {
	lines := strings.Split(strings.TrimSpace(output), "\n")
	if len(lines) < 2 {
		return "" // the error has the last line
	}
	return "; it said: " + strings.Join(lines[max(0, len(lines)-10):], " | ")
}

// environment is what kaname's own scripts are told; MHA's find it, too.
func (d *driver) environment(order string, t endpoint.Target, former *topology.Member) []string {
	verb := "publish"
	if order != start {
		verb = "withdraw"
	}
	env := []string{
		"KANAME_COMMAND=" + verb, "KANAME_TOPOLOGY=" + d.topology, fmt.Sprintf("KANAME_EPOCH=%d", t.Epoch),
		"KANAME_KIND=" + string(t.Kind), "KANAME_CREDENTIALS=" + d.set[credentials],
	}
	env = append(env, memberEnv("KANAME_PRIMARY", t.Primary)...)
	env = append(env, memberEnv("KANAME_FORMER", former)...)
	list := make([]string, 0, len(t.Replicas))
	for i := range t.Replicas {
		list = append(list, t.Replicas[i].Name+"="+t.Replicas[i].Address)
	}
	return append(env, "KANAME_REPLICAS="+strings.Join(list, " "))
}

func memberEnv(prefix string, m *topology.Member) []string {
	if m == nil {
		m = &topology.Member{}
	}
	ip, port, _ := net.SplitHostPort(m.Address)
	return []string{prefix + "=" + m.Name, prefix + "_HOST=" + m.Host, prefix + "_IP=" + ip, prefix + "_PORT=" + port}
}
