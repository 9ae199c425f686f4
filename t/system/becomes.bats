#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
# bats file_tags=urgent
#
# PID 1 is a script that cannot be told to stop yet, and becomes something that
# can: a script with a handler, or an init.  It is stopped as what it has
# become, and told once, whatever it becomes later.

load ../common
load ../machines
load ../inits

# What PID 1 runs until a test opens /go; then the rest of its script follows.
GATE='mkfifo /go; echo >/begun; read -r go </go'

# Shells that block signals for a moment whenever they fork.
rows_that_fork()
{
	local loop='echo >/begun; while :; do sleep 0.01; done'

	before=
	row fork-1 "$inits" /bin/dash @ -c "$loop" </dev/null
	row fork-2 "$inits" /bin/dash @ -c "$loop" </dev/null
	row fork-3 /tree /bin/bash @ -c "$loop" </dev/null
	row fork-4 /tree /bin/bash @ -c "$loop" </dev/null
}

rows_that_become()
{
	before=$GATE
	rows_of_supervisors
	rows_of_inits
	rows_of_programs
}

setup_file()
{
	rows_begin
	rows_that_become
	# finit loses a signal that it gets before it is up.
	export NAMES=" ${rows[*]} "
	rows_that_fork
	NAMES=${NAMES/ finit / }
	host_script <<<"$SCRIPTS"
	on_host sh -c 'cat >/tmp/told.awk' <<<"$TOLD"
}

