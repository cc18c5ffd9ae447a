#!/bin/sh
# Before removing (not before an upgrade): stop what runs. Data stays.
set -e
case "$1" in
remove | 0)
	if [ -d /run/systemd/system ]; then
		systemctl disable --now kaname.service kaname-agent.service || true
	fi
	;;
esac
