#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
#
# nspawn-stop as ExecStop= of units, as the manual shows it, and for very many
# machines.

load ../common
load ../machines
load ../examples

# PID 1 takes that many seconds to stop, and writes a file last; USR1 ends it at
# once.
SLOW='trap "sleep $(cat /slow); echo stopped >/stopped; exit 0" TERM
    trap "exit 0" USR1; echo >/ready; while :; do sleep 600 & wait $!; done'

setup_file()
{
	host_start
	examples_install
	host_script "$SLOW" <<-'END'
	tree=/var/lib/machines/box
	cp -a /usr/lib/nspawn-tools/skeleton "$tree"
	mkdir -p "$tree/etc"
	echo ID=box >"$tree/etc/os-release"
	echo "$1" >"$tree/slow.sh"
	END
}

# unit SECONDS [LINE]...: starts the unit of the manual with these additional
# lines, and a PID 1 that takes that long to stop.
unit()
{
	host_script "$@" <<-'END'
	cd /var/lib/machines/box
	rm -f ready stopped
	echo "$1" >slow
	shift
	folder=/run/systemd/system/nspawn@box.service.d
	mkdir -p "$folder"
	printf '%s\n' '[Unit]' StartLimitIntervalSec=0 '[Service]' \
	    'Environment="INIT=--console=pipe /bin/sh /slow.sh"' "$@" \
	    >"$folder/of-test.conf"
	systemctl daemon-reload
	systemctl start nspawn@box
	END
	until_true on_host test -e /var/lib/machines/box/ready
}

# Checks that the unit has ended as it should, with a clean stop of its machine.
unit_is_clean()
{
	[ "$(on_host systemctl show -p ActiveState -p Result -p SubState \
	    nspawn@box | sort | tr '\n' ' ')" = \
	    'ActiveState=inactive Result=success SubState=dead ' ]
	machine_file_is box stopped stopped
	run -0 stop box
	[ "$output" = 'nspawn-stop: box: is not running' ]
}

@test "a stop is clean with each KillMode that waits for the machine" {
	for mode in mixed control-group process none; do
		echo "case: $mode"
		unit 1 "KillMode=$mode"
		on_host systemctl stop nspawn@box
		unit_is_clean
	done
}

@test "a stop that takes longer than TimeoutStopSec= is not cut short" {
	for access in exec all; do
		echo "case: $access"
		unit 6 TimeoutStopSec=2 "NotifyAccess=$access"
		on_host systemctl stop nspawn@box
		unit_is_clean
	done
	# If nspawn-stop may not notify systemd, the stop is cut short: so the
	# notices made the difference.
	unit 6 TimeoutStopSec=2 NotifyAccess=main
	on_host systemctl stop nspawn@box || true
	run ! machine_file_is box stopped stopped
}

@test "systemctl shows what is waited for" {
	unit 3
	on_host systemctl stop --no-block nspawn@box
	until_true status_says 'waiting for box: '
	until_true unit_ended
	unit_is_clean
}

status_says()
{
	[[ "$(on_host systemctl show -p StatusText --value nspawn@box)" == \
	    "$1"* ]]
}

unit_ended()
{
	on_host sh -c '! systemctl is-active --quiet nspawn@box' &&
	    [ "$(on_host systemctl show -p ActiveState --value \
		nspawn@box)" = inactive ]
}

@test "a machine that ends by itself leaves no failed unit" {
	for type in notify simple; do
		echo "case: $type"
		unit 0 "Type=$type"
		on_host kill -USR1 "$(on_host sh -c \
		    'machinectl show -p Leader --value box')"
		until_true unit_ended
		[ "$(on_host systemctl show -p Result --value \
		    nspawn@box)" = success ]
	done
}

@test "a start and a stop in a row is a clean stop, fifty times" {
	unit 0
	run -0 host_script <<-'END'
	systemctl stop nspawn@box
	for n in $(seq 50); do
		rm -f /var/lib/machines/box/stopped
		systemctl start nspawn@box
		systemctl stop nspawn@box
		[ "$(systemctl show -p Result nspawn@box)" = Result=success ] &&
		    [ -e /var/lib/machines/box/stopped ] || echo "not $n"
	done
	END
	[ "$output" = '' ]
}

