package openflow

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// maxNesting bounds actions inside of actions.
const maxNesting = 8

// parseActions reads "a,b(c,d),e:f->g".
func parseActions(s string, depth int) ([]Action, error) {
	if depth > maxNesting {
		return nil, fmt.Errorf("actions are nested more than %d deep", maxNesting)
	}
	var list []Action
	for s != "" {
		var text string
		var err error
		if text, s, err = cutAction(s); err != nil {
			return nil, err
		}
		if text == "" || text == "drop" {
			continue
		}
		a, err := parseAction(text, depth)
		if err != nil {
			return nil, fmt.Errorf("action %.100q: %w", text, err)
		}
		if text == "apply_actions" || strings.HasPrefix(text, "apply_actions(") {
			list = append(list, a.Nested...)
			continue
		}
		list = append(list, a)
	}
	return list, nil
}

// cutAction cuts the first of a list at its comma; those in brackets and quotes are its own.
func cutAction(s string) (first, rest string, err error) {
	depth, quoted := 0, false
	for i := range len(s) {
		c := s[i]
		switch {
		case quoted:
			quoted = c != '"'
		case c == '"':
			quoted = true
		case c == '(':
			depth++
		case c == ')':
			if depth--; depth < 0 {
				return "", "", errors.New("actions have a ) too many")
			}
		case (c == ',' || c == ' ') && depth == 0:
			return s[:i], s[i+1:], nil
		}
	}
	if depth != 0 || quoted {
		return "", "", errors.New("actions end within brackets or quotes")
	}
	return s, "", nil
}

// simple are actions that a word says all of.
var simple = map[string]Action{
	"normal": {Kind: ActOutput, Port: portNormal}, "flood": {Kind: ActOutput, Port: portFlood}, "all": {Kind: ActOutput, Port: portAll},
	"local": {Kind: ActOutput, Port: portLocal}, "in_port": {Kind: ActOutput, Port: portInPort}, "table": {Kind: ActOutput, Port: portTable},
	"controller": {Kind: ActController}, "none": {Kind: ActNothing},
	"strip_vlan": {Kind: ActPopVLAN}, "pop_vlan": {Kind: ActPopVLAN}, "dec_ttl": {Kind: ActDecTTL}, "ct_clear": {Kind: ActUntrack},
	"ct": {Kind: ActTrack, Table: -1, track: &track{}}, "nat": {Kind: ActNAT, track: &track{nat: &translation{}}},
	"clear_actions": {Kind: ActClear}, "exit": {Kind: ActExit}, "pop_queue": {Kind: ActNothing},
}

// idle are actions that are for other than the packet.
var idle = map[string]bool{"note": true, "fin_timeout": true, "sample": true, "set_queue": true, "meter": true, "delete_learned": true}

func parseAction(text string, depth int) (Action, error) {
	name, arg := text, ""
	if i := strings.IndexAny(text, ":(="); i >= 0 {
		name, arg = text[:i], text[i:]
	}
	name = strings.ToLower(name)
	inner := arg
	if strings.HasPrefix(arg, "(") {
		inner = strings.TrimSuffix(arg[1:], ")")
	} else if arg != "" {
		inner = arg[1:]
	}
	var a Action
	var err error
	switch {
	case idle[name]:
		a.Kind = ActNothing
	case arg == "":
		if s, ok := simple[name]; ok {
			a = s
		} else if n, perr := parsePort(text); perr == nil {
			a = Action{Kind: ActOutput, Port: n}
		}
	default:
		a, err = parseArgument(name, inner, depth)
	}
	a.Text = text
	return a, err
}

// parseArgument reads an action that says more than its name; an unknown one has Kind
// ActUnknown.
func parseArgument(name, arg string, depth int) (a Action, err error) {
	switch name {
	case "output":
		return parseOutput(arg)
	case "controller":
		return Action{Kind: ActController}, nil
	case "enqueue":
		a = Action{Kind: ActEnqueue}
		dst, _, _ := strings.Cut(strings.ReplaceAll(arg, ",", ":"), ":")
		a.Port, err = parsePort(dst)
		return a, err
	case "resubmit":
		return parseResubmit(arg)
	case "goto_table":
		a = Action{Kind: ActGoto}
		a.Table, err = parseTable(arg)
		return a, err
	case "load", "set_field":
		return parseSet(name, arg)
	case "move":
		from, to, ok := strings.Cut(arg, "->")
		if !ok {
			return a, errors.New("move lacks its ->")
		}
		return parseMove(from, to)
	case "push", "pop":
		a = Action{Kind: ActPush}
		if name == "pop" {
			a.Kind = ActPop
		}
		a.dst, err = parseSpan(arg)
		return a, err
	case "ct":
		return parseTrack(arg, depth)
	case "nat":
		t, err := parseTranslation(arg)
		return Action{Kind: ActNAT, track: &track{nat: t}}, err
	case "learn":
		return parseLearn(arg)
	case "clone", "write_actions", "apply_actions":
		a = Action{Kind: ActClone}
		if name == "write_actions" {
			a.Kind = ActWrite
		}
		a.Nested, err = parseActions(arg, depth+1)
		return a, err
	case "conjunction":
		return parseConjunction(arg)
	case "check_pkt_larger":
		size, to, _ := strings.Cut(arg, ")->")
		a = Action{Kind: ActLarger}
		if a.number, err = strconv.Atoi(size); err == nil {
			a.dst, err = parseSpan(to)
		}
		return a, err
	case "dec_ttl":
		return Action{Kind: ActDecTTL}, nil
	}
	return parseModify(name, arg)
}

