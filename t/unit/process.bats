#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors

load ../common
load ../library

# emulator_lacks WHAT OUTPUT WORD...: true if qemu-user runs the library and
# gives exactly that output, since it does not support it.
emulator_lacks()
{
	local what=$1 output=$2
	shift 2

	[ -n "${EMULATED-}" ] && [ "$(library "$@")" = "$output" ] || return
	echo "# qemu-user for $EMULATED cannot do $what" >&3
}

@test "a deadline passes, or never comes" {
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
		echo "case: $path"
		run -0 library in-root "$root" "$path"
		[ "$output" = inside ]
	done
	for path in /etc/up /etc/proc /etc/none; do
		echo "case: $path"
		run -1 library in-root "$root" "$path"
		[ "$output" = ENOENT ]
	done
	for path in /etc/fifo /etc; do
		echo "case: $path"
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
	# The child reports by this why it could not execute.
	emulator_lacks 'vfork(2), but a fork(2)' '1 ' run 20000 no-such-helper &&
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

# Prints a status of /proc; each argument replaces the line of that name.
status()
{
	local line

	for line in Name:$'\tx' State:$'\tS (sleeping)' PPid:$'\t7' \
	    TracerPid:$'\t0' Uid:$'\t0\t0\t0\t0' NSpid:$'\t42\t1' \
	    ShdPnd:$'\t0000000000000000' SigBlk:$'\t0000000000000000' \
	    SigCgt:$'\t0000000000000000' CapBnd:$'\t0000000000000000' \
	    NoNewPrivs:$'\t0' Seccomp:$'\t0'; do
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
	    SigBlk:$'\t8000000000000000' SigCgt:$'\t000000200000a002' \
	    CapBnd:$'\t000001ffffffffff' NoNewPrivs:$'\t1' Seccomp:$'\t2')
	[ "$output" = 'PPid:	9 T ppid 7 tracer 12 uid 1000 depth 2 inner 1 '\
'pending 1 blocked 8000000000000000 caught 200000a002 bounding 1ffffffffff '\
'no_new_privs filtered' ]
	# A kernel may be built without filters.
	run -0 library status < <(status Seccomp:)
	[[ "$output" == *' bounding 0' ]]
}

@test "a name that is too long is cut" {
	run -0 library status < <(status "Name:	$(printf '%0100d' 0)")
	[ "${output%% *}" = "$(printf '%063d' 0)" ]
}

@test "a status that lacks a line or is nonsense is refused" {
	status | library status
	for line in Name: State: PPid: TracerPid: Uid: NSpid: ShdPnd: SigBlk: \
	    SigCgt: CapBnd: NoNewPrivs: Seccomp:$'\tx' PPid:$'\tx' PPid:$'\t99999999999' NSpid:$'\t' \
	    TracerPid:$'\t-1' Uid:$'\t4294967296' SigCgt:$'\t0' \
	    SigBlk:$'\t000000000000000' ShdPnd:$'\t000000000000000g'; do
		echo "case: $line"
		run -1 library status < <(status "$line")
		[ "$output" = EINVAL ]
	done
}

