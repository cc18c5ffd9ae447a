// Package show makes what people see of a trace: lines for a terminal, and a drawing. What
// is said comes from package words; here it is only arranged.
package show

import (
	"cmp"
	"fmt"
	"strings"

	"charm.land/lipgloss/v2"

	"kaname.dev/kaname/rib/netpath/trace"
	"kaname.dev/kaname/rib/netpath/words"
)

// Options say how something is shown.
type Options struct {
	Lang string // "en", "ja"; anything else is English
	Why  bool   // with the lines on which each statement rests
}

// say chooses the words of the reader's language.
func (o Options) say(en, ja string) string {
	if o.Lang == words.Japanese {
		return ja
	}
	return en
}

// Marks of hops.
const (
	markOn      = "✓"
	markDead    = "✗"
	markUnknown = "?"
)

// Text is a trace as lines of text.
func Text(t trace.Trace, o Options) string {
	b := &page{Options: o}
	b.line("%s", b.headline(&t))
	b.line("")
	b.leg(t.Forward)
	if t.Forward.Verdict != trace.Delivered {
		b.verdict(&t)
	}
	if len(t.Back.Hops) > 0 {
		b.line("")
		if t.Back.Verdict == trace.Delivered && !o.Why {
			b.line("%s", b.say(
				fmt.Sprintf("%s The answer comes back, over %d stations.", markOn, len(t.Back.Hops)),
				fmt.Sprintf("%s 応答も戻ります（%d か所を通過）。", markOn, len(t.Back.Hops))))
		} else {
			b.line("%s", b.say("The answer's way back:", "応答の帰り道:"))
			b.leg(t.Back)
		}
	}
	if t.Forward.Verdict == trace.Delivered {
		b.verdict(&t)
	}
	b.findings(b.say("Not as it should be, though the packet arrives:", "到達はしますが、正しくない点:"), t.Cautions)
	b.folded(t.Latent)
	b.missing(t.Missing)
	return b.String()
}

// Findings is a list of findings as lines of text.
func Findings(hosts int, list []trace.Finding, missing []string, o Options) string {
	b := &page{Options: o}
	if len(list) == 0 {
		b.line("%s", b.say(
			fmt.Sprintf("%s %d hosts looked at: all is as Neutron wants it.", markOn, hosts),
			fmt.Sprintf("%s %d 台を調べました。すべて Neutron の定義どおりです。", markOn, hosts)))
	} else {
		b.line("%s", b.say(
			fmt.Sprintf("%d hosts looked at, findings: %d", hosts, len(list)),
			fmt.Sprintf("%d 台を調べ、%d 件見つかりました:", hosts, len(list))))
	}
	for i := range list {
		b.line("")
		b.finding(&list[i])
	}
	b.missing(missing)
	return b.String()
}

// page is a text that grows.
type page struct {
	strings.Builder
	Options
}

func (b *page) line(format string, args ...any) { fmt.Fprintf(b, format+"\n", args...) }

func (b *page) headline(t *trace.Trace) string {
	what := cmp.Or(strings.ToUpper(t.Question.Proto), "ping")
	if t.Question.Proto == "" && (t.Target.Kind == "dhcp" || t.Target.Kind == "metadata") {
		what = strings.ToUpper(t.Target.Kind)
	}
	if t.Question.Port != 0 {
		what = fmt.Sprintf("%s %d", what, t.Question.Port)
	}
	if t.Question.Size != 0 {
		what += b.say(fmt.Sprintf(", %d bytes", t.Question.Size), fmt.Sprintf("、%d バイト", t.Question.Size))
	}
	return fmt.Sprintf("%s → %s  (%s)", end(&t.Source), end(&t.Target), what)
}

// end names an end of a path with its address and host.
func end(e *trace.End) string {
	s := words.Clean(e.Name)
	var more []string
	if e.Addr.IsValid() && e.Addr.String() != e.Name {
		more = append(more, e.Addr.String())
	}
	if e.Float.IsValid() {
		more = append(more, e.Float.String())
	}
	if e.Host != "" {
		more = append(more, words.Clean(e.Host))
	}
	if len(more) > 0 {
		s += " [" + strings.Join(more, ", ") + "]"
	}
	return s
}

// leg lists the hops of a way.
func (b *page) leg(l trace.Leg) {
	host, name := 0, 0
	for i := range l.Hops {
		host = max(host, lipgloss.Width(words.Clean(l.Hops[i].Host)))
		name = max(name, lipgloss.Width(brief(l.Hops[i].Name)))
	}
	for i := range l.Hops {
		h := &l.Hops[i]
		b.line("%3d %s%s %s  %s  %s", h.N, mark(h.Verdict), b.seen(h), pad(words.Clean(h.Host), host), pad(brief(h.Name), name), words.Hop(*h, b.Lang))
		if b.Why {
			b.line("        %s", h.In)
			if h.Out.Type != 0 && h.Out != h.In {
				b.line("      → %s", h.Out)
			}
		}
		if b.Why || h.Verdict != trace.Delivered {
			b.proofs("        ", h.Proof)
		}
	}
}

// seen shows what a live probe saw.
func (b *page) seen(h *trace.Hop) string {
	switch {
	case h.Seen == nil:
		return ""
	case *h.Seen:
		return b.say(" seen    ", " 観測    ")
	}
	return b.say(" not seen", " 観測なし")
}

