package show

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"net/netip"
	"strings"

	"charm.land/lipgloss/v2"

	"kaname.dev/kaname/rib/netpath/packet"
	"kaname.dev/kaname/rib/netpath/trace"
	"kaname.dev/kaname/rib/netpath/words"
)

// Measures of the drawing, in pixels.
const (
	margin  = 16
	lane    = 190 // width of a host's column
	box     = 160
	tall    = 34
	row     = 58
	head    = 78 // above the first station
	textual = 560
	perLine = 78 // half-width characters of a sentence before it is broken
)

// style follows the reader's light or dark setting; it works inside an image as well.
const style = `<style>
svg{font-family:system-ui,"Noto Sans CJK JP","Hiragino Sans",sans-serif;font-size:12px;--ink:#1d2733;--soft:#66727f;--paper:#fff;--lane:#f3f5f7;--box:#fff;--good:#1a7f4b;--bad:#c62828;--unknown:#a86a00}
@media(prefers-color-scheme:dark){svg{--ink:#e6ebf0;--soft:#9aa7b4;--paper:#12171d;--lane:#1a2129;--box:#222b35;--good:#4cc38a;--bad:#ff6b6b;--unknown:#e0a030}}
.paper{fill:var(--paper)}.lane{fill:var(--lane)}.ink{fill:var(--ink)}.soft{fill:var(--soft)}.title{font-size:15px;font-weight:600}.small{font-size:11px}
.box{fill:var(--box);stroke-width:1.5}.way{fill:none;stroke-width:2}.good{stroke:var(--good)}.bad{stroke:var(--bad);stroke-width:2.5}.unknown{stroke:var(--unknown);stroke-dasharray:4 3}
.tgood{fill:var(--good)}.tbad{fill:var(--bad);font-weight:600}.tunknown{fill:var(--unknown)}.middle{text-anchor:middle}
</style>`

// SVG draws a trace: a column for each host, a box for each station, in the order in which
// the packet comes to them; the answer's way below. The same trace gives the same bytes.
// Nothing in it runs, and no name gets out of its text.
func SVG(t trace.Trace, lang string) []byte {
	d := &drawing{Options: Options{Lang: lang}, lanes: map[string]int{}}
	for _, l := range []trace.Leg{t.Forward, t.Back} {
		for i := range l.Hops {
			d.laneOf(l.Hops[i].Host)
		}
	}
	y := d.leg(head, t.Forward)
	if len(t.Back.Hops) > 0 {
		y += 26
		d.text(margin, y-8, "soft", d.say("the answer", "応答"))
		y = d.leg(y+8, t.Back)
	}
	y = d.ending(y, &t)
	return d.whole(&t, y)
}

type drawing struct {
	body bytes.Buffer
	Options
	lanes map[string]int // host to its column
	names []string
}

func (d *drawing) laneOf(host string) int {
	n, is := d.lanes[host]
	if !is {
		n = len(d.names)
		d.lanes[host] = n
		d.names = append(d.names, host)
	}
	return n
}

func (d *drawing) center(host string) int { return margin + d.laneOf(host)*lane + lane/2 }

func (d *drawing) right() int { return margin + len(d.names)*lane + 24 }

func (d *drawing) text(x, y int, class, s string) {
	fmt.Fprintf(&d.body, `<text x="%d" y="%d" class="%s">%s</text>`+"\n", x, y, class, escape(s))
}

// escape makes text of a name: no markup, no control characters.
func escape(s string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(words.Clean(s))) // a buffer takes everything
	return b.String()
}

// leg draws the stations of a way from y downwards, and returns where it ends.
func (d *drawing) leg(y int, l trace.Leg) int {
	for i := range l.Hops {
		h := &l.Hops[i]
		x := d.center(h.Host)
		if i > 0 {
			d.arrow(d.center(l.Hops[i-1].Host), y-row+tall, x, y, &l.Hops[i-1], h)
		}
		tone := toneOf(h.Verdict)
		fmt.Fprintf(&d.body, `<rect x="%d" y="%d" width="%d" height="%d" rx="6" class="box %s"/>`+"\n", x-box/2, y, box, tall, tone)
		d.text(x, y+tall/2+4, "ink middle", fmt.Sprintf("%d. %s", h.N, brief(h.Name)))
		for j, s := range wrap(words.Hop(*h, d.Lang), perLine) {
			class := "ink small"
			if h.Verdict != trace.Delivered {
				class = "t" + tone
			}
			d.text(d.right(), y+14+14*j, class, prefix(j, h.N)+s)
		}
		y += row
	}
	return y
}

func prefix(line, n int) string {
	if line > 0 {
		return "    "
	}
	return fmt.Sprintf("%d. ", n)
}

