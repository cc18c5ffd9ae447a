package flow

import (
	"fmt"
	"net/netip"
)

// Plan says, in the order in which a person does it, what is to be done next; for a
// cutover also how clients are moved, each way of which one is enough.
func (g Graduation) Plan() []string {
	switch g.State {
	case Imported:
		return append(g.accepting(),
			fmt.Sprintf("provision the new server at %s with %d zones; kaname zone target writes its configuration", g.New, g.Zones),
			"keep clients at "+g.Old,
			"then compare: "+g.compare(),
		)
	case Shadow:
		return append(g.accepting(), g.comparing()...)
	case Green:
		return append(g.accepting(), g.cutover()...)
	case CutOver:
		return []string{
			"watch: kaname zone status, and the query rate of " + g.Old + ", which has to fall to nothing",
			"to go back: undo the switch, then kaname zone cutover " + g.ID + " --rollback",
			fmt.Sprintf("keep %s running as a warm secondary at least as long as the longest TTL of the NS records and their addresses", g.Old),
			"then release it: kaname zone cutover " + g.ID + " --release",
		}
	case Released:
		return []string{"remove " + g.Old + " from allow-transfer, also-notify, NS records and monitoring; then switch it off"}
	case Abandoned:
		return []string{"remove the zones from " + g.New + " if they are not wanted there"}
	}
	return nil
}

// accepting says how the import's findings are dealt with, if there are any.
func (g Graduation) accepting() []string {
	if g.Blockers == 0 {
		return nil
	}
	return []string{fmt.Sprintf("deal with %d findings of the import, then: kaname zone cutover %s --accept --why TEXT", g.Blockers, g.ID)}
}

// comparing says how the move comes to be green.
func (g Graduation) comparing() []string {
	return []string{
		"compare: " + g.compare(),
		fmt.Sprintf("repeat it until %d comparisons in a row and %g hours are green", g.Policy.Runs, g.Policy.Hours),
	}
}

// compare is the command that compares all zones and is counted.
func (g Graduation) compare() string {
	return "kaname zone compare " + g.Old + " " + g.New + " --name " + g.ID
}

// Switch says how clients are moved to the new server, whether or not it is time to.
func (g Graduation) Switch() []string {
	steps := g.cutover()
	return steps[:len(steps)-1] // all but to record it
}

// cutover says how clients are moved.
func (g Graduation) cutover() []string {
	old, other := host(g.Old), host(g.New)
	return []string{
		"freeze changes: no zone is added or edited until the switch is done (dynamic zones: rndc freeze)",
		"compare once more: " + g.compare(),
		"secondaries: add " + other + " to their primaries beside " + old + ", with the same key; primaries: add " + other + " to also-notify and allow-transfer",
		"switch, one of: (a) move the address " + old + " to the new server (VIP, anycast route, ip addr; ARP/ND announces it): at once, and back at once",
		"switch, or: (b) change the A/AAAA records of the name server's name from " + old + " to " + other + ", the glue at the registrar too: takes their TTL",
		"switch, or: (c) change the NS records of each zone, at the parent first added, then removed: takes the parent's TTL, mostly 1 or 2 days",
		"check from outside: dig +norecurse @" + other + " SOA of some zones, by UDP and TCP",
		"record it: kaname zone cutover " + g.ID,
	}
}

func host(s string) string {
	if a, err := netip.ParseAddrPort(s); err == nil {
		return a.Addr().String()
	}
	return s
}
