#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
#
# Each system call of both programs fails once: t/injector.c lets a program run
# as often as it makes system calls, and another one fails each time.  Whatever
# it is, the program ends, with a word on it and the right status; it signals
# nobody but the leader and its own, leaves no process behind and no terminal
# raw.

load common
load machines

setup_file()
{
	host_start_shared
	on_host sh -c 'cat >/tmp/sweep' <<-'END'
	# MACHINE HOLDS PROGRAM...: HOLDS judges $status, /tmp/out and /tmp/err.
	leader=$(cut -d ' ' -f 1 "/run/nspawn-tools/$1/leader")
	holds=$2 place=0
	shift 2
	# In /tmp/err: said by the program.
	said() { grep -q "^nspawn-[a-z]*: .*$1" /tmp/err; }
	while :; do
		place=$((place + 1)) status=0
		$VIA /src/build/static/injector "$place" "$ERROR" "$leader" \
		    "$@" >/tmp/out 2>/tmp/err 3>/tmp/found </dev/null ||
		    status=$?
		[ "$status" != 99 ] || break
		call=$(sed -n 's/^call //p' /tmp/found)
		# That is how a libc starts, which cannot go on without.
		[ "$call" != "$ARCH_PRCTL" ] || continue
		eval "$holds" || {
			echo "place $place, call $call, status $status:"
			cat /tmp/out /tmp/err
		}
		grep '^it ' /tmp/found
		kill -0 "$leader" || break
	done
	[ "$place" -gt 300 ] || echo "only $place calls"
	kill -0 "$leader"
	END
}

# sweep MACHINE HOLDS PROGRAM [ARGUMENT]...; EIO and ENOMEM in turns.
sweep()
{
	[ "$(uname -m)" = x86_64 ] || cannot 'the registers of a call'
	for error in 5 12; do
		run on_host env ERROR="$error" VIA="$VIA" \
		    ARCH_PRCTL=158 READ=0 WRITE=1 WRITEV=20 sh /tmp/sweep "$@"
		echo "$output"
		[ "$status" = 0 ] && [ "$output" = '' ]
	done
}

# A terminal that can be neither read nor written is like one that has ended.
ENTERED='case $status in
    0) [ "$(cat /tmp/out)" = done ] ||
        [ "$call" = "$READ" ] || [ "$call" = "$WRITE" ] ;;
    12[567]) said . ;;
    *) false ;;
    esac'

@test "whatever call of nspawn-enter fails, it ends with a word on it" {
	VIA='' sweep web "$ENTERED" /src/build/static/nspawn-enter -q web \
	    echo done
}

@test "on a terminal and in a user namespace it does, too" {
	on_host sh -c 'cat >/tmp/on-tty && chmod +x /tmp/on-tty' <<-'END'
	#!/bin/bash
	# Runs a program on a terminal, all but its errors.
	export words=$(printf '%q ' "$@") status=0
	script -qec 'before=$(stty -g); eval "$words" 2>/tmp/said; status=$?
	    [ "$(stty -g)" = "$before" ] || echo "it stays raw" >&3
	    exit $status' /dev/null >/tmp/typed || status=$?
	sed 's/\r*$//; s/^^@//' /tmp/typed	# the end of the input
	cat /tmp/said >&2
	exit $status
	END
	VIA=/tmp/on-tty sweep webu "$ENTERED" /src/build/static/nspawn-enter \
	    -q webu echo done
}

# Told, but not ended: that is said, or what went wrong.
TOLD='case $status in
    124) said "is still running" || [ "$call" = "$WRITEV" ] ;;
    1 | 125) said . ;;
    *) false ;;
    esac'

@test "whatever call of nspawn-stop fails, it ends with a word on it" {
	machine scope told -- /bin/sh -c 'trap : TERM; sleep 86400 &
	    while :; do wait $!; done'
	VIA='' sweep told "$TOLD" /src/build/static/nspawn-stop \
	    --timeout 0.05 told
}

@test "whatever call fails on the way to init 0, it does, too" {
	on_host sh -c 'printf "#!/bin/sh\nexit 0\n" >/tmp/init &&
	    chmod +x /tmp/init'
	# By name and signals a runit that only a command stops.
	machine scope ordered --bind-ro=/usr/bin/dash:/dash/runit \
	    --bind-ro=/usr/lib --bind-ro=/usr/lib64:/lib64 \
	    --bind-ro=/tmp/init:/usr/sbin/init -- /dash/runit -c \
	    'trap : CONT; sleep 86400 & while :; do wait $!; done'
	until_true on_host sh -c "'$BIN/nspawn-stop' --dry-run ordered |
	    grep -q 'the command init 0 would be run'"
	VIA='' sweep ordered "$TOLD" /src/build/static/nspawn-stop \
	    --timeout 0.05 ordered
}
