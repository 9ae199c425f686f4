#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
# bats file_tags=static
#
# nspawn-stop with too few descriptors, too little memory, too few processes or
# no room in files, at each limit: it tells the machines to stop, or reports
# that it could not.  It never has status 0 while one of them runs, and it
# always ends in time.

load ../common
load ../machines

: "${SUITE:=trixie}"

setup_file()
{
	host_start
	# The same as limited, for scripts in the host.
	on_host sh -c 'cat >/tmp/limited' <<<"$LIMITED"
	# The scripts of each test source this.
	on_host sh -c 'cat >/tmp/check' <<-'END'
	# ended NAME: true if its supervisor has ended, even if it is a zombie.
	ended()
	{
		! grep -q '^State:.[^ZX]' "/proc/$(cat "/run/pool/$1")/status" \
		    2>/dev/null
	}

	wrong()
	{
		echo "$row: $1; $took ms, status $status:" \
		    "$(head -n 5 /tmp/said)"
	}

	# check ROW MS NAMES COMMAND...: runs nspawn-stop on those machines, and
	# prints what is wrong.  Sets status, and ran: the machines that still
	# run.
	check()
	{
		local names=$3 name before
		row=$1 most=$2 status=0 ran=
		shift 3
		before=${EPOCHREALTIME/./}
		# The shell may report a killed process: that is not output of
		# ours.
		{ timeout -k 1 30 "$@" $names </dev/null >/tmp/said 2>&1 ||
		    status=$?; } 2>/dev/null
		took=$(((${EPOCHREALTIME/./} - before) / 1000))
		for name in $names; do
			ended "$name" || ran+="$name "
		done
		[ "$took" -le "$most" ] || wrong "should take $most ms"
		[ "$status" != 0 ] || [ -z "$ran" ] || wrong "still run: $ran"
		for name in $ran; do
			! grep -q "$name: is not running" /tmp/said ||
			    wrong "it runs"
		done
		case $status in
		0) ;;
		1 | 124 | 125) [ -s /tmp/said ] || wrong "should be said" ;;
		137 | 139) ;; # short of memory it may be killed
		*) wrong "what a status" ;;
		esac
		counts[$status]=$((${counts[$status]:-0} + 1))
	}

	limited=(sh -eu -c "$(cat /tmp/limited)" "of-$HOST")
	declare -A counts
	END
}

teardown_file()
{
	limited_end
	host_stop
}

# checks NAMES SCRIPT: starts those machines and runs the script in the host,
# which prints what is wrong; $stop is nspawn-stop.  Then it stops the machines
# that are left, without a limit.
checks()
{
	# shellcheck disable=SC2086 # to be split into words
	pool_start $1
	HOST_SECONDS=600 run --separate-stderr on_host env "HOST=$HOST" \
	    bash -eu -c '. /tmp/check
	    stop=$0; '"$2"'
	    for status in "${!counts[@]}"; do
		echo "${counts[$status]} times status $status" >&2
	    done' "$BIN/nspawn-stop"
	# shellcheck disable=SC2154 # run sets it
	echo "$stderr"
	echo "$output"
	[ "$status" = 0 ]
	wrong=$output
	# shellcheck disable=SC2086
	run -0 stop --quiet --timeout 30 $1
	[ "$wrong" = '' ]
}

@test "with 3 to 80 descriptors a machine is stopped or reported" {
	checks "$(seq -f 'd%.0f' -s ' ' 3 80)" '
	    for n in $(seq 3 80); do
		check "$n" 4000 "d$n" prlimit --nofile=$n:$n "$stop" -t 2
		[ "$status" = 0 ] || echo "$n: $status: $(cat /tmp/said)" >&2
		# Forty descriptors are always enough.
		[ "$n" -lt 40 ] || [ "$status" = 0 ] || wrong "should be 0"
		case $status in
		1) grep -qi "open files" /tmp/said || wrong "should say why" ;;
		esac
	    done'
}

