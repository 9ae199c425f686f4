#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
# bats file_tags=releases
#
# A machine whose unit starts it again after it was stopped: nspawn-stop says
# so, and how to keep it stopped.

load ../common
load ../machines

POLICIES='always on-success on-failure no'
KEEPS='keep own'

setup_file()
{
	host_start
	# Starts a unit NAME.service with a machine NAME, whose supervisor is in
	# the unit; with "keep" the machine is too, with "own" it has a scope.
	on_host sh -c 'cat >/tmp/unit' <<-'END'
	name=$1 policy=$2 keep=$3 tree=/var/lib/machines/$1
	shift 3
	if [ ! -e "$tree" ]; then
		cp -a /usr/lib/nspawn-tools/skeleton "$tree"
		mkdir -p "$tree/etc"
		echo ID=of-test >"$tree/etc/os-release"
		cp /tmp/init "$tree/init.sh"
	fi
	[ "$keep" = keep ] && keep=--keep-unit || keep=
	printf '%s\n' '[Unit]' StartLimitIntervalSec=0 \
	    'After=dbus.service systemd-machined.service' '[Service]' \
	    Type=notify NotifyAccess=all "Restart=$policy" RestartSec=1 \
	    "ExecStart=systemd-nspawn --quiet $keep --link-journal=no \
	    --console=pipe --private-network -M $name -D $tree \
	    /bin/sh /init.sh" KillMode=mixed Delegate=yes Slice=machine.slice \
	    "StandardOutput=append:/tmp/$name.log" \
	    "StandardError=append:/tmp/$name.log" "$@" \
	    >"/run/systemd/system/$name.service"
	systemctl daemon-reload
	systemctl start "$name"
	END
	on_host sh -c 'cat >/tmp/init' <<-'END'
	trap "echo stopped; exit 0" TERM
	while :; do sleep 600 & wait $!; done
	END
	for name in hangs fails babbles; do
		on_host mkdir -p "/tmp/$name"
	done
	on_host sh -c 'cat >/tmp/hangs/systemctl' <<-'END'
	#!/bin/sh
	exec sleep 598.5
	END
	on_host sh -c 'cat >/tmp/fails/systemctl' <<-'END'
	#!/bin/sh
	echo Restart=always
	echo "cannot" >&2
	exit 1
	END
	on_host sh -c 'cat >/tmp/babbles/systemctl' <<-'END'
	#!/bin/sh
	exec yes Restart=always
	END
	on_host sh -c 'chmod +x /tmp/*/systemctl'
}

# unit NAME POLICY KEEP [LINE]...
unit()
{
	units+=("$1")
	on_host sh /tmp/unit "$@"
}

setup()
{
	machines=() units=()
}

teardown()
{
	console_show
	[ "${#units[@]}" = 0 ] || on_host systemctl stop "${units[@]}" || true
	machines_end
}

property()
{
	on_host systemctl show -p "$1" --value "$2"
}

has_returned()
{
	[ "$(property NRestarts "$1")" -ge 1 ] &&
	    [ "$(property ActiveState "$1")" = active ]
}

# hint NAME POLICY TEXT: checks what is said of a unit with that policy.
hint()
{
	case $2 in
	always | on-success)
		[[ "$3" == "nspawn-stop: $1: "* ]] && [[ "$3" != *$'\n'* ]] &&
		    [[ "$3" == *"run systemctl stop $1.service to keep it"* ]]
		;;
	*) [ "$3" = '' ] ;;
	esac
}

@test "only a unit that starts a machine again after a clean end is named" {
	for keep in $KEEPS; do
		for policy in $POLICIES; do
			echo "case: $keep $policy"
			name=$policy-$keep
			unit "$name" "$policy" "$keep"
			run -0 stop --timeout 20 "$name"
			echo "$name: $output"
			hint "$name" "$policy" "$output"
			on_host grep -qx stopped "/tmp/$name.log"
		done
	done
	# Each unit does what was said of it, so the message is right.
	for keep in $KEEPS; do
		for policy in always on-success; do
			echo "case: $keep $policy"
			until_true has_returned "$policy-$keep"
			# This kills the machine, which may count as a failure.
			on_host systemctl stop "$policy-$keep"
			[[ "$(property ActiveState "$policy-$keep")" =~ \
			    ^(inactive|failed)$ ]]
		done
		for policy in on-failure no; do
			echo "case: $keep $policy"
			[ "$(property ActiveState "$policy-$keep")" = inactive ]
			[ "$(property NRestarts "$policy-$keep")" = 0 ]
		done
	done
}

