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

@test "processes are waited for until all have ended" {
	idle_start
	run -0 library wait 100 "$idle"
	[ "$output" = 1 ]
	first=$idle
	idle_start
	run -0 library signalled "$first" 9
	run -0 library wait 0 "$idle" "$idle"
	[ "$output" = 2 ]
	kill "$idle"
	wait "$idle" || true
	run -1 library wait 20000 "$idle"
	[ "$output" = ESRCH ]
}

@test "a signal to a process that has been reaped is an error" {
	idle_start
	kill "$idle"
	wait "$idle" || true
	run -1 library signalled "$idle" 0
	[ "$output" = ESRCH ]
}

@test "a status is read by its lines" {
	run -0 library status <<-END
	Name:	PPid:	9
	PPid:	7
	Uid:	1000	0	0	0
	NSpid:	42	1
	SigCgt:	000000200000a002
	END
	[ "$output" = 'ppid 7 uid 1000 depth 2 inner 1 caught 200000a002' ]
}

@test "a status that lacks a line or is nonsense is refused" {
	for text in '' $'PPid:\t7\nUid:\t0\n' $'Uid:\t0\nNSpid:\t1\n' \
	    $'PPid:\t7\nNSpid:\t1\n' $'PPid:\tx\nUid:\t0\nNSpid:\t1\n' \
	    $'PPid:\t99999999999\nUid:\t0\nNSpid:\t1\n' \
	    $'PPid:\t7\nUid:\t0\nNSpid:\t\n'; do
		run -1 library status <<<"$text"$'\nSigCgt:\t0000000000000000'
		[ "$output" = EINVAL ]
	done
	for caught in 0 000000000000000 000000000000000g; do
		run -1 library status <<-END
		PPid:	7
		Uid:	0
		NSpid:	1
		SigCgt:	$caught
		END
		[ "$output" = EINVAL ]
	done
}
