#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
#
# Machines whose PID 1 has got the signal, and which cannot end because a
# process outside is stopped: nspawn-stop names it, and the proposed remedy
# works.

load ../common
load ../machines

: "${SUITE:=trixie}"

setup()
{
	machines=() stopped=()
}

teardown()
{
	console_show
	[ "${#stopped[@]}" = 0 ] ||
	    on_host kill -CONT "${stopped[@]}" 2>/dev/null || true
	machines_end
}

# Stops a process, as ^Z does.
process_stop()
{
	stopped=("$1")
	on_host kill -STOP "$1"
	until_true state_is "$1" T
}

state_is()
{
	on_host grep -q "^State:.[$2]" "/proc/$1/status"
}

has_ended()
{
	! on_host grep -q '^State:.[^ZX]' "/proc/$1/status" 2>/dev/null
}

# start_guest HOW: starts a process in the machine web; sets guest to its PID,
# and parent to that of its parent outside.
start_guest()
{
	local leader program

	leader=$(leader web)
	case $1 in
	nsenter) set -- nsenter -t "$leader" -p -m -- /bin/sleep 599 ;;
	nspawn-enter) set -- "$BIN/nspawn-enter" web /bin/sleep 599 ;;
	perl)
		# A name with control characters; 308 is setns(2) of x86-64.
		program='open(N, "<", "/proc/$ARGV[0]/ns/pid");
		    open(C, ">", "/proc/self/comm"); print C "a\033[31mb";
		    close(C); syscall(308, fileno(N), 0) == 0 or die;
		    exec("sleep", 599) if fork() == 0; wait()'
		set -- perl -e "$program" "$leader"
		;;
	esac
	on_host sh -c 'setsid "$@" </dev/null >/tmp/guest.log 2>&1 &' '' "$@"
	until_true guest_runs
	guest=$(on_host pgrep -x -f '(/bin/)?sleep 599')
	parent=$(on_host sed -n 's/^PPid:.//p' "/proc/$guest/status")
}

guest_runs()
{
	on_host pgrep -x -f '(/bin/)?sleep 599' >/dev/null
}

@test "the stopped parent of a process in the machine is named" {
	[ "$(uname -m)" = x86_64 ] || skip 'the number of a system call'
	while IFS='|' read -r how name; do
		echo "case: $how $name"
		machine_sh web "trap 'exit 0' TERM; $WAITS"
		supervisor=$(supervisor web)
		start_guest "$how"
		echo "$how: the parent of $guest is $parent"
		process_stop "$parent"
		run -124 stop --timeout 3 web
		echo "$output"
		[[ "$output" == *"its parent $parent ($name) is stopped"* ]]
		# The process itself is also in the list.
		[[ "$output" == *": process $guest ("*" inside), sleep"* ]]
		run ! has_ended "$supervisor"
		# The remedy that the message named is enough.
		job_start "$BIN/nspawn-stop" --timeout 30 web
		until_true job_polls
		on_host kill -CONT "$parent"
		job_end
		cat "$job_log"
		[ "$job_status" = 0 ]
		has_ended "$supervisor"
		until_true not guest_runs
		machines_end
	done <<-'END'
	nsenter|nsenter
	nspawn-enter|nspawn-monitor
	perl|a\x1b[31mb
	END
}

job_polls()
{
	on_host grep -q poll "/proc/$job_inner/wchan"
}

@test "a parent that is not stopped is not named" {
	machine_sh web "trap '' TERM; $WAITS"
	start_guest nsenter
	run -124 stop --timeout 0.5 web
	echo "$output"
	[[ "$output" == *": process $guest ("*" inside), sleep"* ]]
	[[ "$output" != *'is stopped'* ]]
	on_host kill "$guest"
	until_true not guest_runs
}

@test "a stopped systemd-nspawn is named, and ends when it is continued" {
	for kind in scope unregistered unit; do
		echo "case: $kind"
		machine "$kind" web -- /bin/sh -c "trap 'exit 0' TERM; $WAITS"
		until_true on_host test -e /var/lib/machines/web/ready
		supervisor=$(supervisor web) leader=$(leader web)
		process_stop "$supervisor"
		run -124 stop --timeout 3 web
		echo "$kind: $output"
		grep -q "is stopped.*kill -CONT $supervisor\b" <<<"$output"
		until_true state_is "$leader" ZX
		# Now it is a supervisor without a leader.
		run -1 stop --timeout 0.5 web
		echo "$kind: $output"
		[[ "$output" != *'is not running'* ]]
		run ! has_ended "$supervisor"
		job_start "$BIN/nspawn-stop" --timeout 30 web
		until_true job_polls
		on_host kill -CONT "$supervisor"
		job_end
		cat "$job_log"
		[ "$job_status" = 0 ]
		has_ended "$supervisor"
		machines_end
	done
}
