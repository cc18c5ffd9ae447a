package linux

// Reasons of drops, in Step.Facts["why"]: keys of their words.
const (
	WhyDown        = "device-down"    // "dev" is switched off
	WhyCarrier     = "no-carrier"     // "dev" is on, but what it leads to is not
	WhyNoDevice    = "no-device"      // there is no "dev", or none for the VLAN "vlan"
	WhyOther       = "other-station"  // the frame is for another station: "mac" instead of "own"
	WhyMTU         = "mtu"            // "size" bytes do not fit into "mtu" of "dev" and must not be cut: needs fragmentation
	WhyTTL         = "ttl"            // it has passed too many routers
	WhyFilter      = "filter"         // a rule or policy of iptables: "table", "chain", "rule"
	WhyNoRoute     = "no-route"       // to "addr"
	WhyBlackhole   = "blackhole"      // a route or rule that swallows: "route", "rule"
	WhyUnreachable = "unreachable"    // a route or rule that refuses
	WhyProhibit    = "prohibit"       // a route or rule that forbids
	WhyForwarding  = "not-forwarding" // "sysctl" is 0: the namespace is no router
	WhyReverse     = "rp-filter"      // rp_filter: the way back to "addr" is not by "dev" but by "other"
	WhyMartian     = "martian"        // "addr" cannot be the source of what comes in there
	WhyNeighbour   = "no-neighbour"   // nobody answers ARP, or neighbour discovery, for "addr" on "dev"
	WhyListener    = "no-listener"    // no program waits at "port"
	WhyUnanswered  = "arp-not-mine"   // an ARP request for "addr", which the namespace does not answer: "reason"
	WhyNoPort      = "no-port"        // a bridge has no other port that is up
	WhySamePort    = "same-port"      // a bridge knows "mac" behind the port "port" by which the frame came
	WhyNoIP        = "not-ip"         // nobody there speaks the protocol
	WhySource      = "source"         // "addr" is none of the namespace's own
	WhyNoAddress   = "no-address"     // it has no address of its own to send from
)
