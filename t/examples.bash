# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
# shellcheck shell=bash
#
# For all that uses the examples of the manuals: scripts, and the units in the
# manual of nspawn-stop.  The first line of a unit is a comment with its path.

# example_script MANUAL LINE: prints the example that follows this line of a
# manual, without prompts; fails if there is none.
example_script()
{
	awk -v line="$2" '$0 == line { on = 1 }
	    on && /^\.Ed/ { exit }
	    inside { sub(/^[#$] /, ""); gsub(/\\e/, "\\"); print }
	    on && /^\.Bd -literal/ { inside = 1 }
	    END { exit !inside }' "$TOP/man/$1"
}

# example_unit PATH: prints the file that the manual shows for that path; fails
# if there is none.
example_unit()
{
	awk -v first="# $1" '/^\./ { on = 0 }
	    $0 == first { on = found = 1 }
	    on { gsub(/\\e/, "\\"); print }
	    END { exit !found }' "$TOP/man/nspawn-stop.8"
}

# The paths of all units, one a line.
example_units()
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
	for path in $(example_units); do
		example_unit "$path" | host_write "$path"
	done
	on_host systemctl daemon-reload
}