// parseModify reads the actions of OpenFlow 1.0 that write one field, and the rest that has
// a number.
func parseModify(name, arg string) (a Action, err error) {
	into := func(kind Kind, f string) Action {
		a := Action{Kind: kind, dst: span{f: fieldByName[f]}}
		a.dst.n = int(a.dst.f.size)
		a.value, a.mask, err = parseValue(a.dst.f, arg)
		return a
	}
	switch name {
	case "mod_dl_src", "set_dl_src":
		return into(ActSetMAC, "eth_src"), err
	case "mod_dl_dst", "set_dl_dst":
		return into(ActSetMAC, "eth_dst"), err
	case "mod_nw_src":
		return into(ActSetIP, "ip_src"), err
	case "mod_nw_dst":
		return into(ActSetIP, "ip_dst"), err
	case "mod_nw_tos":
		return into(ActSetTOS, "nw_tos"), err
	case "mod_nw_ecn":
		return into(ActSetTOS, "nw_ecn"), err
	case "mod_nw_ttl":
		return into(ActSetTOS, "nw_ttl"), err
	case "mod_tp_src":
		return into(ActSetTP, "tcp_src"), err
	case "mod_tp_dst":
		return into(ActSetTP, "tcp_dst"), err
	case "mod_vlan_vid", "set_vlan_vid":
		a = into(ActSetVLAN, "dl_vlan")
		a.flag = name == "set_vlan_vid"
		return a, err
	case "mod_vlan_pcp", "set_vlan_pcp":
		a = into(ActSetPCP, "dl_vlan_pcp")
		a.flag = name == "set_vlan_pcp"
		return a, err
	case "push_vlan":
		a = Action{Kind: ActPushVLAN}
		a.value, err = parseNumber(arg)
		return a, err
	case "set_tunnel", "set_tunnel64":
		return into(ActTunnel, "tun_id"), err
	case "write_metadata":
		return into(ActMetadata, "metadata"), err
	case "group":
		n, err := strconv.ParseUint(arg, 0, 32)
		return Action{Kind: ActGroup, number: int(n)}, err
	}
	return a, nil
}

func parseTable(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 8)
	if err != nil {
		return 0, fmt.Errorf("table %q: %w", s, err)
	}
	return int(n), nil
}

func parseOutput(arg string) (a Action, err error) {
	a.Kind = ActOutput
	if rest, ok := strings.CutPrefix(arg, "port="); ok { // output(port=1,max_len=100)
		arg, _, _ = strings.Cut(rest, ",")
	}
	if a.Port, err = parsePort(arg); err == nil {
		if a.Port == portController {
			a.Kind = ActController
		}
		return a, nil
	}
	var bad error
	if a.src, bad = parseSpan(arg); bad == nil {
		a.flag = true
		return a, nil
	}
	return a, err
}

func parseResubmit(arg string) (a Action, err error) {
	a = Action{Kind: ActResubmit, Port: -1, Table: -1}
	p, rest, _ := strings.Cut(arg, ",")
	if p != "" && !strings.EqualFold(p, "in_port") {
		if a.Port, err = parsePort(p); err != nil {
			return a, err
		}
	}
	t, rest, _ := strings.Cut(rest, ",")
	if t != "" && t != "255" {
		if a.Table, err = parseTable(t); err != nil {
			return a, err
		}
	}
	a.flag = rest == "ct"
	return a, nil
}

