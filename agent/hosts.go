package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
)

// drainLabel marks a host in maintenance: its value is the end (RFC 3339), and no
// rib sends it anything new before that.
const drainLabel = "drain"

// hosts holds the actions that are about hosts; they work once attached to a
// running core.
type hosts struct {
	mu   sync.Mutex
	life *life
}

func (h *hosts) attach(l *life) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.life = l
}

// core returns the running core that the actions act on.
func (h *hosts) core() (*life, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.life == nil {
		return nil, fault.Unavailable("this kaname is still starting or is not a core")
	}
	return h.life, nil
}

func (h *hosts) actions() []action.Action {
	return []action.Action{
		action.New("host list", "List the hosts of the plane", action.Reads, h.list,
			action.InJapanese("ホストの一覧を表示する"),
			action.WithColumns("host", "state", "core", "labels", "version", "address", "seen"),
			action.WithExample("kaname host list --select role=web", "the web hosts")),
		action.New("host show", "Show what is known of a host", action.Reads, h.show,
			action.InJapanese("ホストの詳細を表示する"),
			action.WithExample("kaname host show web3", "its labels, address, certificate and commands")),
		action.New("host check", "Let hosts examine themselves", action.Reads, h.check,
			action.InJapanese("ホストに自己診断させる"),
			action.WithColumns("host", "check", "verdict", "evidence", "remedy"),
			action.WithExample("kaname host check --select role=web", "clock, disk, certificate and the ribs' own checks on all web hosts")),
		action.New("host label", "Set or remove labels of a host", action.Changes, h.label,
			action.InJapanese("ホストのラベルを設定・削除する"),
			action.WithLong("The labels are kept on the host and win over those in its configuration file. A key with a dash behind it removes a label that was set this way."),
			action.WithPlan(h.planLabel),
			action.WithExample("kaname host label web3 role=web zone=b canary-", "set two labels, remove one")),
		action.New("host drain", "Take a host out of service for a while", action.Changes, h.drain,
			action.InJapanese("ホストを一時的にサービスから外す"),
			action.WithLong("A drained host carries the label drain until the time is over: ribs send it nothing new, and it counts in no wave. It keeps serving what it has."),
			action.WithPlan(h.planDrain),
			action.WithExample("kaname host drain web3 --for 1h --why disk", "one hour of maintenance"),
			action.WithExample("kaname host drain web3 --for 0", "end it now")),
		action.New("host revoke", "End a host's right to be in the plane", action.Destroys, h.revoke,
			action.InJapanese("ホストの参加権を取り消す"),
			action.WithLong("Its connections are cut at once and its certificate counts no more. It can come back only with a token bound to its name."),
			action.WithPlan(h.planRevoke),
			action.WithExample("kaname host revoke web3 --why 'key was copied'", "nobody can pose as web3 any more")),
		action.New("status", "Show how the plane is", action.Reads, h.status,
			action.InJapanese("プレーン全体の状態を表示する"),
			action.WithExample("kaname status", "cores, hosts, and what is wrong")),
	}
}

// HostLine is one host in a list.
type HostLine struct {
	Host    string            `json:"host"`
	State   string            `json:"state"` // alive, silent, drained, revoked
	Core    bool              `json:"core"`
	Labels  map[string]string `json:"labels,omitempty"`
	Version string            `json:"version,omitempty"`
	Address string            `json:"address,omitempty"`
	Seen    time.Time         `json:"seen,omitzero"`
}

type listIn struct {
	Select []string `name:"select" help:"labels that a host must have, as in role=web" complete:"labels"`
}

func (h *hosts) list(ctx context.Context, _ *action.Run, in listIn) ([]HostLine, error) {
	l, err := h.core()
	if err != nil {
		return nil, err
	}
	members, err := l.plane.Members(ctx)
	if err != nil {
		return nil, err
	}
	revoked, err := l.revoked(ctx)
	if err != nil {
		return nil, err
	}
	out := []HostLine{}
	for _, m := range members {
		if !selected(m, in.Select) {
			continue
		}
		line := HostLine{Host: m.Host, State: stateOf(m), Core: m.Core, Labels: m.Labels, Version: m.Version, Address: m.Address, Seen: m.Seen}
		if revoked[m.Host] {
			line.State = "revoked"
		}
		out = append(out, line)
	}
	return out, nil
}

func stateOf(m plane.Member) string {
	switch {
	case !m.Alive:
		return "silent"
	case m.Labels[drainLabel] != "":
		return "drained"
	default:
		return "alive"
	}
}

// selected reports whether the member has all the labels; "host=NAME" names one.
func selected(m plane.Member, want []string) bool {
	for _, w := range want {
		key, value, _ := strings.Cut(w, "=")
		if key == "host" && value == m.Host {
			continue
		}
		if got, ok := m.Labels[key]; !ok || got != value {
			return false
		}
	}
	return true
}

// revoked names the hosts whose enrolment is revoked.
func (l *life) revoked(ctx context.Context) (map[string]bool, error) {
	list, err := l.plane.Enrolments(ctx)
	if err != nil {
		return nil, err
	}
	set := map[string]bool{}
	for _, e := range list {
		set[e.Host] = !e.Revoked.IsZero()
	}
	return set, nil
}

