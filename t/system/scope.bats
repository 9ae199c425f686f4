#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
# bats file_tags=releases
#
# A machine has stopped only when systemd has dropped its scope.  Here that is
# long after the end of systemd-nspawn, since the scope has a process that
# cannot be killed: so the order is certain, without a race.

load ../common
load ../machines

# A script for the host; $1 is the folder of the programs.  PID 1 of the machine
# hold ends at once when it is told to; hold_end lets systemd drop the scope.
HOLD='bin=$1 holder= tree=/var/lib/machines/hold
    [ -e "$tree" ] || cp -a /usr/lib/nspawn-tools/skeleton "$tree"
    mkdir -p "$tree/etc"
    echo ID=hold >"$tree/etc/os-release"

    fail()
    {
	echo "$*"
	! kill "$holder" 2>/dev/null || umount -l /tmp/fuse
	exit 1
    }

    # Waits until a command succeeds, for 20 s.
    await()
    {
	tries=0
	until "$@"; do
		tries=$((tries + 1))
		[ "$tries" -lt 1000 ] || fail "not in time: $*"
		sleep 0.02
	done
    }

    # Starts the machine with those options.  Its output has to be read.
    hold_launch()
    {
	rm -f /tmp/up
	mkfifo /tmp/up
	systemd-nspawn --quiet --link-journal=no --console=pipe -M hold \
	    -D "$tree" "$@" /bin/sh -c "${late-} trap \"exit 0\" TERM; echo up
	    while :; do sleep 600 & wait \$!; done" \
	    </dev/null >/tmp/up 2>/tmp/errors &
	supervisor=$!
    }

    scope_found()
    {
	for scope in /sys/fs/cgroup/machine.slice/machine-hold.scope \
	    /sys/fs/cgroup/machine.slice/hold.scope; do
		[ ! -d "$scope" ] || return 0
	done
	return 1
    }

    # The same, and waits for PID 1; fails if the name is still in use.
    hold_start()
    {
	hold_launch "$@"
	read -r word </tmp/up || fail "it does not start: $(cat /tmp/errors)"
	scope_found || fail "it has no scope"
    }

    # Puts a process that no signal ends into the scope, until hold_end or until
    # $1 s after the end of systemd-nspawn.
    hold_scope()
    {
	mkdir -p "$scope/holder" /tmp/fuse
	rm -f /tmp/held		# that of the test before
	perl /src/t/holder.pl /tmp/fuse "$scope/holder" "$supervisor" "$1" \
	    </dev/null >/tmp/held 2>&1 &
	holder=$!
	await grep -qs held /tmp/held
    }

    hold_end()
    {
	kill "$holder"
	{ wait "$holder"; } 2>/dev/null || :
	umount -l /tmp/fuse
    }

    # Ends PID 1 alone.  A stopped systemd-nspawn does not see that: so the
    # machine is between two PID 1s for as long as the test needs it.
    leader_end()
    {
	kill -STOP "$supervisor"
	for pid in $(pgrep -P "$supervisor"); do
		kill -KILL "$pid"
	done
	await grep -q "^State:.Z" "/proc/$pid/status"
    }

    folder_gone() { [ ! -d "$scope" ]; }
    supervisor_ended() { ! kill -0 "$supervisor" 2>/dev/null; }

    # Receives the notices at /run/of-scope, until listen_end.
    listen_start()
    {
	rm -f /tmp/heard
	perl /tmp/listen.pl >/tmp/heard 2>&1 &
	listener=$!
	await grep -qs up /tmp/heard
    }

    listen_end()
    {
	kill "$listener"
	rm /run/of-scope
    }

    # Waits until more than that many new notices have come.
    heard_more()
    {
	before=$(grep -c STATUS /tmp/heard) || :	# there is none yet
	await heard_than "$((before + $1))"
    }

    heard_than() { [ "$(grep -c STATUS /tmp/heard)" -gt "$1" ]; }
'

setup_file()
{
	host_start
	on_host sh -c 'cat >/tmp/listen.pl' <<-'END'
	use Socket;
	$| = 1;
	socket(S, AF_UNIX, SOCK_DGRAM, 0) or die;
	bind(S, pack_sockaddr_un("/run/of-scope")) or die;
	print "up\n";
	while (defined(recv(S, $m, 9999, 0))) { print "$m" }
	END
}

hold()
{
	{
		echo "$HOLD"
		cat
	} | host_script "$BIN"
}

