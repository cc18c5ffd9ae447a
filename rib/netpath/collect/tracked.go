package collect

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/ti-mo/conntrack"

	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/packet"
)

// tcpStates are the kernel's names of states of TCP connections (linux/netfilter/nf_conntrack_tcp.h).
var tcpStates = []string{"NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE", "SYN_SENT2"}

// readTracked reads the kernel's table of connections, unless it is too large, or is none.
func (v *visit) readTracked() {
	n, err := strconv.Atoi(v.out.Sysctls["net.netfilter.nf_conntrack_count"])
	if err != nil || n == 0 {
		return // connections are not tracked here
	}
	if n > v.Conns {
		v.lack(facts.Tracked, tooMany(n, v.Conns))
		return
	}
	if !loaded("nf_conntrack_netlink") {
		v.lack(facts.Tracked, errors.New("the kernel's module nf_conntrack_netlink is not loaded; modprobe nf_conntrack_netlink"))
		return
	}
	c, err := conntrack.Dial(nil)
	if err != nil {
		v.lack(facts.Tracked, err)
		return
	}
	defer c.Close() //nolint:errcheck // only read
	flows, err := c.Dump(nil)
	if err != nil {
		v.lack(facts.Tracked, err)
		return
	}
	v.out.Conns = make([]facts.Conn, len(flows))
	for i := range flows {
		v.out.Conns[i] = conn(&flows[i])
	}
}

func tooMany(n, most int) error {
	return fmt.Errorf("%d connections are more than the %d that are read, and a part of them would mislead; ask for more, or look there with conntrack -L", n, most)
}

// conn takes over one connection. One of ICMP has its identifier in the place of the source port.
func conn(f *conntrack.Flow) facts.Conn {
	o, r := f.TupleOrig, f.TupleReply
	out := facts.Conn{
		Zone: int(f.Zone), Proto: o.Proto.Protocol, Mark: f.Mark,
		Src: o.IP.SourceAddress, Dst: o.IP.DestinationAddress, Sport: o.Proto.SourcePort, Dport: o.Proto.DestinationPort,
		RSrc: r.IP.SourceAddress, RDst: r.IP.DestinationAddress, RSport: r.Proto.SourcePort, RDport: r.Proto.DestinationPort,
	}
	if out.Proto == packet.ICMP || out.Proto == packet.ICMPv6 {
		out.Sport, out.RSport = o.Proto.ICMPID, r.Proto.ICMPID
	}
	if t := f.ProtoInfo.TCP; t != nil && int(t.State) < len(tcpStates) {
		out.State = tcpStates[t.State]
	}
	return out
}