@test "with 16 to 256 descriptors forty machines are stopped or named" {
	for n in 16 33 64 65 128 256; do
		echo "case: $n"
		names=$(seq -f "f$n-%.0f" -s ' ' 40)
		checks "$names" '
		    n='"$n"' names="'"$names"'"
		    check "$n" 12000 "$names" prlimit --nofile=$n:$n "$stop" \
			-t 10
		    echo "$n: status $status, still run: $ran" >&2
		    for name in $ran; do
			grep "$name" /tmp/said | grep -q "open files" ||
			    wrong "$name should be named"
		    done
		    [ -z "$ran" ] || [ "$status" = 1 ] || wrong "should be 1"
		    [ "$n" -lt 256 ] || [ "$status" = 0 ] || wrong "should be 0"
		    # A soft limit does not count: the program raises it.
		    check "soft $n" 12000 "$names" prlimit --nofile=$n:4096 \
			"$stop" -t 10
		    [ "$status" = 0 ] || wrong "should be 0"'
	done
}

# With less memory the kernel kills a program before it is loaded; this finds
# where that ends.
EDGES='for limit in as data stack; do
    low=0 high=16384
    while [ $((high - low)) -gt 4 ]; do
	kb=$(((low + high) / 8 * 4))
	if prlimit --$limit=$((kb * 1024)) "$stop" --version; then
	    high=$kb
	else
	    low=$kb
	fi >/dev/null 2>&1
    done
    # The kernel gives a program some stack, whatever the limit is, so there
    # may be no edge.
    [ "$low" -gt 0 ] || [ "$limit" = stack ] || echo "no edge for $limit"
    echo "$limit: from $high KiB on" >&2'

@test "with little memory for nspawn-stop a machine is stopped or reported" {
	checks "$(seq -f 'a%.0f' -s ' ' 36)" 'n=0
	    '"$EDGES"'
	    for more in 0 4 8 12 16 24 32 48 64 128 256 8192; do
		n=$((n + 1)) kb=$((high + more))
		check "$limit, $kb KiB" 4000 "a$n" \
		    prlimit --$limit=$((kb * 1024)) "$stop" -t 2
		[ "$more" -lt 256 ] || [ "$status" = 0 ] || wrong "should be 0"
	    done
	    done'
}

@test "with any MemoryMax= a machine is stopped or reported" {
	checks "$(seq -f 'm%.0f' -s ' ' 30)" 'n=0
	    for kb in 0 4 32 64 96 128 160 192 224 256 288 320 352 384 416 \
		448 480 512 640 768 896 1024 1280 1536 2048 3072 4096 8192 \
		16384 32768; do
		n=$((n + 1))
		check "$kb KiB" 6000 "m$n" "${limited[@]}" memory \
		    $((kb * 1024)) "$stop" -t 2
		echo "$kb KiB: $status" >&2
		[ "$kb" -lt 8192 ] || [ "$status" = 0 ] || wrong "should be 0"
	    done'
}

@test "with any TasksMax= a machine is stopped or reported" {
	checks "$(seq -f 't%.0f' -s ' ' 8)" 'n=0
	    for tasks in 1 2 3 4 5 6 8 16; do
		n=$((n + 1))
		check "$tasks" 6000 "t$n" "${limited[@]}" pids $tasks \
		    "$stop" -v -t 2
		echo "$tasks: $status: $(cat /tmp/said)" >&2
		[ "$tasks" -lt 4 ] || [ "$status" = 0 ] || wrong "should be 0"
	    done'
}

@test "limits of files and processes do not matter to root" {
	checks 'p1 p2 p3 p4 p5 p6' '
	    n=0
	    for limit in --fsize=0 --nproc=0 --nproc=1 --core=0 --memlock=0 \
		--sigpending=0; do
		n=$((n + 1))
		check "$limit" 4000 "p$n" prlimit "$limit" "$stop" -v -t 2
		[ "$status" = 0 ] || wrong "should be 0"
	    done'
}

@test "without processes a machine is told when there are some again" {
	pool_start late
	job_start sh -eu -c "$LIMITED" "of-$HOST" pids 1 \
	    "$BIN/nspawn-stop" --timeout 20 late
	# The kernel counts what it has refused.
	until_true on_host grep -q '^max [1-9]' \
	    "/run/v1-pids/of-$HOST/pids.events"
	on_host sh -c 'echo max >"/run/v1-pids/$0/pids.max"' "of-$HOST"
	job_end
	cat "$job_log"
	[ "$job_status" = 0 ]
	pool_ended late
}