@test "a scope that systemd never drops is waited for until the time is up" {
	run hold <<-'END'
	hold_start
	hold_scope 600
	status=0
	"$bin/nspawn-stop" -t 6 hold 2>/tmp/said || status=$?
	[ -d "$scope" ] || echo 'the scope was not held'
	! kill -0 "$supervisor" 2>/dev/null || echo 'systemd-nspawn lives'
	hold_end
	await folder_gone
	echo "status $status"
	cat /tmp/said
	END
	echo "$output"
	[ "$status" = 0 ]
	# A line for each process that is left may follow.
	[ "${lines[0]}" = 'status 124' ]
	[[ "${lines[1]}" == 'nspawn-stop: hold: has ended, but systemd'\
' still keeps its scope at the timeout; '* ]]
}

# A notice each second shows that it still waits.
@test "a wait for the scope alone goes on, and ends when systemd drops it" {
	run hold <<-'END'
	listen_start
	hold_start
	hold_scope 600
	NOTIFY_SOCKET=/run/of-scope "$bin/nspawn-stop" -v -t 100 hold \
	    >/tmp/said 2>&1 &
	waiter=$!
	await supervisor_ended
	heard_more 2
	grep -q 'has stopped' /tmp/said && echo 'said so too early'
	kill -0 "$waiter" || echo 'has not waited'
	[ -d "$scope" ] || echo 'the scope was not held'
	hold_end
	wait "$waiter" || echo "status $?"
	folder_gone || echo 'the scope is still there'
	listen_end
	grep 'has stopped' /tmp/said
	END
	echo "$output"
	[ "$status" = 0 ]
	[ "$output" = 'nspawn-stop: hold: has stopped' ]
}

# The scope ends half a second later: a program that did not wait for it would
# be too early.
@test "the name of a machine can be used again at once, twenty times" {
	run hold <<-'END'
	for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
		[ $((n % 2)) = 0 ] && register=no || register=yes
		hold_start "--register=$register"
		hold_scope 0.5
		"$bin/nspawn-stop" --strict hold || fail "$n: status $?"
		folder_gone || fail "$n: the scope is still there"
		await umount /tmp/fuse
	done
	END
	echo "$output"
	[ "$status" = 0 ]
	[ "$output" = '' ]
}

# PID 1 of the host is frozen as long as the test needs it, as if it were too
# busy to look after its scopes.  If the program removed the empty folder,
# systemd would never notice that the scope has ended.
@test "a scope is left to systemd, however late systemd is" {
	run hold <<-'END'
	listen_start
	hold_start
	hold_scope 600
	NOTIFY_SOCKET=/run/of-scope "$bin/nspawn-stop" -v -t 100 hold \
	    >/tmp/said 2>&1 &
	waiter=$!
	await supervisor_ended
	trap "echo 0 >/sys/fs/cgroup/init.scope/cgroup.freeze" EXIT
	echo 1 >/sys/fs/cgroup/init.scope/cgroup.freeze
	hold_end
	await grep -qs 'populated 0' "$scope/cgroup.events"
	heard_more 3
	[ -d "$scope" ] || echo 'the scope has been taken from systemd'
	echo 0 >/sys/fs/cgroup/init.scope/cgroup.freeze
	wait "$waiter" || echo "status $?"
	grep 'has stopped' /tmp/said
	listen_end
	hold_start
	"$bin/nspawn-stop" --strict --quiet hold
	END
	echo "$output"
	[ "$status" = 0 ]
	[ "$output" = 'nspawn-stop: hold: has stopped' ]
}

# A folder is left like this if a process enters just when systemd removes it.
@test "the folder of a scope that systemd has forgotten is removed" {
	run hold <<-'END'
	hold_start
	hold_scope 600
	"$bin/nspawn-stop" -v -t 100 hold >/tmp/said 2>&1 &
	waiter=$!
	await supervisor_ended
	trap "echo 0 >/sys/fs/cgroup/init.scope/cgroup.freeze" EXIT
	echo 1 >/sys/fs/cgroup/init.scope/cgroup.freeze
	rm "/run/systemd/transient/${scope##*/}"
	kill -0 "$waiter" || echo 'has not waited for who is in it'
	hold_end
	wait "$waiter" || echo "status $?"
	folder_gone || echo 'the folder is still there'
	echo 0 >/sys/fs/cgroup/init.scope/cgroup.freeze
	grep 'has stopped' /tmp/said
	# systemd may just have noticed the end by itself.
	systemctl stop "${scope##*/}" 2>/dev/null || :
	END
	echo "$output"
	[ "$status" = 0 ]
	[ "$output" = 'nspawn-stop: hold: has stopped' ]
}