# Prints a line for each signal that was sent, by any means, and for each "init
# 0".  It leaves out what traced processes do to each other, and what that
# command does.
TOLD='BEGIN { split("10 USR1 12 USR2 15 TERM 30 PWR 38 RTMIN+4", names)
	for (i = 1; i < 10; i += 2)
		name[names[i]] = names[i + 1]
	for (i = 1; i < ARGC; i++)
		if (match(ARGV[i], /[0-9]+$/))
			own[substr(ARGV[i], RSTART)] = 1 }
    FNR == 1 { init = 0 }
    ! / = 0$/ || init { next }
    /execve\(.*"init", "0"/ { print "init 0"; init = 1 }
    /machinectl".*"kill"/ && match($0, /signal=[0-9]+/) {
	print name[substr($0, RSTART + 7, RLENGTH - 7)] }
    /kill\(|pidfd_send_signal\(|sigqueueinfo\(/ {
	match($0, /\([0-9]+/)
	if (!/^t?g?kill\(/ || !(substr($0, RSTART + 1, RLENGTH - 1) in own))
		if (match($0, /SIG[A-Z0-9_]+/))
			print substr($0, RSTART + 3, RLENGTH - 3) }'

# Scripts for the host: they start machines of busybox, tell them to stop, and
# keep what was done.
SCRIPTS='cat >/tmp/begin <<-"END"
	# begin NAME OPTION... -- COMMAND...: starts a machine.
	set -eu
	name=$1 tree=/var/lib/machines/$1
	shift
	cp -a /usr/lib/nspawn-tools/skeleton "$tree"
	cd "$tree"
	mkdir -p etc
	echo ID=of-test >etc/os-release
	printf "%s\n" "::sysinit:/start" "::shutdown:/finish" >etc/inittab
	printf "%s\n" "#!/bin/sh" "echo started >>/started" >start
	printf "%s\n" "#!/bin/sh" "echo finished >>/finished" >finish
	chmod 755 start finish
	setsid systemd-nspawn --quiet --link-journal=no --console=pipe \
	    --private-network -D "$tree" -M "$name" \
	    --bind-ro=/src/build/static:/t "$@" \
	    </dev/null >"/tmp/$name.log" 2>&1 &
	END
    cat >/tmp/tell <<-"END"
	# tell NAME PROGRAM OPTION...: stops it, and writes to /tmp/NAME.told a
	# line for each signal and each command.
	name=$1
	shift
	date +%s%3N >"/tmp/$name.since"
	# The search for leaks does not work under strace.
	ASAN_OPTIONS=detect_leaks=0 strace -ff -qq -s 256 \
	    -o "/tmp/$name.trace" -e \
	    trace=execve,kill,tkill,tgkill,pidfd_send_signal,rt_sigqueueinfo \
	    "$@" </dev/null >"/tmp/$name.said" 2>&1
	echo $? >"/tmp/$name.status"
	awk -f /tmp/told.awk "/tmp/$name.trace".* >"/tmp/$name.told"
	END'


# The leaders of all machines, one a line, as systemd-machined of the host knows
# them.
leaders()
{
	on_host sh -c 'for name; do
		echo "$name $(machinectl show -p Leader --value "$name" 2>&1)"
	done' sh "$@"
}

# What was said of one machine, out of $said, the output for all of them.
said_of()
{
	sed -n "s/^nspawn-stop: $1: //p" <<<"$said"
}

# Prints what is wrong with how a machine was stopped, whose PID 1 has become
# that init, and which has to be stopped in that way.
init_fault()
{
	local name=$1 init=$2 way=$3 text

	text=$(said_of "$name")
	[[ "$text" == *"PID 1 is $init ("* ]] || echo "is not known as $init"
	[ "$(grep -c -e '^sent ' -e '^ran ' <<<"$text")" = 1 ] ||
	    echo 'is not told once'
	[[ "$text" == *"$way"* ]] || echo "should be: $way"
	[[ "$text" == *'has stopped'* ]] || echo 'has not stopped'
}

held_back()
{
	[ "$(on_host grep -c 'is not sent yet' /tmp/inits.said)" = "$1" ]
}

@test "a script that has become an init is stopped as that init, told once" {
	read -ra names <<<"$NAMES"
	[ "${#names[@]}" = 15 ]
	for name in "${names[@]}"; do
		echo "case: $name"
		until_true on_host test -e "/var/lib/machines/$name/begun"
	done
	job_start sh /tmp/tell inits "$BIN/nspawn-stop" --verbose \
	    --timeout 30 "${names[@]}"
	until_true held_back 15 || on_host cat /tmp/inits.said
	run ! on_host grep -e 'sent SIG' -e 'ran init 0' /tmp/inits.said
	on_host sh -c 'cd /var/lib/machines; for name; do : >"$name/go"; done' \
	    sh "${names[@]}"
	job_end
	said=$(on_host cat /tmp/inits.said)
	failed=0
	while IFS='|' read -r name init way; do
		[[ $NAMES == *" $name "* ]] || continue
		seen=$((${seen-0} + 1))
		fault=$(init_fault "$name" "$init" "$way")
		[ -z "$fault" ] || {
			echo "$name: $fault: is: $(said_of "$name" |
			    paste -s -d ,)"
			failed=1
		}
	done <<<"$CLEAN"$'\nrunsvdir|runsvdir|sent SIGTERM'
	[ "$seen" = 15 ]
	[ "$failed" = 0 ]
	[ "$(on_host cat /tmp/inits.status)" = 0 ]
	told=$(on_host sh -c 'sed s/^RT_4$/RTMIN+4/ /tmp/inits.told | sort' |
	    uniq -c | tr -s ' \n' ' ,')
	echo "told: $told"
	[ "$told" = ' 1 PWR, 2 RTMIN+4, 8 TERM, 1 USR1, 1 USR2, 2 init 0,' ]
}

# script NAME OPTIONS SCRIPT: starts a machine whose PID 1 is that script, and
# tells it to stop; the next expectations are for this machine.
script()
{
	scripts+=("$1")
	# shellcheck disable=SC2086 # to be split into words
	on_host sh -c 'name=$1 script=$2 ready=$3
	    shift 3
	    sh /tmp/begin "$name" -- /bin/sh -c "$script"
	    until [ -e "/var/lib/machines/$name/$ready" ]; do sleep 0.02; done
	    exec sh /tmp/tell "$name" "$@" "$name"' sh "$1" \
	    ": >/begun; $3" "${ready:-begun}" "$BIN/nspawn-stop" $2 3>&- &
}

# is FIELD VALUE: an expectation for the last machine; see fields.
is()
{
	expected+=("${scripts[-1]} $*")
}

# The fields of a machine, one a line.
fields()
{
	on_host sh -s "$@" <<-'END'
	for name; do
		tree=/var/lib/machines/$name said=/tmp/$name.said
		count() { cat "$1" 2>&1 | grep -c -x "${1##*/}"; }
		says() { [ "$(grep -c "$1" "$said")" = 0 ] || echo yes; }
		echo "$name status $(cat "/tmp/$name.status")"
		echo "$name told $(paste -s -d , "/tmp/$name.told")"
		echo "$name held $(says 'is not sent yet')"
		echo "$name never $(says 'was never sent')"
		echo "$name started $(count "$tree/started")"
		echo "$name finished $(count "$tree/finished")"
		echo "$name stopped $(cat "$tree/stopped" 2>&1)"
		echo "$name signals $(cut -d ' ' -f 1 "$tree/signals" 2>&1 |
		    paste -s -d ,)"
	done
	END
}

# Waits for all of them, and compares; prints each field that is wrong, with the
# output.
scripts_end()
{
	local line has status=0

	wait
	has=$(fields "${scripts[@]}")
	[ "${#expected[@]}" -ge "$((2 * ${#scripts[@]}))" ]
	for line in "${expected[@]}"; do
		grep -qxF "$line" <<<"$has" || {
			echo "should be: $line; is:" \
			    "$(grep "^${line% *} " <<<"$has");" \
			    "$(on_host paste -s -d , "/tmp/${line%% *}.said")"
			[ "$(cut -d ' ' -f 2 <<<"$line")" != told ] ||
			    on_host sh -c 'grep -e kill -e signal \
			    "/tmp/$1.trace."*' sh "${line%% *}" || true
			status=1
		}
	done
	return "$status"
}

# The kernel discards a signal that is pending when such a moment is over.
@test "nothing is sent because a shell blocks its signals while it forks" {
	for n in 1 2 3 4; do
		echo "case: $n"
		until_true on_host test -e "/var/lib/machines/fork-$n/begun"
	done
	run -124 stop --verbose --timeout 4 fork-{1,2,3,4}
	echo "$output"
	# At the timeout it may be finding out again how to stop one.
	[ "$(grep -c ' was never \(sent\|told to stop\)$' <<<"$output")" = 4 ]
	[[ "$output" != *'sent SIG'* ]]
	on_host machinectl terminate fork-{1,2,3,4}
}

HANDLES='trap "echo stopped >/stopped; exit 0" TERM
    while :; do sleep 600 & wait $!; done'
BUSYBOX='exec /bin/busybox init'

scripts_of_handlers()
{
	script late '-v -t 30' "sleep 6; $HANDLES"
	is status 0
	is told TERM
	is held yes
	is stopped stopped
	# A signal that is sent by two means may come twice.
	script late-once '-v -t 30' "sleep 6; exec /t/recorder"
	is told TERM
	is signals 15
	for name in never usr1; do
		[ "$name" = never ] || trap='trap : USR1;'
		script "$name" '-t 3' "${trap-} $WAITS"
		is status 124
		is told ''
		is held yes
		is never yes
	done
	script quiet '-q -t 3' "$WAITS"
	is status 124
	is told ''
	is held ''
	script at-once '-t 0' "$WAITS"
	is status 1
	is told TERM
	is held ''
	is never ''
}

scripts_of_busybox()
{
	for first in true 'trap "" TERM' 'trap : USR1'; do
		script "init-${first//[^A-Z1a-z]/}" '-t 30' \
		    "$first; sleep 4; $BUSYBOX"
		is status 0
		is told USR2
		is held yes
		is started 1
		is finished 1
	done
	# After the signal it may become anything.
	script in-trap '-t 5' "trap '$BUSYBOX' TERM; $WAITS"
	is status 124
	is told TERM
	is started 1
	is finished 0
	script after '-t 6' "trap told=1 TERM
	    until [ \"\$told\" ]; do sleep 0.1; done; sleep 1; $BUSYBOX"
	is status 124
	is told TERM
	is started 1
	is finished 0
	script chain '-t 9' "sleep 4; exec /bin/sh -c '
	    trap \"$BUSYBOX\" TERM; $WAITS'"
	is status 124
	is told TERM
	is held yes
	is started 1
	is finished 0
}

scripts_of_programs()
{
	for mode in handler sigwait sigtimedwait signalfd thread; do
		script "be-$mode" '-t 30' "sleep 4; exec /t/recorder $mode"
		is status 0
		is told TERM
		is held yes
		is signals 15
	done
}

@test "a script is told once, when it can hear, and as what it is then" {
	scripts=() expected=()
	scripts_of_handlers
	scripts_of_busybox
	scripts_of_programs
	scripts_end
	# Machines whose PID 1 has become an init meanwhile are stopped as such.
	run -0 stop -v in-trap after chain
	[ "$(grep -c 'sent SIGUSR2' <<<"$output")" = 3 ]
	[ "$(fields in-trap after chain | grep -c 'finished 1$')" = 3 ]
}

# It is told within a second and a half, with everything included.
@test "a PID 1 that waits for signals in any way is told at once" {
	for mode in handler sigwait sigtimedwait signalfd thread; do
		echo "case: $mode"
		scripts=() expected=()
		ready=ready script "is-$mode" '-t 20' "exec /t/recorder $mode"
		is status 0
		is told TERM
		is held ''
		is signals 15
		scripts_end
		told=$(on_host cut -d ' ' -f 2 \
		    "/var/lib/machines/is-$mode/signals")
		since=$(on_host cat "/tmp/is-$mode.since")
		echo "$mode: after $((told - since)) ms"
		[ "$((told - since))" -lt 1500 ]
	done
}

# Six at a time, each a hundredth of a second or two later than the one before.
@test "a script that becomes busybox init at any moment never reboots" {
	scripts=() expected=()
	for n in 00 02 04 06 08 10 12 14 16 18 20 22 24 26 28 30 34 38; do
		echo "case: $n"
		script "soon-$n" '-t 20' "sleep 0.$n; $BUSYBOX"
		is status 0
		is told USR2
		is started 1
		is finished 1
		[ "$((${#scripts[@]} % 6))" != 0 ] || wait
	done
	scripts_end
}