func mark(v trace.Verdict) string {
	switch v {
	case trace.Delivered:
		return markOn
	case trace.Undetermined:
		return markUnknown
	default:
		return markDead
	}
}

// brief shortens the UUIDs that Neutron puts into names; eleven characters tell them apart,
// as they do in the names of devices.
func brief(name string) string {
	name = words.Clean(name)
	prefix, id, is := strings.Cut(name, "-")
	if is && len(id) == 36 && strings.Count(id, "-") == 4 {
		return prefix + "-" + id[:11] + "…"
	}
	return name
}

func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-lipgloss.Width(s)))
}

func (b *page) proofs(indent string, list []trace.Proof) {
	for _, p := range list {
		where := words.Clean(p.Where)
		if p.Host != "" {
			where = words.Clean(p.Host) + " " + where
		}
		b.line("%s%s: %s", indent, where, words.Clean(strings.Join(strings.Fields(p.Line), " ")))
	}
}

// verdict says how it ends, and why.
func (b *page) verdict(t *trace.Trace) {
	b.line("")
	last := lastGood(t)
	switch t.Verdict {
	case trace.Delivered:
		b.line("%s", b.say(markOn+" It arrives, and the answer comes back.", markOn+" 到達し、応答も戻ります。"))
		return
	case trace.Undetermined:
		b.line("%s %s", markUnknown, b.say("Cannot tell: something that is needed was not seen. The last station that is certain: "+last, "判定できません。必要な情報が取得できていません。確実なのはここまでです: "+last))
	case trace.Looped:
		b.line("%s %s", markDead, b.say("It goes round without arriving. Last station: "+last, "到達せずに巡回しています。最後の地点: "+last))
	default:
		b.line("%s %s", markDead, b.say("It does not arrive. The last station that passes it on: "+last, "届きません。最後に通過した地点: "+last))
	}
	if len(t.Causes) == 0 && t.Verdict != trace.Undetermined {
		b.line("  %s", b.say("Cannot tell why: nothing that differs from Neutron's intent would, mended, let it arrive. Look at the station after it.", "原因は特定できません。Neutron の定義との差をどれか直しても届くようにはなりません。その次の地点を調べてください。"))
	}
	for i := range t.Causes {
		b.line("")
		b.finding(&t.Causes[i])
	}
}

// lastGood names the last hop that passed the packet on.
func lastGood(t *trace.Trace) string {
	hops := t.Forward.Hops
	if t.Forward.Verdict == trace.Delivered && len(t.Back.Hops) > 0 {
		hops = t.Back.Hops
	}
	name := "-"
	for i := range hops {
		if hops[i].Verdict != trace.Delivered {
			break
		}
		name = strings.TrimSpace(words.Clean(hops[i].Host) + " " + brief(hops[i].Name))
	}
	return name
}

func (b *page) findings(title string, list []trace.Finding) {
	if len(list) == 0 {
		return
	}
	b.line("")
	b.line("%s", title)
	for i := range list {
		b.line("")
		b.finding(&list[i])
	}
}

// finding says what is wrong, the proof, and what mends it.
func (b *page) finding(f *trace.Finding) {
	t := words.Of(*f, b.Lang)
	together := ""
	if f.Together {
		together = b.say(" (one of several that all need mending)", "（ほかの原因と併せて直す必要あり）")
	}
	b.line("● %s%s  [%s]", t.Title, together, f.ID)
	b.line("  %s", t.Text)
	proof := f.Proof
	if !b.Why && len(proof) > 3 {
		proof = proof[:3]
	}
	if len(proof) > 0 {
		b.line("  %s", b.say("Proof:", "根拠:"))
		b.proofs("    ", proof)
	}
	for _, x := range f.Fix {
		label := b.say("Mend", "修復")
		if x.Lasting {
			label = b.say("Lasting", "恒久対応")
		}
		where := ""
		if x.Host != "" {
			where = b.say(" on ", " ") + words.Clean(x.Host)
		}
		b.line("  %s%s: %s%s", label, where, words.Clean(x.Command), b.risk(x.Risk))
	}
	if b.Why && t.Why != "" {
		b.line("  %s", t.Why)
	}
}

func (b *page) risk(key string) string {
	if r := words.Risk(key, b.Lang); r != "" {
		return "   # " + r
	}
	return ""
}

// folded names what differs and does not matter here.
func (b *page) folded(list []trace.Finding) {
	if len(list) == 0 {
		return
	}
	b.line("")
	b.line("%s", b.say(
		fmt.Sprintf("Differs from Neutron's intent, but not for this packet: %d (kaname netpath check shows them)", len(list)),
		fmt.Sprintf("このパケットには影響しない差分: %d 件（kaname netpath check で表示）", len(list))))
	if !b.Why {
		return
	}
	for i := range list {
		b.line("  · %s  [%s]", words.Of(list[i], b.Lang).Title, list[i].ID)
	}
}

func (b *page) missing(list []string) {
	if len(list) == 0 {
		return
	}
	b.line("")
	b.line("%s", b.say("What could not be seen:", "確認できなかったもの:"))
	for _, m := range list {
		b.line("  ? %s", words.Clean(m))
	}
}