@test "with --quiet no unit is named" {
	for keep in $KEEPS; do
		echo "case: $keep"
		unit "quiet-$keep" always "$keep"
		run -0 stop --quiet "quiet-$keep"
		[ "$output" = '' ]
	done
}

@test "one call names the unit of each of several machines" {
	for keep in $KEEPS; do
		for policy in always no; do
			echo "case: $keep $policy"
			unit "all-$policy-$keep" "$policy" "$keep"
			names+=("all-$policy-$keep")
		done
	done
	machine_sh plain "trap 'exit 0' TERM; $WAITS"
	run -0 stop "${names[@]}" plain
	echo "$output"
	[ "${#lines[@]}" = 2 ]
	for keep in $KEEPS; do
		echo "case: $keep"
		hint "all-always-$keep" always \
		    "$(grep -e "-always-$keep: " <<<"$output")"
	done
}

@test "in ExecStop= of that unit itself it is not named" {
	for keep in $KEEPS; do
		echo "case: $keep"
		unit "own-$keep" always "$keep" \
		    "ExecStop=$BIN/nspawn-stop --verbose own-$keep"
		on_host systemctl stop "own-$keep"
		run -0 on_host cat "/tmp/own-$keep.log"
		echo "$output"
		[[ "$output" == *"own-$keep: has stopped"* ]]
		[[ "$output" != *'keep it stopped'* ]]
		[ "$(property ActiveState "own-$keep")" = inactive ]
		[ "$(property NRestarts "own-$keep")" = 0 ]
		# In ExecStop= of another unit it names it.
		on_host systemctl start "own-$keep"
		run -0 on_host env MAINPID=1 "$BIN/nspawn-stop" "own-$keep"
		hint "own-$keep" always "$output"
	done
}

# Finds programs that stand in for systemctl and have not ended.
leftovers()
{
	on_host pgrep -f '^(sleep 598.5|yes Restart=always)$'
}

@test "a systemctl that hangs, fails, babbles or is missing changes no status" {
	for keep in $KEEPS; do
		for path in /tmp/hangs /tmp/fails /tmp/babbles /tmp/none; do
			echo "case: $keep $path"
			name=bad-${path##*/}-$keep
			unit "$name" always "$keep"
			[ "$path" = /tmp/none ] ||
			    path=$path:/usr/sbin:/usr/bin:/sbin:/bin
			pid=$(property MainPID "$name")
			before=$EPOCHREALTIME
			run -0 on_host env "PATH=$path" "$BIN/nspawn-stop" \
			    --timeout 6 "$name"
			took=$((${EPOCHREALTIME/./} - ${before/./}))
			echo "$name: $((took / 1000)) ms: $output"
			run ! lives "$pid"
			on_host grep -qx stopped "/tmp/$name.log"
			[ "$took" -lt 7000000 ]
			run ! leftovers
			on_host systemctl stop "$name"
		done
	done
}

@test "a systemctl that hangs does not change the deadline of other machines" {
	machine_sh deaf "trap '' TERM; $WAITS"
	unit late always own
	before=$EPOCHREALTIME
	run -124 on_host env PATH=/tmp/hangs:/usr/bin:/bin "$BIN/nspawn-stop" \
	    --timeout 1 deaf late
	took=$((${EPOCHREALTIME/./} - ${before/./}))
	echo "$((took / 1000)) ms: $output"
	[ "$took" -gt 900000 ]
	[ "$took" -lt 2500000 ]
	[[ "$output" == *'deaf: is still running'* ]]
	on_host grep -qx stopped /tmp/late.log
	run ! leftovers
}