func toneOf(v trace.Verdict) string {
	switch v {
	case trace.Delivered:
		return "good"
	case trace.Undetermined:
		return "unknown"
	default:
		return "bad"
	}
}

// arrow leads from one station to the next, with what was rewritten between them.
func (d *drawing) arrow(x1, y1, x2, y2 int, from, to *trace.Hop) {
	fmt.Fprintf(&d.body, `<path d="M%d %d L%d %d" class="way good" marker-end="url(#tip)"/>`+"\n", x1, y1, x2, y2-2)
	if s := rewritten(from.In, to.In); s != "" {
		d.text((x1+x2)/2+14, (y1+y2)/2+4, "soft small", s)
	}
}

// rewritten says how addresses changed at a station: NAT, or a tunnel.
func rewritten(before, after packet.Packet) string {
	var s []string
	changed := func(what string, a, b netip.Addr) {
		if a != b && a.IsValid() && b.IsValid() {
			s = append(s, fmt.Sprintf("%s %s → %s", what, a, b))
		}
	}
	if before.IsIP() && after.IsIP() {
		changed("src", before.IPSrc, after.IPSrc)
		changed("dst", before.IPDst, after.IPDst)
	}
	if t := after.Tunnel; t.Kind != "" && before.Tunnel.Kind == "" {
		s = append(s, fmt.Sprintf("%s %d", t.Kind, t.ID))
	}
	return strings.Join(s, ", ")
}

// ending writes the verdict and the causes below the stations.
func (d *drawing) ending(y int, t *trace.Trace) int {
	y += 14
	endings := map[trace.Verdict]string{
		trace.Delivered:    d.say("✓ It arrives, and the answer comes back.", "✓ 到達し、応答も戻ります。"),
		trace.Dropped:      d.say("✗ It does not arrive.", "✗ 届きません。"),
		trace.Undetermined: d.say("? Cannot tell.", "? 判定できません。"),
		trace.Looped:       d.say("✗ It goes round without arriving.", "✗ 到達せずに巡回しています。"),
	}
	tone := toneOf(t.Verdict)
	d.text(margin, y, "t"+tone, endings[t.Verdict])
	y += 20
	for i := range t.Causes {
		f := &t.Causes[i]
		w := words.Of(*f, d.Lang)
		for _, s := range wrap("● "+w.Title, d.columns()) {
			d.text(margin, y, "ink", s)
			y += 17
		}
		for _, s := range wrap(w.Text, d.columns()) {
			d.text(margin+14, y, "soft", s)
			y += 16
		}
		for _, x := range f.Fix {
			for _, s := range wrap(strings.TrimSpace(x.Host+"# "+x.Command), d.columns()) {
				d.text(margin+14, y, "ink small", s)
				y += 16
			}
		}
		y += 6
	}
	return y
}

// columns is how many half-width characters fit below the stations.
func (d *drawing) columns() int { return (d.width() - 2*margin) / 7 }

func (d *drawing) width() int { return d.right() + textual }

func (d *drawing) whole(t *trace.Trace, y int) []byte {
	var b bytes.Buffer
	width, height := d.width(), y+margin
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img">`+"\n%s\n", width, height, width, height, style)
	b.WriteString(`<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" class="tgood"/></marker></defs>` + "\n")
	fmt.Fprintf(&b, `<rect width="%d" height="%d" class="paper"/>`+"\n", width, height)
	p := page{Options: d.Options}
	fmt.Fprintf(&b, `<text x="%d" y="28" class="ink title">%s</text>`+"\n", margin, escape(p.headline(t)))
	for i, name := range d.names {
		x := margin + i*lane
		fmt.Fprintf(&b, `<rect x="%d" y="42" width="%d" height="%d" rx="8" class="lane"/>`+"\n", x+4, lane-8, max(0, d.lanesEnd(t)-42))
		if name == "" {
			name = d.say("outside", "外部")
		}
		fmt.Fprintf(&b, `<text x="%d" y="60" class="soft middle">%s</text>`+"\n", x+lane/2, escape(name))
	}
	b.Write(d.body.Bytes())
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func (d *drawing) lanesEnd(t *trace.Trace) int {
	y := head + row*len(t.Forward.Hops)
	if n := len(t.Back.Hops); n > 0 {
		y += 34 + row*n
	}
	return y
}

// wrap breaks a text into lines of at most so many half-width characters, at spaces, or
// within a text that has none, as Japanese.
func wrap(s string, width int) []string {
	return strings.Split(strings.TrimRight(lipgloss.Wrap(words.Clean(s), max(width, 20), " "), "\n"), "\n")
}
