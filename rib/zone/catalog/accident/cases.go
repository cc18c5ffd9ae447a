package accident

import (
	"slices"
	"strings"
	"time"
)

// All returns every accident.
func All() []Case {
	return slices.Concat(malformed(), moves(), losses(), outages())
}

// good is the catalog that most cases begin with, beside an empty second one.
func good(serial uint32) doc { return of(One, serial, zones(1, 20)...) }

func start() Step { return now(good(10), of(Two, 10)) }

// spoiled is a case in which one broken version comes between two good ones, the second
// of which has a new member.
func spoiled(name, text string, broken doc, never ...string) Case {
	return Case{
		Name: name, Text: text, Keep: zones(1, 20), New: zones(21, 21), Never: never,
		Steps: []Step{start(), now(broken), now(of(One, 12, zones(1, 21)...))},
	}
}

// malformed are the catalogs that break a rule.
func malformed() []Case {
	bad := func() doc { return of(One, 11, zones(1, 19)...) } // would lose one zone if it counted
	version := func(v string) doc { return bad().without("version ").with("version TXT " + v) }
	return []Case{
		spoiled("version-missing", "the version record is lost", bad().without("version ")),
		spoiled("version-3", "the version is from the future", version(`"3"`)),
		spoiled("version-word", "the version is a word", version(`"two"`)),
		spoiled("version-empty", "the version is empty", version(`""`)),
		spoiled("version-twice", "there are two versions", bad().with(`version TXT "3"`)),
		spoiled("version-split", "the version is split into two strings", version(`"2" ""`)),
		spoiled("two-pointers", "one member node names two zones", bad().with("id-z19.zones PTR z20.example.")),
		spoiled("member-root", "the root is a member", bad().with("id-root.zones PTR ."), "."),
		spoiled("member-self", "the catalog lists itself", bad().with("id-self.zones PTR "+One)),
		spoiled("member-above", "the catalog's parent is a member", bad().with("id-up.zones PTR catalog."), "catalog."),
		spoiled("member-wildcard", "a wildcard is a member", bad().with("id-wild.zones PTR *.example."), "*.example."),
		spoiled("wrong-class", "a record is of class CH", bad().with("id-z20.zones CH PTR z20.example.")),
		spoiled("coo-twice", "a zone is handed over to two catalogs", bad().with("coo.id-z19.zones PTR "+Two, "coo.id-z19.zones PTR three.catalog.")),
		spoiled("outside", "a record of another zone stands in between", good(11).with("ns.elsewhere. A 192.0.2.2")),
		{
			Name: "garbage", Text: "records that mean nothing stand in between", Keep: zones(1, 20), New: zones(21, 21),
			Steps: []Step{start(), now(of(One, 11, zones(1, 21)...).with("www A 192.0.2.1", "zones TXT x",
				"id-x.zones TXT x", "a.b.id-z01.zones PTR y.example.", "note.ext.id-z02.zones TXT x", "ext TXT x"))},
		},
		{
			Name: "group-of-nothing", Text: "a group stands at a member node that is not there", Keep: zones(1, 20), New: zones(21, 21),
			Steps: []Step{start(), now(of(One, 11, zones(1, 21)...).with("group.id-nobody.zones TXT fast", `group.id-z01.zones TXT "fa" "st"`))},
		},
		{
			Name: "upper-case", Text: "all names are written in upper case", Keep: zones(1, 20), New: zones(21, 21),
			Steps: []Step{start(), {Catalogs: map[string]string{One: upper(of(One, 11, zones(1, 21)...).text())}}},
		},
		longName(),
	}
}

// upper writes the names of members and their labels in upper case.
func upper(text string) string {
	return strings.ReplaceAll(strings.ReplaceAll(text, "id-z", "ID-Z"), " z", " Z")
}

func longName() Case {
	label := strings.Repeat("l", 63)
	long := label + "." + label + "." + label + "." + strings.Repeat("m", 53) + ".example."
	d := of(One, 11, zones(1, 20)...).with("id-long.zones PTR " + long)
	return Case{Name: "long-name", Text: "a member's name has 255 octets", Keep: zones(1, 20), New: []string{long}, Steps: []Step{start(), now(d)}}
}

