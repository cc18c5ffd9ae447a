#!/bin/bash
# A real OpenStack Neutron with distributed routers on this one machine, as root:
#   cloud.sh up      controller ctl, compute hosts c1 (openvswitch firewall) and c2
#                    (iptables_hybrid), network node n1, all of Neutron's agents
#   cloud.sh down    end it all and remove it
#   cloud.sh all DIR up, make the topology, record it and every fault below DIR, down
#   cloud.sh agents HOST   restart the Neutron agents of a host
#   cloud.sh on HOST COMMAND...   run something inside a host
# Everything stands below $LAB (/var/tmp/kaname-lab); hosts are network namespaces nt-*.
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/host.sh"
ETC=$LAB/etc
API=http://10.250.0.10:9696/v2.0

rabbit() {
	local d=$LAB/ctl
	mkdir -p "$d/rabbit" "$d/rlog"
	printf 'listeners.tcp.1 = 10.250.0.10:5672\nloopback_users = none\n' >"$d/rabbit.conf"
	echo '[].' >"$d/enabled_plugins"
	start ctl rabbit env HOME="$d/rabbit" RABBITMQ_NODENAME=rabbit@localhost RABBITMQ_MNESIA_BASE="$d/rabbit" \
		RABBITMQ_LOG_BASE="$d/rlog" RABBITMQ_CONFIG_FILE="$d/rabbit.conf" RABBITMQ_CONF_ENV_FILE=/dev/null \
		RABBITMQ_ENABLED_PLUGINS_FILE="$d/enabled_plugins" ERL_EPMD_ADDRESS=127.0.0.1 \
		RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="+S 1:1" /usr/lib/rabbitmq/bin/rabbitmq-server
}

# The schema straight from the models: a fiftieth of the time of all migrations.
database() {
	local d=$LAB/ctl
	mkdir -p "$d/my"
	nice -n 5 mariadb-install-db --no-defaults --user=root --datadir="$d/my" --auth-root-authentication-method=normal --skip-test-db >"$d/log/install-db.log" 2>&1
	start ctl my mariadbd --no-defaults --user=root --datadir="$d/my" --socket="$d/my.sock" --bind-address=127.0.0.1 \
		--skip-name-resolve --innodb-buffer-pool-size=64M --innodb-flush-log-at-trx-commit=0
	until_true 120 "[ -S $d/my.sock ]"
	on ctl mariadb -S "$d/my.sock" -e 'create database neutron character set utf8'
	on ctl nice -n 5 /usr/bin/python3 -c "import sqlalchemy as s; from neutron.db.migration.models import head; head.get_metadata().create_all(s.create_engine('mysql+pymysql://root@127.0.0.1/neutron?charset=utf8'))" 2>"$d/log/schema.log"
}

conf() {
	mkdir -p "$ETC"
	cp "$HERE/neutron.conf" "$HERE/ml2.ini" "$ETC/"
	local h d driver mode
	for h in $HOSTS; do
		d=$LAB/$h driver=openvswitch mode=dvr
		[ "$h" = c2 ] && driver=iptables_hybrid
		[ "$h" = n1 ] && mode=dvr_snat
		printf '[DEFAULT]\nhost = %s\n' "$h" >"$d/host.conf"
		cat >"$d/ovs.ini" <<-END
			[ovs]
			local_ip = 10.251.0.$(number "$h")
			bridge_mappings = physext:br-ex
			datapath_type = netdev
			[agent]
			tunnel_types = vxlan
			l2_population = True
			enable_distributed_routing = True
			arp_responder = True
			root_helper =
			[securitygroup]
			firewall_driver = $driver
		END
		printf '[DEFAULT]\ninterface_driver = openvswitch\nagent_mode = %s\n[ovs]\ndatapath_type = netdev\n' $mode >"$d/l3.ini"
		printf '[DEFAULT]\ninterface_driver = openvswitch\nenable_isolated_metadata = True\n[ovs]\ndatapath_type = netdev\n' >"$d/dhcp.ini"
		printf '[DEFAULT]\nnova_metadata_host = 10.250.0.10\nmetadata_proxy_shared_secret = lab\nmetadata_workers = 0\n' >"$d/metadata.ini"
	done
}

agents() {
	local h=$1 c=(--config-file "$ETC/neutron.conf" --config-file "$LAB/$1/host.conf")
	start "$h" ovsagent neutron-openvswitch-agent "${c[@]}" --config-file "$LAB/$h/ovs.ini"
	start "$h" l3agent neutron-l3-agent "${c[@]}" --config-file "$LAB/$h/l3.ini"
	start "$h" metadata neutron-metadata-agent "${c[@]}" --config-file "$LAB/$h/metadata.ini"
	[ "$h" = n1 ] && start n1 dhcp neutron-dhcp-agent "${c[@]}" --config-file "$LAB/n1/dhcp.ini"
	return 0
}

restart() {
	local h=$1 n
	for n in ovsagent l3agent metadata dhcp; do
		[ -s "$LAB/$h/$n.pid" ] && kill "$(cat "$LAB/$h/$n.pid")" 2>/dev/null
	done
	sleep 2
	agents "$h"
}

up() {
	mkdir -p "$LAB"
	fabric
	for h in ctl $HOSTS; do host "$h"; done
	lap hosts
	rabbit
	database &
	local db=$!
	for h in $HOSTS; do switch "$h"; done
	lap switches
	conf
	wait $db
	lap database
	until_true 300 "on ctl bash -c '</dev/tcp/10.250.0.10/5672'" || return 1
	lap rabbit
	start ctl server neutron-server --config-file "$ETC/neutron.conf" --config-file "$ETC/ml2.ini"
	# Nova's part of metadata: says which port asked
	start ctl nova /usr/bin/python3 "$HERE/nova.py" 10.250.0.10 8775
	until_true 300 "on ctl curl -sf -m 5 $API/networks" || return 1
	lap server
	for h in $HOSTS; do agents "$h"; done
	until_true 600 "[ \$(on ctl curl -s $API/agents | grep -o '\"alive\": true' | wc -l) -ge 10 ]" || return 1
	lap agents
}

all() {
	local to=$1
	(cd "$HERE/../../.." && go build -o "$LAB/real" ./lab/neutron/real) || return 1
	up || return 1
	real() { "$LAB/real" -lab "$LAB" -here "$HERE/.." "$@"; }
	real topo && real record "$to/healthy" && real faults "$to/faults"
	local rc=$?
	down
	return $rc
}

case ${1:-} in
all) mkdir -p "$LAB" "$2" && all "$(cd "$2" && pwd)" ;;
up) up ;;
down) down ;;
agents) restart "$2" ;;
on) shift && on "$@" ;;
*) sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" && exit 2 ;;
esac
