package agent

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/config"
	"kaname.dev/kaname/host"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/plane/trust"
	"kaname.dev/kaname/rib"
)

// checkTime bounds one check.
const checkTime = 10 * time.Second

// Limits of the verdicts about the machine.
const (
	lowSpace   = 0.10           // share of the file system below which it is a warning
	noSpace    = 1 << 30        // bytes below which it is a failure
	soonEnds   = 24 * time.Hour // a certificate that should long have been renewed
	maxSkew    = 2 * time.Second
	brokenSkew = trust.Skew
)

// look runs one check within its time.
func look(ctx context.Context, c rib.Check) rib.Verdict {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	return c.Look(ctx)
}

// checks is what the running agent finds about itself, its machine and its ribs.
func (l *life) checks(ctx context.Context) []Finding {
	list := []rib.Check{
		{Name: "parts", Look: l.checkParts},
		{Name: "certificate", Look: func(context.Context) rib.Verdict { return checkCertificate(l.cfg.Config) }},
		{Name: "disk space", Look: func(context.Context) rib.Verdict { return checkSpace(l.cfg.Host.Dir) }},
		{Name: "clock", Look: func(context.Context) rib.Verdict { return checkClock() }},
		{Name: "permissions", Look: func(context.Context) rib.Verdict { return checkPermissions(l.cfg.Config) }},
		{Name: "log", Look: l.checkLog},
	}
	var out []Finding
	for _, c := range list {
		out = append(out, Finding{c.Name, look(ctx, c)})
	}
	for _, r := range l.ribs {
		for _, c := range r.Checks {
			out = append(out, Finding{"rib " + r.Name + ": " + c.Name, look(ctx, c)})
		}
	}
	return out
}

func (l *life) checkParts(context.Context) rib.Verdict {
	parts, ok := l.health.report()
	if !ok {
		return rib.Verdict{Evidence: l.health.wrong(), Remedy: "see the log: journalctl -u kaname -u kaname-agent"}
	}
	return rib.Verdict{OK: true, Evidence: fmt.Sprintf("%d parts are well", len(parts))}
}

func (l *life) checkLog(ctx context.Context) rib.Verdict {
	n, last := l.logs.ring.complaints(ctx)
	if n == 0 {
		return rib.Verdict{OK: true, Evidence: "no warnings among the last lines"}
	}
	return rib.Verdict{Warn: true, Evidence: fmt.Sprintf("%d warnings and errors, the last: %s", n, last), Remedy: "see the log: journalctl -u kaname -u kaname-agent"}
}

func trustDir(c config.Config) string { return planeDir(c) + "/trust" }

// checkCertificate looks at the identity on disk, so that it works with no agent
// running.
func checkCertificate(c config.Config) rib.Verdict {
	id, err := trust.LoadIdentity(trustDir(c))
	if err != nil {
		return rib.Verdict{Evidence: err.Error(), Remedy: "join the plane: kaname join TOKEN"}
	}
	until := id.Certificate().NotAfter
	left := time.Until(until)
	v := rib.Verdict{OK: true, Evidence: fmt.Sprintf("of host %s, valid until %s", id.Host(), until.Format(time.RFC3339))}
	switch {
	case left <= 0:
		v.OK, v.Remedy = false, "it has expired: join again with a token bound to this name (on a core: kaname token create)"
	case left < soonEnds:
		v.OK, v.Warn, v.Remedy = false, true, "it should have been renewed long ago; can this host reach the cores' API (plane.api)?"
	}
	return v
}

func checkSpace(dir string) rib.Verdict {
	s, err := host.DiskSpace(existing(dir))
	if err != nil {
		return rib.Verdict{Evidence: err.Error()}
	}
	share := float64(s.Free) / float64(max(s.Total, 1))
	v := rib.Verdict{OK: true, Evidence: fmt.Sprintf("%s of %s free at %s (%s)", humanize.IBytes(uint64(s.Free)), humanize.IBytes(uint64(s.Total)), dir, s.FileSystem)}
	switch {
	case s.Free < noSpace || s.FreeFiles == 0:
		v.OK, v.Remedy = false, "make room, or set host.dir to another file system"
	case share < lowSpace:
		v.OK, v.Warn, v.Remedy = false, true, "make room soon"
	case s.Network():
		v.OK, v.Warn, v.Remedy = false, true, "put host.dir on a local file system: locks and fsync are not reliable over a network"
	}
	return v
}

