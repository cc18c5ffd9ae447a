package zone

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/office"
	"kaname.dev/kaname/rib/zone/exchange"
)

// view asks the keeper.
func (r *service) view(ctx context.Context, q exchange.Query) (exchange.View, error) {
	return office.Do[exchange.View](ctx, r.client, exchange.PathView, q)
}

// few is how many zones are shown without being asked for.
const few = 50

// statusIn says which zones to show.
type statusIn struct {
	Zone  string `name:"zone" arg:"" help:"zone; by default all" ja:"ゾーン名" complete:"zones"`
	Under string `name:"under" help:"only zones at or below this name" ja:"この名前以下のゾーンだけ"`
	All   bool   `name:"all" help:"also zones that are well" ja:"正常なゾーンも表示"`
	Limit int    `name:"limit" default:"1000" help:"most zones that are shown; 0 means all" ja:"表示するゾーン数の上限"`
}

// statusOut is one zone on one server.
type statusOut struct {
	Zone    string  `json:"zone"`
	Server  string  `json:"server,omitempty"`
	State   string  `json:"state"`
	Serial  *uint32 `json:"serial,omitempty"`  // absent when it is not served
	Primary *uint32 `json:"primary,omitempty"` // the primary's; absent when it is not known
	Lag     string  `json:"lag,omitempty"`
	Note    string  `json:"note,omitempty"`
}

func (r *service) status(ctx context.Context, run *action.Run, in statusIn) ([]statusOut, error) {
	v, err := r.view(ctx, exchange.Query{})
	if err != nil {
		return nil, err
	}
	bad := !in.All && in.Zone == "" && v.Zones > few
	if v, err = r.view(ctx, exchange.Query{Zone: in.Zone, Under: in.Under, Bad: bad, Limit: in.Limit, States: true}); err != nil {
		return nil, err
	}
	if in.Zone != "" && len(v.States) == 0 {
		return nil, fault.NotFound("zone " + in.Zone + " is known to no source and no server").Try("see the sources: kaname zone sources")
	}
	var out []statusOut
	for i := range v.States {
		out = append(out, rows(&v.States[i])...)
	}
	for _, text := range troubles(&v) {
		run.Note(text)
	}
	switch {
	case v.More > 0:
		run.Note(fmt.Sprintf("%d more zones: --limit, --under", v.More))
	case bad && len(out) == 0:
		run.Note(fmt.Sprintf("all %d zones are well on all %d servers", v.Zones, len(v.Servers)))
	}
	return out, nil
}

// rows are what status says of a zone.
func rows(z *exchange.ZoneView) []statusOut {
	shown := z.Name.Unicode()
	if z.View != "" {
		shown += " (" + z.View + ")"
	}
	if len(z.Cells) == 0 {
		return []statusOut{{Zone: shown, State: z.State, Note: joined(standing(z), z.Delegation)}}
	}
	var out []statusOut
	for i := range z.Cells {
		c := &z.Cells[i]
		o := statusOut{Zone: shown, Server: c.Server, State: c.State, Serial: known(c.Serial), Primary: known(c.Primary), Note: c.Note}
		if !c.Behind.IsZero() {
			o.Lag = time.Since(c.Behind).Round(time.Second).String()
		}
		if z.State == "restored" {
			o.Note = joined(o.Note, "restored from quarantine")
		}
		o.Note = joined(o.Note, z.Delegation)
		out = append(out, o)
	}
	return out
}

// joined returns two notes as one.
func joined(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "; " + b
}

// known returns a serial, nil for none.
func known(serial uint32) *uint32 {
	if serial == 0 {
		return nil
	}
	return &serial
}

// standing says in words how a zone stands that no server has.
func standing(z *exchange.ZoneView) string {
	switch z.State {
	case "quarantined":
		return "gone from source " + z.Source + "; until " + z.Until.UTC().Format(time.RFC3339) + ": kaname zone restore " + z.Name.Bare()
	case "homeless":
		return "source " + z.Source + " names no primary from which it could be transferred"
	case "desired":
		return "no server serves group " + z.Group
	default:
		return ""
	}
}

// troubles are what is wrong with sources and servers.
func troubles(v *exchange.View) []string {
	var out []string
	for i := range v.Sources {
		s := &v.Sources[i]
		if s.State != "ok" {
			out = append(out, "source "+s.Name+" is "+s.State+": "+sourceNote(s))
		}
	}
	for i := range v.Servers {
		s := &v.Servers[i]
		if n := serverNote(s); n != "" {
			out = append(out, "server "+s.Host+"/"+s.Name+": "+n)
		}
	}
	return out
}

func sourceNote(s *exchange.SourceView) string {
	if s.Held != nil {
		return heldNote(s.Held)
	}
	return s.Note
}

func heldNote(h *exchange.Held) string {
	var names []string
	for _, n := range h.Names[:min(len(h.Names), 3)] {
		names = append(names, n.Unicode())
	}
	if more := h.Count - len(names); more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return fmt.Sprintf("%s: %s; to let them go: kaname zone accept %s", h.Why, strings.Join(names, ", "), h.Hash)
}

func serverNote(s *exchange.ServerView) string {
	switch {
	case s.Head.Trouble != "":
		return s.Head.Trouble
	case s.Head.Held != nil:
		return heldNote(s.Head.Held)
	default:
		return strings.Join(s.Head.Problems, "; ")
	}
}

// listIn says which zones to list.
type listIn struct {
	Under string `name:"under" help:"only zones at or below this name" ja:"この名前以下のゾーンだけ"`
	State string `name:"state" help:"only zones in this state" enum:",desired,quarantined,restored,homeless" ja:"この状態のゾーンだけ"`
	Limit int    `name:"limit" default:"1000" help:"most zones that are shown; 0 means all" ja:"表示するゾーン数の上限"`
}

