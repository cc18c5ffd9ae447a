// Package accident holds what goes wrong with catalog zones, as sequences that can be
// played to any consumer: what a primary serves step by step, and which zones must be
// served throughout. Only tests and benchmarks import it.
package accident

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Mode is how a primary serves a catalog.
type Mode string

// The modes.
const (
	OK      Mode = ""
	Refuse  Mode = "refuse"  // REFUSED to everything
	Cut     Mode = "cut"     // the SOA record is told; a transfer ends in its middle
	Timeout Mode = "timeout" // no answer
)

// The catalogs that cases are about; every consumer takes both.
const (
	One = "one.catalog."
	Two = "two.catalog."
)

// Case is one accident.
type Case struct {
	Name  string   // letters, digits and '-'
	Text  string   // what happens, for people
	Steps []Step   // the first is good, and gives what Keep names
	Keep  []string // zones that must be served from the end of the first step on, at all times
	New   []string // zones that must be served in the end
	Never []string // zones that must not be served at any time
}

// As returns the case with catalogs and zones of its own, by a number from 0 to 9999, so
// that many cases can be played to the same servers at the same time. Names are as long
// as they were.
func (c *Case) As(n int) Case {
	rename := strings.NewReplacer("catalog.", fmt.Sprintf("cat%04d.", n), "example.", fmt.Sprintf("zon%04d.", n)).Replace
	all := func(list []string) []string {
		var out []string
		for _, s := range list {
			out = append(out, rename(s))
		}
		return out
	}
	own := Case{Name: c.Name, Text: c.Text, Keep: all(c.Keep), New: all(c.New), Never: all(c.Never)}
	for _, s := range c.Steps {
		step := Step{Catalogs: map[string]string{}, Modes: map[string]Mode{}, Wait: s.Wait}
		for zone, text := range s.Catalogs {
			step.Catalogs[rename(zone)] = rename(text)
		}
		for zone, m := range s.Modes {
			step.Modes[rename(zone)] = m
		}
		own.Steps = append(own.Steps, step)
	}
	return own
}

// Catalogs returns the names of the catalogs that the case is about.
func (c *Case) Catalogs() []string { return slices.Sorted(maps.Keys(c.Steps[0].Catalogs)) }

// Step is what changes at a primary at one time.
type Step struct {
	// Catalogs are whole catalog zones as zone file text with absolute names; catalogs
	// that are not named stay as they are.
	Catalogs map[string]string
	Modes    map[string]Mode // how catalogs are served from now on; those not named stay as they are
	Wait     time.Duration   // how long it takes at least until it is felt; 0: as long as a transfer
}

// zones returns the names z01.example. and so on, from one to another.
func zones(from, to int) []string {
	var list []string
	for i := from; i <= to; i++ {
		list = append(list, fmt.Sprintf("z%02d.example.", i))
	}
	return list
}

// doc is a catalog zone in the making.
type doc struct {
	zone   string
	serial uint32
	expire uint32
	lines  []string
}

// of begins a good catalog with members, their labels made of their names.
func of(zone string, serial uint32, members ...string) doc {
	d := doc{zone: zone, serial: serial, expire: 1209600}
	d = d.with("version TXT \"2\"")
	for _, m := range members {
		d = d.with(label(m) + ".zones PTR " + m)
	}
	return d
}

// label is a member's label.
func label(member string) string { return "id-" + strings.Split(member, ".")[0] }

// with adds records; their owners are relative to the catalog, without TTL and class.
func (d doc) with(lines ...string) doc {
	d.lines = append(slices.Clone(d.lines), lines...)
	return d
}

// without leaves out the lines that begin so.
func (d doc) without(prefix string) doc {
	d.lines = slices.DeleteFunc(slices.Clone(d.lines), func(l string) bool { return strings.HasPrefix(l, prefix) })
	return d
}

// text writes the zone. The refresh is short, so that a consumer looks soon even if
// it hears no NOTIFY.
func (d doc) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s 0 IN SOA invalid. hostmaster.invalid. %d 1 1 %d 0\n%s 0 IN NS invalid.\n", d.zone, d.serial, d.expire, d.zone)
	for _, l := range d.lines {
		owner, rest, _ := strings.Cut(l, " ")
		if !strings.HasSuffix(owner, ".") {
			owner += "." + d.zone
		}
		class := "IN "
		if strings.HasPrefix(rest, "CH ") {
			class = ""
		}
		fmt.Fprintf(&b, "%s 0 %s%s\n", owner, class, rest)
	}
	return b.String()
}

// now is a step in which these catalogs change.
func now(docs ...doc) Step {
	s := Step{Catalogs: map[string]string{}}
	for _, d := range docs {
		s.Catalogs[d.zone] = d.text()
	}
	return s
}

// mode is a step in which the first catalog is served otherwise.
func mode(m Mode, wait time.Duration) Step {
	return Step{Modes: map[string]Mode{One: m}, Wait: wait}
}
