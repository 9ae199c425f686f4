#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
#
# What goes wrong around the two programs.  Only this file uses a made-up
# machinectl.

load ../common
load ../machines

# The search for leaks does not work under strace.
export ASAN_OPTIONS=detect_leaks=0

# Puts the script on stdin before the host's own machinectl; it can write to
# /tmp/calls how it was called.
fake_machinectl()
{
	on_host sh -c 'mkdir -p /tmp/fake && cat >/tmp/fake/machinectl &&
	    chmod +x /tmp/fake/machinectl && : >/tmp/calls'
}

# Runs nspawn-stop with that machinectl on PATH.
stop_faked()
{
	on_host env PATH=/tmp/fake:/usr/bin:/bin "$BIN/nspawn-stop" "$@"
}

@test "machinectl sends the signal if it names the same leader" {
	machine scope web
	fake_machinectl <<-'END'
	#!/bin/sh
	echo "$*" >>/tmp/calls
	exec /usr/bin/machinectl "$@"
	END
	run -0 stop_faked --signal RTMIN+3 web
	machine_file_is web signal 37
	run -0 on_host cat /tmp/calls
	[ "$output" = 'show -p Name -p Leader web
kill web --kill-who=leader --signal=37' ]
}

@test "machinectl does not send the signal if it names another leader" {
	machine scope web
	machine scope other
	fake_machinectl <<-END
	#!/bin/sh
	echo "\$*" >>/tmp/calls
	[ "\$1" = show ] && echo Name=web && echo Leader=$(leader other)
	END
	run -0 stop_faked web
	machine_file_is web stopped stopped
	run -0 on_host cat /tmp/calls
	[ "$output" = 'show -p Name -p Leader web' ]
	lives "$(leader other)"
}

@test "the signal goes through the pidfd if machinectl fails" {
	machine scope web
	fake_machinectl <<-END
	#!/bin/sh
	[ "\$1" = show ] && echo Name=web && echo Leader=$(leader web) && exit
	exit 1
	END
	run -0 stop_faked web
	machine_file_is web signal 15
}

# A second signal may do something else than the first: many programs then hurry
# and do not end cleanly.
@test "the signal is sent once if machinectl sends it and then hangs" {
	machine_sh web "trap 'echo told >>/told' TERM; $WAITS"
	fake_machinectl <<-'END'
	#!/bin/sh
	[ "$1" = show ] && exec /usr/bin/machinectl "$@"
	/usr/bin/machinectl "$@"
	exec sleep 600
	END
	run -124 stop_faked --timeout 3 web
	machine_file_is web told told
}

@test "both programs work on a host without machinectl" {
	machine scope web
	run -0 on_host env PATH=/nowhere "$BIN/nspawn-enter" web hostname
	[ "$output" = web ]
	run -0 on_host env PATH=/nowhere "$BIN/nspawn-stop" web nothing
	[ "$output" = 'nspawn-stop: nothing: is not running' ]
	machine_file_is web signal 15
}

@test "machinectl is not waited for again after it hung" {
	machine scope one
	machine scope two
	machine scope three
	fake_machinectl <<-'END'
	#!/bin/sh
	echo "$*" >>/tmp/calls
	exec sleep 600
	END
	SECONDS=0
	run -0 stop_faked one two three
	[ "$SECONDS" -lt 20 ]
	run -0 on_host cat /tmp/calls
	[ "${#lines[@]}" = 1 ]
	for name in one two three; do
		echo "case: $name"
		machine_file_is "$name" signal 15
	done
}

@test "the answer of machinectl is verified" {
	machine scope web
	for answer in 1 "$(supervisor web)" 4194303 x; do
		echo "case: $answer"
		fake_machinectl <<-END
		#!/bin/sh
		echo $answer
		END
		run stop_faked other
		[[ "$output" == *'is not a container'* || \
		    "$output" == *'is not running'* ]]
	done
	lives "$(leader web)"
}

@test "without pidfd_open nothing is entered or sent" {
	# Seen from outside the host itself is a machine.
	for program in nspawn-enter nspawn-stop; do
		echo "case: $program"
		run -125 strace -f -o /dev/null \
		    -e inject=pidfd_open:error=ENOSYS "$BUILD/$program" "$HOST"
		[ "$output" = "$program: $HOST: cannot open its leader:\
 pidfd_open(2) needs Linux 5.3 or later" ]
	done
	on_host true
}

@test "descriptors are closed without close_range, too" {
	run -0 strace -f -o /dev/null -e inject=close_range:error=ENOSYS \
	    "$BUILD/nspawn-enter" -q "$HOST" ls /proc/self/fd 7</dev/null
	[ "$output" = $'0\n1\n2\n3' ]
}

@test "a caller that ignores SIGCHLD changes nothing" {
	machine scope web
	run -3 on_host env --ignore-signal=CHLD "$BIN/nspawn-enter" web \
	    sh -c 'exit 3'
	[ "$output" = '' ]
	run -0 on_host env --ignore-signal=CHLD "$BIN/nspawn-stop" web
	[ "$output" = '' ]
	machine_file_is web signal 15
}

@test "a namespace that cannot be joined is named, and nothing is run" {
	run -125 strace -f -o /dev/null -e inject=setns:error=EPERM:when=2 \
	    "$BUILD/nspawn-enter" -q "$HOST" true
	[ "$output" = "nspawn-enter: $HOST: cannot join its uts namespace:\
 Operation not permitted" ]
}

@test "a failure on the way in is reported, and nothing is run" {
	for call in socketpair signalfd4 chroot fchdir setsid setgroups \
	    setresuid; do
		echo "case: $call"
		run -125 strace -f -o /dev/null \
		    -e "inject=$call:error=EPERM" \
		    "$BUILD/nspawn-enter" -q "$HOST" touch /tmp/has-run
		[[ "${lines[0]}" == \
		    'nspawn-enter: '*'cannot '*': Operation not permitted' ]]
		[ "${#lines[@]}" = 1 ]
	done
	run ! on_host test -e /tmp/has-run
}

@test "a failure before the first signal is reported, and nothing is sent" {
	machine scope web
	run -125 on_host env "ASAN_OPTIONS=$ASAN_OPTIONS" strace -f -qq \
	    -o /dev/null -e trace=signalfd4 \
	    -e inject=signalfd4:error=EPERM "$BIN/nspawn-stop" web
	[ "$output" = \
	    'nspawn-stop: cannot wait for the machines: Operation not permitted' ]
	# PID 1 ends at the first signal that it gets, and writes that down.
	run -0 stop --signal RTMIN+3 web
	machine_file_is web signal 37
}

@test "an entry that hangs is given up, and no monitor is left" {
	# This stands for a file that blocks for ever: the intermediate reads
	# passwd.
	run -125 strace -f -o "$BATS_TEST_TMPDIR/calls" \
	    -e inject=openat2:signal=SIGSTOP \
	    "$BUILD/nspawn-enter" -q "$HOST" true
	[[ "$output" == *"nspawn-enter: $HOST: was not entered within 10 s,\
 because something in it hangs: cannot read its /etc/passwd" ]]
	grep -q '+++ killed by SIGKILL +++' "$BATS_TEST_TMPDIR/calls"
}

# Runs nspawn-enter in the host, and writes down which directories it lists.
enter_listed()
{
	strace -f -o "$BATS_TEST_TMPDIR/listed" -y -e trace=getdents64 nsenter \
	    --target "$("$TOP/t/host" leader "$HOST")" --all \
	    "$BIN/nspawn-enter" "$@"
}

@test "cgroups lead to a machine without a search of all processes" {
	machine scope web
	machine template my-box
	machine unit own
	run -0 enter_listed own hostname
	[ "$output" = own ]
	for name in web my-box; do
		echo "case: $name"
		run -0 enter_listed "$name" hostname
		[ "$output" = "$name" ]
		grep -q '</sys/fs/cgroup/machine.slice>' \
		    "$BATS_TEST_TMPDIR/listed"
		run ! grep '</proc>' "$BATS_TEST_TMPDIR/listed"
	done
	# A mount namespace without cgroups shows none.
	run -0 on_host unshare --mount sh -c "umount -l /sys/fs/cgroup &&
	    PATH=/nowhere exec '$BIN/nspawn-enter' -q --privileged web \
	    /usr/bin/hostname"
	[ "$output" = web ]
	# If the cgroup cannot be joined, the entry is refused.
	run -125 on_host unshare --mount sh -c "umount -l /sys/fs/cgroup &&
	    exec '$BIN/nspawn-enter' web true"
	[ "$output" = 'nspawn-enter: web: cannot open the cgroups of its leader:'\
' this host has not mounted all cgroup hierarchies; use --privileged to enter'\
' without them' ]
}

@test "two machines of one name are an error that names both" {
	machine template twice
	host_script <<-'END'
	cp -a /var/lib/machines/twice /var/lib/machines/second
	# Newer releases refuse the second of two machines that share this
	# folder.
	systemd-run --quiet --unit=second \
	    -p TemporaryFileSystem=/run/systemd/nspawn systemd-nspawn --quiet \
	    --register=no --link-journal=no --console=pipe --private-network \
	    -M twice -D /var/lib/machines/second /bin/sleep 4326
	END
	until_true runs_in_host '/bin/sleep 4326'
	one=$(leader twice)
	two=$(on_host pgrep -x -f '/bin/sleep 4326')
	run -125 enter twice true
	[[ "$output" == 'nspawn-enter: twice: two machines have this name: '* ]]
	[[ "$output" == *"$one"* && "$output" == *"$two"* ]]
	run -1 stop twice
	[[ "$output" == 'nspawn-stop: twice: two machines have this name: '* ]]
	lives "$one"
	lives "$two"
	on_host kill -KILL "$two"
}

# Runs nspawn-stop with that many descriptors.  It must never say that a machine
# of $names has ended or is not running while its leader lives.
stop_with()
{
	local limit=$1
	shift

	SECONDS=0
	# shellcheck disable=SC2086 # a name each
	run timeout --foreground 20 "$TOP/t/host" run "$HOST" prlimit \
	    --nofile="$limit" "$BIN/nspawn-stop" "$@" $names 3>&-
	echo "with $limit: $status: $output"
	[ "$SECONDS" -lt 8 ]
	[[ "$output" != *'is not running'* ]]
}

@test "with too few descriptors machines are stopped or named, in short time" {
	names='m1 m2 m3 m4 m5 m6 m7 m8 m9 m10'
	for name in $names; do
		echo "case: $name"
		machine scope "$name"
	done
	# A dynamic program needs one more before it starts.
	least=3
	[[ $BUILD != */sanitized ]] || least=4
	for limit in $(seq "$least" 14) 16 18 20 22 23 24 25 28 32; do
		echo "case: $limit"
		stop_with "$limit" --signal none --timeout 0.1
		case $status in
		125) ;;
		1 | 124)
			for name in $names; do
				echo "case: $limit $name"
				[[ $'\n'"$output" == *"
nspawn-stop: $name: is still running"* || $'\n'"$output" == *"
nspawn-stop: $name: cannot find its leader: "*' file'* || $'\n'"$output" == *"
nspawn-stop: $name: cannot watch it: the limit of "*' open files'* ]]
			done
			;;
		*) false ;;
		esac
	done
	# Machines that it has descriptors for are stopped, and the others are
	# named.
	stop_with 24 --timeout 5
	[ "$status" = 1 ]
	stopped=0
	for name in $names; do
		echo "case: $name"
		if lives "$(leader "$name")"; then
			[[ "$output" == *"$name: cannot watch it: "* ]]
		else
			stopped=$((stopped + 1))
		fi
	done
	[ "$stopped" -ge 2 ] && [ "$stopped" -le 8 ]
	stop_with 100 --quiet --timeout 5
	[ "$status" = 0 ]
}
