package openflow

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Flow is a flow of a table.
type Flow struct {
	Table    uint8
	Priority int
	Cookie   uint64
	Match    Match
	Actions  []Action
	Line     string // as it was dumped, without the spaces around
	Packets  uint64
	Bytes    uint64
	Idle     int // idle_timeout, seconds; 0: none
	Hard     int // hard_timeout, seconds; 0: none
}

// Key is table, priority and match in one normal form, for comparing: of two flows with
// equal keys one replaces the other.
func (f *Flow) Key() string {
	return "table=" + strconv.Itoa(int(f.Table)) + ",priority=" + strconv.Itoa(f.Priority) + "," + f.Match.String()
}

// Unknown returns what of the flow's actions is not understood.
func (f *Flow) Unknown() []string {
	var list []string
	for i := range f.Actions {
		list = f.Actions[i].unknown(list)
	}
	return list
}

// defaultPriority is that of flows whose dump does not say one.
const defaultPriority = 32768

// Parse reads flows as ovs-ofctl dump-flows writes them, one a line. What it does not know
// is kept by name and shows in Result.Unknown of the packets that meet it; a line that
// cannot be read is an error that names it, and is left out.
func Parse(dump string) ([]Flow, []error) {
	var errs []error
	flows := make([]Flow, 0, strings.Count(dump, "\n")+1)
	p := parser{actions: map[string][]Action{}}
	n := 0
	for line := range strings.Lines(dump) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || strings.HasPrefix(line, "NXST_FLOW") || strings.HasPrefix(line, "OFPST_FLOW") {
			continue
		}
		flows = append(flows, Flow{})
		if err := p.flow(line, &flows[len(flows)-1]); err != nil {
			flows = flows[:len(flows)-1]
			errs = append(errs, fmt.Errorf("flow in line %d, %.200q: %w", n, line, err))
		}
	}
	return flows, errs
}

// parser reads flows; equal actions are kept once.
type parser struct {
	actions map[string][]Action
	terms   [slots]term
}

func (p *parser) flow(line string, f *Flow) error {
	i := strings.Index(line, "actions=")
	if i < 0 || i > 0 && line[i-1] != ' ' && line[i-1] != ',' {
		return errors.New("it has no actions")
	}
	head, tail := line[:i], line[i+len("actions="):]
	*f = Flow{Line: line, Priority: defaultPriority}
	f.Match.terms = p.terms[:0]
	for head != "" {
		end := strings.IndexAny(head, ", ")
		word := head
		if end >= 0 {
			word, head = head[:end], head[end+1:]
		} else {
			head = ""
		}
		if word == "" {
			continue
		}
		name, value, hasValue := strings.Cut(word, "=")
		known, err := f.note(name, value)
		if err == nil && !known {
			err = f.Match.parse(name, value, hasValue)
		}
		if err != nil {
			return err
		}
	}
	f.Match.terms = slices.Clone(f.Match.terms)
	actions, ok := p.actions[tail]
	if !ok {
		var err error
		if actions, err = parseActions(tail, 0); err != nil {
			return err
		}
		p.actions[tail] = actions
	}
	f.Actions = actions
	return nil
}

// note takes what is said about a flow beside its match.
func (f *Flow) note(name, value string) (known bool, err error) {
	var n uint64
	switch name {
	case "cookie":
		f.Cookie, err = strconv.ParseUint(value, 0, 64)
	case "table":
		n, err = strconv.ParseUint(value, 10, 8)
		f.Table = uint8(n)
	case "priority":
		n, err = strconv.ParseUint(value, 10, 16)
		f.Priority = int(n)
	case "n_packets":
		f.Packets, err = strconv.ParseUint(value, 10, 64)
	case "n_bytes":
		f.Bytes, err = strconv.ParseUint(value, 10, 64)
	case "idle_timeout":
		n, err = strconv.ParseUint(value, 10, 16)
		f.Idle = int(n)
	case "hard_timeout":
		n, err = strconv.ParseUint(value, 10, 16)
		f.Hard = int(n)
	case "duration", "idle_age", "hard_age", "importance",
		"send_flow_rem", "check_overlap", "reset_counts", "no_packet_counts", "no_byte_counts":
	default:
		return false, nil
	}
	if err != nil {
		return true, fmt.Errorf("%s=%s: %w", name, value, err)
	}
	return true, nil
}
