#!/bin/sh
# After installing or upgrading: group and folders, and a restart of what runs.
set -e
if command -v systemd-sysusers >/dev/null 2>&1; then
	systemd-sysusers /usr/lib/sysusers.d/kaname.conf || true
elif ! getent group kaname >/dev/null 2>&1; then
	groupadd --system kaname || true
fi
if command -v systemd-tmpfiles >/dev/null 2>&1; then
	systemd-tmpfiles --create /usr/lib/tmpfiles.d/kaname.conf || true
fi
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload || true
	systemctl try-restart kaname.service kaname-agent.service || true
fi
