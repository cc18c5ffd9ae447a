# shellcheck shell=bash
# Simulated hosts: each has a network, a mount and a UTS namespace of its own, held by a
# sleeping process; tools and agents run inside with their default paths.
LAB=${LAB:-/var/tmp/kaname-lab}
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
HOSTS="c1 c2 n1"

number() { case $1 in ctl) echo 10 ;; c1) echo 11 ;; c2) echo 12 ;; n1) echo 13 ;; esac; }

# on HOST COMMAND...: run inside a host
on() {
	local h=$1
	shift
	nsenter -t "$(cat "$LAB/$h/holder.pid")" -m -u -n -- "$@"
}

# start HOST NAME COMMAND...: run a server inside a host, logging to $LAB/HOST/log/NAME.log
start() {
	local h=$1 n=$2
	shift 2
	setsid nsenter -t "$(cat "$LAB/$h/holder.pid")" -m -u -n -- nice -n "${NICE:-0}" "$@" >>"$LAB/$h/log/$n.log" 2>&1 </dev/null &
	echo $! >"$LAB/$h/$n.pid"
}

# until_true SECONDS COMMAND: try it four times a second
until_true() {
	local end=$((SECONDS + $1))
	while ! eval "$2" >/dev/null 2>&1; do
		if ((SECONDS >= end)); then
			echo "waited $1 s in vain for: $2" >&2
			return 1
		fi
		sleep 0.25
	done
}

# lap NAME: how long it took since the last lap
lap() {
	printf '%-12s %3d s\n' "$1" $((SECONDS - LAP))
	LAP=$SECONDS
}
LAP=$SECONDS

# The cables: three bridges that hosts are plugged into, and "the internet".
fabric() {
	ip netns add nt-fab
	ip -n nt-fab link set lo up
	for b in brmgmt brtun brext; do
		ip -n nt-fab link add $b type bridge
		ip -n nt-fab link set $b up
	done
	ip netns add nt-inet
	ip -n nt-inet link set lo up
	ip -n nt-inet link add eth0 type veth peer name inet netns nt-fab
	ip -n nt-fab link set inet master brext up
	ip -n nt-inet addr add 203.0.113.1/24 dev eth0
	ip -n nt-inet link set eth0 up
	ip -n nt-inet addr add 198.51.100.1/32 dev lo
	# user-space Open vSwitch does not finish checksums that the kernel left for hardware
	ip netns exec nt-inet ethtool -K eth0 tx off >/dev/null
	local h n nets
	for h in ctl $HOSTS; do
		ip netns add "nt-$h"
		ip -n "nt-$h" link set lo up
		nets=mgmt
		[ "$h" != ctl ] && nets="mgmt tun ext"
		for n in $nets; do
			ip -n "nt-$h" link add "${n}0" type veth peer name "$n-$h" netns nt-fab
			ip -n nt-fab link set "$n-$h" master "br$n" up
			ip -n "nt-$h" link set "${n}0" up
		done
		ip -n "nt-$h" addr add "10.250.0.$(number "$h")/24" dev mgmt0
	done
}

host() {
	local h=$1 d=$LAB/$1
	mkdir -p "$d"/{neutron/lock,ovs,log}
	printf '127.0.0.1 localhost %s\n10.250.0.10 ctl\n' "$h" >"$d/hosts"
	cat >"$d/hold.sh" <<-END
		set -e
		mount --make-rprivate /
		mkdir -p /run/netns /run/openvswitch /var/lib/neutron /etc/openvswitch /var/log/openvswitch
		for d in /run/netns /run/openvswitch /run/lock; do mount -t tmpfs tmpfs \$d; done
		mount --bind $d/neutron /var/lib/neutron
		mount --bind $d/ovs /etc/openvswitch
		mount --bind $d/log /var/log/openvswitch
		mount --bind $d/hosts /etc/hosts
		hostname $h
		sysctl -qw net.ipv4.ip_forward=1
		readlink /proc/\$\$/ns/uts >$d/uts
		echo \$\$ >$d/holder.pid
		exec sleep infinity
	END
	rm -f "$d/holder.pid"
	setsid ip netns exec "nt-$h" unshare -m -u bash "$d/hold.sh" >"$d/holder.log" 2>&1 </dev/null &
	until_true 20 "[ -s $d/holder.pid ]"
}

# Open vSwitch with the user-space datapath. The tunnel end stands on the local port of a
# bridge that holds the NIC: the native tunnels of that datapath want it there.
switch() {
	local h=$1 d=$LAB/$1
	cat >"$d/switch.sh" <<-END
		set -e
		ovsdb-tool create /etc/openvswitch/conf.db /usr/share/openvswitch/vswitch.ovsschema
		ovsdb-server /etc/openvswitch/conf.db --remote=punix:/run/openvswitch/db.sock --remote=ptcp:6640:127.0.0.1 --pidfile --detach --log-file --no-chdir
		ovs-vsctl --no-wait init -- set open . external-ids:system-id=$h external-ids:hostname=$h
		ovs-vswitchd --pidfile --detach --log-file --no-chdir --disable-system
		ovs-vsctl add-br br-phy -- set bridge br-phy datapath_type=netdev fail_mode=standalone -- add-port br-phy tun0 \
			-- add-br br-ex -- set bridge br-ex datapath_type=netdev -- add-port br-ex ext0
		ip addr add 10.251.0.$(number "$h")/24 dev br-phy
		ip link set br-phy up
		ip link set br-ex up
	END
	on "$h" nice -n 5 bash "$d/switch.sh" >"$d/switch.log" 2>&1
}

# Ends what runs in the hosts, found by its UTS namespace: what agents start with
# "ip netns exec" is in mount namespaces of its own.
down() {
	local h hold uts p q
	for _ in 1 2; do
		for h in $HOSTS ctl; do
			uts=$(cat "$LAB/$h/uts" 2>/dev/null) || continue
			hold=$(cat "$LAB/$h/holder.pid")
			for p in /proc/[0-9]*; do
				q=${p#/proc/}
				if [ "$q" != "$hold" ] && [ "$(readlink "$p/ns/uts" 2>/dev/null)" = "$uts" ]; then
					kill -9 "$q" 2>/dev/null
				fi
			done
		done
		sleep 0.5
	done
	for h in $HOSTS ctl; do
		kill -9 "$(cat "$LAB/$h/holder.pid" 2>/dev/null)" 2>/dev/null
		ip netns del "nt-$h" 2>/dev/null
	done
	ip netns del nt-inet 2>/dev/null
	ip netns del nt-fab 2>/dev/null
	rm -rf "${LAB:?}"/{ctl,c1,c2,n1}
}
