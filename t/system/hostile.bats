#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
#
# Machines that mean harm, or never stand still.  What is in their files is in
# enter.bats, what they do to terminals in terminal.bats.

load ../common
load ../machines

@test "a machine that has mounted over its /proc and /dev is entered and stopped" {
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
@test "what PID 1 calls itself is printable, whatever it is" {
	machine_sh web 'printf "\033]0;x\007\n\\" >/proc/self/comm; trap "" TERM
	    '"$WAITS"
	pid=$(leader web)
	run -0 stop --dry-run web
	[[ "$output" == "web: PID 1 is \\x1b]0;x\\x07"*" ($pid), its "* ]]
	run -124 stop -v --timeout 0.1 web
	[[ "$output" != *[$'\033\007']* ]]
}

@test "a machine whose processes come and go is stopped, or what is left listed" {
	machine_sh web 'trap "" TERM; echo >/ready; while :; do
	    for n in 1 2 3 4 5 6 7 8 9; do (:) & done; wait; done'
	run -124 stop --timeout 1.2 web
	[[ "$output" == *'nspawn-stop: web: is still running'* ]]
	[ "${#lines[@]}" -le 13 ]
	for n in 1 2 3 4 5 6 7 8 9; do
		run -0 enter web echo entered
		[ "$output" = entered ]
	done
}

@test "a machine that reboots all the time is entered whole or not at all" {
	machine_sh web 'echo >/ready; sleep 0.05; reboot -f; sleep 600'
	for n in $(seq 30); do
		run enter -q web echo entered
		case $status in
		0) [ "$output" = entered ] ;;
		125) [[ "$output" == 'nspawn-enter: '* ]] ;;
		# The machine's end is that of all that is in it.
		137) [ "$output" = '' ] || [ "$output" = entered ] ;;
		*) echo "$status: $output" && false ;;
		esac
	done
	# It never has a handler, and never ends.
	for n in $(seq 10); do
		run stop --timeout 0.7 web
		case $output in
		*' was never sent'* | *' was never told '*) [ "$status" = 124 ] ;;
		*'is starting, restarting or ending'*) [ "$status" = 1 ] ;;
		*) echo "$status: $output" && false ;;
		esac
	done
}

# hostile NAME MODE... [-- OPTION...]: a machine whose PID 1 is t/hostile.c.
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

# A machine that may have a FUSE.  It ends even while somebody waits for that.
fuse_machine()
{
	hostile_machine fuse fuse "$1" -- --bind=/dev/fuse \
	    '--property=DeviceAllow=/dev/fuse rwm'
	until_true ready fuse
}

# Runs a program of the host, for 30 seconds at most; whoever it leaves behind
# holds no output open.  Its status, its output and the seconds that it took are
# in $status, $output and $took.
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

# After the machine's end nobody waits for it any more.
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
		run enter "$option" threads sh -c 'echo >/run/escaped'
		echo "$output"
		[[ "$output" == *'nspawn-enter: threads: '* ]]
		[ "$status" = 125 ]
		run ! on_host test -e /run/escaped
	done
	pid=$(supervisor threads)
	run -0 stop -t 5 threads
	[[ "$output" != *'not running'* ]]
	run ! lives "$pid"
}

# bats test_tags=kernel
@test "PID 1's groups are a command's, however many, and it is stopped" {
	for count in 2000 65536; do
		hostile_machine groups groups "$count"
		until_true ready groups
		run enter groups sh -c \
		    'grep ^Groups: /proc/self/status | wc -w'
		echo "$output"
		[ "$output" = "$((count + 1))" ]
		[ "$status" = 0 ]
		pid=$(supervisor groups)
		run -0 stop -t 5 groups
		[[ "$output" != *'not running'* ]]
		run ! lives "$pid"
		machines_end
	done
}

@test "a passwd that never answers holds up nobody for long" {
	machine scope next
	fuse_machine passwd
	for words in 'fuse true' '-t -u joe fuse true'; do
		# shellcheck disable=SC2086 # to be split into words
		bounded "$BIN/nspawn-enter" $words
		[ "$status" = 125 ]
		[ "$took" -le 12 ]
		[[ "$output" == *'nspawn-enter: fuse: '* ]]
	done
	bounded "$BIN/nspawn-stop" -t 2 fuse next
	[ "$status" = 0 ]
	[ "$took" -le 5 ]
	nobody_left
}

