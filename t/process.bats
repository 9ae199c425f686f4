#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only

load common
load library

setup()
{
	idles=()
}

teardown()
{
	idles_end
}

# emulator_lacks WHAT OUTPUT WORD...: whether it is qemu-user that runs the
# library, and gives just that output for want of what it cannot do.
emulator_lacks()
{
	local what=$1 output=$2
	shift 2

	[ -n "${EMULATED-}" ] && [ "$(library "$@")" = "$output" ] || return
	echo "# qemu-user for $EMULATED cannot do $what" >&3
}

@test "a deadline passes, and may never come" {
	run -0 library deadline 60000
	[ "$output" = left ]
	run -0 library deadline 0
	[ "$output" = over ]
	run -0 library deadline 9223372036854775807
	[ "$output" = never ]
	run -0 library deadline 9223372036854775000
	[ "$output" = never ]
}

@test "a file is read whole or not at all" {
	printf 12345 >"$BATS_TEST_TMPDIR/f"
	run -0 library read "$BATS_TEST_TMPDIR/f" 6
	[ "$output" = '5 12345' ]
	run -1 library read "$BATS_TEST_TMPDIR/f" 5
	[ "$output" = EFBIG ]
	run -1 library read "$BATS_TEST_TMPDIR/none" 6
	[ "$output" = ENOENT ]
}

@test "a file in a root is never one outside of it" {
	root=$BATS_TEST_TMPDIR/root
	mkdir -p "$root/etc"
	echo inside >"$root/etc/passwd"
	echo outside >"$BATS_TEST_TMPDIR/secret"
	ln -s passwd "$root/etc/link"
	ln -s ../../secret "$root/etc/up"
	ln -s /etc/passwd "$root/etc/absolute"
	ln -s /proc/self/status "$root/etc/proc"
	mkfifo "$root/etc/fifo"

	emulator_lacks 'openat2(2)' 'errno 38' in-root "$root" /etc/passwd &&
	    return
	for path in /etc/passwd /etc/link /../../etc/passwd /etc/absolute; do
		run -0 library in-root "$root" "$path"
		[ "$output" = inside ]
	done
	for path in /etc/up /etc/proc /etc/none; do
		run -1 library in-root "$root" "$path"
		[ "$output" = ENOENT ]
	done
	for path in /etc/fifo /etc; do
		run -1 library in-root "$root" "$path"
		[ "$output" = EINVAL ]
	done
	run -1 library in-root / /proc/self/root/etc/passwd
	[ "$output" = ELOOP ]
}

@test "a helper's status and output are known, and its output is cut" {
	run -0 library run 20000 sh -c 'echo hello; exit 3'
	[ "$output" = '3 hello' ]
	run -0 library run 20000 sh -c 'kill -TERM $$'
	[ "$output" = '143 ' ]
	run -0 library run 20000 sh -c 'printf 0123456789abcdefXXXX'
	[ "$output" = '0 0123456789abcde' ]
	run -0 library run 20000 sh -c 'yes | head -c 1000000 | tr -d "\n"'
	[ "$output" = '0 yyyyyyyyyyyyyyy' ]
	run -0 library run 20000 cat
	[ "$output" = '0 ' ]
}

@test "a helper that is not there is said to be missing" {
	# By that, glibc's child says why it could not execute.
	emulator_lacks 'CLONE_VM of clone(2)' '127 ' run 20000 no-such-helper &&
	    return
	run -0 library run 20000 no-such-helper
	[ "$output" = ENOENT ]
}

@test "a helper that hangs is killed at the deadline" {
	run -0 library run 100 sleep 600
	[ "$output" = ETIMEDOUT ]
	run -0 library run 100 sh -c 'exec >&-; exec sleep 600'
	[ "$output" = ETIMEDOUT ]
}

@test "a helper's own child does not hold up its end" {
	run -0 timeout 60 "$BUILD/library" run 50000 \
	    sh -c 'sleep 600 & echo $!'
	kill "${output#0 }"
}

@test "a signal to a process that has been reaped is an error" {
	idle_start
	kill -KILL "$idle"	# which no shell on its way to it can miss
	wait "$idle" || true
	run -1 library signalled "$idle" 0
	[ "$output" = ESRCH ]
}

# A status of /proc, with any of its lines replaced by those of the arguments.
status()
{
	local line

	for line in Name:$'\tx' State:$'\tS (sleeping)' PPid:$'\t7' \
	    TracerPid:$'\t0' Uid:$'\t0\t0\t0\t0' NSpid:$'\t42\t1' \
	    ShdPnd:$'\t0000000000000000' SigBlk:$'\t0000000000000000' \
	    SigCgt:$'\t0000000000000000'; do
		for other in "$@"; do
			[ "${other%%:*}" != "${line%%:*}" ] || line=$other
		done
		[ -z "${line#*:}" ] || printf '%s\n' "$line"
	done
}

@test "a status is read by its lines" {
	run -0 library status < <(status Name:$'\tPPid:\t9' \
	    State:$'\tT (stopped)' TracerPid:$'\t12' \
	    Uid:$'\t1000\t0\t0\t0' ShdPnd:$'\t0000000000000001' \
	    SigBlk:$'\t8000000000000000' SigCgt:$'\t000000200000a002')
	[ "$output" = 'PPid:	9 T ppid 7 tracer 12 uid 1000 depth 2 inner 1 '\
'pending 1 blocked 8000000000000000 caught 200000a002' ]
}

@test "a name that is too long is cut" {
	run -0 library status < <(status "Name:	$(printf '%0100d' 0)")
	[ "${output%% *}" = "$(printf '%063d' 0)" ]
}

@test "a status that lacks a line or is nonsense is refused" {
	status | library status
	for line in Name: State: PPid: TracerPid: Uid: NSpid: ShdPnd: SigBlk: \
	    SigCgt: PPid:$'\tx' PPid:$'\t99999999999' NSpid:$'\t' \
	    TracerPid:$'\t-1' Uid:$'\t4294967296' SigCgt:$'\t0' \
	    SigBlk:$'\t000000000000000' ShdPnd:$'\t000000000000000g'; do
		run -1 library status < <(status "$line")
		[ "$output" = EINVAL ]
	done
}
