package plane

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"kaname.dev/kaname/fault"
)

// attempt is one try at what is not allowed.
type attempt struct {
	Host    string // who, by its certificate; empty if unknown
	Remote  string // address it came from
	Token   string // ID of the join token
	What    string // see TrustRecord.What
	Subject string // the subject tried, or why it is refused
}

// The audit keeps everything for ever, and a captured host can be refused 100,000
// times a second. So refusals are gathered: the first of each sort is written at
// once, and its repetitions within refusalWindow as one record with their number.
// A host may have refusalSorts different sorts in a window, and all together
// refusalAll; the rest is counted together. Nothing is dropped from the count.
const (
	refusalWindow = 5 * time.Second
	refusalSorts  = 50
	refusalAll    = 5000
)

// refusals gathers refused attempts for the audit.
type refusals struct {
	wake chan struct{}

	mu    sync.Mutex // guards the fields below
	sorts map[attempt]*sortOfRefusal
	per   map[string]int // sorts in the window, by who
}

// sortOfRefusal is what is known of one sort of refusal in its window.
type sortOfRefusal struct {
	end     time.Time
	pending int // counted and not yet written
	written bool
}

func newRefusals() *refusals {
	return &refusals{wake: make(chan struct{}, 1), sorts: map[attempt]*sortOfRefusal{}, per: map[string]int{}}
}

// add notes a refusal; it never blocks.
func (r *refusals) add(x attempt) {
	x.Subject = short(x.Subject)
	who := x.Host
	if h, _, err := net.SplitHostPort(x.Remote); err == nil {
		x.Remote = h // the port differs each time
	}
	if who == "" {
		who = x.Remote
	}
	r.mu.Lock()
	s := r.sorts[x]
	if s == nil {
		if r.per[who] >= refusalSorts {
			x.What, x.Subject, x.Token = "many", "further attempts of other kinds", ""
			s = r.sorts[x]
		}
		if s == nil && len(r.sorts) >= refusalAll {
			x, who = attempt{What: "many", Subject: "further attempts of others"}, ""
			s = r.sorts[x]
		}
		if s == nil {
			s = &sortOfRefusal{end: time.Now().Add(refusalWindow)}
			r.sorts[x] = s
			r.per[who]++
		}
	}
	s.pending++
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// short cuts a text that a stranger has chosen.
func short(s string) string {
	if len(s) > 300 {
		s = s[:300] + "…"
	}
	return strings.ToValidUTF8(s, "?")
}

// due returns what is to be written now, and when to look again.
func (r *refusals) due(now time.Time, all bool) (out []counted, next time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next = time.Hour
	for x, s := range r.sorts {
		over := all || !now.Before(s.end)
		if s.pending > 0 && (!s.written || over) {
			out = append(out, counted{x, s.pending})
			s.pending, s.written = 0, true
			if over { // a new window begins, so that a steady stream is one record a window
				s.end = now.Add(refusalWindow)
			}
		} else if over {
			delete(r.sorts, x)
			who := x.Host
			if who == "" {
				who = x.Remote
			}
			if r.per[who]--; r.per[who] <= 0 {
				delete(r.per, who)
			}
			continue
		}
		next = min(next, s.end.Sub(now))
	}
	return out, max(next, time.Millisecond)
}

// counted is a refusal and how often it happened.
type counted struct {
	attempt
	n int
}

// run writes refusals until ctx ends, and then those that are left.
func (r *refusals) run(ctx context.Context, write func(context.Context, counted) error) {
	t := time.NewTimer(time.Hour)
	defer t.Stop()
	for {
		out, next := r.due(time.Now(), false)
		for _, c := range out {
			if err := write(ctx, c); err != nil {
				r.putBack(c)
				next = min(next, time.Second)
			}
		}
		t.Reset(next)
		select {
		case <-ctx.Done():
			r.flush(ctx, write)
			return
		case <-r.wake:
		case <-t.C:
		}
	}
}

// flush writes what is left when the plane closes, as far as a second allows.
func (r *refusals) flush(ctx context.Context, write func(context.Context, counted) error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	out, _ := r.due(time.Now(), true)
	for _, c := range out {
		if write(ctx, c) != nil {
			return
		}
	}
}

// putBack counts again what could not be written.
func (r *refusals) putBack(c counted) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.sorts[c.attempt]; s != nil {
		s.pending += c.n
		s.written = false
	}
}

// writeRefusal appends to the audit; a plain host tells a core.
func (p *Plane) writeRefusal(ctx context.Context, c counted) error {
	rec := TrustRecord{Host: c.Host, Remote: c.Remote, Token: c.Token, What: c.What, Text: c.Subject}
	if c.n > 1 {
		rec.Count = c.n
	}
	if !p.IsCore() {
		return p.Emit(ctx, topicCommandRefused, rec)
	}
	return p.Emit(ctx, topicRefused, rec)
}

// refuseCommand notes a command that this host refused. Only what smells of an
// attempt counts: a command that came late or that this version does not know is
// an everyday fault.
func (p *Plane) refuseCommand(o order, err error) {
	if !fault.Is(err, fault.KindDenied) && !fault.Is(err, fault.KindCorrupt) {
		return
	}
	text := fault.Of(err).What
	if o.Name != "" {
		text = o.Name + " (call " + o.Call + "): " + text
	}
	p.refused.add(attempt{Host: p.o.Host, What: "command", Subject: text})
}

// takeRefusal takes the word of a host for what was refused there.
func (p *Plane) takeRefusal(host string, data []byte) {
	var rec TrustRecord
	if json.Unmarshal(data, &rec) != nil {
		return
	}
	for range min(max(rec.Count, 1), 1000) { // a host's number is not to be believed without bound
		p.refused.add(attempt{Host: host, What: "command", Subject: rec.Text})
	}
}

// The server has no hook for refused publishes and subscriptions; it writes log
// lines. TestCapturedKey notices if an upgrade changes them.
var (
	lineID     = regexp.MustCompile(`cid:(\d+)`) // comes before anything that a client can choose
	lineAction = regexp.MustCompile(`(Publish|Subscription) Violation[^-]* - (.*)$`)
	lineShake  = regexp.MustCompile(`TLS handshake error: (.*)$`)
)

// hear looks at an error line of the server and takes it for the audit if it tells
// of a refusal. It reports whether it did.
func (a *auth) hear(format string, v []any) bool {
	line := fmt.Sprintf(format, v...)
	id := lineID.FindStringSubmatchIndex(line)
	if id == nil {
		return false
	}
	n, err := strconv.ParseUint(line[id[2]:id[3]], 10, 64)
	if err != nil {
		return false
	}
	host, remote := a.of(n)
	if remote == "" {
		remote, _, _ = strings.Cut(line, " ")
	}
	rest := line[id[1]:]
	if m := lineAction.FindStringSubmatch(rest); m != nil {
		what := "publish"
		if m[1] == "Subscription" {
			what = "subscribe"
		}
		a.refused.add(attempt{Host: host, Remote: remote, What: what, Subject: withoutSID(m[2])})
		return true
	}
	if m := lineShake.FindStringSubmatch(rest); m != nil {
		a.refused.add(attempt{Remote: remote, What: "connection", Subject: m[1]})
		return true
	}
	return false
}

// withoutSID drops the number of the subscription, which differs each time.
func withoutSID(s string) string {
	if i := strings.LastIndex(s, ", SID "); i >= 0 {
		return s[:i]
	}
	return s
}
