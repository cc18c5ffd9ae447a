package openflow

import "strings"

// words is what a packet and its metadata are while tables look at them: all fields, each at
// its place. Fields that stand in one another's place in Open vSwitch (an ARP packet's
// addresses in those of IPv4, ICMP's type in the source port) do so here.
type words [slots]uint64

// Where the fields are. A register of even number has the upper half of its word, so that
// the extended registers are what lies there.
const (
	slotRegs     = 0 // 8 words
	slotMetadata = 8 + iota - 1
	slotTunID
	slotTunAddr // IPv4: source, destination
	slotTunSrc6
	_
	slotTunDst6
	_
	slotPort // in_port, ct_mark
	slotCT   // ct_state 32, ct_zone 16, eth_type 16
	slotLabel
	_
	slotEthSrc // eth_src 48, vlan_tci 16
	slotEthDst // eth_dst 48, nw_proto 8, nw_tos 8
	slotIP     // source, destination
	slotSrc6
	_
	slotDst6
	_
	slotTarget
	_
	slotSHA // arp_sha 48, tcp_flags 16
	slotTHA // arp_tha 48, nw_ttl 8, nw_frag 8
	slotTP  // tp_src 16, tp_dst 16, conj_id 32
	slotMark
	slotOrigIP
	slotOrigSrc6
	_
	slotOrigDst6
	_
	slotOrigTP // ct_tp_src 16, ct_tp_dst 16, ct_nw_proto 8
	slotRecirc // recirc_id 32, dp_hash 32
	slotQueue  // skb_priority 32, actset_output 32
	slotTun    // tun_gbp_id 16, tun_gbp_flags 8, tun_flags 8, tun_ttl 8, tun_tos 8
	slotVLANs  // tpid 16, inner tpid 16, inner vlan_tci 16
	slotMPLS   // label stack entry 32, packet_type 32
	slotND     // nd_reserved 32, nd_options_type 8
	slots
)

// form is how a field's values are written.
type form uint8

const (
	number form = iota
	hexa
	mac
	ip4
	ip6
	port
	ctState
	tcpFlags
	tunFlags
	fragment
)

// need is what a packet must be for a field to exist.
type need uint8

const (
	needNone need = iota
	needARP
	needVLAN
	needIPv4
	needIPv6
	needIP
	needTCP
	needUDP
	needSCTP
	needICMP
	needICMPv6
	needND
	needSolicit
	needAdvert
	needMPLS
)

// field is one field: where it lies, as wide as it says in ovs-fields(7).
type field struct {
	name   string
	word   uint8 // the upper of two, of a field of 128 bits
	shift  uint8
	bits   uint8 // that exist in words
	size   uint8 // as it is declared; what lies above bits reads as 0
	form   form
	need   need
	fixed  bool   // cannot be written
	always uint64 // bits of the word that writing sets besides
	not    uint64 // bits that are not its own
}

// wide reports whether it has 128 bits.
func (f *field) wide() bool { return f.bits == 128 }

// mask is the field's bits in its word; not for wide ones.
func (f *field) mask() uint64 { return ones(int(f.bits)) << f.shift }

const presentTCI = 0x1000 // a tag is there

