#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
# bats file_tags=static
#
# These test that bench measures, not what the values are.

load ../common

@test "bench prints a row for each program, and leaves nothing behind" {
	[ "$(id -u)" = 0 ] || cannot 'only root can boot a test host'
	run -0 --separate-stderr env BUILD="$BUILD" BENCH_ROUNDS=1 \
	    BENCH_RUNS=1 BENCH_CROWDS='60 120' BENCH_FOUND='1 3' \
	    BENCH_STOPPED='1 2' BENCH_TOLD=3 timeout 500 "$TOP/t/bench" 3>&-
	[ "$stderr" = '' ]
	[[ "$output" == *$'\nnspawn-enter NAME true  '*' 1.00 '* ]]
	[[ "$output" == *$'\nnspawn-enter --no-seccomp NAME true '* ]]
	# A search for machines has five columns, a stop two.
	for row in 'in scopes +1' 'in scopes +3' 'in one cgroup +1'; do
		echo "case: $row"
		grep -qE "^$row( +[0-9.]+ +[0-9.]+-[0-9.]+){5} +[0-9.]+$" \
		    <<<"$output"
	done
	for row in 1 2; do
		echo "case: $row"
		grep -qE "^ +$row( +[0-9.]+ +[0-9.]+-[0-9.]+ *){2} [0-9.]+$" \
		    <<<"$output"
		grep -qE "^ +$row +[0-9]+ +[0-9.]+ +[0-9.]+$" <<<"$output"
	done
	for row in 'nsenter -t PID' 'nsenter -t $(machinectl' \
	    'machinectl shell' 'systemd-run -M' '       60 ' '      120 ' \
	    'nspawn-stop --signal none' 'waitpid PID' \
	    'while machinectl show' '        1 ' '        2 ' \
	    'each in a scope' 'all in one'; do
		echo "case: $row"
		[[ "$output" == *$'\n'"$row"* ]]
	done
	run -0 "$TOP/t/picture" <<<"$output"
	[ "$(grep -c '^<rect.* ms</text>$' <<<"$output")" = 13 ]
	[[ "$output" == *'>Static programs on '* ]]
	run -1 "$TOP/t/picture" </dev/null
	run ! compgen -G '/run/nspawn-tools/bench-*'
}

# True if nothing is left of a bench with that PID.
bench_gone()
{
	[ ! -e "/run/nspawn-tools/bench-$1" ] && ! kill -0 "$1" 2>/dev/null
}

@test "bench removes its host when it is interrupted" {
	[ "$(id -u)" = 0 ] || cannot 'only root can boot a test host'
	BUILD=$BUILD "$TOP/t/bench" >"$BATS_TEST_TMPDIR/out" 2>&1 3>&- &
	until_true test -s "$BATS_TEST_TMPDIR/out"
	[ -e "/run/nspawn-tools/bench-$!" ]
	kill -TERM "$!"
	status=0
	wait "$!" || status=$?
	[ "$status" = 143 ]
	bench_gone "$!"
}

@test "bench refuses an invalid number of rounds" {
	for runs in 0 x -1 1.5 10000; do
		echo "case: $runs"
		[ "$(id -u)" = 0 ] || cannot 'only root can boot a test host'
		run -1 env BUILD="$BUILD" BENCH_RUNS="$runs" "$TOP/t/bench"
	done
}
