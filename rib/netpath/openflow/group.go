package openflow

import (
	"fmt"
	"strconv"
	"strings"
)

// group is a group of OpenFlow.
type group struct {
	kind    string // "all", "indirect", "select", "ff"
	buckets []bucket
}

type bucket struct {
	actions []Action
	weight  int
	watch   int // port that must be up; 0: none
}

// parseGroups reads groups as ovs-ofctl dump-groups writes them.
func parseGroups(dump string) (map[int]*group, []error) {
	groups := map[int]*group{}
	var errs []error
	for line := range strings.Lines(dump) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "group_id=") {
			continue
		}
		head, rest, _ := strings.Cut(line, ",bucket=")
		g := &group{}
		id := -1
		for word := range strings.SplitSeq(head, ",") {
			name, value, _ := strings.Cut(word, "=")
			switch name {
			case "group_id":
				if n, err := strconv.ParseUint(value, 0, 32); err == nil {
					id = int(n)
				}
			case "type":
				g.kind = value
			}
		}
		err := g.parseBuckets(rest)
		if err != nil || id < 0 {
			errs = append(errs, fmt.Errorf("group %.200q cannot be read: %w", line, err))
			continue
		}
		groups[id] = g
	}
	return groups, errs
}

func (g *group) parseBuckets(s string) error {
	if s == "" {
		return nil
	}
	for text := range strings.SplitSeq(s, ",bucket=") {
		b := bucket{weight: 1}
		actions := ""
		for text != "" {
			word, rest, err := cutAction(text)
			if err != nil {
				return err
			}
			name, value, isValue := strings.Cut(word, "=")
			switch {
			case isValue && name == "actions":
				actions, rest = text[len("actions="):], ""
			case strings.HasPrefix(word, "weight:"):
				b.weight, _ = strconv.Atoi(word[len("weight:"):])
			case strings.HasPrefix(word, "watch_port:"):
				b.watch, _ = parsePort(word[len("watch_port:"):])
			case strings.HasPrefix(word, "bucket_id:"), strings.HasPrefix(word, "watch_group:"):
			case value == "":
				actions, rest = text, "" // without actions=, as OpenFlow 1.1 has them
			}
			text = rest
		}
		var err error
		if b.actions, err = parseActions(actions, 0); err != nil {
			return err
		}
		g.buckets = append(g.buckets, b)
	}
	return nil
}

// group does what a group says; false ends the list of actions, for it is not there.
func (a *at) group(id int) bool {
	g := a.b.groups[id]
	if g == nil {
		a.note("group %d does not exist", id)
		return false
	}
	if a.depth >= maxDepth {
		a.fail(fmt.Sprintf("more than %d groups within one another", maxDepth))
		return false
	}
	a.depth++
	defer func() { a.depth-- }()
	chosen := g.buckets
	switch g.kind {
	case "select":
		chosen = nil
		for i := range g.buckets {
			if a.live(&g.buckets[i]) && g.buckets[i].weight > 0 && (chosen == nil || g.buckets[i].weight > chosen[0].weight) {
				chosen = g.buckets[i : i+1]
			}
		}
		if len(g.buckets) > 1 {
			a.note("group %d chooses one of %d by a hash of the packet; the first of the heaviest is followed", id, len(g.buckets))
		}
	case "ff", "fast_failover":
		chosen = nil
		for i := range g.buckets {
			if a.live(&g.buckets[i]) {
				chosen = g.buckets[i : i+1]
				break
			}
		}
	}
	for i := range chosen {
		if !a.failed {
			a.clone(&Action{Nested: chosen[i].actions})
		}
	}
	return true
}

// live reports whether a bucket may be chosen: the port that it watches is up.
func (a *at) live(b *bucket) bool {
	if b.watch == 0 || b.watch == portNone {
		return true
	}
	p := a.b.ports[b.watch]
	return p != nil && p.Link != "down" && p.Admin != "down"
}
