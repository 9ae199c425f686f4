#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
# bats file_tags=static
#
# A command has the system call filters of its machine, and these may answer
# every call with a lie.  A process that is to become a command must not rely on
# any answer.  t/hostile.c has the filters, and t/watcher.c sees what happens.

load ../common
load ../machines

# The programs are always the static ones: calls that a libc or a sanitizer
# makes by itself are not counted here.
PROGRAMS=/src/build/static

# All system calls that are made under the filters, and other calls that could
# replace one of them.
MADE='capget capset chdir clone execve exit_group ioctl prctl rt_sigaction
    rt_sigprocmask setsid'
MORE='clone3 close close_range dup2 dup3 execveat exit fcntl fork getpid
    getppid gettid kill madvise seccomp setgroups setpgid setresgid setresuid
    tgkill tkill umask vfork wait4 waitid write writev'
TOGETHER='exit,exit_group clone,clone3,fork,vfork exit,exit_group,execve
    setsid,setpgid '
TOGETHER+=capget,capset,chdir,exit,exit_group,ioctl,prctl,rt_sigaction,\
rt_sigprocmask,setsid

# The calls that make a process; newer architectures have two of them.
case $(uname -m) in
x86_64 | armv7l) FORKS=clone,clone3,fork,vfork ;;
*) FORKS=clone,clone3 ;;
esac

setup_file()
{
	host_start
	on_host sh -c 'cat >/tmp/filtered' <<-'END'
	# PROGRAMS "WAY..." "OPTION..." RESULT CALL[,CALL]...: starts a machine
	# with those options for each filter, and watches the programs.
	# STOP_TIME: how long nspawn-stop waits.
	programs=$1 ways=$2 options=$3 result=$4
	shift 4
	name=filtered
	machine() { bash /src/t/machine "$@"; }
	watched() {
		uid=$1 program=$programs/$2
		shift 2
		"$programs/watcher" "$name" "$leader" "$uid" 13 "$program" "$@"
	}
	for calls; do
		machine start scope "$name" $options \
		    "--bind-ro=$programs/hostile:/usr/sbin/init" -- \
		    /usr/sbin/init filter "$result" "$calls"
		read -r leader rest <"/run/nspawn-tools/$name/leader"
		until [ -e "/var/lib/machines/$name/ready" ]; do
			kill -0 "$leader"
		done
		for way in $ways; do
			case $way in
			plain) watched 0 nspawn-enter -q "$name" /sbin/init 0 ;;
			joe) watched 1000 nspawn-enter -q -u joe "$name" \
			    /sbin/init 0 ;;
			tty) watched 0 nspawn-enter -q -t "$name" \
			    /sbin/init 0 ;;
			stop) watched 0 nspawn-stop -t "$STOP_TIME" "$name" ;;
			esac | sed "s/^/$calls: $result: $way: /"
		done
		kill -KILL "$leader"
		machine off "$name"
	done
	END
}

# filtered "WAY..." "OPTION..." RESULT "CALL[,CALL]..."...
filtered()
{
	run on_host env STOP_TIME="${STOP_TIME:-0.1}" bash -eu /tmp/filtered \
	    "$PROGRAMS" "$@"
	echo "$output"
	[ "$status" = 0 ]
	[[ "$output" != *': it '* ]]
}

# Runs each filter once.
all_filtered()
{
	# shellcheck disable=SC2086 # to be split into words
	filtered "$@" $MADE $MORE $TOGETHER
	# Most of them let a command run, so that there was something to watch.
	[ "$(grep -c ': inside' <<<"$output")" -gt \
	    "$((2 * $(grep -c ': nothing' <<<"$output")))" ]
}