// listOut is one zone.
type listOut struct {
	Zone   string `json:"zone"`
	View   string `json:"view,omitempty"`
	Source string `json:"source,omitempty"`
	Group  string `json:"group,omitempty"`
	State  string `json:"state"`
	Served string `json:"served"` // by how many of the servers that have it
	Until  string `json:"until,omitempty"`
	Note   string `json:"note,omitempty"`
}

func (r *service) list(ctx context.Context, run *action.Run, in listIn) ([]listOut, error) {
	v, err := r.view(ctx, exchange.Query{Under: in.Under, States: true})
	if err != nil {
		return nil, err
	}
	var out []listOut
	for i := range v.States {
		z := &v.States[i]
		if z.State == "" || in.State != "" && z.State != in.State {
			continue
		}
		if in.Limit > 0 && len(out) == in.Limit {
			run.Note("there are more: --limit, --under")
			break
		}
		out = append(out, listed(z))
	}
	return out, nil
}

func listed(z *exchange.ZoneView) listOut {
	o := listOut{Zone: z.Name.Unicode(), View: z.View, Source: z.Source, Group: z.Group, State: z.State}
	serving := 0
	for i := range z.Cells {
		if z.Cells[i].State == exchange.Serving {
			serving++
		}
	}
	o.Served = fmt.Sprintf("%d/%d", serving, len(z.Cells))
	var notes []string
	if z.Pinned {
		notes = append(notes, "pinned")
	}
	if len(z.Also) > 0 {
		notes = append(notes, "also in "+strings.Join(z.Also, ", ")+", which does not own it")
	}
	if !z.Until.IsZero() {
		o.Until = z.Until.UTC().Format(time.RFC3339)
	}
	o.Note = joined(strings.Join(notes, "; "), z.Delegation)
	return o
}

// zoneIn names one zone.
type zoneIn struct {
	Zone string `name:"zone" arg:"" required:"" help:"zone" ja:"ゾーン名" complete:"zones"`
	View string `name:"view" help:"view, where servers have views" ja:"ビュー"`
}

func (r *service) show(ctx context.Context, _ *action.Run, in zoneIn) (exchange.ZoneView, error) {
	v, err := r.view(ctx, exchange.Query{Zone: in.Zone})
	if err != nil {
		return exchange.ZoneView{}, err
	}
	i := slices.IndexFunc(v.States, func(z exchange.ZoneView) bool { return z.View == in.View })
	if i < 0 {
		return exchange.ZoneView{}, fault.NotFound("zone " + in.Zone + " is known to no source and no server").Try("see the sources: kaname zone sources")
	}
	return v.States[i], nil
}

// none is an action's input when it takes none.
type none struct{}

// sourceOut is one source.
type sourceOut struct {
	Source      string `json:"source"`
	Kind        string `json:"kind"`
	Host        string `json:"host"`
	State       string `json:"state"`
	Zones       int    `json:"zones"`
	Quarantined int    `json:"quarantined"`
	Serial      string `json:"serial,omitempty"`
	Heard       string `json:"heard,omitempty"`
	Note        string `json:"note,omitempty"`
}

func (r *service) listSources(ctx context.Context, _ *action.Run, _ none) ([]sourceOut, error) {
	v, err := r.view(ctx, exchange.Query{})
	if err != nil {
		return nil, err
	}
	var out []sourceOut
	for i := range v.Sources {
		s := &v.Sources[i]
		o := sourceOut{Source: s.Name, Kind: s.Kind, Host: s.Host, State: s.State, Zones: s.Zones, Quarantined: s.Gone, Note: sourceNote(s)}
		if s.Serial != nil {
			o.Serial = strconv.FormatUint(uint64(*s.Serial), 10)
		}
		if !s.Heard.IsZero() {
			o.Heard = time.Since(s.Heard).Round(time.Second).String() + " ago"
		}
		out = append(out, o)
	}
	return out, nil
}

// serverOut is one server.
type serverOut struct {
	Server  string `json:"server"`
	Kind    string `json:"kind"`
	Version string `json:"version,omitempty"`
	State   string `json:"state"` // converged, working, held, trouble
	Serving int    `json:"serving"`
	Other   string `json:"other,omitempty"` // zones in other states: "loading 3"
	Wanted  int    `json:"wanted"`
	Foreign int    `json:"foreign"`
	Note    string `json:"note,omitempty"`
}

func (r *service) listServers(ctx context.Context, _ *action.Run, _ none) ([]serverOut, error) {
	v, err := r.view(ctx, exchange.Query{})
	if err != nil {
		return nil, err
	}
	var out []serverOut
	for i := range v.Servers {
		s := &v.Servers[i]
		o := serverOut{
			Server: s.Host + "/" + s.Name, Kind: s.Head.Kind, Version: s.Head.Version, Serving: s.Count[exchange.Serving],
			Wanted: s.Wants, Foreign: s.Head.Foreign, Note: serverNote(s), State: "working",
		}
		switch {
		case s.Head.Trouble != "":
			o.State = "trouble"
		case s.Head.Held != nil:
			o.State = "held"
		case s.Head.Converged:
			o.State = "converged"
		}
		var other []string
		for state, n := range s.Count {
			if state != exchange.Serving {
				other = append(other, fmt.Sprintf("%s %d", state, n))
			}
		}
		slices.Sort(other)
		o.Other = strings.Join(other, ", ")
		out = append(out, o)
	}
	return out, nil
}