// existing returns the path or its nearest parent that exists.
func existing(path string) string {
	for path != "/" && path != "" {
		if _, err := os.Stat(path); err == nil {
			return path
		}
		path = path[:max(strings.LastIndexByte(path, '/'), 1)]
		if path == "/" {
			break
		}
	}
	return "/"
}

func checkClock() rib.Verdict {
	c, err := host.ReadClock()
	if err != nil {
		return rib.Verdict{Evidence: err.Error()}
	}
	if !c.Synced {
		return rib.Verdict{Warn: true, Evidence: "no time daemon has declared the clock synchronised", Remedy: "run a time daemon: timedatectl set-ntp true"}
	}
	return rib.Verdict{OK: true, Evidence: fmt.Sprintf("synchronised, at most %v off", c.MaxError.Round(time.Millisecond))}
}

// checkPermissions looks whether others could read what only the agent may.
func checkPermissions(c config.Config) rib.Verdict {
	var open []string
	for path, mask := range map[string]os.FileMode{
		c.Host.Dir:                       0o027,
		trustDir(c):                      0o077,
		trustDir(c) + "/identity.pem":    0o077,
		trustDir(c) + "/authority.pem":   0o077,
		planeDir(c) + "/store":           0o077,
		c.Plane.External.CredentialsFile: 0o077,
	} {
		info, err := os.Stat(path)
		if path == "" || err != nil {
			continue // what is not there cannot be read
		}
		if info.Mode().Perm()&mask != 0 {
			open = append(open, fmt.Sprintf("%s has mode %04o", path, info.Mode().Perm()))
		}
	}
	if len(open) > 0 {
		slices.Sort(open)
		return rib.Verdict{Evidence: strings.Join(open, ", "), Remedy: "run: chmod -R go-rwx " + c.Host.Dir}
	}
	return rib.Verdict{OK: true, Evidence: "keys and state are readable by the agent alone"}
}

// selfReport is the answer to the command host.check.
type selfReport struct {
	Time     time.Time `json:"time"` // by the clock of the host
	Version  string    `json:"version"`
	Findings []Finding `json:"findings"`
}

// obeyCheck serves host.check.
func (l *life) obeyCheck(ctx context.Context, _ *plane.Call, _ struct{}) (selfReport, error) {
	found := l.checks(ctx)
	return selfReport{time.Now().UTC(), ThisBuild().Version, found}, nil
}

// CheckLine is one finding of one host.
type CheckLine struct {
	Host     string `json:"host"`
	Check    string `json:"check"`
	Verdict  string `json:"verdict"` // ok, warning, failure
	Evidence string `json:"evidence"`
	Remedy   string `json:"remedy,omitempty"`
}

func (f Finding) line(host string) CheckLine {
	return CheckLine{host, f.Check, f.word(), f.Evidence, f.Remedy}
}

func (f Finding) word() string {
	switch {
	case f.OK:
		return "ok"
	case f.Warn:
		return "warning"
	default:
		return "failure"
	}
}

type checkIn struct {
	Select []string `name:"select" help:"labels that a host must have; all that are alive without" complete:"labels"`
	All    bool     `name:"all" help:"show what is well, too"`
}

// check asks hosts to examine themselves and compares their clocks with ours.
func (h *hosts) check(ctx context.Context, r *action.Run, in checkIn) ([]CheckLine, error) {
	l, err := h.core()
	if err != nil {
		return nil, err
	}
	names, err := l.names(ctx, in.Select)
	if err != nil {
		return nil, err
	}
	out := []CheckLine{}
	sent := time.Now()
	for f := range l.plane.Call(ctx, plane.CallSpec{Command: "host.check", Hosts: names, In: struct{}{}, Timeout: time.Minute, Actor: r.Actor}) {
		if !f.Last() {
			continue
		}
		for _, x := range answered(f, sent) {
			if in.All || !x.OK {
				out = append(out, x.line(f.Host))
			}
		}
	}
	slices.SortFunc(out, func(a, b CheckLine) int { return strings.Compare(a.Host+a.Check, b.Host+b.Check) })
	return out, nil
}