@test "a status is read whole, however many groups are in it" {
	groups=$(seq -s ' ' 1000000000 1000065535)
	proc=$BATS_TEST_TMPDIR/proc
	mkdir -p "$proc/7"
	for some in "$groups" '0 7 4294967295' 5 ''; do
		echo "case: ${some:0:40}"
		# The kernel prints the groups before NSpid.
		{
			printf 'Name:\tx\nGroups:\t%s \n' "$some"
			status | sed 1d
		} >"$proc/7/status"
		run -0 library status <"$proc/7/status"
		[[ "$output" == 'x S ppid 7 '*' depth 2 inner 1 '* ]]
		run -0 library groups "$proc" 7
		# shellcheck disable=SC2086 # a word each
		[ "$output" = "$(printf '%s\n' $some | awk '{ sum += $1 }
		    END { printf("%d sum %.0f last %.0f", $1 == "" ? 0 : NR,
		        sum, $1) }')" ]
	done
	printf 'Groups:\t1 x\n' >"$proc/7/status"
	run -1 library groups "$proc" 7
	[ "$output" = EINVAL ]
	run -1 library groups "$proc" 8
	[ "$output" = ENOENT ]
}

@test "a cgroup's path is that in one hierarchy, whole or not at all" {
	proc=$BATS_TEST_TMPDIR/proc
	deep=$(printf '/%0254d' {1..15})
	mkdir -p "$proc/7"
	{
		for n in {20..7}; do
			echo "$n:name=n$n:$deep"
		done
		printf '%s\n' 6:memory:/m '5:cpu,cpuacct:/c:d' 4:cpuset:/s \
		    1:name=systemd:/x.slice/y 0::/u
	} >"$proc/7/cgroup"
	for pair in :/u memory:/m cpu:/c:d cpuacct:/c:d cpu,cpuacct:/c:d \
	    cpuset:/s name=systemd:/x.slice/y "name=n7:$deep"; do
		echo "case: ${pair:0:40}"
		run -0 library path "$proc" 7 "${pair%%:*}" 4096
		[ "$output" = "${pair#*:}" ]
	done
	for name in mem acct cpus systemd name=n 'cpu,'; do
		echo "case: $name"
		run -1 library path "$proc" 7 "$name" 4096
		[ "$output" = ENOENT ]
	done
	run -0 library path "$proc" 7 memory 3
	run -1 library path "$proc" 7 memory 2
	[ "$output" = ENAMETOOLONG ]
	run -1 library path "$proc" 8 memory 4096
	[ "$output" = ENOENT ]
	# The kernel may have cut a path of this length.
	for length in 4094 4095 5000; do
		echo "case: $length"
		printf '6:memory:/m\n0::/%s\n' \
		    "$(printf "%0$((length - 1))d" 0)" >"$proc/7/cgroup"
		run library path "$proc" 7 '' 4096
		[ "$status:${#output}" = 0:4094 ] ||
		    [ "$length:$output" = 4095:ENAMETOOLONG ] ||
		    [ "$length:$output" = 5000:ENAMETOOLONG ]
		run -0 library path "$proc" 7 memory 4096
	done
}

# label OWN THEIRS [MODULE]: prints the text that makes that the label of the
# next exec.
label()
{
	mkdir -p "$proc/self/attr/$3" "$proc/7/attr/$3"
	printf '%s' "$1" >"$proc/self/attr/$3/current"
	printf '%s' "$2" >"$proc/7/attr/$3/current"
	run -0 library label "$proc" 7
}

@test "a label that differs from ours is read in the form that is written" {
	proc=$BATS_TEST_TMPDIR/proc
	mkdir -p "$proc/7"
	run -0 library label "$proc" 7
	[ "$output" = '' ]
	# AppArmor may be the first module, or be used beside another one.
	label $'unconfined\n' $'bar-jail (enforce)\n' ''
	[ "$output" = 'exec bar-jail' ]
	label $'a (b)//&c (complain)\n' $'unconfined\n' ''
	[ "$output" = 'exec unconfined' ]
	label $'bar-jail (enforce)\n' $'bar-jail (enforce)\n' ''
	[ "$output" = '' ]
	label $'unconfined\n' $'two (words) (enforce)\n' apparmor
	[ "$output" = 'exec two (words)' ]
	rm -r "$proc/self/attr" "$proc/7/attr"
	# SELinux.
	label $'u:r:unconfined_t:s0\0' $'u:r:container_t:s0:c1,c2\0' ''
	[ "$output" = u:r:container_t:s0:c1,c2 ]
	# A process that has ended has no label.
	rm -r "$proc/7"
	run -0 library label "$proc" 7
	[ "$output" = '' ]
}
