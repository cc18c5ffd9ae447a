package rndc

import (
	"fmt"
	"regexp"

	"kaname.dev/kaname/rib/zone/control/rndc/conf"
	"kaname.dev/kaname/rib/zone/name"
)

// Command is one line for named, made only by the functions here: of fixed words and
// quoted texts, so that no name ends a word or begins another.
type Command struct{ text string }

// String returns the line.
func (c Command) String() string { return c.text }

// Commands without arguments.
var (
	Status   = Command{"status"}
	Reconfig = Command{"reconfig"}
	null     = Command{"null"}
)

// View is a view that a command is for; the zero View leaves it to named, which
// takes the only one.
type View struct {
	quoted string
	word   string // as it is, where that needs no quotes
}

// plainView are names of views that need no quotes.
var plainView = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// ViewOf returns the view of that name, the zero View for "".
func ViewOf(s string) (View, error) {
	if s == "" {
		return View{}, nil
	}
	q, err := conf.Quote(s)
	if err != nil {
		return View{}, fmt.Errorf("view: %w", err)
	}
	v := View{quoted: q}
	if plainView.MatchString(s) {
		v.word = s
	}
	return v, nil
}

// Of returns a command about one zone. The name is written with its final dot, so
// that it can be no option: "-clean.".
func of(words string, n name.Name, v View) Command {
	line := words + ` "` + string(n) + `"`
	if v.quoted != "" {
		line += " IN " + v.quoted
	}
	return Command{line}
}

// ZoneStatus asks for the state of a zone.
func ZoneStatus(n name.Name, v View) Command { return of("zonestatus", n, v) }

// ShowZone asks for the configuration of a zone.
func ShowZone(n name.Name, v View) Command { return of("showzone", n, v) }

// Retransfer transfers a secondary zone anew, whatever its serial.
func Retransfer(n name.Name, v View) Command { return of("retransfer", n, v) }

// Refresh asks a zone's primaries now.
func Refresh(n name.Name, v View) Command { return of("refresh", n, v) }

// DelZone removes a zone, its files too.
func DelZone(n name.Name, v View) Command { return of("delzone -clean", n, v) }

// DropZone removes a zone and leaves its files.
func DropZone(n name.Name, v View) Command { return of("delzone", n, v) }

// AddZone adds a zone with the statements of its block, which conf.Check must allow.
// named takes no quoted view here, so the view must be plain.
func AddZone(n name.Name, v View, block string) (Command, error) {
	if err := conf.Check(block); err != nil {
		return Command{}, fmt.Errorf("the statements of a zone: %w", err)
	}
	line := of("addzone", n, View{}).text
	switch {
	case v.word != "":
		line += " IN " + v.word
	case v.quoted != "":
		return Command{}, fmt.Errorf("rndc addzone takes no view of the name %s; give it a name of letters, digits, '-' and '_'", v.quoted)
	}
	return Command{line + " { " + block + " };"}, nil
}