@test "a root directory that never answers holds up nobody for long" {
	PROGRAM=/usr/sbin/init fuse_machine root
	held_up true
}

@test "a program that never answers holds up nobody for long" {
	PROGRAM=/usr/sbin/init fuse_machine init
	held_up /usr/sbin/program
}

# A command cannot be run in the machine, and it can be stopped neither by one;
# but another one, named after it, is.
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

# A machine that is stopped by "init 0" alone: by name and signals a runit.  The
# init of that name is a script, $2; at USR1 PID 1 stops.
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

# What root of a machine can do to the descriptors that it gets; and what these
# are, which is then in /given.
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

@test "a command that a tracer holds at its end holds up nobody for long" {
	PROGRAM=/usr/sbin/init hostile_machine seize seize
	until_true ready seize
	bounded "$BIN/nspawn-enter" -q seize true
	[ "$took" -le 12 ]
	[ "$status" = 125 ]
	[[ "$output" == 'nspawn-enter: seize: '*tracer* ]]
	run ! on_host pgrep -f '^[^ ]*nspawn-(enter|monitor)'
	runit_machine next 'kill -USR1 1'
	bounded "$BIN/nspawn-stop" -t 2 seize next
	[ "$status" = 124 ]
	[ "$took" -le 12 ]
	[[ "$output" != *'next: '* ]]
	machine_file_is next stopped stopped
	nobody_left
}

@test "filters are not copied from who is not confined as before any more" {
	hostile_machine trace trace -- --drop-capability=CAP_SYS_ADMIN
	until_true ready trace
	job_start "$BIN/nspawn-enter" trace echo ran
	# It has read what confines PID 1 when it is in the machine's cgroup.
	until_true enters trace
	on_host sh -c ': >/var/lib/machines/trace/go'
	job_end
	cat "$job_log"
	[ "$job_status" = 125 ]
	[[ "$(cat "$job_log")" == *'confinement of its leader has just changed'* ]]
	[[ "$(cat "$job_log")" != *ran* ]]
}

# Whether somebody whom the kernel is to kill first is in the machine's cgroup.
enters()
{
	on_host sh -c 'for pid in $(cat "$1"/payload/cgroup.procs); do
	    [ "$(cat "/proc/$pid/oom_score_adj")" != 1000 ] || exit 0
	done
	exit 1' sh "$(on_host cat "/run/nspawn-tools/$1/cgroup")"
}

# Enters the machine and prints what the command has: its user namespace and the
# capabilities that it may ever have.  The program waits, stopped: as $inner
# outside of the host; and who waits for it there has stopped, too, as $job.
enter_stopped()
{
	# The search for leaks cannot be made under strace.
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

# Lets it go on with its calls of openat(2) written down, and whatever else
# strace is to do.
go_on_traced()
{
	rm -f "$BATS_TEST_TMPDIR/calls"
	strace -o "$BATS_TEST_TMPDIR/calls" -e trace=openat "$@" -p "$inner" \
	    </dev/null 2>/dev/null 3>&- &
	until_true grep -q '^TracerPid:.*[1-9]' "/proc/$inner/status"
	kill -CONT "$inner"
}

# Lets it go on until its end.  Who waits for it continues it when it is itself
# continued, which must not undo a stop before.
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

# The places, among all calls of openat(2), of those by which it reads what the
# leader is, from the user namespace on.
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

@test "whenever PID 1 leaves its user namespace, nobody gets more than it had" {
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
		# It may have all in the namespace that PID 1 has made.
		0) [ "$said" = "$first" ] ||
		    [ "${said%%$'\n'*}" != "${first%%$'\n'*}" ] ;;
		125) [[ "$said" == *'confinement of its leader has just changed'* ]]
			refused=$((refused + 1)) ;;
		*) false ;;
		esac
	done
	[ "$refused" -gt 0 ]
}