// HostDetail is everything that is known of a host.
type HostDetail struct {
	HostLine

	Started     time.Time      `json:"started,omitzero"`
	Role        string         `json:"role,omitempty"`
	Joined      time.Time      `json:"joined,omitzero"`
	Certificate time.Time      `json:"certificate_until,omitzero"`
	Revoked     string         `json:"revoked,omitempty"` // why, if it is
	Commands    map[string]int `json:"commands,omitempty"`
}

type hostIn struct {
	Host string `name:"host" arg:"" required:"" help:"name of the host" complete:"hosts"`
}

func (h *hosts) show(ctx context.Context, _ *action.Run, in hostIn) (HostDetail, error) {
	l, err := h.core()
	if err != nil {
		return HostDetail{}, err
	}
	lines, err := h.list(ctx, nil, listIn{})
	if err != nil {
		return HostDetail{}, err
	}
	var d HostDetail
	if i := slices.IndexFunc(lines, func(x HostLine) bool { return x.Host == in.Host }); i >= 0 {
		d.HostLine = lines[i]
	}
	enrolments, err := l.plane.Enrolments(ctx)
	if err != nil {
		return HostDetail{}, err
	}
	for _, e := range enrolments {
		if e.Host == in.Host {
			d.Host, d.Role, d.Joined, d.Certificate = e.Host, string(e.Role), e.Since, e.Until
			if !e.Revoked.IsZero() {
				d.State, d.Revoked = "revoked", e.Why
			}
		}
	}
	if d.Host == "" {
		return d, fault.NotFound("host " + in.Host + " is not in the plane").Try("see the list with: kaname host list")
	}
	members, err := l.plane.Members(ctx)
	for _, m := range members {
		if m.Host == in.Host {
			d.Started, d.Commands = m.Started, m.Commands
		}
	}
	if d.State == "" {
		d.State = "silent"
	}
	return d, err
}

type revokeIn struct {
	hostIn

	Why string `name:"why" required:"" help:"the reason, for the audit"`
}

func (h *hosts) planRevoke(ctx context.Context, in revokeIn) (action.Plan, error) {
	d, err := h.show(ctx, nil, in.hostIn)
	if err != nil {
		return action.Plan{}, err
	}
	p := action.Plan{Summary: "Revoke host " + in.Host, Steps: []action.Step{{Host: in.Host, What: "its connections are cut and its certificate counts no more"}}}
	if d.Core {
		p.Warnings = append(p.Warnings, in.Host+" is a core: it holds the keys of the whole plane; if they were copied, revoking it is not enough")
	}
	return p, nil
}

func (h *hosts) revoke(ctx context.Context, r *action.Run, in revokeIn) (HostDetail, error) {
	l, err := h.core()
	if err != nil {
		return HostDetail{}, err
	}
	if err := l.plane.Revoke(ctx, in.Host, r.Actor.Name, in.Why); err != nil {
		return HostDetail{}, err
	}
	return h.show(ctx, r, in.hostIn)
}

// candidates completes host names and labels.
func candidates(members []plane.Member, kind, prefix string) []string {
	set := map[string]bool{}
	for _, m := range members {
		if kind == "hosts" {
			set[m.Host] = true
			continue
		}
		for k, v := range m.Labels {
			set[k+"="+v] = true
		}
	}
	var list []string
	for c := range set {
		if strings.HasPrefix(c, prefix) {
			list = append(list, c)
		}
	}
	slices.Sort(list)
	return list
}

// Status is how the plane is as a whole.
type Status struct {
	Core    string   `json:"core"`    // which core answers
	Version string   `json:"version"` // of kaname on it
	Hosts   int      `json:"hosts"`   // known
	Alive   int      `json:"alive"`
	Silent  []string `json:"silent,omitempty"`
	Drained []string `json:"drained,omitempty"`
	Mixed   []string `json:"versions,omitempty"` // if hosts run different ones
	Parts   []Part   `json:"parts"`              // of the core that answers
	Ready   bool     `json:"ready"`
}

func (h *hosts) status(ctx context.Context, _ *action.Run, _ struct{}) (Status, error) {
	l, err := h.core()
	if err != nil {
		return Status{}, err
	}
	lines, err := h.list(ctx, nil, listIn{})
	if err != nil {
		return Status{}, err
	}
	ready := l.readiness()
	s := Status{Core: l.name, Version: ThisBuild().Version, Parts: ready.Parts, Ready: ready.Ready, Hosts: len(lines)}
	versions := map[string]int{}
	for _, x := range lines {
		switch x.State {
		case "alive", "drained":
			s.Alive++
			versions[x.Version]++
		case "silent":
			s.Silent = append(s.Silent, x.Host)
		}
		if x.State == "drained" {
			s.Drained = append(s.Drained, x.Host)
		}
	}
	if len(versions) > 1 {
		for v, n := range versions {
			s.Mixed = append(s.Mixed, fmt.Sprintf("%s on %d", v, n))
		}
		slices.Sort(s.Mixed)
	}
	return s, nil
}
