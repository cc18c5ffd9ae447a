#!/bin/bash
# Unpacks MySQL 9.7 for the tests into the user's cache: $XDG_CACHE_HOME/kaname-tools/mysql97.
# Debian has it in its unstable suite only, so it is fetched (71 MB, 430 MiB unpacked) from
# the mirror that this machine uses, and neither the system's sources nor its packages are
# touched. The suite moves: without an answer, or without a version 9.7, it says so and
# ends well; the tests of MySQL are skipped then.
#   scripts/mysql97.sh
set -euo pipefail

dir=${XDG_CACHE_HOME:-$HOME/.cache}/kaname-tools/mysql97
[ -s "$dir/version" ] && exit 0

absent() {
	{
		echo "################################################################"
		echo "MYSQL IS NOT TESTED HERE: $1"
		echo "################################################################"
	} >&2
	exit 0
}

command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || absent "this is no Debian machine"
[ "$(dpkg --print-architecture)" = amd64 ] || absent "the lab knows the packages for amd64 only"

# The mirror of the suite that is installed, in either style of source list; not that of
# its security updates, which unstable has not.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
	grep -v -e security -e updates | grep -m1 '/debian/*$' || true)
[ -n "$mirror" ] || absent "no Debian mirror is set up in /etc/apt"

mkdir -p "$dir"
exec 9>"$dir/lock"
flock 9
[ -s "$dir/version" ] && exit 0

work=$(mktemp -d "$dir/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
: >"$work/status"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror sid main" >"$work/sid.list"
apt=(
	-o Dir::Etc::sourcelist="$work/sid.list" -o Dir::Etc::sourceparts=/dev/null
	-o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null
	-o Dir::State::lists="$work/lists" -o Dir::Cache="$work/cache" -o Dir::State::status="$work/status"
	-o APT::Install-Recommends=0 -o APT::Sandbox::User=root -o Acquire::Languages=none
	-o Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false)

echo "fetching MySQL 9.7 for the tests from $mirror sid" >&2
apt-get -qq "${apt[@]}" update >&2 || absent "$mirror does not answer for sid"
version=$(apt-cache "${apt[@]}" policy mysql-server-core 2>/dev/null | awk '/Candidate:/ {print $2}')
case $version in
9.7.*) ;;
*) absent "sid has mysql-server-core ${version:-not at all}, and the lab knows 9.7" ;;
esac
apt-get -qq "${apt[@]}" -y --download-only install mysql-server-core mysql-client-core >&2 || absent "the packages of MySQL $version cannot be fetched"
mkdir "$work/root"
for deb in "$work"/cache/archives/*.deb; do
	dpkg-deb -x "$deb" "$work/root"
done
rm -rf "$dir/root"
mv "$work/root" "$dir/root"
printf '%s\n' "$version" >"$dir/version"
echo "MySQL $version is unpacked in $dir" >&2