# calls_under_filters PROGRAM COMMAND WORD...: traces that program of PROGRAMS
# with these words.  Prints the system calls of the process that installs
# filters, from the last filter on, and of its child that executes what matches
# COMMAND, a regular expression.
calls_under_filters()
{
	local program=$1 command=$2 log=$BATS_TEST_TMPDIR/calls

	shift 2
	strace -f -o "$log" "$TOP/t/host" run "$HOST" "$PROGRAMS/$program" \
	    "$@" </dev/null >"$BATS_TEST_TMPDIR/said" 2>&1 3>&- || true
	awk -v command="$command" '
	    NR == FNR && /seccomp\(SECCOMP_SET_MODE_F|prctl\(PR_SET_SECC/ {
		begin = FNR
		installs = $1
	    }
	    NR == FNR && !($1 in first) { first[$1] = FNR }
	    NR == FNR || FNR <= begin || begin == 0 || done[$1] { next }
	    $1 == installs || first[$1] > begin {
		if (match($2, /^[a-z0-9_]+\(/))
			calls[$1] = calls[$1] " " substr($2, 1, RLENGTH - 1)
		if ($0 ~ "exec[a-z]*\\(.*" command)
			made[$1] = 1
		if (/exec[a-z]*(\(| resumed).* = 0$/)
			done[$1] = 1
	    }
	    END {
		for (pid in made)
			print calls[installs] calls[pid]
	    }' "$log" "$log" | tr -s ' ' '\n' | sed '/^$/d' | sort -u
}

@test "only system calls that are tested here are made under the filters" {
	command -v strace >/dev/null || cannot 'there is no strace'
	machine scope web
	machine scope webu -U
	machine scope ordered "--bind-ro=$PROGRAMS/hostile:/usr/sbin/init" -- \
	    /usr/sbin/init filter 0 swapon
	until_true on_host test -e /var/lib/machines/ordered/ready
	# Here no watcher opens the pipe of the machine, so it gets a plain
	# file.
	on_host sh -c 'cd /var/lib/machines/ordered && rm go && echo >go'
	made=
	for words in web '-u joe web' '-t web' '-w / web' webu '-u joe webu' \
	    '-t webu'; do
		echo "case: $words"
		# shellcheck disable=SC2086 # to be split into words
		calls=$(calls_under_filters nspawn-enter '\\["true"' $words \
		    true)
		echo "nspawn-enter $words: ${calls//$'\n'/ }"
		[[ "$calls" == *exec* ]]
		made+=$calls$'\n'
	done
	calls=$(calls_under_filters nspawn-stop '\\["init", "0"' -t 1 ordered)
	echo "nspawn-stop: ${calls//$'\n'/ }"
	[[ "$calls" == *exec* ]]
	tr -s ' \n\t' '\n' <<<"$MADE" | sort -u >"$BATS_TEST_TMPDIR/tested"
	sort -u <<<"$made$calls" | comm -23 - "$BATS_TEST_TMPDIR/tested" \
	    >"$BATS_TEST_TMPDIR/new"
	echo "new: $(tr '\n' ' ' <"$BATS_TEST_TMPDIR/new")"
	[ ! -s "$BATS_TEST_TMPDIR/new" ]
}

@test "a filter for calls that nobody makes changes nothing" {
	for options in '' --drop-capability=all -U; do
		echo "case: $options"
		STOP_TIME=2 filtered 'plain joe tty stop' "$options" 0 swapon
		[ "$output" = "$(printf 'swapon: 0: %s\n' \
		    'plain: inside 137' 'joe: inside 137' \
		    'tty: inside 137' 'stop: inside 124')" ]
	done
}

# bats test_tags=kernel
@test "a filter that fakes clone does not let nspawn-enter's command out" {
	filtered 'plain joe tty' '' 0 "$FORKS"
	[[ "$output" != *': inside'* ]]
}

# bats test_tags=kernel
@test "a filter that fakes clone does not let nspawn-stop's init 0 out" {
	filtered stop '' 0 "$FORKS"
	[[ "$output" != *': inside'* ]]
}

@test "a machine that answers any call with 0 gains nothing" {
	all_filtered 'plain joe tty stop' '' 0
}

@test "a machine that forbids any call gains nothing" {
	all_filtered 'plain joe tty stop' '' 1
}

@test "a machine without capabilities gains nothing by any 0" {
	all_filtered 'plain joe stop' --drop-capability=all 0
}

@test "a machine without capabilities gains nothing by any EPERM" {
	all_filtered 'plain joe stop' --drop-capability=all 1
}

@test "a machine with a user namespace gains nothing by any 0" {
	all_filtered 'plain tty stop' -U 0
}

@test "a machine with a user namespace gains nothing by any EPERM" {
	all_filtered 'plain tty stop' -U 1
}

@test "a machine that answers any call with another error gains nothing" {
	# EINTR, EAGAIN, ENOMEM, ERESTARTSYS (which only the kernel itself
	# uses), and the largest one.
	for error in 4 11 12 512 4095; do
		echo "case: $error"
		# shellcheck disable=SC2086 # to be split into words
		filtered 'plain stop' '' "$error" $MADE $TOGETHER
	done
}

@test "a machine that kills the caller of any call gains nothing" {
	# shellcheck disable=SC2086 # to be split into words
	filtered 'plain joe tty stop' '' kill $MADE $TOGETHER
}
