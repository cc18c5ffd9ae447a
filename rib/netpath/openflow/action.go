package openflow

// Kind is what an action does.
type Kind uint8

// Kinds of actions.
const (
	ActUnknown    Kind = iota // not understood
	ActNothing                // is for other than the packet: note, fin_timeout, sample, set_queue, meter
	ActOutput                 // to port number, or what a span holds
	ActController             // to the controller
	ActEnqueue                // to a port's queue
	ActResubmit               // looks in a table, then goes on
	ActGoto                   // goto_table
	ActSet                    // set_field, load
	ActMove
	ActSetVLAN // mod_vlan_vid, set_vlan_vid: writes a tag's VID
	ActSetPCP
	ActPopVLAN
	ActPushVLAN
	ActSetMAC // mod_dl_src, mod_dl_dst
	ActSetIP  // mod_nw_src, mod_nw_dst
	ActSetTOS // mod_nw_tos, mod_nw_ecn, mod_nw_ttl
	ActSetTP  // mod_tp_src, mod_tp_dst
	ActDecTTL
	ActTunnel   // set_tunnel
	ActMetadata // write_metadata
	ActTrack    // ct
	ActUntrack  // ct_clear
	ActNAT      // inside of ct
	ActLearn
	ActGroup
	ActClone
	ActPush // on the stack
	ActPop
	ActWrite // write_actions
	ActClear // clear_actions
	ActExit
	ActConjunction
	ActLarger // check_pkt_larger
)

// Action is one action.
type Action struct {
	Kind Kind
	Text string // as it was dumped

	Port   int      // ActOutput, ActEnqueue: where to; ActResubmit: as which port, -1 as it is
	Table  int      // ActResubmit, ActGoto, -1: the one that it is in; ActTrack, -1: not again
	Nested []Action // ActClone, ActWrite, ActTrack (exec)

	dst, src    span
	value, mask u128
	number      int
	flag        bool // ActResubmit: by the tuple of ct; ActSetVLAN: only if there is a tag; ActOutput: by span src
	track       *track
	learn       *learn
	conj        *conjunction
}

// track is ct.
type track struct {
	commit, force bool
	zone          int
	zoneFrom      span // if it has a field
	nat           *translation
}

// translation is nat inside of ct.
type translation struct {
	src, dst         bool // neither: as the connection has it
	first            u128 // of the addresses; zero: none is said
	v6               bool
	firstTP          uint16
	persistent, hash bool
}

// conjunction is one of n clauses.
type conjunction struct {
	id     uint32
	clause int // from 0
	of     int
}

// learn makes flows.
type learn struct {
	flow  Flow // table, priority, cookie, timeouts
	specs []spec
}

// spec is a part of a flow that is learned.
type spec struct {
	output, load bool // else a match
	dst          span
	src          span // if it has a field, else value
	value        u128
}

// String writes the action as it was dumped.
func (a *Action) String() string { return a.Text }

func (a *Action) unknown(list []string) []string {
	if a.Kind == ActUnknown {
		list = append(list, a.Text)
	}
	for i := range a.Nested {
		list = a.Nested[i].unknown(list)
	}
	return list
}
