package cli

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/dustin/go-humanize"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/door/api"
)

// talker tells on standard error what happens during a call.
type talker interface {
	event(e action.Event)
	end(err error)
}

// talker chooses the way: bars on a terminal, JSON lines for programs.
func (c *CLI) talker() talker {
	switch {
	case c.set.progress == talkNone:
		return silent{}
	case c.set.progress == talkPlain:
		return &plain{w: c.o.Stderr}
	case c.set.jsonTalk(c):
		return &lines{w: c.o.Stderr}
	default:
		return newBars(c.o.Stderr, c.style(c.o.Stderr, styleGood), c.style(c.o.Stderr, styleBad))
	}
}

type silent struct{}

func (silent) event(action.Event) {}
func (silent) end(error)          {}

// lines writes each event as a JSON line: {"event": {…}}.
type lines struct {
	mu sync.Mutex // guards w
	w  io.Writer
}

func (l *lines) event(e action.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	writeLine(l.w, api.Line{Event: &e})
}

func (l *lines) end(error) {}

// plain writes a line for each step that begins or ends, and for each sentence.
type plain struct {
	mu   sync.Mutex // guards the fields below
	w    io.Writer
	last string
}

func (p *plain) event(e action.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	line := sentence(e)
	key := e.Host + "\x00" + e.Step + "\x00" + string(e.State) + "\x00" + e.Text
	if line == "" || key == p.last { // the same step going on
		return
	}
	p.last = key
	fmt.Fprintf(p.w, "%s %s\n", e.Time.Local().Format(time.TimeOnly), line)
}

func (p *plain) end(error) {}

// sentence is an event as one line: "web3: fetch: done 1.2 GiB".
func sentence(e action.Event) string {
	var parts []string
	for _, s := range []string{e.Host, e.Step} {
		if s != "" {
			parts = append(parts, dash(s)+":")
		}
	}
	if e.State != "" && (e.State != action.StateRunning || e.Text == "") {
		parts = append(parts, string(e.State))
	}
	if a := amount(e); a != "" {
		parts = append(parts, a)
	}
	if e.Text != "" {
		parts = append(parts, dash(e.Text))
	}
	return strings.Join(parts, " ")
}

// amount is the progress of an event: "3/5 hosts", "1.2 GiB/2.0 GiB".
func amount(e action.Event) string {
	show := func(n int64) string {
		if e.Unit == "bytes" {
			return humanize.IBytes(uint64(max(n, 0)))
		}
		return humanize.Comma(n)
	}
	unit := ""
	if e.Unit != "bytes" && e.Unit != "" {
		unit = " " + e.Unit
	}
	switch {
	case e.Total > 0:
		return show(e.Done) + "/" + show(e.Total) + unit
	case e.Done > 0:
		return show(e.Done) + unit
	default:
		return ""
	}
}