// moves are about labels and about zones that go from one catalog to another.
func moves() []Case {
	first := zones(1, 1)
	rest := of(One, 12, zones(2, 20)...)
	coo := good(11).with("coo.id-z01.zones PTR " + Two)
	other := of(Two, 11).with("other.zones PTR z01.example.")
	relabelled := of(One, 11)
	for _, z := range zones(1, 20) {
		relabelled = relabelled.with("new-" + label(z) + ".zones PTR " + z)
	}
	swapped := good(11).without("id-z01.").without("id-z02.").with("id-z01.zones PTR z02.example.", "id-z02.zones PTR z01.example.")
	return []Case{
		{
			Name: "member-twice", Text: "a zone stands at two member nodes, then at the first again", Keep: zones(1, 20), New: zones(21, 21),
			Steps: []Step{start(), now(good(11).with("dup.zones PTR z01.example.")), now(good(12)), now(of(One, 13, zones(1, 21)...))},
		},
		{
			Name: "member-twice-other", Text: "a zone stands at two member nodes, then at the second alone", Keep: zones(1, 20),
			Steps: []Step{start(), now(good(11).with("dup.zones PTR z01.example.")), now(rest.with("dup.zones PTR z01.example."))},
		},
		{
			Name: "move-uncoordinated", Text: "a zone is added to a second catalog, then removed from the first", Keep: zones(1, 20),
			Steps: []Step{start(), now(of(Two, 11, first...)), now(rest)},
		},
		{
			Name: "move-coo", Text: "a zone is handed over by coo, its label the same", Keep: zones(1, 20),
			Steps: []Step{start(), now(coo), now(of(Two, 11, first...)), now(rest)},
		},
		{
			Name: "move-coo-label", Text: "a zone is handed over by coo, its label another", Keep: zones(1, 20),
			Steps: []Step{start(), now(coo), now(other), now(rest)},
		},
		{
			Name: "both-catalogs", Text: "two catalogs claim a zone, then the later one drops it", Keep: zones(1, 20),
			Steps: []Step{start(), now(of(Two, 11, first...)), now(of(Two, 12))},
		},
		{Name: "labels-change", Text: "all labels change at once", Keep: zones(1, 20), Steps: []Step{start(), now(relabelled)}},
		{Name: "labels-swap", Text: "two zones exchange their labels", Keep: zones(1, 20), Steps: []Step{start(), now(swapped)}},
	}
}

// losses are about sets that shrink and serials that go back.
func losses() []Case {
	all := zones(1, 20)
	trickle := Case{Name: "trickle", Text: "one zone after the other goes", Keep: zones(1, 16), Steps: []Step{start()}}
	for i := range 12 {
		trickle.Steps = append(trickle.Steps, now(of(One, uint32(11+i), zones(1, 19-i)...)))
	}
	return []Case{
		{Name: "all-gone", Text: "all members go in one update", Keep: all, Steps: []Step{start(), now(of(One, 11))}},
		{Name: "half-gone", Text: "half of the members go in one update", Keep: all, Steps: []Step{start(), now(of(One, 11, zones(1, 10)...))}},
		{Name: "replaced", Text: "half of the members go, and as many others come", Keep: all, New: zones(31, 40), Steps: []Step{start(), now(of(One, 11, append(zones(1, 10), zones(31, 40)...)...))}},
		trickle,
		{Name: "serial-back", Text: "an old copy comes back, without the newest zone", Keep: all, Steps: []Step{start(), now(of(One, 5, zones(1, 19)...))}},
		{
			Name: "serial-back-stays", Text: "the serial begins anew, and zones come", Keep: all, New: zones(21, 22),
			Steps: []Step{start(), now(of(One, 1, zones(1, 21)...)), now(of(One, 2, zones(1, 22)...))},
		},
		{
			Name: "serial-jump", Text: "the serial jumps by 2^31, which is no order", Keep: all, New: zones(21, 21),
			Steps: []Step{start(), now(of(One, 10+1<<31, zones(1, 21)...))},
		},
		{
			Name: "serial-same", Text: "a broken version is repaired without a new serial", Keep: all, New: zones(21, 21),
			Steps: []Step{start(), now(good(11).without("version ")), now(of(One, 11, zones(1, 21)...))},
		},
		{
			Name: "soa-only", Text: "only SOA and NS are left", Keep: all, New: zones(21, 21),
			Steps: []Step{start(), now(doc{zone: One, serial: 11, expire: 1209600}), now(of(One, 12, zones(1, 21)...))},
		},
	}
}

// outages are about primaries that do not answer as they should.
func outages() []Case {
	again := func(m Mode) []Step {
		bad, better := now(of(One, 11, zones(1, 10)...)), now(of(One, 12, zones(1, 21)...))
		bad.Modes, bad.Wait = map[string]Mode{One: m}, 3*time.Second
		better.Modes = map[string]Mode{One: OK}
		return []Step{start(), bad, better}
	}
	short := good(10)
	short.expire = 4
	list := []Case{{
		Name: "expired", Text: "the catalog expires while its primary is away", Keep: zones(1, 20),
		Steps: []Step{now(short, of(Two, 10)), mode(Timeout, 10*time.Second), mode(OK, 0)},
	}}
	for _, c := range []struct {
		mode Mode
		text string
	}{{Refuse, "is refused"}, {Cut, "is cut in its middle"}, {Timeout, "gets no answer"}} {
		list = append(list, Case{Name: "transfer-" + string(c.mode), Text: "a transfer " + c.text + ", then goes well", Keep: zones(1, 20), New: zones(21, 21), Steps: again(c.mode)})
	}
	return list
}
