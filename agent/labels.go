package agent

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/host"
	"kaname.dev/kaname/plane"
)

// labelsFile keeps, in the state directory, the labels that a core has set here.
const labelsFile = "labels.json"

// labelOrder is the command host.label: what to set and what to remove.
type labelOrder struct {
	Set    map[string]string `json:"set,omitempty"`
	Remove []string          `json:"remove,omitempty"`
}

// labels returns this host's labels: those of the configuration, and over them
// those that a core has set.
func (l *life) labels() map[string]string {
	all := maps.Clone(l.cfg.Host.Labels)
	if all == nil {
		all = map[string]string{}
	}
	given, err := l.givenLabels()
	if err != nil {
		l.log.Warn("labels that a core has set cannot be read", "error", err)
	}
	maps.Copy(all, given)
	if until, err := time.Parse(time.RFC3339, all[drainLabel]); err == nil && time.Now().After(until) {
		delete(all, drainLabel)
	}
	return all
}

func (l *life) givenLabels() (map[string]string, error) {
	raw, err := os.ReadFile(filepath.Join(l.cfg.Host.Dir, labelsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return map[string]string{}, nil
	}
	given := map[string]string{}
	if err == nil {
		err = json.Unmarshal(raw, &given)
	}
	return given, err
}

// tellLabels tells the cores what labels this host has now.
func (l *life) tellLabels() { l.plane.SetLabels(l.labels()) }

// obeyLabel serves host.label.
func (l *life) obeyLabel(_ context.Context, _ *plane.Call, o labelOrder) (map[string]string, error) {
	l.labelLock.Lock()
	defer l.labelLock.Unlock()
	given, err := l.givenLabels()
	if err != nil {
		return nil, fault.Corrupt("labels of host " + l.name + " cannot be read").Because(err).Try("remove " + filepath.Join(l.cfg.Host.Dir, labelsFile) + " on it")
	}
	maps.Copy(given, o.Set)
	for _, k := range o.Remove {
		delete(given, k)
	}
	raw, err := json.MarshalIndent(given, "", "  ")
	if err != nil {
		return nil, err
	}
	if err := host.WritePath(filepath.Join(l.cfg.Host.Dir, labelsFile), 0o640, append(raw, '\n')); err != nil {
		return nil, err
	}
	l.tellLabels()
	return l.labels(), nil
}

// watchDrain tells the cores when a maintenance is over.
func (l *life) watchDrain(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if _, drained := l.plane.Labels()[drainLabel]; drained && l.labels()[drainLabel] == "" {
			l.log.Info("maintenance is over")
			l.tellLabels()
		}
	}
}

type labelIn struct {
	hostIn

	Labels []string `name:"labels" arg:"" required:"" help:"key=value to set, key- to remove"`
}

// order reads the labels as a person writes them.
func (in labelIn) order() (labelOrder, error) {
	o := labelOrder{Set: map[string]string{}}
	for _, text := range in.Labels {
		key, value, set := strings.Cut(text, "=")
		removed, remove := strings.CutSuffix(text, "-")
		switch {
		case set && key != "" && key != drainLabel && !strings.ContainsAny(text, " \t\n,"):
			o.Set[key] = value
		case !set && remove && removed != "":
			o.Remove = append(o.Remove, removed)
		case key == drainLabel:
			return o, fault.Invalid("label drain is set by maintenance only").Try("run: kaname host drain " + in.Host + " --for 1h")
		default:
			return o, fault.Invalid("label \"" + text + "\" is neither key=value nor key-")
		}
	}
	return o, nil
}

func (h *hosts) planLabel(ctx context.Context, in labelIn) (action.Plan, error) {
	if _, err := in.order(); err != nil {
		return action.Plan{}, err
	}
	if _, err := h.show(ctx, nil, in.hostIn); err != nil {
		return action.Plan{}, err
	}
	return action.Plan{Summary: "Change labels of host " + in.Host, Steps: []action.Step{{Host: in.Host, What: strings.Join(in.Labels, " ")}}}, nil
}

func (h *hosts) label(ctx context.Context, r *action.Run, in labelIn) (HostLabels, error) {
	o, err := in.order()
	if err != nil {
		return HostLabels{}, err
	}
	return h.sendLabels(ctx, r, in.Host, o)
}

// HostLabels are the labels that a host has after a change.
type HostLabels struct {
	Host   string            `json:"host"`
	Labels map[string]string `json:"labels"`
}

func (h *hosts) sendLabels(ctx context.Context, r *action.Run, name string, o labelOrder) (HostLabels, error) {
	l, err := h.core()
	if err != nil {
		return HostLabels{}, err
	}
	labels, err := plane.CallOne[map[string]string](ctx, l.plane, name, plane.CallSpec{Command: "host.label", In: o, Actor: r.Actor}, nil)
	return HostLabels{name, labels}, err
}

type drainIn struct {
	hostIn

	For time.Duration `name:"for" help:"how long, at most 30 days; 0 ends it now" default:"1h"`
	Why string        `name:"why" help:"the reason, for the audit" default:"maintenance"`
}

func (h *hosts) planDrain(ctx context.Context, in drainIn) (action.Plan, error) {
	if _, err := h.show(ctx, nil, in.hostIn); err != nil {
		return action.Plan{}, err
	}
	if in.For == 0 {
		return action.Plan{Summary: "End the maintenance of host " + in.Host, Steps: []action.Step{{Host: in.Host, What: "takes part again and catches up"}}}, nil
	}
	return action.Plan{
		Summary: "Drain host " + in.Host + " for " + in.For.String(),
		Steps:   []action.Step{{Host: in.Host, What: "gets nothing new until " + time.Now().Add(in.For).Format(time.TimeOnly)}},
	}, nil
}

func (h *hosts) drain(ctx context.Context, r *action.Run, in drainIn) (HostLabels, error) {
	if in.For < 0 || in.For > 30*24*time.Hour {
		return HostLabels{}, fault.Invalid("a maintenance lasts at most 30 days, not " + in.For.String())
	}
	o := labelOrder{Remove: []string{drainLabel}}
	if in.For > 0 {
		o = labelOrder{Set: map[string]string{drainLabel: time.Now().Add(in.For).UTC().Format(time.RFC3339)}}
	}
	return h.sendLabels(ctx, r, in.Host, o)
}

// names returns the hosts that are alive and selected.
func (l *life) names(ctx context.Context, want []string) ([]string, error) {
	members, err := l.plane.Members(ctx)
	if err != nil {
		return nil, err
	}
	var list []string
	for _, m := range members {
		if m.Alive && selected(m, want) {
			list = append(list, m.Host)
		}
	}
	slices.Sort(list)
	return list, nil
}
