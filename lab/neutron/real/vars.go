package main

import (
	"context"
	"fmt"
	"strings"
)

// vars is a shell text that gives the faults' commands on a host their names and numbers:
// what a person would read off "ip netns" and "ovs-vsctl show".
//
//	R R2 S F            namespaces: qrouter of r1 and r2, snat of r1, fip
//	RFP FPR FG QG QG2   devices: the veth pair between R and F, fg- of this host, qg- of r1 and r2
//	for each VM:        IP_a1 MAC_a1 PORT_a1 FIP_a1 TAP_a1 QVB_a1 QBR_a1 and OVS_a1, its device on br-int
//	for each network a: QR_a GWMAC_a SG_a CSNAT_a TAPD_a (DHCP's device) D_a (its namespace) VNI_a
//	what this host chose: VLAN_a (local VLAN), OF_a1 (OpenFlow port), TUN_c2 and OFTUN_c2 (tunnel to c2)
func (c *cloud) vars(ctx context.Context, host string) (string, error) {
	ports, err := list(ctx, "ports")
	if err != nil {
		return "", err
	}
	var s strings.Builder
	set := func(name, value string) { fmt.Fprintf(&s, "%s=%s\n", name, value) }
	r1, r2 := c.Routers["r1"].id(), c.Routers["r2"].id()
	set("R", "qrouter-"+r1)
	set("R2", "qrouter-"+r2)
	set("S", "snat-"+r1)
	set("F", "fip-"+c.Nets["ext"].id())
	set("RFP", "rfp-"+r1[:10])
	set("FPR", "fpr-"+r1[:10])
	letter := map[string]string{}
	for name, n := range c.Nets {
		l := strings.TrimPrefix(name, "net-")
		letter[n.id()] = l
		set("D_"+l, "qdhcp-"+n.id())
		if id, ok := n["provider:segmentation_id"].(float64); ok {
			set("VNI_"+l, fmt.Sprintf("%.0f", id))
		}
	}
	for _, p := range ports {
		c.portVars(set, p, letter[p.str("network_id")], host)
	}
	ask := c.on(ctx, host, "bash", "-c", s.String()+asks)
	out, err := ask.Output()
	if err != nil {
		return "", fmt.Errorf("variables on %s: %w", host, err)
	}
	return s.String() + string(out), nil
}

func (c *cloud) portVars(set func(name, value string), p object, net, host string) {
	id, ip := p.id()[:11], ""
	if fixed, _ := p["fixed_ips"].([]any); len(fixed) > 0 {
		ip = object(fixed[0].(map[string]any)).str("ip_address")
	}
	switch owner := p.str("device_owner"); {
	case owner == "compute:nova":
		n := p.str("name")
		set("IP_"+n, ip)
		set("MAC_"+n, p.str("mac_address"))
		set("PORT_"+n, p.id())
		set("TAP_"+n, "tap"+id)
		set("QVB_"+n, "qvb"+id)
		set("QBR_"+n, "qbr"+id)
		set("FIP_"+n, c.FIPs[n].str("floating_ip_address"))
		if d, _ := p["binding:vif_details"].(map[string]any); d["ovs_hybrid_plug"] == true {
			set("OVS_"+n, "qvo"+id)
		} else {
			set("OVS_"+n, "tap"+id)
		}
	case strings.HasPrefix(owner, "network:router_interface"):
		set("QR_"+net, "qr-"+id)
		set("GWMAC_"+net, p.str("mac_address"))
	case owner == "network:router_centralized_snat":
		set("SG_"+net, "sg-"+id)
		set("CSNAT_"+net, ip)
		set("CSNATMAC_"+net, p.str("mac_address"))
	case owner == "network:dhcp":
		set("TAPD_"+net, "tap"+id)
	case owner == "network:floatingip_agent_gateway" && p.str("binding:host_id") == host:
		set("FG", "fg-"+id)
		set("FGIP", ip)
		set("FGMAC", p.str("mac_address"))
	case owner == "network:router_gateway" && p.str("device_id") == c.Routers["r1"].id():
		set("QG", "qg-"+id)
	case owner == "network:router_gateway":
		set("QG2", "qg-"+id)
	}
}

// asks prints what only the host knows. A VM or network that is not here is left out.
const asks = `
ask() { v=$(ovs-vsctl --if-exists get "$2" "$3" "$4" 2>/dev/null) && [ -n "$v" ] && [ "$v" != '[]' ] && echo "$1=$v"; }
for n in a b v w; do
	q=QR_$n d=TAPD_$n
	ask VLAN_$n port "${!q}" tag || ask VLAN_$n port "${!d:-none}" tag
done
for n in a1 a2 b1 b2 g1 g2 k1 o1 w1 w2 v1 v2 e1; do
	o=OVS_$n
	ask OF_$n interface "${!o}" ofport
done
ask VLAN_w port "${OVS_w1}" tag || ask VLAN_w port "${OVS_w2}" tag
for t in c1:0afb000b c2:0afb000c n1:0afb000d; do
	if [ "${t%:*}" != "$(hostname)" ]; then
		echo "TUN_${t%:*}=vxlan-${t#*:}"
		ask OFTUN_${t%:*} interface vxlan-${t#*:} ofport
	fi
done
true
`
