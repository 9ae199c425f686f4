#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
#
# t/run.c, a third program, enters by the library alone, as well as nspawn-enter
# does.

load ../common
load ../machines

setup_file()
{
	[ -x "$BUILD/run" ] || cannot "there is no $BUILD/run"
	host_start_shared
}

run_in()
{
	on_host "$BIN/run" "$@"
}

@test "a command is run in the machine, and its status is the program's" {
	for name in web webu; do
		echo "case: $name"
		run -0 run_in "$name" hostname
		[ "$output" = "$name" ]
		run -7 run_in "$name" sh -c 'exit 7'
		run -137 run_in "$name" sh -c 'kill -KILL $$'
		run -0 run_in "$name" cat <<<in
		[ "$output" = in ]
	done
}

@test "a command that cannot be run is an error that says why" {
	run -127 run_in web no-such-command
	[[ "$output" == *no-such-command* ]]
	run -125 run_in nothing true
	[[ "$output" == *nothing* ]]
}

@test "the command is as confined as nspawn-enter's" {
	fields='^(Cap|NoNewPrivs|Seccomp|Groups|Cpus_allowed)'
	for name in web webu; do
		echo "case: $name"
		expected=$(enter "$name" grep -E "$fields" /proc/self/status)
		run -0 on_host nice -n 5 taskset -c 0 "$BIN/run" "$name" \
		    grep -E "$fields" /proc/self/status
		[ "$output" = "$expected" ]
		run -0 run_in "$name" grep ^0:: /proc/self/cgroup
		[ "$output" = "$(enter "$name" grep ^0:: /proc/self/cgroup)" ]
		run -0 run_in "$name" ls /proc/self/fd
		[ "$output" = $'0\n1\n2\n3' ]
	done
}

@test "a command does not have the caller's environment" {
	run -0 on_host env SECRET=1 PATH=/x "$BIN/run" web env
	[[ "$output" != *SECRET* ]]
	[[ "$output" != *PATH=/x* ]]
	[[ "$output" == *PATH=* ]]
}

@test "a command does not outlive the program" {
	job_start "$BIN/run" web sh -c 'trap "" HUP TERM; exec sleep 4741'
	until_true runs_in_host 'sleep 4741'
	on_host kill -KILL "$job_inner"
	job_end
	until_true not runs_in_host 'sleep 4741'
}

@test "commands of this program and of nspawn-enter run side by side" {
	run -0 on_host sh -euc 'seq 200 | xargs -P 4 -I N sh -c '\''
	    [ $((N % 2)) = 0 ] && program=$0/run || program=$0/nspawn-enter
	    said=$("$program" web echo N 2>&1) && [ "$said" = N ] ||
	    echo "N: $program: $said"'\'' "$0"' "$BIN"
	[ "$output" = '' ]
}

@test "a command whose first thread has ended does not count as hanging" {
	machine scope threads \
	    --bind-ro=/src/build/static/leader:/usr/bin/leader
	on_host touch /var/lib/machines/threads/go
	# It has five seconds to begin.
	run -124 on_host timeout 7 "$BIN/run" threads leader
	[ "$output" = '' ]
	machine_file_is threads ready ''
}

@test "a program that forgets monitor_main() does not start without end" {
	need cc
	mkdir "$BATS_TEST_TMPDIR/t"
	cp "$TOP"/common.[ch] "$BATS_TEST_TMPDIR"
	sed 's/monitor_main(argv);/mkstemp((char []){ "\/tmp\/start.XXXXXX" });/
	    s/argc < 3/argc < 1/; s/argv\[1\]/"web"/
	    s/argv + 2/(char *[]){ "true", NULL }/' "$TOP/t/run.c" \
	    >"$BATS_TEST_TMPDIR/t/run.c"
	cd "$BATS_TEST_TMPDIR"
	cc -D_GNU_SOURCE -static -o run t/run.c common.c
	on_host sh -c 'cat >/tmp/run && chmod +x /tmp/run' <run
	run -125 on_host timeout 20 /tmp/run
	[[ "$output" == *'the monitor has ended'* ]]
	run -0 on_host sh -c 'ls /tmp/start.* | wc -l'
	[ "$output" = 2 ]
}
