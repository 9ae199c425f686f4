# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
# shellcheck shell=bash
#
# For t/fresh and t/system/hybrid.bats: what t/demo prints.

# Each line that t/demo may print, as an extended regular expression.  An empty
# one stands for an empty line.
DEMO_LINES='
-- .*
# nspawn-(enter|stop) .*
demo-[0-9]+
PID +USER +COMMAND
 +[0-9]+ root +(\{init\} /bin/sh /init|/bin/sleep 600|ps)
[0-9]+: .* link/.*
 +\(its PID 1 got SIGTERM and tidies up\)
nspawn-stop: demo-[0-9]+: PID 1 is init \([0-9]+\)
nspawn-stop: demo-[0-9]+: sent SIGTERM to its leader [0-9]+
nspawn-stop: demo-[0-9]+: has stopped
nspawn-stop: demo-[0-9]+: is not running'

# Prints the lines of README that show what t/demo prints, as extended regular
# expressions in which each number stands for any.
demo_in_readme()
{
	awk '/what the demo shows:$/ { shows = 1 }
	    shows && /^\t/ { print substr($0, 2); shown = 1 }
	    shown && /^$/ { exit }' "$1" |
	    sed -E 's/[][().*+?{}^$|\\]/\\&/g; s/[0-9]+/[0-9]+/g'
}

# demo_check OUTPUT README: fails, and prints why, if the file OUTPUT has a line
# that is not t/demo's own, or does not have those that README shows.
demo_check()
{
	local line lines status=0

	if grep -vxE -e "${DEMO_LINES}" "$1"; then
		echo "these lines are not the demo's own"
		status=1
	fi
	mapfile -t lines < <(demo_in_readme "$2")
	((${#lines[@]} > 0)) || {
		echo "README shows no part of the demo"
		status=1
	}
	for line in "${lines[@]}"; do
		grep -qxE -e "${line}" "$1" || {
			echo "the demo does not show what README does: ${line}"
			status=1
		}
	done
	return "${status}"
}
