#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
#
# Every init that Debian has a package of, as PID 1 of a machine.  It runs a
# service that takes 1.2 s to stop and writes a file last.  nspawn-stop finds
# the clean way to stop each without an option; if there is none, it says so.

load ../common
load ../machines
load ../inits

setup_file()
{
	rows_begin
	rows_of_supervisors
	rows_of_inits
	rows_of_programs
	rows_of_others
	rows_await
}

@test "for a signal that an init does not read the right one is named" {
	run -124 stop --signal TERM --timeout 4 runit
	[[ "${lines[0]}" =~ ^'nspawn-stop: runit: PID 1 is runit ('[0-9]+'): '\
'it blocks SIGTERM and never reads it; it stops on SIGPWR: use --signal PWR'$ ]]
}

@test "one call stops every init cleanly that can be" {
	mapfile -t names < <(cut -d '|' -f 1 <<<"$CLEAN")
	[ "${#names[@]}" = 17 ]
	run -0 stop --verbose "${names[@]}"
	while IFS='|' read -r name init way; do
		echo "case: $name $init $way"
		[[ "$output" == *"stop: $name: PID 1 is $init ("* ]]
		[[ "$output" == *"stop: $name: $way"* ]]
		machine_file_is "$name" served served
	done <<<"$CLEAN"
	[ "$(grep -c 'has stopped' <<<"$output")" = 17 ]
	run ! grep -v -e 'PID 1 is' -e 'sent SIG' -e 'ran init 0' \
	    -e 'has stopped' <<<"$output"
}

@test "an init that cannot be stopped cleanly is reported" {
	run -0 stop runsvdir
	[[ "$output" =~ ^'nspawn-stop: runsvdir: PID 1 is runsvdir ('[0-9]+'): '\
'no signal stops it cleanly; SIGTERM ends it, and its services are killed'$ ]]
	run ! machine_file_is runsvdir served served
	run -124 stop --timeout 1 sleep
	[[ "${lines[0]}" == 'nspawn-stop: sleep: PID 1 is sleep ('*'): no'\
' signal stops it cleanly: it has no handler for SIGTERM or any other signal,'\
* ]]
}
