#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
#
# Machines that mean harm, or never keep still.  enter.bats has hostile files of
# machines, and terminal.bats what they do to terminals.

load ../common
load ../machines

@test "a machine that hides its /proc and /dev is entered and stopped" {
	machine_sh web "mount -t tmpfs none /proc; mount -t tmpfs none /dev
	    trap 'echo stopped >/stopped; exit 0' TERM; $WAITS"
	run -0 enter web ls /proc /dev
	[ "$output" = $'/dev:\n\n/proc:' ]
	run -0 enter -t web echo entered
	[[ "$output" == *'its /dev/pts has no terminals'* ]]
	[[ "$output" == *entered* ]]
	run -0 stop web
	machine_file_is web stopped stopped
}

# bats test_tags=kernel
@test "the name that PID 1 gives itself is made printable" {
	machine_sh web 'printf "\033]0;x\007\n\\" >/proc/self/comm; trap "" TERM
	    '"$WAITS"
	pid=$(leader web)
	run -0 stop --dry-run web
	[[ "$output" == "web: PID 1 is \\x1b]0;x\\x07"*" ($pid), its "* ]]
	run -124 stop -v --timeout 0.1 web
	[[ "$output" != *[$'\033\007']* ]]
}

@test "a machine whose processes come and go is listed shortly, and entered" {
	machine_sh web 'trap "" TERM; echo >/ready; while :; do
	    for n in 1 2 3 4 5 6 7 8 9; do (:) & done; wait; done'
	run -124 stop --timeout 1.2 web
	[[ "$output" == *'nspawn-stop: web: is still running'* ]]
	[ "${#lines[@]}" -le 13 ]
	for n in 1 2 3 4 5 6 7 8 9; do
		echo "case: $n"
		run -0 enter web echo entered
		[ "$output" = entered ]
	done
}

@test "a machine that reboots all the time is entered fully or not at all" {
	machine_sh web 'echo >/ready; until [ -e /go ]; do sleep 0.05; done
	    sleep 0.05; reboot -f; sleep 600'
	on_host touch /var/lib/machines/web/go
	for n in $(seq 30); do
		echo "case: $n"
		run enter -q web echo entered
		case $status in
		0) [ "$output" = entered ] ;;
		125) [[ "$output" == 'nspawn-enter: '* ]] ;;
		# A command ends with its machine.
		137) [ "$output" = '' ] || [ "$output" = entered ] ;;
		*) echo "$status: $output" && false ;;
		esac
	done
	# It never has a handler, and never ends.
	for n in $(seq 10); do
		echo "case: $n"
		run stop --timeout 0.7 web
		case $output in
		*' was never sent'* | *' was never told '*) [ "$status" = 124 ] ;;
		*'is starting, restarting or ending'*) [ "$status" = 1 ] ;;
		*'is not running')
			# systemd-nspawn may fail at a reboot.
			until_true not lives "$(supervisor web)"
			return ;;
		*) echo "$status: $output" && false ;;
		esac
	done
}

