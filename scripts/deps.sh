#!/bin/bash
# Installs what the tests need and the machine lacks, with Debian's packages. Does
# nothing, and needs no network, when everything is there.
#   scripts/deps.sh test
set -euo pipefail

# program it provides : Debian package
needs=(
	chromium:chromium       # console tests: a real browser
	minisign:minisign       # release signatures are checked against the original
	openssl:openssl         # certificates are checked against another implementation
	ip:iproute2             # network namespaces and limits for the swarm tests
	tc:iproute2
	xz:xz-utils             # archives in xz and bzip2
	bzip2:bzip2
	zstd:zstd
	setfattr:attr           # extended attributes in archives
	setfacl:acl
	dot:graphviz            # tuggle's ?graph&format=svg
	curl:curl               # stories talk HTTP as an operator would
	jq:jq                   # stories look into results
	rsync:rsync             # stretcher's default sync strategy
	mkfs.ext4:e2fsprogs     # full and damaged disks
	dpkg-deb:dpkg
	named:bind9             # the zone rib works real name servers
	named-checkconf:bind9-utils
	nsd:nsd
	knotd:knot
	pdns_server:pdns-server
	pdnsutil:pdns-server
	dig:bind9-dnsutils      # answers are checked with another implementation
	sqlite3:sqlite3
	/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql:pdns-backend-sqlite3
	/usr/share/doc/pdns-backend-bind:pdns-backend-bind
	yadifad:yadifa
	mariadbd:mariadb-server-core # the mysql rib works real servers
	mariadb-install-db:mariadb-server-core
	mariadb:mariadb-client
	mariadb-binlog:mariadb-client
	mariabackup:mariadb-backup
	haproxy:haproxy
	ovs-vswitchd:openvswitch-switch # the netpath rib rebuilds hosts with a real switch
	iptables-restore:iptables
	ipset:ipset
	ethtool:ethtool
	dnsmasq:dnsmasq-base
	socat:socat
	ping:iputils-ping
	conntrack:conntrack
)

# Debian has MySQL in no stable suite; this fetches it once, privately.
"$(dirname "$0")/mysql97.sh"

present() {
	case $1 in
	/*) [ -e "$1" ] ;;
	*) PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null ;;
	esac
}

missing=()
for n in "${needs[@]}"; do
	program=${n%%:*} package=${n##*:}
	if ! present "$program"; then
		missing+=("$package")
	fi
done
[ ${#missing[@]} -eq 0 ] && exit 0

mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
	echo "tests need these packages, which are not installed: ${missing[*]}" >&2
	echo "without them they are skipped; install them as root: apt-get install ${missing[*]}" >&2
	exit 0
fi
echo "installing for the tests: ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
# Name servers are installed for the tests, which start their own; nothing is to run on
# this machine's port 53 for it.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
	printf '#!/bin/sh\nexit 101\n' >$policy
	chmod 755 $policy
	trap 'rm -f $policy' EXIT
fi
apt-get update -qq >&2
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
