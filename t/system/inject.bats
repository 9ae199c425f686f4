#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
# bats file_tags=static
#
# Each system call of both programs fails once; or all of its kind fail from one
# call on, as when there are no more descriptors.  In each case the program
# ends, prints a message and has the right status; it signals only the leader
# and its own processes, and leaves no process behind and no terminal raw.

load ../common
load ../machines
load ../sweep

setup_file()
{
	host_start_shared
	sweep_prepare
}

EIO=5
ENOMEM=12
EAGAIN=11
EMFILE=24

# sweep_error ERROR MACHINE HOLDS PROGRAM [ARGUMENT]...
sweep_error()
{
	local error=$1 pid

	pid=$(leader "$2")
	shift 2
	sweep "fail $error $pid" "$@"
	lives "$pid"
}

# Without arch_prctl(2) a libc cannot start.
# A terminal that can be neither read nor written is handled like one that is
# gone: the command gets a hang-up, if it still runs.
ENTERED='case $status in
    0) [ "$(cat /tmp/out)" = done ] ||
        [ "$call" = "$READ" ] || [ "$call" = "$WRITE" ] ;;
    12[567]) said . ;;
    129) [ "$call" = "$WRITE" ] ;;
    139) [ "$call" = "$ARCH_PRCTL" ] ;;
    *) false ;;
    esac'

@test "nspawn-enter reports any system call that fails" {
	for error in $EIO $ENOMEM; do
		echo "case: $error"
		sweep_error "$error" web "$ENTERED" "$PROGRAMS/nspawn-enter" \
		    -q web echo 'done'
	done
}

@test "nspawn-enter does so on a terminal and in a user namespace, too" {
	on_host sh -c 'cat >/tmp/on-tty && chmod +x /tmp/on-tty' <<-'END'
	#!/bin/bash
	# Runs a program on a terminal; only its errors go elsewhere.
	export words=$(printf '%q ' "$@") status=0
	script -qec 'before=$(stty -g); eval "$words" 2>/tmp/said; status=$?
	    [ "$(stty -g)" = "$before" ] || echo "it stays raw" >&3
	    exit $status' /dev/null >/tmp/typed || status=$?
	sed 's/\r*$//; s/^^@//' /tmp/typed	# the end of the input
	cat /tmp/said >&2
	exit $status
	END
	VIA=/tmp/on-tty sweep_error "$EIO" webu "$ENTERED" \
	    "$PROGRAMS/nspawn-enter" -q webu echo 'done'
}

# The machine is told but does not end: the message says that, or what went
# wrong, unless the message itself cannot be written.
TOLD='case $status in
    124) said "is still running" || [ "$call" = "$WRITE" ] ;;
    1 | 125) said . || [ "$call" = "$WRITE" ] ;;
    139) [ "$call" = "$ARCH_PRCTL" ] ;;
    *) false ;;
    esac'

@test "nspawn-stop reports any system call that fails" {
	machine scope told -- /bin/sh -c 'trap : TERM; sleep 86400 &
	    while :; do wait $!; done'
	for error in $EIO $ENOMEM; do
		echo "case: $error"
		sweep_error "$error" told "$TOLD" "$PROGRAMS/nspawn-stop" \
		    --timeout 0.05 told
	done
}

@test "nspawn-stop reports any call that fails on the way to init 0" {
	on_host sh -c 'printf "#!/bin/sh\nexit 0\n" >/tmp/init &&
	    chmod +x /tmp/init'
	# It has the name and the signals of a runit that only a command stops.
	machine scope ordered --bind-ro=/usr/bin/dash:/dash/runit \
	    --bind-ro=/usr/lib --bind-ro=/usr/lib64:/lib64 \
	    --bind-ro=/tmp/init:/usr/sbin/init -- /dash/runit -c \
	    'trap : CONT; sleep 86400 & while :; do wait $!; done'
	until_true on_host sh -c "'$BIN/nspawn-stop' --dry-run ordered |
	    grep -q 'init 0 would be run in it'"
	sweep_error "$EIO" ordered "$TOLD" "$PROGRAMS/nspawn-stop" \
	    --timeout 0.05 ordered
}

# Shortages of a host, in numbers of x86-64: an error, and the calls that fail
# with it.
SHORTAGES="
$EMFILE 2,257,437,22,293,434,294,289,41,53,319,32,290
$EMFILE 2,257
$EMFILE 437
$EMFILE 434
$EMFILE 22,293,294,289,41,53,319
$ENOMEM 9,12,25
$ENOMEM 217
$ENOMEM 262,267,269,332,439
$EAGAIN 56,57,58,435
$EIO 0,17
"

CANNOT_POLL="$ENOMEM 7,271"

# sweep_shortages SHORTAGES MACHINE HOLDS PROGRAM [ARGUMENT]...
sweep_shortages()
{
	local shortages=$1 machine=$2 pid error calls

	pid=$(leader "$machine")
	shift 2
	while read -r error calls; do
		[ -n "$error" ] || continue
		echo "# $error of $calls" >&2
		LEAST=0 sweep "exhaust $error $pid $calls" "$@" </dev/null
	done <<<"$shortages"
	lives "$pid"
}

@test "nspawn-stop reports a shortage of anything" {
	machine scope told -- /bin/sh -c 'trap : TERM; sleep 86400 &
	    while :; do wait $!; done'
	sweep_shortages "$SHORTAGES$CANNOT_POLL" told "$TOLD" \
	    "$PROGRAMS/nspawn-stop" --timeout 0.05 told
}

@test "nspawn-enter reports a shortage of anything" {
	sweep_shortages "$SHORTAGES" web "$ENTERED" "$PROGRAMS/nspawn-enter" \
	    -q web echo 'done'
}

@test "nspawn-enter reports that it cannot even poll" {
	sweep_shortages "$CANNOT_POLL" web "$ENTERED" \
	    "$PROGRAMS/nspawn-enter" -q web echo 'done'
}
