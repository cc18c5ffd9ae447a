package zone

import (
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"kaname.dev/kaname/rib/zone/graduate"
	"kaname.dev/kaname/rib/zone/graduate/compare"
)

// fewZones is how many zones are printed for people; -o json has more.
const fewZones = 20

// page is a text for people.
type page struct{ strings.Builder }

func (p *page) linef(format string, args ...any) { fmt.Fprintf(p, format+"\n", args...) }

// table writes rows in columns; the cells must have no tabs.
func (p *page) table(rows [][]string) {
	w := tabwriter.NewWriter(p, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		fmt.Fprintln(w, "  "+strings.Join(r, "\t"))
	}
	_ = w.Flush() // into memory
}

// list writes sentences, each with its mark.
func (p *page) list(title string, items []string) {
	if len(items) == 0 {
		return
	}
	p.linef("\n%s", title)
	for i, s := range items {
		p.linef("  %d. %s", i+1, s)
	}
}

// findings writes what does not go over.
func (p *page) findings(title string, list []graduate.Finding) {
	if len(list) == 0 {
		return
	}
	p.linef("\n%s", title)
	for i := range list {
		f := &list[i]
		times := ""
		if f.Times > 1 {
			times = fmt.Sprintf(" (and %d more)", f.Times-1)
		}
		p.linef("  %-8s %s%s", f.Severity, f.Where, times)
		p.linef("           %s", f.What)
		p.linef("           > %s", f.Remedy)
	}
}

// String is the import for people.
func (o importOut) String() string {
	var p page
	view := ""
	if o.View != "" {
		view = " of view " + o.View
	}
	p.linef("%d zones%s, %d TSIG keys, %d templates", o.Count, view, len(o.Keys), len(o.Templates))
	for _, n := range o.Notes {
		p.linef("note: %s", n)
	}
	p.linef("")
	rows := [][]string{{"ZONE", "TYPE", "TEMPLATE", "SIGNED BY", "FILE"}}
	for i := range o.Zones[:min(len(o.Zones), fewZones)] {
		z := &o.Zones[i]
		kind := z.Type
		if z.Dynamic {
			kind += ", dynamic"
		}
		rows = append(rows, []string{z.Name.Unicode(), kind, dashed(z.Template), dashed(z.Signed), dashed(z.File)})
	}
	p.table(rows)
	if more := o.Count - min(len(o.Zones), fewZones); more > 0 {
		p.linef("  and %d more zones", more)
	}
	if len(o.Templates) > 0 {
		p.linef("")
		rows = [][]string{{"TEMPLATE", "PRIMARIES", "TRANSFER"}}
		for i := range o.Templates {
			t := &o.Templates[i]
			var from []string
			for _, s := range t.Primaries {
				from = append(from, strings.TrimSpace(s.Address.String()+" "+s.Key))
			}
			rows = append(rows, []string{t.Name, strings.Join(from, ", "), dashed(strings.Join(t.Transfer, ", "))})
		}
		p.table(rows)
	}
	if len(o.Keys) > 0 {
		p.linef("")
		rows = [][]string{{"KEY", "ALGORITHM"}}
		for _, k := range o.Keys {
			rows = append(rows, []string{k.Name, k.Algorithm})
		}
		p.table(rows)
	}
	p.findings("what does not go over by itself:", o.Unmapped)
	if o.Move != nil {
		p.linef("\ngraduation %s is %s: %s to %s, %d blockers", o.Move.Name, o.Move.State, o.Move.Old, o.Move.New, o.Move.Blockers)
		p.list("next:", o.Next)
	}
	return p.Builder.String()
}

func dashed(s string) string {
	if s == "" {
		return "-"
	}
	return strings.ReplaceAll(s, "\t", " ")
}

// String is the configuration for people.
func (o targetOut) String() string {
	var p page
	for _, f := range o.Files {
		p.linef("==> %s (%#o): %s", f.Path, f.Mode, f.Why)
		p.linef("%s", strings.TrimRight(f.Text, "\n"))
		p.linef("")
	}
	p.list("notes:", o.Notes)
	p.list("then run on the new server:", o.Commands)
	p.findings("what the new server cannot have:", o.Lacks)
	p.list("written, with the secrets:", o.Written)
	return p.Builder.String()
}

// String is the outcome for people.
func (o compareOut) String() string {
	var p page
	p.linef("no difference: %d zones, %d records, %d questions, in %s", o.Zones, o.Records, o.Questions, o.Took.Round(time.Millisecond))
	if len(o.Left) > 0 {
		p.linef("left out: %s", strings.Join(o.Left, ", "))
	}
	if o.Name != "" {
		p.linef("graduation %s is %s", o.Name, o.Row)
		p.list("next:", o.Next)
	}
	return p.Builder.String()
}

// String is the state for people.
func (o cutoverOut) String() string {
	var p page
	p.linef("graduation %s is %s", o.Name, o.State)
	p.list("next:", o.Next)
	return p.Builder.String()
}

// String is the move for people.
func (o graduationOut) String() string {
	var p page
	p.linef("graduation %s is %s since %s: %s to %s (%s), %d zones", o.Name, o.State, o.Since, o.Old, o.New, o.Kind, o.Zones)
	if o.Lacks != "" {
		p.linef("not ready: %s", o.Lacks)
	}
	p.list("next:", o.Next)
	if o.Blockers > 0 {
		p.findings("blockers:", o.Open)
	}
	if len(o.Runs) > 0 {
		p.linef("\ncomparisons, the last first:")
		rows := [][]string{{"END", "ZONES", "DIFFERING", "DIFFERENCES", "GUESSED", "LEFT OUT"}}
		for i := range min(len(o.Runs), 10) {
			c := &o.Runs[len(o.Runs)-1-i]
			rows = append(rows, []string{
				c.At.UTC().Format(time.RFC3339), strconv.Itoa(c.Zones), strconv.Itoa(c.Differing), strconv.Itoa(c.Differences),
				strconv.Itoa(c.Weak), dashed(strings.Join(c.Without, ", ")),
			})
		}
		p.table(rows)
	}
	if len(o.Steps) > 0 {
		p.linef("\nsteps:")
		for _, s := range o.Steps {
			p.linef("  %s  %s -> %s  %s: %s", s.At.UTC().Format(time.RFC3339), s.From, s.To, dashed(s.Actor), s.Why)
		}
	}
	p.differences(o.Last)
	return p.Builder.String()
}

// differences writes the first difference of each zone and kind with both answers, the
// others in one line.
func (p *page) differences(list []compare.Difference) {
	if len(list) == 0 {
		return
	}
	p.linef("\ndifferences of the last comparison:")
	seen := map[string]bool{}
	for i := range list {
		d := &list[i]
		p.linef("  %s: %s: %s: %s", d.Zone.Unicode(), d.Kind, d.Question, d.What)
		first := d.Kind + " " + string(d.Zone)
		if seen[first] || d.Kind == compare.KindRecord {
			continue
		}
		seen[first] = true
		for _, side := range []struct{ which, text string }{{"old", d.Old}, {"new", d.New}} {
			text := strings.TrimSpace(side.text)
			if text == "" {
				text = "(nothing)"
			}
			for line := range strings.Lines(text) {
				p.linef("    %s | %s", side.which, strings.TrimRight(line, "\n"))
			}
		}
	}
}
