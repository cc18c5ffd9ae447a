// Package fleet decides which hosts an app is for, and from which release each of them
// gets to the next one. It does no I/O.
package fleet

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/rib/release/rollout"
)

// Selector picks hosts: "role=web", "zone!=b", a host's name, or "all". A host must
// have one of the values given for each label, none of those excluded, and be one of
// the hosts named if any are.
type Selector struct {
	all    bool
	labels map[string][]string
	not    map[string][]string
	hosts  []string
}

// Parse reads the terms of --to; an Invalid fault says what is wrong with them.
func Parse(terms []string) (Selector, error) {
	s := Selector{labels: map[string][]string{}, not: map[string][]string{}}
	for _, t := range terms {
		k, v, ok := strings.Cut(t, "=")
		k, not := strings.CutSuffix(k, "!")
		switch {
		case not && ok && k != "":
			s.not[k] = append(s.not[k], v)
		case t == "all":
			s.all = true
		case ok && k != "":
			s.labels[k] = append(s.labels[k], v)
		case !ok && !not && t != "":
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

// Matches reports whether the selector picks the host, alive or not.
func (s *Selector) Matches(m *plane.Member) bool {
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

// Fleet is the selected hosts.
type Fleet struct {
	There []plane.Member // alive and willing
	Off   []plane.Member // silent or drained: they catch up
	Old   []string       // alive, and their kaname does not serve the command
}

// Pick sorts the members that the selector picks; hosts must serve the command.
func (s *Selector) Pick(members []plane.Member, command string, now time.Time) (f Fleet) {
	for _, m := range members {
		switch {
		case !s.Matches(&m):
		case m.Alive && m.Commands[command] == 0:
			f.Old = append(f.Old, m.Host)
		case !m.Alive || Drained(&m, now):
			f.Off = append(f.Off, m)
		default:
			f.There = append(f.There, m)
		}
	}
	return f
}

// Drained reports whether a host is in maintenance: the label drain holds its end.
func Drained(m *plane.Member, now time.Time) bool {
	v, ok := m.Labels["drain"]
	if !ok || v == "" {
		return false
	}
	end, err := time.Parse(time.RFC3339, v)
	return err != nil || now.Before(end)
}

// Place returns where a host stands by its labels zone and rack.
func Place(labels map[string]string) string {
	if labels["zone"] == "" && labels["rack"] == "" {
		return ""
	}
	return labels["zone"] + "/" + labels["rack"]
}

// Places returns the hosts with where they stand.
func Places(members []plane.Member) (list []rollout.Place) {
	for _, m := range members {
		list = append(list, rollout.Place{Host: m.Host, Place: Place(m.Labels)})
	}
	return list
}

// Names returns the names of hosts.
func Names(members []plane.Member) (list []string) {
	for _, m := range members {
		list = append(list, m.Host)
	}
	return list
}
