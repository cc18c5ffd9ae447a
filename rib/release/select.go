package release

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/rib/release/rollout"
	"kaname.dev/kaname/rib/release/site"
)

// selector picks hosts: "role=web", "zone!=b", a host's name, or "all". A host must
// have one of the values given for each label, none of those excluded, and be one of
// the hosts named if any are.
type selector struct {
	all    bool
	labels map[string][]string
	not    map[string][]string
	hosts  []string
}

// parseSelector reads the terms of --to.
func parseSelector(terms []string) (selector, error) {
	s := selector{labels: map[string][]string{}, not: map[string][]string{}}
	for _, t := range terms {
		if k, v, ok := strings.Cut(t, "!="); ok && k != "" {
			s.not[k] = append(s.not[k], v)
			continue
		}
		k, v, ok := strings.Cut(t, "=")
		switch {
		case t == "all":
			s.all = true
		case ok && k != "":
			s.labels[k] = append(s.labels[k], v)
		case !ok && t != "":
			s.hosts = append(s.hosts, t)
		default:
			return s, fault.Invalid(fmt.Sprintf("%q selects no hosts", t)).Try("write label=value, label!=value, the name of a host, or all")
		}
	}
	if len(s.labels)+len(s.not)+len(s.hosts) == 0 && !s.all {
		return s, fault.Invalid("no hosts are selected").Try("name them: --to role=web; or all of them: --to all; see kaname host list")
	}
	return s, nil
}

func (s *selector) matches(m *plane.Member) bool {
	for k, vs := range s.labels {
		if v, ok := m.Labels[k]; !ok || !slices.Contains(vs, v) {
			return false
		}
	}
	for k, vs := range s.not {
		if slices.Contains(vs, m.Labels[k]) {
			return false
		}
	}
	return len(s.hosts) == 0 || slices.Contains(s.hosts, m.Host)
}

// fleet is the selected hosts.
type fleet struct {
	there []plane.Member // alive and willing
	off   []plane.Member // silent or drained: they catch up
	old   []string       // their kaname has no release rib
}

// pick sorts the members that the selector picks.
func (s *selector) pick(members []plane.Member, now time.Time) (f fleet) {
	for _, m := range members {
		switch {
		case !s.matches(&m):
		case m.Alive && m.Commands[site.CommandStage] == 0:
			f.old = append(f.old, m.Host)
		case !m.Alive || drained(&m, now):
			f.off = append(f.off, m)
		default:
			f.there = append(f.there, m)
		}
	}
	return f
}

// drained reports whether a host is in maintenance: the label drain holds its end.
func drained(m *plane.Member, now time.Time) bool {
	v, ok := m.Labels["drain"]
	if !ok || v == "" {
		return false
	}
	end, err := time.Parse(time.RFC3339, v)
	return err != nil || now.Before(end)
}

// placeOf returns where a host stands by its labels zone and rack.
func placeOf(labels map[string]string) string {
	if labels["zone"] == "" && labels["rack"] == "" {
		return ""
	}
	return labels["zone"] + "/" + labels["rack"]
}

func places(members []plane.Member) (list []rollout.Place) {
	for _, m := range members {
		list = append(list, rollout.Place{Host: m.Host, Place: placeOf(m.Labels)})
	}
	return list
}

func names(members []plane.Member) (list []string) {
	for _, m := range members {
		list = append(list, m.Host)
	}
	return list
}
