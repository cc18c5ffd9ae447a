package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/config"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/plane/trust"
	"kaname.dev/kaname/rib"
)

// DoctorLine is one line of the doctor's report.
type DoctorLine struct {
	Check    string `json:"check"`
	Verdict  string `json:"verdict"` // ok, warning, failure
	Evidence string `json:"evidence"`
	Remedy   string `json:"remedy,omitempty"`
}

// doctor looks at this host from outside of the agent, and asks the agent, if it
// runs, for what only it can see. It fails when any check does.
func (lo local) doctor(ctx context.Context, _ *action.Run, in settingsIn) ([]DoctorLine, error) {
	var lines []DoctorLine
	bad := 0
	add := func(check string, v rib.Verdict) {
		f := Finding{check, v}
		lines = append(lines, DoctorLine{check, f.word(), v.Evidence, v.Remedy})
		if !v.OK && !v.Warn {
			bad++
		}
	}
	o, err := in.options(lo.ribs())
	if err != nil {
		return nil, err
	}
	cfg, err := config.Load(o)
	if err != nil {
		add("configuration", rib.Verdict{Evidence: err.Error(), Remedy: "correct the file; see: kaname config check"})
		return lines, sick(bad, lines)
	}
	add("configuration", rib.Verdict{OK: true, Evidence: fileOf(cfg) + " is well-formed"})
	running := agentState(ctx, cfg.Config)
	add("agent", running.verdict(cfg.Config))
	if running.ready == nil {
		for _, f := range still(ctx, cfg.Config) {
			add(f.Check, f.Verdict)
		}
	}
	for _, f := range running.findings {
		add(f.Check, f.Verdict)
	}
	if plane.Mode(cfg.Plane.Mode) == plane.Host {
		for _, f := range towardsCores(ctx, cfg.Config) {
			add(f.Check, f.Verdict)
		}
	}
	return lines, sick(bad, lines)
}

func fileOf(cfg *config.Loaded) string {
	if cfg.File == "" {
		return "no file: the built-in defaults"
	}
	return cfg.File
}

// sick is the fault of a host on which something is broken. The lines travel
// inside, for a fault has no other place for them.
func sick(bad int, lines []DoctorLine) error {
	if bad == 0 {
		return nil
	}
	var b strings.Builder
	for _, l := range lines {
		if l.Verdict == "failure" {
			b.WriteString("\n  " + l.Check + ": " + l.Evidence)
			if l.Remedy != "" {
				b.WriteString("; " + l.Remedy)
			}
		}
	}
	return fault.Internal(fmt.Sprintf("%d of %d checks failed:%s", bad, len(lines), b.String()))
}

// running is what the agent on this host says of itself.
type running struct {
	ready    *Readiness // nil when no agent answers
	findings []Finding
	err      error
}

// agentState asks the private listener.
func agentState(ctx context.Context, c config.Config) running {
	if c.Metrics.Listen == "" {
		return running{err: errors.New("metrics.listen is empty, so the agent cannot be asked")}
	}
	var s running
	var ready Readiness
	if s.err = getJSON(ctx, c.Metrics.Listen, "/readyz", &ready); s.err != nil {
		return s
	}
	s.ready = &ready
	s.err = getJSON(ctx, c.Metrics.Listen, "/debug/checks", &s.findings)
	return s
}

func getJSON(ctx context.Context, address, path string, v any) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return err
	}
	t := &http.Transport{DialContext: (&net.Dialer{Timeout: 2 * time.Second}).DialContext, DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: t}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	return json.NewDecoder(resp.Body).Decode(v)
}

func (s running) verdict(c config.Config) rib.Verdict {
	switch mine := ThisBuild(); {
	case s.ready == nil:
		return rib.Verdict{Warn: true, Evidence: "no agent answers at " + c.Metrics.Listen + ": " + s.err.Error(), Remedy: "start it: systemctl start kaname, or kaname-agent on a plain host"}
	case s.ready.Version != mine.Version:
		return rib.Verdict{Warn: true, Evidence: "the agent runs version " + s.ready.Version + ", this is " + mine.Version, Remedy: "restart the agent after an upgrade"}
	case !s.ready.Ready:
		return rib.Verdict{Evidence: "the agent runs, but is not ready", Remedy: "see the parts below, and the log"}
	default:
		return rib.Verdict{OK: true, Evidence: "runs as " + s.ready.Host + ", version " + s.ready.Version + ", all parts are well"}
	}
}