# Nothing but the time of the next check wakes it up then.
@test "without inotify a machine is told, and its scope is waited for" {
	run hold <<-'END'
	checks() { grep -c "stat.*${scope##*/}\"" /tmp/calls; }
	checks_are() { [ "$(checks)" -ge "$1" ]; }
	hold_start
	hold_scope 600
	# The search for leaks does not work under strace.
	ASAN_OPTIONS=detect_leaks=0 strace -f -qq -o /tmp/calls \
	    -e trace=inotify_init1,/stat \
	    -e inject=inotify_init1:error=EMFILE \
	    "$bin/nspawn-stop" -v -t 100 hold >/tmp/said 2>&1 &
	waiter=$!
	await supervisor_ended
	await checks_are "$(($(checks) + 3))"
	grep -q 'has stopped' /tmp/said && echo 'said so too early'
	grep -q 'inotify_init1.*INJECTED' /tmp/calls || echo 'had inotify'
	hold_end
	wait "$waiter" || echo "status $?"
	folder_gone || echo 'the scope is still there'
	grep 'has stopped' /tmp/said
	END
	echo "$output"
	[ "$status" = 0 ]
	[ "$output" = 'nspawn-stop: hold: has stopped' ]
}

# While PID 1 of the host is frozen there is a leader, but no scope.  The first
# nspawn-stop gives up before PID 1 has a handler, the second tells it to stop,
# the third only waits.
@test "the scope of a machine that is still starting is waited for, too" {
	run hold <<-'END'
	leads()
	{
		for pid in $(pgrep -P "$supervisor"); do
			! grep -qs '^NSpid:.*[^0-9]1$' "/proc/$pid/status" ||
			    return 0
		done
		return 1
	}
	# waits NAME OPTION...: starts nspawn-stop, which has found the leader.
	waits()
	{
		name=$1
		shift
		NOTIFY_SOCKET=/run/of-scope "$bin/nspawn-stop" "$@" hold \
		    >"/tmp/$name" 2>&1 &
		heard_more 0
	}
	trap 'echo 0 >/sys/fs/cgroup/init.scope/cgroup.freeze; : >"$tree/go"' \
	    EXIT
	echo 1 >/sys/fs/cgroup/init.scope/cgroup.freeze
	late='until [ -e /go ]; do sleep 0.1; done;'
	hold_launch
	cat /tmp/up >/dev/null &
	await leads
	! scope_found || echo 'it has a scope already'
	listen_start
	waits short -t 20
	short=$!
	waits said -v -t 100
	told=$!
	waits none -v -s none -t 100
	waiter=$!
	await grep -q 'its init has not started yet' /tmp/short
	echo 0 >/sys/fs/cgroup/init.scope/cgroup.freeze
	await scope_found
	hold_scope 600
	wait "$short" || echo "status $?"
	grep -o 'no handler for SIGTERM.*is not sent yet' /tmp/short
	grep -o 'SIGTERM was never sent' /tmp/short
	: >"$tree/go"
	await supervisor_ended
	heard_more 4
	grep 'has stopped' /tmp/said /tmp/none && echo 'said so too early'
	hold_end
	wait "$told" || echo "status $?"
	wait "$waiter" || echo "status $?"
	folder_gone || echo 'the scope is still there'
	listen_end
	grep -h 'has stopped' /tmp/said /tmp/none
	END
	echo "$output"
	[ "$status" = 0 ]
	[ "${lines[0]}" = 'status 124' ]
	[[ "${lines[1]}" == 'no handler for SIGTERM'* ]]
	[ "${lines[2]}" = 'SIGTERM was never sent' ]
	[ "${lines[3]}" = 'nspawn-stop: hold: has stopped' ]
	[ "${lines[4]}" = 'nspawn-stop: hold: has stopped' ]
	[ "${#lines[@]}" = 5 ]
}