// fields lists all that are known, the first of those that share a place first: that is the
// one by which keys name it.
var fields = []field{
	{name: "metadata", word: slotMetadata, bits: 64, size: 64, form: hexa},
	{name: "tun_id", word: slotTunID, bits: 64, size: 64, form: hexa},
	{name: "tun_src", word: slotTunAddr, shift: 32, bits: 32, size: 32, form: ip4},
	{name: "tun_dst", word: slotTunAddr, bits: 32, size: 32, form: ip4},
	{name: "tun_ipv6_src", word: slotTunSrc6, bits: 128, size: 128, form: ip6},
	{name: "tun_ipv6_dst", word: slotTunDst6, bits: 128, size: 128, form: ip6},
	{name: "tun_gbp_id", word: slotTun, shift: 48, bits: 16, size: 16},
	{name: "tun_gbp_flags", word: slotTun, shift: 40, bits: 8, size: 8, form: hexa},
	{name: "tun_flags", word: slotTun, shift: 32, bits: 8, size: 16, form: tunFlags},
	{name: "tun_ttl", word: slotTun, shift: 24, bits: 8, size: 8, fixed: true},
	{name: "tun_tos", word: slotTun, shift: 16, bits: 8, size: 8, fixed: true},
	{name: "in_port", word: slotPort, shift: 32, bits: 16, size: 16, form: port},
	{name: "in_port_oxm", word: slotPort, shift: 32, bits: 16, size: 32, form: port},
	{name: "actset_output", word: slotQueue, bits: 32, size: 32, form: port, fixed: true},
	{name: "skb_priority", word: slotQueue, shift: 32, bits: 32, size: 32, form: hexa, fixed: true},
	{name: "pkt_mark", word: slotMark, shift: 32, bits: 32, size: 32, form: hexa},
	{name: "recirc_id", word: slotRecirc, shift: 32, bits: 32, size: 32, fixed: true},
	{name: "dp_hash", word: slotRecirc, bits: 32, size: 32, form: hexa, fixed: true},
	{name: "conj_id", word: slotTP, bits: 32, size: 32, fixed: true},
	{name: "ct_state", word: slotCT, shift: 32, bits: 32, size: 32, form: ctState, fixed: true},
	{name: "ct_zone", word: slotCT, shift: 16, bits: 16, size: 16, form: hexa, fixed: true},
	{name: "ct_mark", word: slotPort, bits: 32, size: 32, form: hexa},
	{name: "ct_label", word: slotLabel, bits: 128, size: 128, form: hexa},
	{name: "ct_nw_proto", word: slotOrigTP, shift: 24, bits: 8, size: 8, fixed: true},
	{name: "ct_nw_src", word: slotOrigIP, shift: 32, bits: 32, size: 32, form: ip4, fixed: true},
	{name: "ct_nw_dst", word: slotOrigIP, bits: 32, size: 32, form: ip4, fixed: true},
	{name: "ct_ipv6_src", word: slotOrigSrc6, bits: 128, size: 128, form: ip6, fixed: true},
	{name: "ct_ipv6_dst", word: slotOrigDst6, bits: 128, size: 128, form: ip6, fixed: true},
	{name: "ct_tp_src", word: slotOrigTP, shift: 48, bits: 16, size: 16, fixed: true},
	{name: "ct_tp_dst", word: slotOrigTP, shift: 32, bits: 16, size: 16, fixed: true},
	{name: "packet_type", word: slotMPLS, bits: 32, size: 32, form: hexa, fixed: true},
	{name: "eth_src", word: slotEthSrc, shift: 16, bits: 48, size: 48, form: mac},
	{name: "eth_dst", word: slotEthDst, shift: 16, bits: 48, size: 48, form: mac},
	{name: "eth_type", word: slotCT, bits: 16, size: 16, form: hexa, fixed: true},
	{name: "vlan_tci", word: slotEthSrc, bits: 16, size: 16, form: hexa},
	{name: "vlan_vid", word: slotEthSrc, bits: 13, size: 16, need: needVLAN},
	{name: "vlan_pcp", word: slotEthSrc, shift: 13, bits: 3, size: 8, need: needVLAN, always: presentTCI},
	{name: "dl_vlan", word: slotEthSrc, bits: 12, size: 16, always: presentTCI},
	{name: "dl_vlan_pcp", word: slotEthSrc, shift: 13, bits: 3, size: 8, always: presentTCI},
	{name: "mpls_label", word: slotMPLS, shift: 44, bits: 20, size: 32, need: needMPLS},
	{name: "mpls_tc", word: slotMPLS, shift: 41, bits: 3, size: 8, need: needMPLS},
	{name: "mpls_bos", word: slotMPLS, shift: 40, bits: 1, size: 8, need: needMPLS, fixed: true},
	{name: "mpls_ttl", word: slotMPLS, shift: 32, bits: 8, size: 8, need: needMPLS},
	{name: "ip_src", word: slotIP, shift: 32, bits: 32, size: 32, form: ip4, need: needIPv4},
	{name: "ip_dst", word: slotIP, bits: 32, size: 32, form: ip4, need: needIPv4},
	{name: "ipv6_src", word: slotSrc6, bits: 128, size: 128, form: ip6, need: needIPv6},
	{name: "ipv6_dst", word: slotDst6, bits: 128, size: 128, form: ip6, need: needIPv6},
	{name: "ipv6_label", word: slotMark, bits: 20, size: 32, form: hexa, need: needIPv6},
	{name: "nw_proto", word: slotEthDst, shift: 8, bits: 8, size: 8, need: needIP, fixed: true},
	{name: "nw_tos", word: slotEthDst, bits: 8, size: 8, need: needIP, not: 3},
	{name: "ip_dscp", word: slotEthDst, shift: 2, bits: 6, size: 8, need: needIP},
	{name: "nw_ecn", word: slotEthDst, bits: 2, size: 8, need: needIP},
	{name: "nw_ttl", word: slotTHA, shift: 8, bits: 8, size: 8, need: needIP},
	{name: "nw_frag", word: slotTHA, bits: 8, size: 8, form: fragment, need: needIP, fixed: true},
	{name: "arp_op", word: slotEthDst, shift: 8, bits: 8, size: 16, need: needARP},
	{name: "arp_spa", word: slotIP, shift: 32, bits: 32, size: 32, form: ip4, need: needARP},
	{name: "arp_tpa", word: slotIP, bits: 32, size: 32, form: ip4, need: needARP},
	{name: "arp_sha", word: slotSHA, shift: 16, bits: 48, size: 48, form: mac, need: needARP},
	{name: "arp_tha", word: slotTHA, shift: 16, bits: 48, size: 48, form: mac, need: needARP},
	{name: "tcp_src", word: slotTP, shift: 48, bits: 16, size: 16, need: needTCP},
	{name: "tcp_dst", word: slotTP, shift: 32, bits: 16, size: 16, need: needTCP},
	{name: "tcp_flags", word: slotSHA, bits: 12, size: 16, form: tcpFlags, need: needTCP, fixed: true},
	{name: "udp_src", word: slotTP, shift: 48, bits: 16, size: 16, need: needUDP},
	{name: "udp_dst", word: slotTP, shift: 32, bits: 16, size: 16, need: needUDP},
	{name: "sctp_src", word: slotTP, shift: 48, bits: 16, size: 16, need: needSCTP},
	{name: "sctp_dst", word: slotTP, shift: 32, bits: 16, size: 16, need: needSCTP},
	{name: "icmp_type", word: slotTP, shift: 48, bits: 8, size: 8, need: needICMP},
	{name: "icmp_code", word: slotTP, shift: 32, bits: 8, size: 8, need: needICMP},
	{name: "icmpv6_type", word: slotTP, shift: 48, bits: 8, size: 8, need: needICMPv6},
	{name: "icmpv6_code", word: slotTP, shift: 32, bits: 8, size: 8, need: needICMPv6},
	{name: "nd_target", word: slotTarget, bits: 128, size: 128, form: ip6, need: needND},
	{name: "nd_sll", word: slotSHA, shift: 16, bits: 48, size: 48, form: mac, need: needSolicit},
	{name: "nd_tll", word: slotTHA, shift: 16, bits: 48, size: 48, form: mac, need: needAdvert},
	{name: "nd_reserved", word: slotND, shift: 32, bits: 32, size: 32, form: hexa, need: needND},
	{name: "nd_options_type", word: slotND, bits: 8, size: 8, need: needND},
}

