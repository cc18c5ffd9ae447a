package netpath

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/netpath/cause"
	"kaname.dev/kaname/rib/netpath/expect"
	"kaname.dev/kaname/rib/netpath/path"
	"kaname.dev/kaname/rib/netpath/show"
	"kaname.dev/kaname/rib/netpath/trace"
)

type traceIn struct {
	Source string `name:"source" arg:"" required:"" help:"where the packet begins: a VM, a port, an address, a device, or internet" ja:"送信元: VM、ポート、アドレス、デバイス、または internet" complete:"netpath-ends"`
	Target string `name:"target" arg:"" required:"" help:"where it is to arrive: as the source, or metadata, dhcp, dns, gateway" ja:"宛先: 送信元と同じ形、または metadata、dhcp、dns、gateway" complete:"netpath-ends"`
	TCP    int    `name:"tcp" help:"TCP port at the target" ja:"宛先の TCP ポート"`
	UDP    int    `name:"udp" help:"UDP port at the target; with neither it is a ping, or what the service speaks" ja:"宛先の UDP ポート（どちらもなければ ping）"`
	Size   int    `name:"size" help:"bytes of the IP packet, to find where it is too large; 0 is 84" ja:"IP パケットの大きさ（バイト）。0 は 84"`
	Why    bool   `name:"why" help:"show the lines on which each statement rests" ja:"根拠となる行も表示する"`
	SVG    bool   `name:"svg" help:"print a drawing (SVG) instead of text" ja:"文章の代わりに図 (SVG) を出力する"`
	From   string `name:"from" help:"read this bundle instead of asking hosts and Neutron" ja:"ホストと Neutron の代わりにこのバンドルを読む" complete:"files"`
	Lang   string `name:"lang" enum:"en,ja" help:"language of the text: en or ja" ja:"文章の言語: en または ja"`
}

func (in *traceIn) question() (trace.Question, error) {
	q := trace.Question{From: in.Source, To: in.Target, Size: in.Size}
	switch {
	case in.TCP != 0 && in.UDP != 0:
		return q, fault.Invalid("a packet is of TCP or of UDP, not of both").Try("leave --tcp or --udp out")
	case in.TCP < 0, in.TCP > 65535, in.UDP < 0, in.UDP > 65535:
		return q, fault.Invalid("a port is a number from 1 to 65535")
	case in.TCP != 0:
		q.Proto, q.Port = "tcp", uint16(in.TCP) //nolint:gosec // bounded above
	case in.UDP != 0:
		q.Proto, q.Port = "udp", uint16(in.UDP) //nolint:gosec // bounded above
	}
	if in.Size != 0 && (in.Size < 28 || in.Size > 65535) {
		return q, fault.Invalid(fmt.Sprintf("an IP packet has 28 to 65535 bytes, not %d", in.Size))
	}
	return q, nil
}

// Answer is what trace gives.
type Answer struct {
	trace.Trace
	Lang    string `json:"lang,omitempty"`
	Why     bool   `json:"why,omitempty"`
	Text    string `json:"text,omitempty"`    // for doors that show no text of their own
	Drawing string `json:"drawing,omitempty"` // SVG, where it was asked for
}

// String is the answer for people: the drawing if they asked for it.
func (a Answer) String() string {
	if a.Drawing != "" && a.Text == "" {
		return a.Drawing
	}
	return show.Text(a.Trace, show.Options{Lang: a.Lang, Why: a.Why})
}

func (r *service) trace(ctx context.Context, run *action.Run, in traceIn) (Answer, error) {
	q, err := in.question()
	if err != nil {
		return Answer{}, err
	}
	src, err := r.source(in.From, run)
	if err != nil {
		return Answer{}, err
	}
	t, err := answer(ctx, src, q)
	if err != nil {
		return Answer{}, err
	}
	a := Answer{Trace: t, Lang: in.Lang, Why: in.Why}
	if console := run.Actor.Door == "console"; in.SVG || console {
		a.Drawing = string(show.SVG(t, in.Lang))
		if console {
			a.Text = show.Text(t, show.Options{Lang: in.Lang, Why: in.Why})
		}
	}
	return a, nil
}

// maxRounds bounds how often a walk is begun again because it came to a host that had not
// been looked at yet.
const maxRounds = 8

// answer walks, looks at those hosts to which the packet comes, and explains.
func answer(ctx context.Context, src source, q trace.Question) (trace.Trace, error) {
	c, err := src.cloud(ctx)
	if err != nil {
		return trace.Trace{}, err
	}
	// What would mend a path may lie beyond where it ends now, so all of it is looked at.
	need, err := path.Hosts(c, q)
	if err != nil {
		return trace.Trace{}, err
	}
	hosts, failed := src.hosts(ctx, need)
	w := path.NewWorld(c, hosts)
	for range maxRounds {
		t, err := w.Walk(q)
		if err != nil {
			return trace.Trace{}, err
		}
		unseen := slices.DeleteFunc(t.Unseen(), func(name string) bool { return failed[name] != nil })
		if len(unseen) == 0 {
			break
		}
		found, not := src.hosts(ctx, unseen)
		maps.Copy(hosts, found)
		maps.Copy(failed, not)
		if err := ctx.Err(); err != nil {
			return trace.Trace{}, err
		}
		w = path.NewWorld(c, hosts)
	}
	checker := expect.New(c, hosts)
	t, err := cause.Explain(w, q, checker.Host)
	if err != nil {
		return trace.Trace{}, err
	}
	for _, name := range slices.Sorted(maps.Keys(failed)) {
		t.Missing = append(t.Missing, strings.TrimSpace(trace.HostPrefix+name+": "+failed[name].Error()))
	}
	return t, nil
}
