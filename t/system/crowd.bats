#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
# bats file_tags=releases
#
# Many processes enter one machine at the same time, and another one blocks
# them: only one process at a time can trace PID 1, which is needed to copy
# filters.

load ../common
load ../machines

setup_file()
{
	host_start_shared
}

# crowd NAME COUNT AT_ONCE [OPTION]...: that many entries, each of which has to
# print a number of its own.  Prints what went wrong.
crowd()
{
	local name=$1 count=$2 at_once=$3

	shift 3
	on_host sh -euc 'seq "$2" | xargs -P "$3" -I N sh -c '\''
	    n=$1; shift
	    said=$("$@" echo "$n" 2>&1) && [ "$said" = "$n" ] ||
	    echo "$n: $? $said"'\'' "" N "$0/nspawn-enter" "$1" '"$*" \
	    "$BIN" "$name" "$count" "$at_once"
}

@test "200 of 200 entries succeed, 2, 4 and 8 at once" {
	for at_once in 2 4 8; do
		for name in web webu; do
			echo "case: $at_once $name"
			run -0 crowd "$name" 200 "$at_once"
			echo "$name, $at_once at once: ${#lines[@]} failed"
			[ "$output" = '' ]
		done
	done
}

@test "entries as another user or in terminals of their own succeed, too" {
	run -0 crowd web 100 4 -u joe
	[ "$output" = '' ]
	# A pty changes the end of each line.
	run -0 on_host sh -euc 'seq 50 | xargs -P 4 -I N sh -c '\''
	    said=$("$0" -t web echo N 2>&1 </dev/null | tr -d "\r") &&
	    [ "$said" = N ] || echo "N: $said"'\'' "$0"' "$BIN/nspawn-enter"
	[ "$output" = '' ]
}

@test "both ends of a pipe enter a machine, 50 times of 50" {
	for name in web webu; do
		echo "case: $name"
		run -0 on_host bash -o pipefail -c 'for n in {1..50}; do
		    said=$("$0" "$1" echo hi 2>&1 | "$0" "$1" cat 2>&1) &&
		    [[ $said == hi ]] || echo "$n: $? $said"
		    done' "$BIN/nspawn-enter" "$name"
		[ "$output" = '' ]
	done
}

# Two machines are entered side by side, as if they were one.
@test "entries into several machines are not mixed up" {
	run -0 on_host sh -euc 'seq 200 | xargs -P 8 -I N sh -c '\''
	    [ $(($1 % 2)) = 0 ] && name=web || name=webu
	    said=$("$0" "$name" hostname 2>&1) && [ "$said" = "$name" ] ||
	    echo "$1: $name: $said"'\'' "$0" N' "$BIN/nspawn-enter"
	[ "$output" = '' ]
}

@test "a stop among many entries succeeds, and each entry reports the truth" {
	for private in '' -U '' -U '' -U '' -U '' -U; do
		echo "case: $private"
		machine scope busy ${private:+"$private"}
		run -0 host_script "$BIN" <<-'END'
		rm -f /tmp/entries /tmp/stopped
		enter()
		{
			until [ -e /tmp/stopped ]; do
				said=$("$1/nspawn-enter" busy echo whole 2>&1)
				echo "$? $said" >>/tmp/entries
			done
		}
		set +e
		for n in 1 2 3 4; do
			enter "$1" 2>/dev/null &
		done
		until [ "$(wc -l </tmp/entries)" -gt 40 ]; do
			sleep 0.01
		done 2>/dev/null
		"$1/nspawn-stop" -t 10 busy
		echo "status $?"
		: >/tmp/stopped
		wait
		END
		echo "$output"
		[ "$output" = 'status 0' ]
		on_host sort /tmp/entries | uniq -c
		# Each line has one of these forms.
		run -1 on_host grep -vxE -e '0 whole' -e '137 (whole)?' \
		    -e '125 nspawn-enter: .+' /tmp/entries
		[ "$output" = '' ]
		# The message must not propose to leave out the filters here.
		run ! on_host grep -e '--no-seccomp' /tmp/entries
		run -0 on_host head -n 30 /tmp/entries
		[ "$(sort -u <<<"$output")" = '0 whole' ]
		machines_end
	done
}

# A process of the host traces PID 1 of web, as a debugger does, for that many
# seconds.
tracer_start()
{
	job_start timeout -s KILL "$1" sh -c 'echo "tracer $$"; exec "$@"' '' \
	    /src/build/static/attacker hold "$(leader web)"
	until_true grep -q ^holding "$job_log"
	tracer=$(sed -n 's/^tracer //p' "$job_log")
	SECONDS=0
}

@test "a tracer that stays is named once the time is over" {
	tracer_start 20
	run -125 enter web true
	[ "$SECONDS" -ge 9 ]
	[ "$SECONDS" -le 15 ]
	grep -qw "$tracer" <<<"$output"
	[[ "$output" == 'nspawn-enter: web: '* ]]
	[[ "$output" != *'Invalid argument'* ]]
	# An entry without filters is not blocked.
	run -0 enter -q --no-seccomp web echo in
	[ "$output" = in ]
	on_host kill -KILL "$tracer"
	job_end
	run -0 enter web echo in
	[ "$output" = in ]
}

@test "a tracer that stays for four seconds is waited for" {
	tracer_start 4
	run -0 enter web echo in
	[ "$output" = in ]
	[ "$SECONDS" -ge 1 ]
	[ "$SECONDS" -le 8 ]
	job_end
}
