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
)

missing=()
for n in "${needs[@]}"; do
	program=${n%%:*} package=${n##*:}
	if ! PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null; then
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
apt-get update -qq >&2
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
