#!/bin/bash
# Writes everything a host knows about its network below DIR, read-only; runs inside the
# host ("cloud.sh on c1 record.sh DIR"). Every file is one tool's own output.
#   ovs/           databases and tables of Open vSwitch, a folder for each bridge
#   ns/NAME/       each network namespace; "root" is the host's own
#   vm/NAME/       the same of the namespaces that stand for VMs: a real host has none
#   errors         what a tool said on standard error, with the file it was to fill
set -u
DIR=$1
mkdir -p "$DIR"
DIR=$(cd "$DIR" && pwd)
: >"$DIR/errors"

# keep FILE COMMAND...
keep() {
	local file=$DIR/$1 said
	shift
	mkdir -p "${file%/*}"
	said=$("$@" 2>&1 >"$file") || said="exit status $?: $said"
	case $said in
	'' | *'flow entries have been shown'*) ;;
	*) printf '%s: %s: %s\n' "${file#"$DIR"/}" "$*" "$said" >>"$DIR/errors" ;;
	esac
}

switch() {
	local b
	keep ovs/conf.db.json ovsdb-client dump unix:/run/openvswitch/db.sock Open_vSwitch -f json
	for b in Open_vSwitch Bridge Port Interface Controller Manager Mirror; do
		keep "ovs/$b.json" ovs-vsctl --format=json list "$b"
	done
	keep ovs/show.txt ovs-vsctl show
	keep ovs/ct.txt ovs-appctl dpctl/dump-conntrack -m
	keep ovs/dpflows.txt ovs-appctl dpctl/dump-flows -m --names
	keep ovs/dp.txt ovs-appctl dpif/show
	keep ovs/dpctl.txt ovs-appctl dpctl/show
	keep ovs/tnl_ports.txt ovs-appctl tnl/ports/show -v
	keep ovs/route.txt ovs-appctl ovs/route/show
	keep ovs/tnl_neigh.txt ovs-appctl tnl/neigh/show
	keep ovs/version.txt ovs-vswitchd --version
	for b in $(ovs-vsctl list-br); do
		keep "ovs/$b/flows.txt" ovs-ofctl -O OpenFlow13 --no-names dump-flows "$b"
		keep "ovs/$b/groups.txt" ovs-ofctl -O OpenFlow13 --no-names dump-groups "$b"
		keep "ovs/$b/ports.txt" ovs-ofctl -O OpenFlow13 --no-names show "$b"
		keep "ovs/$b/stats.txt" ovs-ofctl -O OpenFlow13 --no-names dump-ports "$b"
		keep "ovs/$b/fdb.txt" ovs-appctl fdb/show "$b"
	done
}

# inside FOLDER: what the namespace that this shell runs in knows
inside() {
	local d=$1 f
	keep "$d/links.json" ip -j -d -s link
	keep "$d/addrs.json" ip -j -d addr
	for f in 4 6; do
		keep "$d/routes$f.json" ip -j -d -$f route show table all
		keep "$d/rules$f.json" ip -j -d -$f rule
		keep "$d/neigh$f.json" ip -j -d -s -$f neigh
	done
	case $d in vm/*) return ;; esac
	keep "$d/neigh_proxy.txt" ip neigh show proxy
	keep "$d/iptables.txt" iptables-save -c
	keep "$d/ip6tables.txt" ip6tables-save -c
	keep "$d/ipset.txt" ipset save
	keep "$d/sysctl.txt" sysctl -a -r '^net\.(ipv4\.(ip_forward|ip_nonlocal_bind|ping_group_range|tcp_mtu_probing|ip_no_pmtu_disc|conf\.[^ ]*\.(forwarding|rp_filter|proxy_arp|proxy_arp_pvlan|arp_[a-z]*|accept_local|accept_redirects|send_redirects|log_martians|route_localnet|src_valid_mark|disable_policy|accept_source_route))|ipv4\.neigh\.[^ ]*\.(gc_thresh[123]|base_reachable_time_ms|proxy_delay)|ipv6\.conf\.[^ ]*\.(forwarding|accept_ra|disable_ipv6|proxy_ndp)|bridge\.|netfilter\.nf_conntrack_(max|count|tcp_be_liberal|tcp_loose|acct|buckets)|nf_conntrack_max)'
	keep "$d/conntrack.txt" conntrack -L -o id,extended
	keep "$d/conntrack6.txt" conntrack -L -f ipv6 -o id,extended
	keep "$d/fdb.json" bridge -j -d -s fdb
	keep "$d/bridge.json" bridge -j -d link
	keep "$d/sockets.txt" ss -Hlntup
	keep "$d/tc.json" tc -j -s qdisc
	keep "$d/offload.txt" bash -c 'for i in $(ls /sys/class/net); do echo "$i $(ethtool -k "$i" 2>/dev/null | grep -E "^(tx-checksumming|rx-checksumming|tcp-segmentation-offload|generic-receive-offload)" | tr "\n" ";")"; done'
}

if [ "${2:-}" = inside ]; then # called again in another namespace
	inside "$3"
	exit
fi

date -u +%FT%T.%NZ >"$DIR/time"
hostname >"$DIR/hostname"
uname -a >"$DIR/kernel"
switch
inside ns/root
for n in $(ip -j netns list | jq -r '.[].name'); do
	case $n in
	*-*) to=ns/$n ;;
	*) to=vm/$n ;;
	esac
	mv "$DIR/errors" "$DIR/errors.before"
	ip netns exec "$n" "$0" "$DIR" inside "$to"
	cat "$DIR/errors" >>"$DIR/errors.before"
	mv "$DIR/errors.before" "$DIR/errors"
done
# processes of this host only: they share its UTS namespace
uts=$(readlink /proc/$$/ns/uts)
for p in /proc/[0-9]*; do
	if [ "$(readlink "$p/ns/uts" 2>/dev/null)" = "$uts" ]; then
		printf '%s %s %s\n' "${p#/proc/}" "$(readlink "$p/ns/net" 2>/dev/null)" "$(tr '\0' ' ' <"$p/cmdline" 2>/dev/null)"
	fi
done | grep -v ' $' >"$DIR/processes.txt"
(cd /var/lib/neutron && find . -type f \( -path './dhcp/*' -o -path './ns-metadata-proxy/*' -o -path './external/*' -o -path './ha_confs/*' -o -name 'fip-*' \) | sort | while read -r f; do
	mkdir -p "$DIR/state/${f%/*}"
	cp "$f" "$DIR/state/$f"
done)