@test "one scope of several machines is enough to wait for" {
	machine scope other
	run hold <<-'END'
	hold_start
	hold_scope 600
	status=0
	"$bin/nspawn-stop" -v -t 6 other hold 2>/tmp/said || status=$?
	[ -d "$scope" ] || echo 'the scope was not held'
	hold_end
	await folder_gone
	echo "status $status"
	grep -o 'other: has stopped' /tmp/said
	END
	echo "$output"
	[ "$status" = 0 ]
	[ "$output" = 'status 124
other: has stopped' ]
}

@test "the scope of a machine without a leader is waited for, too" {
	run hold <<-'END'
	hold_start
	hold_scope 600
	leader_end
	listen_start
	NOTIFY_SOCKET=/run/of-scope "$bin/nspawn-stop" -v -t 4 hold \
	    >/tmp/said 2>&1 &
	waiter=$!
	await grep -qs STATUS /tmp/heard
	kill -CONT "$supervisor"
	status=0
	wait "$waiter" || status=$?
	[ -d "$scope" ] || echo 'the scope was not held'
	listen_end
	hold_end
	await folder_gone
	echo "status $status"
	cat /tmp/said
	END
	echo "$output"
	[ "$status" = 0 ]
	[ "${lines[0]}" = 'status 124' ]
	[[ "$output" == *'systemd still keeps its scope'* ]]
}

# While machined is stopped, machinectl does not answer for the other name.
# systemd keeps the folder of the scope, or only the file of its unit: here that
# of a unit that this release does not give the machine.
@test "the scope of a machine that ends during the search is waited for, too" {
	run hold <<-'END'
	asks() { pgrep -P "$waiter" machinectl >/dev/null; }
	leader_ended() { ! kill -0 "$leader" 2>/dev/null; }
	# ends_during_search KEEP END: those commands keep the scope, and end it.
	ends_during_search()
	{
		busctl call --quiet org.freedesktop.machine1 \
		    /org/freedesktop/machine1 org.freedesktop.DBus.Peer Ping
		machined=$(systemctl show -p MainPID --value systemd-machined)
		hold_start
		"$1"
		leader=$(pgrep -f -P "$supervisor" "while :; do sleep 600")
		kill -STOP "$machined"
		NOTIFY_SOCKET=/run/of-scope "$bin/nspawn-stop" -v -t 100 hold \
		    other >/tmp/said 2>&1 &
		waiter=$!
		await asks
		kill -TERM "$leader"
		await leader_ended
		kill -CONT "$machined"
		await supervisor_ended
		heard_more 2
		grep 'has stopped' /tmp/said && echo 'said so too early'
		"$2"
		wait "$waiter" || echo "status $?"
		folder_gone || echo 'the scope is still there'
		cat /tmp/said
	}
	file_keep()
	{
		for file in hold.scope machine-hold.scope; do
			file=/run/systemd/transient/$file
			[ -e "$file" ] || break
		done
		: >"$file"
	}
	file_end() { rm "$file"; }
	folder_keep() { hold_scope 600; }
	trap 'kill -CONT "$machined"; rm -f "${file-}"' EXIT
	listen_start
	ends_during_search folder_keep hold_end
	ends_during_search file_keep file_end
	listen_end
	END
	echo "$output"
	[ "$status" = 0 ]
	[ "$output" = 'nspawn-stop: other: is not running
nspawn-stop: hold: has stopped
nspawn-stop: other: is not running
nspawn-stop: hold: has stopped' ]
}

# The leader is a zombie: the search for a new one slows down all the same.
# bats test_tags=static
@test "a leader that has ended is not taken for a new one" {
	run hold <<-'END'
	hold_start
	leader_end
	strace -f -qq -o /tmp/calls -e trace=/open \
	    "$bin/nspawn-stop" -t 3 hold >/tmp/said 2>&1 || echo "status $?"
	kill -CONT "$supervisor"
	await supervisor_ended
	await folder_gone
	grep -c '/children"' /tmp/calls
	cat /tmp/said
	END
	echo "$output"
	[ "$status" = 0 ]
	[ "${lines[0]}" = 'status 1' ]
	[[ "${lines[2]}" == *' it has no leader, but its systemd-nspawn '* ]]
	[ "${lines[1]}" -ge 2 ] && [ "${lines[1]}" -le 20 ]
}

# PID 1 begins as a grandchild of systemd-nspawn.  Its parent is the same
# program and ends at once; here it ends a second later.
@test "the supervisor is known while systemd-nspawn has its outer child, too" {
	run hold <<-'END'
	rm -f /tmp/up
	strace -f -qq -o /dev/null -e trace=clone,clone3 \
	    -e inject=clone,clone3:delay_exit=1500000 \
	    systemd-nspawn --quiet --link-journal=no --console=pipe \
	    --register=no --keep-unit -M hold -D "$tree" /bin/sh -c \
	    'trap "exit 0" TERM; echo up; while :; do sleep 600 & wait $!; done' \
	    </dev/null >/tmp/up 2>&1 &
	tracer=$!
	await pgrep -x systemd-nspawn >/dev/null
	supervisor=$(pgrep -x -P "$tracer" systemd-nspawn)
	processes() { pgrep -x -c systemd-nspawn || :; }
	early=0
	until grep -qs up /tmp/up; do
		before=$(processes)
		said=$("$bin/nspawn-stop" --dry-run hold 2>&1) || :
		after=$(processes)
		[ "$before$after" != 33 ] || early=$((early + 1))
		named=$(expr "$said" : '.*its systemd-nspawn is \([0-9]*\)') || :
		[ -z "$named" ] || [ "$named" = "$supervisor" ] ||
		    fail "the supervisor is $supervisor, and not: $said"
		[ "$(processes)" != 0 ] || fail "no machine: $(cat /tmp/up)"
	done
	[ "$early" -gt 0 ] || fail 'it was never seen with an outer child'
	"$bin/nspawn-stop" --strict --quiet hold
	END
	echo "$output"
	[ "$status" = 0 ]
	[ "$output" = '' ]
}
