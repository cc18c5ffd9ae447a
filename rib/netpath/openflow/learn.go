package openflow

import (
	"errors"
	"fmt"
	"strings"
)

// parseLearn reads what is in the brackets of learn.
func parseLearn(arg string) (a Action, err error) {
	l := &learn{flow: Flow{Priority: defaultPriority, Table: 1}}
	for arg != "" {
		var word string
		if word, arg, err = cutAction(arg); err != nil {
			return a, err
		}
		name, value, hasValue := strings.Cut(word, "=")
		if known, err := l.flow.note(name, value); err != nil {
			return a, err
		} else if known {
			continue
		}
		switch name {
		case "", "fin_idle_timeout", "fin_hard_timeout", "delete_learned", "limit":
			continue
		case "result_dst":
			return Action{}, nil
		}
		s, err := parseSpec(word, name, value, hasValue)
		if err != nil {
			return a, fmt.Errorf("%q: %w", word, err)
		}
		l.specs = append(l.specs, s)
	}
	return Action{Kind: ActLearn, learn: l}, nil
}

func parseSpec(word, name, value string, hasValue bool) (s spec, err error) {
	if rest, ok := strings.CutPrefix(word, "output:"); ok {
		s.output = true
		s.src, err = parseSpan(rest)
		return s, err
	}
	if rest, ok := strings.CutPrefix(word, "load:"); ok {
		from, to, ok := strings.Cut(rest, "->")
		if !ok {
			return s, errors.New("load lacks its ->")
		}
		s.load = true
		if s.dst, err = parseSpan(to); err != nil {
			return s, err
		}
		if fieldByName[leftOf(from, "[")] != nil {
			s.src, err = parseSpan(from)
			return s, err
		}
		s.value, err = parseNumber(from)
		return s, err
	}
	if s.dst, err = parseSpan(name); err != nil {
		return s, err
	}
	switch {
	case !hasValue:
		s.src = s.dst
	case fieldByName[leftOf(value, "[")] != nil:
		s.src, err = parseSpan(value)
	default:
		s.value, _, err = parseValue(s.dst.f, value)
	}
	return s, err
}

// make returns the flow that a packet teaches.
func (l *learn) make(w *words) *Flow {
	f := l.flow
	f.Match.terms = nil
	f.Line = "learned"
	for i := range l.specs {
		s := &l.specs[i]
		v := s.value
		if s.src.f != nil {
			v = w.read(s.src)
		}
		switch {
		case s.output:
			f.Actions = append(f.Actions, Action{Kind: ActOutput, Port: int(v.lo), Text: fmt.Sprintf("output:%d", v.lo)})
		case s.load:
			v = v.and(ones128(s.dst.n))
			f.Actions = append(f.Actions, Action{
				Kind: ActSet, dst: s.dst, value: v.left(s.dst.from), mask: ones128(s.dst.n).left(s.dst.from),
				Text: fmt.Sprintf("load:%s->%s", v, s.dst),
			})
		default:
			f.Match.add(s.dst.f, v.left(s.dst.from), ones128(s.dst.n).left(s.dst.from))
		}
	}
	f.Line = fmt.Sprintf("learned: %s actions=%s", f.Key(), joinActions(f.Actions))
	return &f
}

func joinActions(list []Action) string {
	texts := make([]string, len(list))
	for i := range list {
		texts[i] = list[i].Text
	}
	if len(texts) == 0 {
		return "drop"
	}
	return strings.Join(texts, ",")
}