// aliases are the other names of fields; those of registers are made by their numbers.
var aliases = map[string]string{
	"tunnel_id": "tun_id", "dl_src": "eth_src", "dl_dst": "eth_dst", "dl_type": "eth_type", "nw_src": "ip_src", "nw_dst": "ip_dst",
	"ip_proto": "nw_proto", "ip_ecn": "nw_ecn", "ip_frag": "nw_frag", "ipv4_src": "ip_src", "ipv4_dst": "ip_dst",
	"tp_src": "tcp_src", "tp_dst": "tcp_dst", "icmp6_type": "icmpv6_type", "icmp6_code": "icmpv6_code",

	"NXM_OF_IN_PORT": "in_port", "NXM_OF_ETH_DST": "eth_dst", "NXM_OF_ETH_SRC": "eth_src", "NXM_OF_ETH_TYPE": "eth_type",
	"NXM_OF_VLAN_TCI": "vlan_tci", "NXM_OF_IP_TOS": "nw_tos", "NXM_OF_IP_PROTO": "nw_proto", "NXM_OF_IP_SRC": "ip_src",
	"NXM_OF_IP_DST": "ip_dst", "NXM_OF_TCP_SRC": "tcp_src", "NXM_OF_TCP_DST": "tcp_dst", "NXM_OF_UDP_SRC": "udp_src",
	"NXM_OF_UDP_DST": "udp_dst", "NXM_OF_ICMP_TYPE": "icmp_type", "NXM_OF_ICMP_CODE": "icmp_code", "NXM_OF_ARP_OP": "arp_op",
	"NXM_OF_ARP_SPA": "arp_spa", "NXM_OF_ARP_TPA": "arp_tpa",
	"NXM_NX_TUN_ID": "tun_id", "NXM_NX_ARP_SHA": "arp_sha", "NXM_NX_ARP_THA": "arp_tha", "NXM_NX_IPV6_SRC": "ipv6_src",
	"NXM_NX_IPV6_DST": "ipv6_dst", "NXM_NX_ICMPV6_TYPE": "icmpv6_type", "NXM_NX_ICMPV6_CODE": "icmpv6_code",
	"NXM_NX_ND_TARGET": "nd_target", "NXM_NX_ND_SLL": "nd_sll", "NXM_NX_ND_TLL": "nd_tll", "NXM_NX_IP_FRAG": "nw_frag",
	"NXM_NX_IPV6_LABEL": "ipv6_label", "NXM_NX_IP_ECN": "nw_ecn", "NXM_NX_IP_TTL": "nw_ttl", "NXM_NX_MPLS_TTL": "mpls_ttl",
	"NXM_NX_TUN_IPV4_SRC": "tun_src", "NXM_NX_TUN_IPV4_DST": "tun_dst", "NXM_NX_PKT_MARK": "pkt_mark", "NXM_NX_TCP_FLAGS": "tcp_flags",
	"NXM_NX_DP_HASH": "dp_hash", "NXM_NX_RECIRC_ID": "recirc_id", "NXM_NX_CONJ_ID": "conj_id", "NXM_NX_TUN_GBP_ID": "tun_gbp_id",
	"NXM_NX_TUN_GBP_FLAGS": "tun_gbp_flags", "NXM_NX_TUN_FLAGS": "tun_flags", "NXM_NX_CT_STATE": "ct_state", "NXM_NX_CT_ZONE": "ct_zone",
	"NXM_NX_CT_MARK": "ct_mark", "NXM_NX_CT_LABEL": "ct_label", "NXM_NX_TUN_IPV6_SRC": "tun_ipv6_src", "NXM_NX_TUN_IPV6_DST": "tun_ipv6_dst",
	"NXM_NX_CT_NW_PROTO": "ct_nw_proto", "NXM_NX_CT_NW_SRC": "ct_nw_src", "NXM_NX_CT_NW_DST": "ct_nw_dst", "NXM_NX_CT_IPV6_SRC": "ct_ipv6_src",
	"NXM_NX_CT_IPV6_DST": "ct_ipv6_dst", "NXM_NX_CT_TP_SRC": "ct_tp_src", "NXM_NX_CT_TP_DST": "ct_tp_dst",
	"OXM_OF_IN_PORT": "in_port_oxm", "OXM_OF_METADATA": "metadata", "OXM_OF_ETH_DST": "eth_dst", "OXM_OF_ETH_SRC": "eth_src",
	"OXM_OF_ETH_TYPE": "eth_type", "OXM_OF_VLAN_VID": "vlan_vid", "OXM_OF_VLAN_PCP": "vlan_pcp", "OXM_OF_IP_DSCP": "ip_dscp",
	"OXM_OF_IP_ECN": "nw_ecn", "OXM_OF_IP_PROTO": "nw_proto", "OXM_OF_IPV4_SRC": "ip_src", "OXM_OF_IPV4_DST": "ip_dst",
	"OXM_OF_TCP_SRC": "tcp_src", "OXM_OF_TCP_DST": "tcp_dst", "OXM_OF_UDP_SRC": "udp_src", "OXM_OF_UDP_DST": "udp_dst",
	"OXM_OF_SCTP_SRC": "sctp_src", "OXM_OF_SCTP_DST": "sctp_dst", "OXM_OF_ICMPV4_TYPE": "icmp_type", "OXM_OF_ICMPV4_CODE": "icmp_code",
	"OXM_OF_ARP_OP": "arp_op", "OXM_OF_ARP_SPA": "arp_spa", "OXM_OF_ARP_TPA": "arp_tpa", "OXM_OF_ARP_SHA": "arp_sha",
	"OXM_OF_ARP_THA": "arp_tha", "OXM_OF_IPV6_SRC": "ipv6_src", "OXM_OF_IPV6_DST": "ipv6_dst", "OXM_OF_IPV6_FLABEL": "ipv6_label",
	"OXM_OF_ICMPV6_TYPE": "icmpv6_type", "OXM_OF_ICMPV6_CODE": "icmpv6_code", "OXM_OF_IPV6_ND_TARGET": "nd_target",
	"OXM_OF_IPV6_ND_SLL": "nd_sll", "OXM_OF_IPV6_ND_TLL": "nd_tll", "OXM_OF_MPLS_LABEL": "mpls_label", "OXM_OF_MPLS_TC": "mpls_tc",
	"OXM_OF_MPLS_BOS": "mpls_bos", "OXM_OF_TUNNEL_ID": "tun_id", "OXM_OF_PACKET_TYPE": "packet_type", "OXM_OF_TCP_FLAGS": "tcp_flags",
	"ONFOXM_ET_TCP_FLAGS": "tcp_flags", "OXM_OF_ACTSET_OUTPUT": "actset_output", "ONFOXM_ET_ACTSET_OUTPUT": "actset_output",
	"ERICOXM_OF_ICMPV6_ND_RESERVED": "nd_reserved", "ERICOXM_OF_ICMPV6_ND_OPTIONS_TYPE": "nd_options_type",
}