// parseSet reads "0x5->NXM_NX_REG5[]" (load) and "fa:16:..->eth_src" (set_field).
func parseSet(name, arg string) (a Action, err error) {
	text, to, ok := strings.Cut(arg, "->")
	if !ok {
		return a, fmt.Errorf("%s lacks its ->", name)
	}
	if name == "load" && fieldByName[leftOf(text, "[")] != nil {
		return parseMove(text, to)
	}
	if fieldByName[leftOf(to, "[")] == nil {
		return a, nil // a field that is not known: the action is not
	}
	a = Action{Kind: ActSet}
	if a.dst, err = parseSpan(to); err != nil {
		return a, err
	}
	if name == "load" {
		v, err := parseNumber(text)
		a.mask = ones128(a.dst.n).left(a.dst.from)
		a.value = v.and(ones128(a.dst.n)).left(a.dst.from)
		return a, err
	}
	a.value, a.mask, err = parseValue(a.dst.f, text)
	return a, err
}

func parseMove(from, to string) (a Action, err error) {
	if fieldByName[leftOf(from, "[")] == nil || fieldByName[leftOf(to, "[")] == nil {
		return a, nil
	}
	a = Action{Kind: ActMove}
	if a.src, err = parseSpan(from); err != nil {
		return a, err
	}
	a.dst, err = parseSpan(to)
	return a, err
}

func leftOf(s, sep string) string {
	left, _, _ := strings.Cut(s, sep)
	return left
}

// parseTrack reads what is in the brackets of ct.
func parseTrack(arg string, depth int) (a Action, err error) {
	t := &track{}
	a = Action{Kind: ActTrack, Table: -1, track: t}
	for arg != "" {
		var word string
		if word, arg, err = cutAction(arg); err != nil {
			return a, err
		}
		name, value, _ := strings.Cut(word, "=")
		switch {
		case word == "commit":
			t.commit = true
		case word == "force":
			t.force = true
		case name == "table":
			a.Table, err = parseTable(value)
		case name == "zone":
			if n, perr := strconv.ParseUint(value, 0, 16); perr == nil {
				t.zone = int(n)
			} else {
				t.zoneFrom, err = parseSpan(value)
			}
		case word == "nat":
			t.nat = &translation{}
		case strings.HasPrefix(word, "nat("):
			t.nat, err = parseTranslation(strings.TrimSuffix(word[4:], ")"))
		case strings.HasPrefix(word, "exec("):
			a.Nested, err = parseActions(strings.TrimSuffix(word[5:], ")"), depth+1)
		case word == "", name == "alg", name == "timeout":
		default:
			return Action{}, nil
		}
		if err != nil {
			return a, fmt.Errorf("%q: %w", word, err)
		}
	}
	return a, nil
}

// parseTranslation reads "src=10.0.0.1-10.0.0.9:1000-2000,random".
func parseTranslation(arg string) (*translation, error) {
	t := &translation{}
	for word := range strings.SplitSeq(arg, ",") {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "src":
			t.src = true
		case "dst":
			t.dst = true
		case "persistent":
			t.persistent = true
		case "hash":
			t.hash = true
		}
		if value == "" {
			continue
		}
		addr, ports := value, ""
		if strings.HasPrefix(value, "[") {
			addr, ports, _ = strings.Cut(value[1:], "]")
			ports = strings.TrimPrefix(ports, ":")
		} else if strings.Count(value, ":") == 1 {
			addr, ports, _ = strings.Cut(value, ":")
		}
		a, err := netip.ParseAddr(leftOf(addr, "-"))
		if err != nil {
			return nil, fmt.Errorf("address %q: %w", value, err)
		}
		t.first, t.v6 = addrValue(a), a.Is6()
		if ports != "" {
			n, err := strconv.ParseUint(leftOf(ports, "-"), 10, 16)
			if err != nil {
				return nil, fmt.Errorf("ports %q: %w", value, err)
			}
			t.firstTP = uint16(n)
		}
	}
	return t, nil
}

func parseConjunction(arg string) (Action, error) {
	c := &conjunction{}
	id, clause, _ := strings.Cut(arg, ",")
	k, n, _ := strings.Cut(clause, "/")
	x, err1 := strconv.ParseUint(strings.TrimSpace(id), 0, 32)
	y, err2 := strconv.ParseUint(strings.TrimSpace(k), 10, 8)
	z, err3 := strconv.ParseUint(strings.TrimSpace(n), 10, 8)
	if err := errors.Join(err1, err2, err3); err != nil {
		return Action{}, err
	}
	if z < 2 || z > 64 || y < 1 || y > z {
		return Action{}, fmt.Errorf("a conjunction has 2 to 64 clauses, not %d/%d", y, z)
	}
	c.id, c.clause, c.of = uint32(x), int(y)-1, int(z)
	return Action{Kind: ActConjunction, conj: c}, nil
}