# hostile_machine NAME MODE... [-- OPTION...]: a machine whose PID 1 is
# t/hostile.c.
hostile_machine()
{
	local name=$1 words=()
	shift

	while [ $# -gt 0 ] && [ "$1" != -- ]; do
		words+=("$1")
		shift
	done
	machine scope "$name" "--bind-ro=/src/build/static/hostile:$PROGRAM" \
	    "${@:2}" -- "$PROGRAM" "${words[@]}"
}

PROGRAM=/hostile

ready()
{
	on_host test -e "/var/lib/machines/$1/ready"
}

# A machine that may have a FUSE.  It can end even while a process waits for
# that.
fuse_machine()
{
	hostile_machine fuse fuse "$1" -- --bind=/dev/fuse \
	    '--property=DeviceAllow=/dev/fuse rwm'
	until_true ready fuse
}

# Runs a program of the host, for 30 seconds at most; processes that it leaves
# behind hold no output open.  Sets status, output and took, the seconds that it
# took.
bounded()
{
	local began=$SECONDS

	status=0
	on_host sh -c 'exec timeout -k 1 30 "$@" </dev/null >/tmp/said 2>&1' \
	    sh "$@" || status=$?
	took=$((SECONDS - began))
	output=$(on_host cat /tmp/said)
	echo "status $status after $took s: $output"
}

# After the machine's end no process waits for it any more.
nobody_left()
{
	machines_end
	until_true not on_host pgrep -f '^[^ ]*nspawn-(enter|stop|monitor)'
}

# bats test_tags=kernel
@test "a leader whose first thread has ended is not entered, but stopped" {
	hostile_machine threads thread
	on_host kill -USR1 "$(leader threads)"
	until_true ready threads
	for option in -q --no-seccomp --privileged; do
		echo "case: $option"
		run enter "$option" threads sh -c 'echo >/run/escaped'
		echo "$output"
		[[ "$output" == *'nspawn-enter: threads: '* ]]
		[ "$status" = 125 ]
		run ! on_host test -e /run/escaped
	done
	pid=$(supervisor threads)
	run -0 stop -t 20 threads
	[[ "$output" != *'not running'* ]]
	run ! lives "$pid"
}

# bats test_tags=kernel
@test "a command has all groups of PID 1, however many, and that stops" {
	for count in 2000 65536; do
		echo "case: $count"
		hostile_machine groups groups "$count"
		until_true ready groups
		run enter groups sh -c \
		    'grep ^Groups: /proc/self/status | wc -w'
		echo "$output"
		[ "$output" = "$((count + 1))" ]
		[ "$status" = 0 ]
		pid=$(supervisor groups)
		run -0 stop -t 20 groups
		[[ "$output" != *'not running'* ]]
		run ! lives "$pid"
		machines_end
	done
}

# The kernel cannot name a program whose path is that long.
@test "a program at a path without end hides no machine, and no name" {
	machine scope web
	on_host sh -c '"$1/nspawn-enter" web sh -euc "
	    name=\$(printf %0250d 0)
	    half=\$name/\$name/\$name/\$name/\$name/\$name/\$name/\$name/\$name
	    mkdir -p /tmp/\$half
	    cd /tmp/\$half
	    mkdir -p \$half
	    cp /bin/busybox \$half/sleep
	    exec \$half/sleep 4741" >/tmp/deep 2>&1 &' '' "$BIN"
	until_true on_host pgrep -f '0/sleep 4741$'
	pid=$(on_host pgrep -f '0/sleep 4741$')
	run ! on_host readlink "/proc/$pid/exe"
	run -0 stop nothing
	[ "$output" = 'nspawn-stop: nothing: is not running' ]
	run -0 enter --list
	[[ "$output" == web* ]]
	run -0 stop web
}

@test "a passwd that never answers does not hold up a call for long" {
	machine scope next
	fuse_machine passwd
	for words in 'fuse true' '-t -u joe fuse true'; do
		echo "case: $words"
		# shellcheck disable=SC2086 # to be split into words
		bounded "$BIN/nspawn-enter" $words
		[ "$status" = 125 ]
		[ "$took" -le 12 ]
		[[ "$output" == *'nspawn-enter: fuse: '* ]]
	done
	bounded "$BIN/nspawn-stop" -t 4 fuse next
	[ "$status" = 0 ]
	[ "$took" -le 5 ]
	nobody_left
}

@test "a root directory that never answers does not hold up a call for long" {
	PROGRAM=/usr/sbin/init fuse_machine root
	held_up true
}

@test "a program that never answers does not hold up a call for long" {
	PROGRAM=/usr/sbin/init fuse_machine init
	held_up /usr/sbin/program
}

# No command can be run in the machine, so it cannot be stopped by one, either;
# a machine that is named after it on the command line is stopped.
held_up()
{
	machine scope next
	bounded "$BIN/nspawn-enter" fuse "$1"
	[ "$status" = 125 ]
	[ "$took" -le 12 ]
	[[ "$output" == *'nspawn-enter: fuse: '* ]]
	bounded "$BIN/nspawn-stop" -t 2 fuse next
	[ "$status" = 1 ] || [ "$status" = 124 ]
	[ "$took" -le 5 ]
	[[ "$output" == *'nspawn-stop: fuse: '* ]]
	machine_file_is next stopped stopped
	nobody_left
}

# A machine that only "init 0" stops: it has the name and the signals of runit.
# Its init is the script $2; at USR1 PID 1 stops.
runit_machine()
{
	printf '#!/bin/sh\n%s\n' "$2" | on_host sh -c \
	    "cat >/tmp/init-$1 && chmod +x /tmp/init-$1"
	machine scope "$1" --bind-ro=/usr/bin/dash:/dash/runit \
	    --bind-ro=/usr/lib --bind-ro=/usr/lib64:/lib64 \
	    "--bind-ro=/tmp/init-$1:/usr/sbin/init" -- /dash/runit -c \
	    'trap : CONT; trap "echo stopped >/stopped; exit 0" USR1
	    '"$WAITS"
	until_true ready "$1"
}

# What root of a machine can do to the descriptors that it gets; /given then
# says what they were.
SPOIL='for fd in 0 1 2; do
    was=$(readlink /proc/$$/fd/$fd)
    echo "$was" >>/given
    chmod 600 /proc/$$/fd/$fd
    chown 4711:4711 /proc/$$/fd/$fd
done
cat >>/given
echo written && echo written >&2 && echo written >>/given'
SPOILT=$'/dev/null\n/dev/null\n/dev/null\nwritten'

@test "the /dev/null that a machine can spoil is not the host's" {
	runit_machine spoil "$SPOIL; kill -USR1 1"
	run -0 on_host sh -c '"$@" </dev/null >/dev/null 2>/dev/null' sh \
	    "$BIN/nspawn-enter" spoil sh -c "$SPOIL"
	machine_file_is spoil given "$SPOILT"
	on_host rm /var/lib/machines/spoil/given
	run -0 stop -t 10 spoil
	machine_file_is spoil stopped stopped
	machine_file_is spoil given "$SPOILT"
	run -0 on_host stat -c '%a %u %g' /dev/null
	[ "$output" = '666 0 0' ]
}

# Ends once another process traces it, however late that one finds it.
UNTIL_TRACED='tracer=0
until [ "$tracer" != 0 ]; do
	while read -r key value; do
		[ "$key" != TracerPid: ] || tracer=$value
	done <"/proc/$$/status"
done'

@test "a command that a tracer holds does not hold up a call for long" {
	PROGRAM=/usr/sbin/init hostile_machine seize seize
	until_true ready seize
	bounded "$BIN/nspawn-enter" -q seize sh -c "$UNTIL_TRACED"
	[ "$took" -le 12 ]
	[ "$status" = 125 ]
	[[ "$output" == 'nspawn-enter: seize: '*tracer* ]]
	run ! on_host pgrep -f '^[^ ]*nspawn-(enter|monitor)'
	runit_machine next 'kill -USR1 1'
	bounded "$BIN/nspawn-stop" -t 8 seize next
	[ "$status" = 124 ]
	[ "$took" -le 12 ]
	[[ "$output" != *'next: '* ]]
	machine_file_is next stopped stopped
	nobody_left
}

@test "filters are not copied from a leader whose confinement has changed" {
	hostile_machine trace trace -- --drop-capability=CAP_SYS_ADMIN
	until_true ready trace
	job_start "$BIN/nspawn-enter" trace echo ran
	# When it is in the machine's cgroup, it has read what confines PID 1.
	until_true enters trace
	on_host sh -c ': >/var/lib/machines/trace/go'
	job_end
	cat "$job_log"
	[ "$job_status" = 125 ]
	[[ "$(cat "$job_log")" == *'confinement of its leader has just changed'* ]]
	[[ "$(cat "$job_log")" != *ran* ]]
}

# True if the machine's cgroup has a process whose OOM score is the highest: one
# that is about to enter.
enters()
{
	on_host sh -c 'for pid in $(cat "$1"/payload/cgroup.procs); do
	    [ "$(cat "/proc/$pid/oom_score_adj")" != 1000 ] || exit 0
	done
	exit 1' sh "$(on_host cat "/run/nspawn-tools/$1/cgroup")"
}

# Starts an entry whose command prints its user namespace and its capability
# bounding set.  The program waits, stopped: $inner is its PID outside of the
# host; $job, which waits for it there, is stopped as well.
enter_stopped()
{
	# The search for leaks does not work under strace.
	"$TOP/t/host" run "$HOST" sh -c 'kill -STOP $$
	    export ASAN_OPTIONS=detect_leaks=0; exec "$@"' sh \
	    "$BIN/nspawn-enter" -q leave sh -c 'readlink /proc/self/ns/user
	    sed -n "s/CapBnd:.//p" /proc/self/status' \
	    </dev/null >"$BATS_TEST_TMPDIR/said" 2>&1 3>&- &
	job=$!
	until_true has_stopped "$job"
	inner=$(pgrep -P "$job")
	has_stopped "$inner"
}

has_stopped()
{
	grep -q '^State:.T' "/proc/$1/status"
}

# Continues it under strace, which writes down its calls of openat(2) and does
# what its other options say.
go_on_traced()
{
	rm -f "$BATS_TEST_TMPDIR/calls"
	strace -o "$BATS_TEST_TMPDIR/calls" -e trace=openat "$@" -p "$inner" \
	    </dev/null 2>/dev/null 3>&- &
	until_true grep -q '^TracerPid:.*[1-9]' "/proc/$inner/status"
	kill -CONT "$inner"
}

# Continues it until its end.  $job continues $inner when it is itself
# continued; it must not do so for an earlier stop.
go_on()
{
	kill -CONT "$inner" "$job"
	job_end
	said=$(cat "$BATS_TEST_TMPDIR/said")
}

stands_in_openat()
{
	grep -q ^openat "$BATS_TEST_TMPDIR/calls" &&
	    tail -n 1 "$BATS_TEST_TMPDIR/calls" | grep -q 'stopped by SIGSTOP'
}

# Prints which of all calls of openat(2) read what the leader is, from its user
# namespace on.
places_of_leader()
{
	awk -v leader="$(leader leave)" '/^openat/ {
	    place++
	    if (index($2, "\"" leader "/ns/user\"") == 1)
		begun = 1
	    if (begun && index($2, "\"" leader "/") == 1)
		print place
	}' "$BATS_TEST_TMPDIR/calls"
}

@test "a command never has more than PID 1, which may leave its namespace" {
	command -v strace >/dev/null || cannot 'there is no strace'
	hostile_machine leave leave
	until_true ready leave
	enter_stopped
	go_on_traced
	go_on
	[ "$job_status" = 0 ]
	first=$said
	refused=0
	for place in $(places_of_leader); do
		echo "case: $place"
		machines_end
		hostile_machine leave leave
		until_true ready leave
		enter_stopped
		go_on_traced -e "inject=openat:signal=STOP:when=$place"
		until_true stands_in_openat
		on_host kill -USR1 "$(leader leave)"
		until_true on_host test -e /var/lib/machines/leave/left
		go_on
		echo "place $place, status $job_status: $said"
		case $job_status in
		# In the namespace that PID 1 has made, it may have everything.
		0) [ "$said" = "$first" ] ||
		    [ "${said%%$'\n'*}" != "${first%%$'\n'*}" ] ;;
		125) [[ "$said" == *'confinement of its leader has just changed'* ]]
			refused=$((refused + 1)) ;;
		*) false ;;
		esac
	done
	[ "$refused" -gt 0 ]
}
