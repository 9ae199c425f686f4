# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
# shellcheck shell=bash
#
# For all that uses the units of the manual of nspawn-stop.  The first line of
# each is a comment with its path.

# example PATH: prints the file that the manual shows for that path.
example()
{
	awk -v first="# $1" '/^\./ { on = 0 } $0 == first { on = 1 } on' \
	    "$TOP/man/nspawn-stop.8" | sed 's/\\e/\\/g'
}

# The paths of all of them, one a line.
examples()
{
	sed -n 's|^# \(/etc/systemd/.*\)$|\1|p' "$TOP/man/nspawn-stop.8"
}

# For tests on a host: installs them there, and a script as nspawn-stop, which
# appends its arguments to /run/told.
examples_install()
{
	local path

	host_script "$BIN" <<-'END'
	cat >/usr/local/sbin/nspawn-stop <<-SH
	#!/bin/sh
	echo "\$*" >>/run/told
	exec $1/nspawn-stop --verbose "\$@"
	SH
	chmod 0755 /usr/local/sbin/nspawn-stop
	END
	for path in $(examples); do
		example "$path" | host_write "$path"
	done
	on_host systemctl daemon-reload
}

# Writes the file of the host from stdin.
host_write()
{
	on_host sh -euc 'mkdir -p "${1%/*}"; cat >"$1"' '' "$1"
}
