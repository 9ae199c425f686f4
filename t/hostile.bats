#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
#
# Machines that mean harm, or never stand still.  What is in their files is in
# t/enter.bats, what they do to terminals in t/terminal-252.bats.

load common
load machines

@test "a machine that has mounted over its /proc and /dev is entered and stopped" {
	machine_sh web "mount -t tmpfs none /proc; mount -t tmpfs none /dev
	    trap 'echo stopped >/stopped; exit 0' TERM; $WAITS"
	run -0 enter web ls /proc /dev
	[ "$output" = $'/dev:\n\n/proc:' ]
	run -0 enter -t web echo entered
	[[ "$output" == *'its /dev/pts gives no terminal'* ]]
	[[ "$output" == *entered* ]]
	run -0 stop web
	machine_file_is web stopped stopped
}

@test "what PID 1 calls itself is printable, whatever it is" {
	machine_sh web 'printf "\033]0;x\007\n\\" >/proc/self/comm; trap "" TERM
	    '"$WAITS"
	pid=$(leader web)
	run -0 stop --dry-run web
	[[ "$output" == "web: PID 1 is \\x1b]0;x\\x07"*" ($pid), its "* ]]
	run -124 stop -v --timeout 0.1 web
	[[ "$output" != *[$'\033\007']* ]]
}

@test "a machine whose processes come and go is stopped, or what is left listed" {
	machine_sh web 'trap "" TERM; echo >/ready; while :; do
	    for n in 1 2 3 4 5 6 7 8 9; do (:) & done; wait; done'
	run -124 stop --timeout 1.2 web
	[[ "$output" == *'nspawn-stop: web: is still running'* ]]
	[ "${#lines[@]}" -le 13 ]
	for n in 1 2 3 4 5 6 7 8 9; do
		run -0 enter web echo entered
		[ "$output" = entered ]
	done
}

@test "a machine that reboots all the time is entered whole or not at all" {
	machine_sh web 'echo >/ready; sleep 0.05; reboot -f; sleep 600'
	for n in $(seq 30); do
		run enter -q web echo entered
		case $status in
		0) [ "$output" = entered ] ;;
		125) [[ "$output" == 'nspawn-enter: '* ]] ;;
		# The machine's end is that of all that is in it.
		137) [ "$output" = '' ] || [ "$output" = entered ] ;;
		*) echo "$status: $output" && false ;;
		esac
	done
	for n in $(seq 10); do
		run stop --timeout 5 web
		case $output in
		*'web: has rebooted instead of stopping'*) [ "$status" = 1 ] ;;
		*'web: is not running') [ "$status" = 0 ] ;;
		*) echo "$status: $output" && false ;;
		esac
	done
}