// still is what can be seen with no agent running.
func still(ctx context.Context, c config.Config) []Finding {
	list := []Finding{
		{"disk space", checkSpace(c.Host.Dir)},
		{"clock", checkClock()},
		{"permissions", checkPermissions(c)},
	}
	if _, err := os.Stat(trustDir(c)); err == nil || plane.Mode(c.Plane.Mode) == plane.Host {
		list = append(list, Finding{"certificate", checkCertificate(c)})
	}
	ports := map[string]string{"peer": c.Peer.Listen, "metrics": c.Metrics.Listen}
	if plane.Mode(c.Plane.Mode) != plane.Host {
		ports["plane"], ports["api"] = c.Plane.Listen, c.API.Listen
	}
	for _, what := range []string{"plane", "api", "peer", "metrics"} {
		if a := ports[what]; a != "" {
			list = append(list, Finding{"port of " + what, checkPort(ctx, what, a)})
		}
	}
	return list
}

// checkPort tries to take the port that the agent would take.
func checkPort(ctx context.Context, what, address string) rib.Verdict {
	ln, err := listen(ctx, what, address)
	if err != nil {
		f := fault.Of(err)
		return rib.Verdict{Evidence: f.Err.Error(), Remedy: f.Remedy}
	}
	_ = ln.Close()
	return rib.Verdict{OK: true, Evidence: address + " is free"}
}

// towardsCores looks whether the cores can be reached, with an agreeing clock.
func towardsCores(ctx context.Context, c config.Config) []Finding {
	var list []Finding
	for _, a := range c.Plane.Cores {
		v := rib.Verdict{OK: true, Evidence: "answers"}
		conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", a)
		if err != nil {
			v = rib.Verdict{Evidence: err.Error(), Remedy: "is kaname up running there, and the port open from here?"}
		} else {
			_ = conn.Close()
		}
		list = append(list, Finding{"core " + a, v})
	}
	id, err := trust.LoadIdentity(trustDir(c))
	if err != nil {
		return list // the check of the certificate tells
	}
	for _, a := range c.Plane.API {
		list = append(list, Finding{"clock against " + a, coreClock(ctx, id, a)})
	}
	return list
}

// coreClock compares this host's clock with a core's, to the second: that is what
// the Date header of HTTP gives.
func coreClock(ctx context.Context, id *trust.Identity, address string) rib.Verdict {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, "https://"+address+"/", nil)
	if err != nil {
		return rib.Verdict{Evidence: err.Error()}
	}
	t := &http.Transport{TLSClientConfig: id.ClientTLS(trust.CoreName), DisableKeepAlives: true}
	sent := time.Now()
	resp, err := (&http.Client{Transport: t}).Do(req)
	if err != nil {
		return rib.Verdict{Evidence: err.Error(), Remedy: "is kaname up running there, and the port open from here?"}
	}
	_ = resp.Body.Close()
	theirs, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return rib.Verdict{Warn: true, Evidence: "the core told no time: " + err.Error()}
	}
	ours := sent.Add(time.Since(sent) / 2)
	return skew(ours.Sub(theirs.Add(500 * time.Millisecond))) // Date is cut to the second
}

// skew judges the difference of two clocks.
func skew(d time.Duration) rib.Verdict {
	v := rib.Verdict{OK: true, Evidence: "differs by " + d.Abs().Round(100*time.Millisecond).String()}
	switch {
	case d.Abs() > brokenSkew:
		v.OK, v.Remedy = false, "set the clock: certificates and commands are refused"
	case d.Abs() > maxSkew:
		v.OK, v.Warn, v.Remedy = false, true, "run a time daemon on both: timedatectl set-ntp true"
	}
	return v
}

// answered turns one host's answer to host.check into findings, its clock among
// them.
func answered(f plane.Frame, sent time.Time) []Finding {
	if f.Fault != nil {
		return []Finding{{"answer", rib.Verdict{Evidence: f.Fault.Error()}}}
	}
	var rep selfReport
	if err := json.Unmarshal(f.Result, &rep); err != nil {
		return []Finding{{"answer", rib.Verdict{Evidence: "its report cannot be read: " + err.Error(), Remedy: "run the same version of kaname on all hosts"}}}
	}
	list := rep.Findings
	// The host read its clock between sent and now.
	behind, ahead := sent.Sub(rep.Time), time.Until(rep.Time)
	list = append(list, Finding{"clock against the core", skew(max(behind, ahead, 0))})
	if mine := ThisBuild().Version; rep.Version != mine {
		list = append(list, Finding{"version", rib.Verdict{Warn: true, Evidence: "runs " + rep.Version + ", the core " + mine, Remedy: "finish the upgrade"}})
	}
	return list
}