// fieldByName finds a field by any of its names.
var fieldByName = nameFields()

func nameFields() map[string]*field {
	m := make(map[string]*field, 2*len(fields)+2*len(aliases))
	for n := range 16 {
		f := &field{word: uint8(slotRegs + n/2), shift: uint8(32 * (1 - n%2)), bits: 32, size: 32, form: hexa}
		nameRegister(m, f, "reg", n, "NXM_NX_REG", "OXM_NX_REG")
	}
	for n := range 8 {
		f := &field{word: uint8(slotRegs + n), bits: 64, size: 64, form: hexa}
		nameRegister(m, f, "xreg", n, "OXM_OF_PKT_REG", "NXM_NX_XREG")
	}
	for n := range 4 {
		f := &field{word: uint8(slotRegs + 2*n), bits: 128, size: 128, form: hexa}
		nameRegister(m, f, "xxreg", n, "NXM_NX_XXREG", "OXM_NX_XXREG")
	}
	for i := range fields {
		m[fields[i].name] = &fields[i]
	}
	for alias, name := range aliases {
		m[alias] = m[name]
		m[strings.ToLower(alias)] = m[name]
	}
	return m
}

func nameRegister(m map[string]*field, f *field, name string, n int, others ...string) {
	number := string(rune('0' + n))
	if n > 9 {
		number = "1" + string(rune('0'+n-10))
	}
	f.name = name + number
	m[f.name] = f
	for _, o := range others {
		m[o+number] = f
	}
}

// ones returns a mask of n bits, 0 to 64.
func ones(n int) uint64 {
	if n >= 64 {
		return ^uint64(0)
	}
	return 1<<n - 1
}
