#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
#
# The manuals' examples for scripts, as they stand there, on real machines.

load ../common
load ../machines
load ../examples

RUNNING='cannot tell, or that it refuses the machine of another user:'

@test "a script can ask whether a machine is running" {
	script=$(example_script nspawn-stop.8 "$RUNNING")
	run -0 as_typed <<<"$script"
	[ "$output" = 'nspawn-stop: web: is not running' ]
	run -1 stop --strict --dry-run web
	machine scope web
	run -0 as_typed <<<"$script"
	[ "$output" = 'web is running' ]
	machine unregistered web2 -U
	run -0 as_typed <<<"${script//web/web2}"
	[ "$output" = 'web2 is running' ]
	lives "$(leader web)"
	lives "$(leader web2)"
}

@test "whether another user's machine runs is not answered silently" {
	script=$(example_script nspawn-stop.8 "$RUNNING")
	foreign_start
	run as_typed <<<"${script//web/strict}"
	said=$output
	run stop --strict --dry-run strict
	foreign_end
	[ "$status" = 1 ]
	[ "$output" = "$said" ]
	[ "$output" = 'nspawn-stop: strict: belongs to user 1, not to root;'\
' use --foreign to stop it anyway' ]
}

@test "if nobody can tell whether a machine runs, the status is 1" {
	script=$(example_script nspawn-stop.8 "$RUNNING")
	machine scope web
	pid=$(on_host systemctl show -p MainPID --value systemd-machined)
	on_host kill -STOP "$pid"
	run as_typed <<<"${script//--dry-run web/--dry-run -t 1 other}"
	other="$status:$output"
	run stop --strict --dry-run -t 1 other
	alone="$status:$output"
	run as_typed <<<"$script"
	on_host kill -CONT "$pid"
	[ "$alone" = "1:${other#0:}" ]
	[ "$other" = '0:nspawn-stop: other: cannot tell whether it is running:'\
' /proc does not show it, and machinectl did not answer' ]
	[ "$status:$output" = '0:web is running' ]
}

@test "a script gets the leader of a machine, or nothing" {
	script=$(example_script nspawn-enter.1 \
	    'The leader of a machine, or nothing if the machine is not running:')
	machine scope webu
	run -0 as_typed <<<"$script"$'\necho "leader: $leader"'
	[ "$output" = 'leader: ' ]
	machine scope web
	run -0 as_typed <<<"$script"$'\necho "leader: $leader"'
	[ "$output" = "leader: $(leader web)" ]
}

@test "a command is run in each machine that runs" {
	script=$(example_script nspawn-enter.1 \
	    'The same command in each machine that runs:')
	machine scope web
	machine unregistered alone -U
	run -0 as_typed <<<"$script"
	[[ "${lines[0]}" == *' load average: '* ]]
	[[ "${lines[1]}" == *' load average: '* ]]
	[ "${#lines[@]}" = 2 ]
	on_host rm /var/lib/machines/alone/usr/bin/uptime
	run -0 as_typed <<<"$script"
	[ "${lines[0]}" = 'nspawn-enter: alone: cannot execute uptime: No such'\
' file or directory' ]
	[ "${lines[1]}" = 'alone: 127' ]
	[[ "${lines[2]}" == *' load average: '* ]]
}

@test "each machine that runs is stopped, but not another user's" {
	script=$(example_script nspawn-stop.8 'Each machine that runs:')
	run -0 as_typed <<<"$script"
	[ "$output" = '' ]
	machine scope web
	machine unregistered alone
	machine unit own -U
	foreign_start
	run as_typed <<<"$script"
	foreign=$(on_host pgrep -c -x -f 'sleep 602')
	foreign_end
	[ "$status:$output" = 0: ]
	for name in "${machines[@]}"; do
		echo "case: $name"
		machine_file_is "$name" stopped stopped
	done
	[ "$foreign" = 1 ]
}

@test "a backup is made only of a machine that has stopped" {
	script=$(example_script nspawn-stop.8 \
	    'there is none if the name is misspelt:')
	# The machine's unit is the one that systemd brings.
	script=${script//nspawn@web/systemd-nspawn@web}
	machine template web
	run -0 as_typed <<<"${script//--strict web/--strict wob}"
	[ "$output" = \
	    'nspawn-stop: wob: is not running; did you mean web?' ]
	run ! on_host test -e /tmp/web.tar
	lives "$(leader web)"
	# If the backup fails, the machine is started all the same.
	run -0 as_typed <<<"${script/-cf web.tar/-cf missing/web.tar}"
	[[ "$output" == *'missing/web.tar: '*'No such file or directory'* ]]
	run -0 enter web hostname
	run -0 as_typed <<<"$script"
	[ "$output" = '' ]
	# PID 1 has written that file last.
	[ "$(on_host tar -xOf /tmp/web.tar ./stopped)" = stopped ]
	run -0 enter web hostname
	[ "$output" = web ]
}
