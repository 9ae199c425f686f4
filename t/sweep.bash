# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
# shellcheck shell=bash
#
# For the tests that run a program once for each system call that it makes; each
# time t/injector.c does something at the next call.  The programs are always
# the static ones: sanitizers make thousands of calls of their own.

PROGRAMS=/src/build/static

# Puts the script into the host that does this.
sweep_prepare()
{
	on_host sh -c 'cat >/tmp/sweep' <<-'END'
	# DOING HOLDS PROGRAM...: HOLDS checks $status, $call, /tmp/out,
	# /tmp/err.
	doing=$1 holds=$2 place=0
	shift 2
	# True if the program has printed that to standard error.
	said() { grep -q "^nspawn-[a-z]*: .*$1" /tmp/err; }
	while :; do
		place=$((place + 1)) status=0
		$VIA "$INJECTOR" "$place" $doing "$@" >/tmp/out 2>/tmp/err \
		    3>/tmp/found </dev/null || status=$?
		[ "$status" != 99 ] || break
		call=$(sed -n 's/^call //p' /tmp/found)
		eval "$holds" || {
			echo "place $place, call $call, status $status:"
			cat /tmp/out /tmp/err
		}
		# The injector reports here what must never happen.
		sed -n "s/^it /place $place, call $call: &/p" /tmp/found
	done
	[ "$place" -gt "${LEAST:-100}" ] || echo "only $place calls"
	END
}

# sweep DOING HOLDS PROGRAM [ARGUMENT]...
sweep()
{
	[ "$(uname -m)" = x86_64 ] || cannot 'the registers of a call'
	HOST_SECONDS=600 run on_host env VIA="${VIA-}" LEAST="${LEAST-}" \
	    INJECTOR=$PROGRAMS/injector \
	    ARCH_PRCTL=158 READ=0 WRITE=1 WRITEV=20 sh /tmp/sweep "$@"
	echo "$output"
	[ "$status" = 0 ] && [ "$output" = '' ]
}
