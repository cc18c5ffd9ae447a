package zone

import (
	"bytes"
	"compress/flate"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/rib/zone/graduate"
	"kaname.dev/kaname/rib/zone/graduate/compare"
	"kaname.dev/kaname/rib/zone/graduate/flow"
	"kaname.dev/kaname/rib/zone/name"
)

// graduation is the document of one move; its key is its name.
type graduation struct {
	flow.Graduation

	Kind  string               `json:"kind"` // of the new server
	View  string               `json:"view,omitempty"`
	Names []byte               `json:"names"`          // of the zones, packed by packNames
	Open  []graduate.Finding   `json:"open,omitempty"` // the blockers of the import; accepted when Blockers is 0
	Last  []compare.Difference `json:"last,omitempty"` // the first differences of the last comparison that was counted
}

// maxLast is how many differences of a comparison are kept with it.
const maxLast = 30

func (r *service) graduations() plane.Docs[graduation] {
	return plane.Documents[graduation](r.node.Plane, "zone.graduations")
}

// packNames makes the zones' names small enough for one document: 100,000 of them are
// some hundred KiB.
func packNames(names []name.Name) ([]byte, error) {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		if _, err := io.WriteString(w, string(n)+"\n"); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func unpackNames(b []byte) ([]name.Name, error) {
	text, err := io.ReadAll(flate.NewReader(bytes.NewReader(b)))
	if err != nil {
		return nil, fault.Corrupt("the list of zones of a graduation").Because(err).Try("import the configuration again: kaname zone graduate")
	}
	var names []name.Name
	for line := range strings.Lines(string(text)) {
		names = append(names, name.Name(strings.TrimSuffix(line, "\n")))
	}
	return names, nil
}

// graduating lists the actions that move a site from one name server to another.
func (r *service) graduating() []action.Action {
	return []action.Action{
		action.New("zone graduate", "Read a named.conf, say what another server can carry of it, and begin a move", action.Changes, r.graduate,
			action.InJapanese("named.conf を読み、別のサーバーへ移せるものと移せないものを示し、移行を始める"),
			action.WithLong(graduateLong),
			action.WithExample("kaname zone graduate all.conf --for nsd", "only look; all.conf is the output of: named-checkconf -px"),
			action.WithExample("kaname zone graduate all.conf --for knot --old 192.0.2.1:53 --new 192.0.2.2:53 --name tokyo", "begin a move, or bring it up to date")),
		action.New("zone target", "Write the configuration of the new server for the zones of a named.conf", action.Destroys, r.target,
			action.InJapanese("named.conf のゾーンについて、新しいサーバーの設定を書き出す"),
			action.WithPlan(r.planTarget), action.Unasked(),
			action.WithLong("Without --write the files are printed, the secrets of keys replaced by SECRET. With it they are written on the core, with secrets, readable by their owner only; nothing that stands there is written over. What the files hold is to be included by the server's main file, or run once."),
			action.WithExample("kaname zone target all.conf --for nsd", "to read"),
			action.WithExample("kaname zone target all.conf --for knot --write /root/knot", "with the secrets, into files on the core")),
		action.New("zone compare", "Ask two servers the same and show every difference", action.Changes, r.compare,
			action.InJapanese("二つのサーバーに同じ質問をし、違いをすべて表示する"),
			action.WithLong(compareLong),
			action.WithExample("kaname zone compare 192.0.2.1:53 192.0.2.2:53 --name tokyo", "all zones of a graduation; it is counted there"),
			action.WithExample("kaname zone compare 192.0.2.1:53 192.0.2.2:53 example.jp example.com", "two zones")),
		action.New("zone cutover", "Record that clients ask the new server, or that they no longer do", action.Changes, r.cutover,
			action.InJapanese("クライアントを新しいサーバーへ切り替えたこと、または戻したことを記録する"),
			action.WithPlan(r.planCutover),
			action.WithLong(cutoverLong),
			action.WithExample("kaname zone cutover tokyo --dry-run", "what a person has to switch"),
			action.WithExample("kaname zone cutover tokyo", "it is switched"),
			action.WithExample("kaname zone cutover tokyo --rollback --why 'wrong ACL'", "clients ask the old server again"),
			action.WithExample("kaname zone cutover tokyo --release", "the old server is given up")),
		action.New("zone graduations", "List the moves from one name server to another", action.Reads, r.listGraduations,
			action.InJapanese("サーバー移行の一覧を表示する"),
			action.WithColumns("name", "state", "old", "new", "kind", "zones", "blockers", "green", "lacks"),
			action.WithExample("kaname zone graduations", "all of them")),
		action.New("zone graduation", "Show how far a move is, what is next, and the last differences", action.Reads, r.showGraduation,
			action.InJapanese("一つの移行の状況、次の手順、最後の違いを表示する"),
			action.WithExample("kaname zone graduation tokyo", "one move")),
	}
}

const graduateLong = `FILE is one text without includes: what "named-checkconf -p" prints where named runs, or "named-checkconf -px", which leaves the secrets out. A file that lies on the core is given by --path instead, and is read with all that it includes.

Nothing is changed on any server. With --old and --new a graduation begins: its zones are compared by "zone compare", and "zone cutover" records the switch. Given again, it is brought up to date; comparisons start anew when zones or blockers have changed.

A blocker is a finding by which answers, or who gets them, would differ: deal with it, and say so with "zone cutover NAME --accept --why TEXT".`

// graduationRow is one line of the list.
type graduationRow struct {
	Name     string `json:"name"`
	State    string `json:"state"`
	Since    string `json:"since"`
	Old      string `json:"old"`
	New      string `json:"new"`
	Kind     string `json:"kind"`
	View     string `json:"view,omitempty"`
	Zones    int    `json:"zones"`
	Blockers int    `json:"blockers"`
	Green    string `json:"green"` // comparisons in a row
	Lacks    string `json:"lacks,omitempty"`
}

func rowOf(g *graduation) graduationRow {
	out := graduationRow{
		Name: g.ID, State: string(g.State), Since: g.Since.UTC().Format(time.RFC3339), Old: g.Old, New: g.New, Kind: g.Kind, View: g.View,
		Zones: g.Zones, Blockers: g.Blockers, Green: fmt.Sprintf("%d/%d", g.GreenRuns, g.Policy.Runs),
	}
	if g.State == flow.Imported || g.State == flow.Shadow || g.State == flow.Green {
		_, out.Lacks = g.Ready(time.Now())
	}
	return out
}

func (r *service) listGraduations(ctx context.Context, run *action.Run, _ none) ([]graduationRow, error) {
	docs, err := r.graduations().List(ctx, "")
	if err != nil {
		return nil, err
	}
	var out []graduationRow
	for i := range docs {
		out = append(out, rowOf(&docs[i].Value))
	}
	if len(out) == 0 {
		run.Note("none; begin one: kaname zone graduate FILE --for nsd --old ADDR --new ADDR")
	}
	return out, nil
}

// graduationIn names a move.
type graduationIn struct {
	Name string `name:"name" arg:"" required:"" help:"name of the graduation" ja:"移行の名前"`
}

// graduationOut is all that is known of a move.
type graduationOut struct {
	graduationRow

	Next  []string             `json:"next"`
	Open  []graduate.Finding   `json:"open,omitempty"`
	Runs  []flow.Run           `json:"runs,omitempty"` // the newest last
	Steps []flow.Step          `json:"steps,omitempty"`
	Last  []compare.Difference `json:"last,omitempty"`
}

func (r *service) showGraduation(ctx context.Context, _ *action.Run, in graduationIn) (graduationOut, error) {
	g, err := r.graduationNamed(ctx, in.Name)
	if err != nil {
		return graduationOut{}, err
	}
	return graduationOut{rowOf(&g), g.Plan(), g.Open, g.Runs, g.Steps, g.Last}, nil
}

func (r *service) graduationNamed(ctx context.Context, key string) (graduation, error) {
	doc, err := r.graduations().Get(ctx, key)
	if fault.Is(err, fault.KindNotFound) {
		return graduation{}, fault.NotFound("graduation " + key + " does not exist").Try("see: kaname zone graduations")
	}
	return doc.Value, err
}

// graduationOf finds the move from old to other: the one of that name, or the only one
// that is going on; ok is false when there is none and no name was given.
func (r *service) graduationOf(ctx context.Context, key, old, other string) (g graduation, ok bool, err error) {
	if key != "" {
		g, err = r.graduationNamed(ctx, key)
		if err == nil && (old != "" && old != g.Old || other != "" && other != g.New) {
			err = fault.Invalid(fmt.Sprintf("graduation %s goes from %s to %s", key, g.Old, g.New)).Try("compare those, or leave --name out")
		}
		return g, err == nil, err
	}
	docs, err := r.graduations().List(ctx, "")
	if err != nil {
		return g, false, err
	}
	docs = slices.DeleteFunc(docs, func(d plane.Doc[graduation]) bool {
		v := &d.Value
		return v.Old != old || v.New != other || v.State == flow.Released || v.State == flow.Abandoned
	})
	switch len(docs) {
	case 0:
		return g, false, nil
	case 1:
		return docs[0].Value, true, nil
	}
	return g, false, fault.Invalid("several graduations go from " + old + " to " + other).Try("name one: --name " + docs[0].Value.ID)
}
