package console

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/door/api"
	"kaname.dev/kaname/fault"
)

// view is what pages are drawn from; each uses what it needs.
type view struct {
	Lang, Title, Here string
	Me                api.Whoami
	Ribs              []string
	Fault             *fault.Fault
	Next              string // sign-in

	Hosts  value // overview
	Runs   []api.Run
	Groups []group
	Group  group // rib
	Panels []panel

	Action  api.Descriptor // action
	Reads   bool
	HasFile bool
	Inputs  []input
	Plan    *action.Plan
	Shown   string // see form.shown
	Result  *value
	Line    string

	Run   api.Run // run
	Live  bool
	Board []action.Event
	Story []action.Event
}

// group is the actions that share their first word.
type group struct {
	Name    string
	Actions []api.Descriptor
}

// panel is the result of an action that reads and needs no inputs.
type panel struct {
	Action api.Descriptor
	Value  value
	Fault  *fault.Fault
}

func (v *visit) groups() []group {
	var gs []group
	for _, a := range v.what.Actions {
		name, _, _ := strings.Cut(a.Name, " ")
		if n := len(gs); n == 0 || gs[n-1].Name != name {
			gs = append(gs, group{Name: name})
		}
		gs[len(gs)-1].Actions = append(gs[len(gs)-1].Actions, a)
	}
	return gs
}

// draw completes and writes a page.
func (v *visit) draw(name string, p view) {
	p.Lang, p.Me = language(v.r), v.me
	for _, g := range v.groups() {
		p.Ribs = append(p.Ribs, g.Name)
	}
	status := http.StatusOK
	if p.Fault != nil {
		status = fault.HTTPStatus(p.Fault)
	}
	if err := v.pages.draw(v.w, status, name, p.Lang, p); err != nil {
		v.log.Error("page not drawn", "err", err)
		http.Error(v.w, "page not drawn", http.StatusInternalServerError)
	}
}

func (v *visit) home() {
	p := view{Title: word(language(v.r), "Overview"), Here: "home", Groups: v.groups()}
	if d, ok := v.find("host.list"); ok {
		got := v.look(d)
		p.Hosts, p.Fault = got.Value, got.Fault
	}
	p.Runs = v.latest(8, &p.Fault)
	v.draw("home", p)
}

func (v *visit) latest(n int, f **fault.Fault) []api.Run {
	runs, err := v.client.Runs(v.r.Context())
	if err != nil && *f == nil {
		*f = fault.Of(err)
	}
	return runs[:min(n, len(runs))]
}

func (v *visit) runs() {
	p := view{Title: word(language(v.r), "Runs"), Here: "runs"}
	p.Runs = v.latest(200, &p.Fault)
	v.draw("runs", p)
}

func (v *visit) find(id string) (api.Descriptor, bool) {
	i := slices.IndexFunc(v.what.Actions, func(d api.Descriptor) bool { return d.ID == id })
	if i < 0 {
		return api.Descriptor{}, false
	}
	return v.what.Actions[i], true
}

// look runs an action that reads and needs no inputs.
func (v *visit) look(d api.Descriptor) panel {
	ctx, cancel := context.WithTimeout(v.r.Context(), pagePatience/3) // one of several on its page
	defer cancel()
	out, err := v.client.Call(ctx, d.ID, action.Inputs{}, api.CallOptions{}, nil)
	return panel{Action: d, Value: newValue(out).only(d.Columns), Fault: fault.Of(err)}
}

func (v *visit) rib() {
	name := v.r.PathValue("name")
	for _, g := range v.groups() {
		if g.Name != name {
			continue
		}
		p := view{Title: name, Here: name, Group: g}
		for _, d := range g.Actions {
			if d.Effect == action.Reads.String() && d.Allowed && !needsInput(d) && !endless(d) {
				p.Panels = append(p.Panels, v.look(d))
			}
		}
		v.draw("rib", p)
		return
	}
	v.draw("runs", view{Title: name, Fault: fault.NotFound("there is no rib or group " + name)})
}

func needsInput(d api.Descriptor) bool {
	return slices.ContainsFunc(d.Fields, func(f action.Field) bool { return f.Required })
}

// endless reports whether the action follows something and so never ends by itself.
func endless(d api.Descriptor) bool {
	return strings.HasSuffix(d.ID, ".watch") || strings.HasSuffix(d.ID, ".follow")
}

func (v *visit) cancel() {
	if err := v.client.Cancel(v.r.Context(), v.r.PathValue("id")); err != nil {
		v.draw("runs", view{Title: "runs", Here: "runs", Fault: fault.Of(err)})
		return
	}
	http.Redirect(v.w, v.r, "/run/"+v.r.PathValue("id"), http.StatusSeeOther)
}

// run shows one run as far as it has come; the page's script follows it from there.
func (v *visit) run() {
	run, err := v.client.Run(v.r.Context(), v.r.PathValue("id"))
	if err != nil {
		v.draw("runs", view{Title: "run", Here: "runs", Fault: fault.Of(err)})
		return
	}
	p := view{Title: run.Action, Here: "runs", Run: run, Live: run.State == api.RunRunning, Result: &value{}}
	if run.Result != nil {
		r := newValue(run.Result)
		p.Result = &r
	}
	if !p.Live {
		p.Board, p.Story = v.told(run)
	}
	v.draw("run", p)
}

// told returns the newest event of each host, and the events that are not mere
// progress, of a run that has ended.
func (v *visit) told(run api.Run) (board, story []action.Event) {
	ctx, cancel := context.WithCancel(v.r.Context())
	defer cancel()
	at := map[string]int{}
	_, _ = v.client.Follow(ctx, run.ID, 0, func(e action.Event) { // the run's own fault is on the page already
		if e.Host != "" {
			if i, ok := at[e.Host]; ok {
				board[i] = e
			} else {
				at[e.Host] = len(board)
				board = append(board, e)
			}
		}
		if e.Total == 0 || e.State != action.StateRunning {
			story = append(story, e)
		}
	})
	return board, story
}

// raw is a text as a JSON value.
func raw(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		return json.RawMessage("null")
	}
	return b
}