@test "without D-Bus and machined, or with both hung, a stop is clean" {
	unit 1
	on_host systemctl stop systemd-machined.service
	on_host systemctl mask --runtime systemd-machined.service
	on_host systemctl stop nspawn@box
	on_host systemctl unmask --runtime systemd-machined.service
	unit_is_clean
	unit 1
	machined=$(on_host sh -c 'systemctl start systemd-machined &&
	    systemctl show -p MainPID --value systemd-machined')
	on_host kill -STOP "$machined"
	on_host systemctl stop nspawn@box
	on_host kill -CONT "$machined"
	unit_is_clean
	unit 1
	bus=$(on_host systemctl show -p MainPID --value dbus)
	on_host kill -STOP "$bus"
	# As root, systemctl speaks with systemd itself, not over the bus.
	on_host systemctl stop nspawn@box
	on_host kill -CONT "$bus"
	machine_file_is box stopped stopped
}

@test "a host that is shut down lets its machines finish" {
	other=$HOST-other
	for after in 'After=dbus.service systemd-machined.service' ''; do
		echo "case: $after"
		host boot "$other" bookworm
		host run "$other" sh -eu -s "$BIN" "$after" <<-'END'
		tree=/var/lib/machines/box
		cp -a /usr/lib/nspawn-tools/skeleton "$tree"
		mkdir -p "$tree/etc"
		echo ID=box >"$tree/etc/os-release"
		cat >"$tree/slow.sh" <<-'INIT'
		trap "sleep 2; echo stopped; exit 0" TERM
		echo ready
		while :; do sleep 600 & wait $!; done
		INIT
		printf '%s\n' '[Unit]' "$2" '[Service]' Type=notify \
		    "ExecStart=systemd-nspawn --quiet --keep-unit \
		    --link-journal=no --console=pipe -M box -D $tree \
		    /bin/sh /slow.sh" "ExecStop=$1/nspawn-stop box" \
		    KillMode=mixed Delegate=yes Slice=machine.slice \
		    StandardOutput=append:/run/nspawn-tools-said \
		    >/run/systemd/system/box.service
		systemctl daemon-reload
		systemctl start box.service
		END
		off_said "$other"
	done
}

# Powers the host off, and reads what its machine wrote last; it opens the file
# before, since the file ends with the host.
off_said()
{
	local leader root

	leader=$("$TOP/t/host" leader "$1")
	root=/proc/$leader/root
	exec 9<"$root/run/nspawn-tools-said"
	until_true grep -q ready "$root/run/nspawn-tools-said"
	host run "$1" systemctl --no-block poweroff
	until_true not test -d "/proc/$leader"
	host off "$1"
	[ "$(tail -n 1 <&9)" = stopped ]
	exec 9<&-
}

@test "a hundred machines are stopped by one call, by one small process" {
	host_script <<-'END'
	for n in $(seq 100); do
		systemd-nspawn --quiet --register=no --keep-unit \
		    --link-journal=no --console=pipe --read-only -M "m$n" \
		    -D /var/lib/machines/box /bin/sh -c \
		    'trap "sleep 1; exit 0" TERM; echo up
		    while :; do sleep 600 & wait $!; done' \
		    </dev/null >"/tmp/m$n" 2>&1 &
		[ $((n % 10)) != 0 ] || until [ "$(cat /tmp/m[0-9]* |
		    grep -c up)" = "$n" ]; do sleep 0.05; done
	done
	END
	names=$(seq -f 'm%.0f' -s ' ' 100)
	# shellcheck disable=SC2086 # to be split into words
	job_start "$BIN/nspawn-stop" --verbose $names
	until_true grep -q 'm100: sent' "$job_log"
	peak=$(on_host sed -n 's/^VmHWM:[^0-9]*\([0-9]*\) kB/\1/p' \
	    "/proc/$job_inner/status")
	job_end
	[ "$job_status" = 0 ]
	[ "$(grep -c 'has stopped' "$job_log")" = 100 ]
	echo "peak of memory: $peak KiB"
	case $BUILD in
	*/static) [ "$peak" -lt 1024 ] ;;
	esac
}

@test "nspawn-stop sleeps while it waits, until something happens" {
	machine scope web
	job_start "$BIN/nspawn-stop" --signal none web
	# nspawn-stop checks once more after the second in which a signal should
	# be handled.
	until_true rests
	run -0 stop web
	job_end
	[ "$job_status" = 0 ]
}

switches()
{
	on_host grep ctxt "/proc/$job_inner/status"
}

# True if it has not run for three seconds.
rests()
{
	local now

	now=$(switches)
	if [ "$now" != "${seen-}" ]; then
		seen=$now since=$EPOCHREALTIME
		return 1
	fi
	[ $((${EPOCHREALTIME/./} - ${since/./})) -gt 3000000 ]
}
