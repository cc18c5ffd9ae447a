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
		return []string{
			fmt.Sprintf("provision the new server at %s with %d zones", g.New, g.Zones),
			"keep clients at " + g.Old,
		}
	case Shadow:
		return []string{
			fmt.Sprintf("compare %s and %s: kaname zone compare %s %s", g.Old, g.New, g.Old, g.New),
			fmt.Sprintf("repeat it until %d comparisons in a row and %g hours are green", g.Policy.Runs, g.Policy.Hours),
		}
	case Green:
		return g.cutover()
	case CutOver:
		return []string{
			"watch: kaname zone status, and the query rate of " + g.Old + ", which has to fall to nothing",
			"to go back: undo the switch, then kaname zone cutover --rollback",
			fmt.Sprintf("keep %s running as a warm secondary at least as long as the longest TTL of the NS records and their addresses", g.Old),
			"then release it: kaname zone cutover --release",
		}
	case Released:
		return []string{"remove " + g.Old + " from allow-transfer, also-notify, NS records and monitoring; then switch it off"}
	case Abandoned:
		return []string{"remove the zones from " + g.New + " if they are not wanted there"}
	}
	return nil
}

// cutover says how clients are moved.
func (g Graduation) cutover() []string {
	old, other := host(g.Old), host(g.New)
	return []string{
		"freeze changes: no zone is added or edited until the switch is done (dynamic zones: rndc freeze)",
		"compare once more: kaname zone compare " + g.Old + " " + g.New,
		"secondaries: add " + other + " to their primaries beside " + old + ", with the same key; primaries: add " + other + " to also-notify and allow-transfer",
		"switch, one of: (a) move the address " + old + " to the new server (VIP, anycast route, ip addr; ARP/ND announces it): at once, and back at once",
		"switch, or: (b) change the A/AAAA records of the name server's name from " + old + " to " + other + ", the glue at the registrar too: takes their TTL",
		"switch, or: (c) change the NS records of each zone, at the parent first added, then removed: takes the parent's TTL, mostly 1 or 2 days",
		"check from outside: dig +norecurse @" + other + " SOA of some zones, by UDP and TCP",
		"record it: kaname zone cutover",
	}
}

func host(s string) string {
	if a, err := netip.ParseAddrPort(s); err == nil {
		return a.Addr().String()
	}
	return s
}
