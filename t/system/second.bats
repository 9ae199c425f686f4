#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
# bats file_tags=static
#
# Every init of inits.bats under a second name that is unknown, and under the
# name init, which other inits have.  nspawn-stop stops it correctly, or says
# that it does not know it; no machine reboots.

load ../common
load ../machines
load ../inits

rows_of_second()
{
	second=$1 copies=$2
	rows_of_supervisors
	rows_of_inits
	rows_of_programs
}

setup_file()
{
	rows_begin
	rows_of_second /sbin/myinit cp
	rows_of_second /sbin/init ln
	rows_await
	export NAMES="${rows[*]}"
}

# The leaders of all machines, one a line, as systemd-machined of the host knows
# them.
leaders()
{
	on_host sh -c 'for name; do
		echo "$name $(machinectl show -p Leader --value "$name" 2>&1)"
	done' sh "$@"
}

# Prints what is wrong with how a machine was stopped, or nothing.  An init that
# is not known may stop uncleanly, or not at all.
fault_of()
{
	local name=$1 program=${1##*.} known=yes now

	[[ "$output" != *"stop: $name: PID 1 is $program ("* ]] || known=no
	now=$(grep "^$name " <<<"$after")
	if [[ "$output" == *"stop: $name: has stopped"* ]]; then
		[ "$known" = no ] || machine_file_is "$name" served served ||
		    echo 'has not stopped cleanly'
	elif ! grep -qx "$now" <<<"$before"; then
		echo 'has rebooted'
	elif [ "$known" = yes ]; then
		echo 'does not stop'
	fi
}

@test "no init reboots because of its name" {
	read -ra names <<<"$NAMES"
	[ "${#names[@]}" = 31 ]
	before=$(leaders "${names[@]}")
	[ "$(grep -c ' [0-9]*$' <<<"$before")" = 31 ]
	run stop --verbose --timeout 8 "${names[@]}"
	after=$(leaders "${names[@]}")
	failed=0
	for name in "${names[@]}"; do
		echo "case: $name"
		fault=$(fault_of "$name")
		echo "$name: ${fault:-ok}: $(grep "stop: $name: " <<<"$output" |
		    cut -d ' ' -f 3- | paste -s -d ,)"
		[ -z "$fault" ] || failed=1
	done
	[ "$failed" = 0 ]
}
