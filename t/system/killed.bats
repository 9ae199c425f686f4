#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
#
# What happens to a command when nspawn-enter is killed: it gets a hang-up, as
# from a terminal that goes away, and five seconds later it is killed.  A
# command never outlives the process that could have stopped it.

load ../common
load ../machines

setup_file()
{
	host_start_shared
}

# The longest time, in s, for something that happens at once, and for what
# happens after five seconds.
AT_ONCE=4
AT_LAST=10

# True if the command in web has begun.
machine_up()
{
	on_host test -e /var/lib/machines/web/up
}

# True if a monitor is left in the host.
monitored()
{
	on_host pgrep -x nspawn-monitor >/dev/null
}

# kill_entered COMMAND...: enters web with that command, as the user $who if
# that is set, and kills nspawn-enter once the machine has the file /up.
kill_entered()
{
	enter web rm -f /up /hup /seen
	job_start "$BIN/nspawn-enter" ${who:+-u "$who"} web "$@"
	until_true machine_up
	on_host kill -KILL "$job_inner"
	SECONDS=0
	job_end
	[ "$job_status" = 137 ]
}

@test "a command that ends by a hang-up ends at once" {
	kill_entered sh -c ': >/up; exec sleep 4721'
	until_true not runs_in_host 'sleep 4721'
	[ "$SECONDS" -le "$AT_ONCE" ]
}

@test "a command that tidies up at a hang-up has the time to" {
	kill_entered sh -c 'trap "sleep 1; : >/hup; exit" HUP; : >/up
	    while :; do sleep 4722 & wait $!; kill $!; done'
	until_true on_host test -e /var/lib/machines/web/hup
	[ "$SECONDS" -le "$AT_ONCE" ]
	until_true not runs_in_host 'sleep 4722'
}

@test "a command that survives a hang-up is killed after five seconds" {
	# The command writes the time to the machine as long as it lives.
	kill_entered sh -c 'trap "" TERM; trap "read now _ </proc/uptime
	    echo \$now >/hup" HUP; : >/up; sleep 4723 &
	    while :; do usleep 100000; read now _ </proc/uptime
		echo $now >/seen.new; mv /seen.new /seen; done'
	until_true not runs_in_host '.*/seen.new.*'
	[ "$SECONDS" -le "$AT_LAST" ]
	run ! runs_in_host 'sleep 4723'
	lived=$(enter web sh -c 'awk -v up="$(cat /hup)" \
	    "{ print int(\$1 - up) }" /seen')
	[ "$lived" -ge 3 ]
	[ "$lived" -le 7 ]
}

@test "a command that ignores every signal is killed with its group" {
	kill_entered sh -c 'trap "" HUP INT QUIT TERM; sleep 4724 & sleep 4724 |
	    sleep 4724 & : >/up; wait'
	until_true not runs_in_host 'sleep 4724'
	[ "$SECONDS" -le "$AT_LAST" ]
	run ! runs_in_host '.*sleep 4724.*'
	# Killed processes may still be zombies.
	until_true not monitored
}

@test "a command of another user is killed, too" {
	# Every user can write there that the command is up.
	on_host chmod 777 /var/lib/machines/web
	who=joe kill_entered sh -c 'trap "" HUP; : >/up; sleep 4732; sleep 4732'
	until_true not runs_in_host '.*sleep 4732.*'
	[ "$SECONDS" -le "$AT_LAST" ]
}

@test "a stopped command gets the hang-up, too" {
	kill_entered sh -c 'sleep 4725 & : >/up; kill -STOP $$'
	until_true not runs_in_host '.*sleep 4725.*'
	[ "$SECONDS" -le "$AT_ONCE" ]
}

@test "a command in a terminal is killed in the same way" {
	enter web rm -f /up
	script -q -e -c "'$TOP/t/host' run '$HOST' '$BIN/nspawn-enter' -t web \
	    sh -c 'trap \"\" HUP TERM; echo >/up; sleep 4726; sleep 4726'" \
	    /dev/null </dev/null >/dev/null 2>&1 3>&- &
	job=$!
	until_true machine_up
	until_true runs_in_host 'sleep 4726'
	on_host kill -KILL \
	    "$(on_host pgrep -o -x -f "$BIN/nspawn-enter -t web .*")"
	SECONDS=0
	job_end
	until_true not runs_in_host 'sleep 4726'
	[ "$SECONDS" -le "$AT_LAST" ]
	run ! runs_in_host '.*sleep 4726.*'
}

# kill_unit COMMAND...: kills all processes of a unit that enters web.
kill_unit()
{
	enter web rm -f /up
	on_host systemd-run --quiet --unit=caller --collect \
	    "$BIN/nspawn-enter" web "$@"
	until_true machine_up
	on_host systemctl kill -s KILL caller.service
	SECONDS=0
	until_true not on_host systemctl --quiet is-active caller.service
}

@test "a command ends with a unit that is killed as a whole" {
	kill_unit sh -c 'trap "" HUP TERM; : >/up; exec sleep 4727'
	until_true not runs_in_host 'sleep 4727'
	[ "$SECONDS" -le "$AT_LAST" ]
}

@test "the stop of a unit leaves nothing of a command that ignores it" {
	enter web rm -f /up
	on_host systemd-run --quiet --unit=caller --collect \
	    -p TimeoutStopSec=1 "$BIN/nspawn-enter" web sh -c \
	    'trap "" HUP TERM; : >/up; exec sleep 4729'
	until_true machine_up
	on_host systemctl stop caller.service
	SECONDS=0
	until_true not runs_in_host '.*sleep 4729.*'
	[ "$SECONDS" -le "$AT_LAST" ]
}

@test "timeout(1) with a KILL leaves nothing of a command" {
	# Processes that are left would hold a pipe for the output open.
	run -137 on_host sh -c 'exec "$@" >/dev/null 2>&1' '' \
	    timeout -s KILL 1 "$BIN/nspawn-enter" web sh -c \
	    'trap "" HUP TERM; sleep 4730; sleep 4730'
	SECONDS=0
	until_true not runs_in_host '.*sleep 4730.*'
	[ "$SECONDS" -le "$AT_LAST" ]
}

@test "a signal that comes as the command ends changes no status" {
	run -0 host_script "$BIN" <<-'END'
	mkfifo /tmp/begun
	for n in $(seq 40); do
		"$1/nspawn-enter" web sh -c 'trap "" USR1; echo; sleep 0.01
		    exit 7' >/tmp/begun &
		read -r _ </tmp/begun
		for m in $(seq 3000); do
			kill -USR1 $! 2>/dev/null || break
		done
		status=0
		wait $! || status=$?
		[ "$status" = 7 ] || echo "status $status"
	done
	rm /tmp/begun
	END
	[ "$output" = '' ]
}

@test "an entry that is killed at any moment leaves nothing" {
	run -0 host_script "$BIN" "$(leader web)" <<-'END'
	for n in 0 1 2 3 4 5 6 7 8 9; do
		for m in 1 3 5 7 9; do
			timeout -s KILL "0.00$n$m" "$1/nspawn-enter" web \
			    sh -c 'trap "" HUP TERM; exec sleep 4731' \
			    >/dev/null 2>&1
			"$1/nspawn-enter" web true || echo "after 0.00$n$m s"
		done
	done 2>&1 | grep -v ^Killed || true
	grep -E '^(State|TracerPid):.[^RS0]' "/proc/$2/status" || true
	END
	[ "$output" = '' ]
	until_true not runs_in_host '.*sleep 4731.*'
	until_true not monitored
}
