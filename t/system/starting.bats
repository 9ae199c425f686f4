#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
# bats file_tags=releases
#
# Machines that have a systemd-nspawn and no PID 1: an ephemeral one whose copy
# is not finished, or one that reboots and is between two starts.  And a systemd
# as PID 1, which takes its time to stop.

load ../common
load ../machines

# The kinds that are started and waited for: by hand, or in a unit.
KINDS='hand unregistered unit service'

# PID 1: TERM stops it, and USR1 has it reboot.
INIT='trap "echo stopped; exit 0" TERM
trap "reboot -f" USR1
echo up
while :; do sleep 600 & wait $!; done'

setup_file()
{
	host_start
	# Starts a machine; systemd-nspawn opens /etc/machine-id before there
	# is a PID 1, and /copied where the tree is copied.
	on_host sh -c 'cat >/tmp/start' <<-'END'
	kind=$1 name=$2 tree=/var/lib/machines/$2
	shift 2
	cp -a /usr/lib/nspawn-tools/skeleton "$tree"
	mkdir -p "$tree/etc"
	echo ID=of-test >"$tree/etc/os-release"
	echo 0123456789abcdef0123456789abcdef >"$tree/etc/machine-id"
	echo text >"$tree/copied"
	cp /tmp/init "$tree/init.sh"
	[ -z "${HOLD-}" ] || sh /tmp/hold "$tree/$HOLD" "$name"
	case $kind in
	unregistered) set -- --register=no "$@" ;;
	unit) set -- --keep-unit "$@" ;;
	esac
	set -- systemd-nspawn --quiet --link-journal=no --console=pipe \
	    --private-network -M "$name" -D "$tree" "$@" /bin/sh /init.sh
	case $kind in
	unit | service)
		systemd-run --quiet --unit="of-$name" -p Delegate=yes \
		    -p Slice=machine.slice -p KillMode=mixed \
		    -p "StandardOutput=append:/tmp/$name.log" "$@"
		systemctl show -p MainPID --value "of-$name" ;;
	*)
		setsid "$@" </dev/null >"/tmp/$name.log" 2>&1 &
		echo $! ;;
	esac >"/tmp/$name.supervisor"
	END
	echo "$INIT" | on_host sh -c 'cat >/tmp/init'
	# Any process that opens that file waits until the process in
	# NAME.holder has ended; NAME.asked shows that one waits.  This is a
	# lease, see fcntl(2).
	on_host sh -c 'cat >/tmp/hold' <<-'END'
	rm -f "/tmp/$2.holds" "/tmp/$2.asked"
	perl -e '($file, $name) = @ARGV; open(F, "+<", $file) or die;
	    sub note { open(N, ">", "/tmp/$name.$_[0]") or die; close(N) }
	    $SIG{IO} = sub { note("asked") };
	    fcntl(F, 1024, 1) or die "no lease: $!"; note("holds");
	    sleep 1 while 1' "$1" "$2" </dev/null >/dev/null \
	    2>"/tmp/$2.holder.log" &
	echo $! >"/tmp/$2.holder"
	until [ -e "/tmp/$2.holds" ]; do
		kill -0 $! || { cat "/tmp/$2.holder.log"; exit 1; }
		sleep 0.01
	done
	END
}

setup()
{
	machines=() held=()
}

teardown()
{
	local name

	console_show
	for name in "${held[@]}"; do
		hold_end "$name" || true
	done
	machines_end
}

# hold_end NAME: lets the process go on that waits.
hold_end()
{
	on_host sh -c 'kill $(cat "/tmp/$1.holder"); rm "/tmp/$1.holder"' '' \
	    "$1" 2>/dev/null
}

supervisor_of()
{
	on_host cat "/tmp/$1.supervisor"
}

# True if a process has ended, even if it is a zombie.
has_ended()
{
	on_host sh -c '! grep -q "^State:.[^ZX]" "/proc/$1/status"' '' "$1" \
	    2>/dev/null
}

asked()
{
	on_host test -e "/tmp/$1.asked"
}

log_has()
{
	on_host grep -qx "$2" "/tmp/$1.log"
}

# start_held KIND NAME [OPTION]...: starts a machine that has no PID 1, since
# its systemd-nspawn waits for a file: with -x it is in the middle of the copy.
start_held()
{
	local file=etc/machine-id

	[[ " $* " != *' -x '* ]] || file=copied
	held+=("$2")
	on_host env "HOLD=$file" sh /tmp/start "$@"
	until_true asked "$2"
	run ! on_host grep -q up "/tmp/$2.log"
}

# start_between KIND NAME: starts one that reboots and is between two starts.
start_between()
{
	local pid

	held+=("$2")
	on_host sh /tmp/start "$@"
	until_true log_has "$2" up
	on_host sh /tmp/hold "/var/lib/machines/$2/etc/machine-id" "$2"
	pid=$(supervisor_of "$2")
	on_host sh -c 'kill -USR1 $(cat "/proc/$1/task/$1/children")' '' "$pid"
	until_true asked "$2"
}

# Waits until the job sleeps and no program runs that it has started.
job_await_wait()
{
	until_true on_host sh -c '! kill -0 "$1" 2>/dev/null ||
	    { grep -q -e poll -e sleep "/proc/$1/wchan" &&
	    [ -z "$(cat "/proc/$1/task/$1/children")" ]; }' '' "$job_inner"
	lives "$job_inner" || { cat "$job_log"; return 1; }
}

# start_row KIND WAY: starts a machine without PID 1 and sets name; the way is
# -x, which copies it, "between", which reboots it, or "plain".
start_row()
{
	local kind=$1 way=$2

	name=$way-$kind-$BATS_TEST_NUMBER
	name=${name#-}
	case $way in
	between) start_between "$kind" "$name" ;;
	-x) start_held "$kind" "$name" -x ;;
	*) start_held "$kind" "$name" ;;
	esac
}

# rows FUNCTION: calls it with a machine of each way and kind.
rows()
{
	local kind way

	for way in plain -x between; do
		for kind in $KINDS; do
			# A machine that reboots in a unit would need the unit
			# to start it again.
			[ "$way$kind" != betweenunit ] || continue
			start_row "$kind" "$way"
			echo "row: $name"
			"$1"
			hold_end "$name" || true
		done
	done
}

time_is_up()
{
	local before=$EPOCHREALTIME took

	for option in --timeout=0.2 '--quiet --strict --timeout=0.2' \
	    --timeout=0; do
		echo "case: $option"
		# shellcheck disable=SC2086 # to be split into words
		run -1 stop $option "$name"
		echo "$output"
		[[ "$output" == *'is starting, restarting or ending'* ]]
		[[ "$output" != *'is not running'* ]]
		[[ "$output" != *'stopped'* ]]
	done
	took=$((${EPOCHREALTIME/./} - ${before/./}))
	[ "$took" -gt 400000 ]
	[ "$took" -lt 3000000 ]
	run -1 stop --dry-run --strict "$name"
	echo "$output"
	[[ "$output" != *'is not running'* ]]
	run ! has_ended "$(supervisor_of "$name")"
	run ! log_has "$name" stopped
}

@test "a machine without PID 1 is reported as starting once the time is up" {
	rows time_is_up
}

is_stopped()
{
	job_start "$BIN/nspawn-stop" --timeout 30 "$name"
	job_await_wait
	hold_end "$name"
	job_end
	cat "$job_log"
	[ "$job_status" = 0 ]
	run ! grep -v '^[0-9]*$' "$job_log"
	has_ended "$(supervisor_of "$name")"
	log_has "$name" stopped
}

@test "a machine without PID 1 is waited for, and is stopped then" {
	rows is_stopped
}

ends_by_itself()
{
	job_start "$BIN/nspawn-stop" --verbose --timeout 30 "$name"
	job_await_wait
	on_host kill -KILL "$(supervisor_of "$name")"
	job_end
	cat "$job_log"
	[ "$job_status" = 0 ]
	has_ended "$(supervisor_of "$name")"
	run ! log_has "$name" stopped
}

@test "a machine without PID 1 whose systemd-nspawn is killed has ended" {
	rows ends_by_itself
}

# What it does depends on the numbers of a seed, so that it can be repeated.
REBOOTS='import os, random, signal, subprocess, sys, time
stop, seed = sys.argv[1], int(sys.argv[2])
random.seed(seed)
tree = "/var/lib/machines/loop"
count = {}
for row in range(30):
    log = open("/tmp/loop.log", "w")
    nspawn = subprocess.Popen(["systemd-nspawn", "--quiet",
        "--link-journal=no", "--console=pipe", "-M", "loop", "-D", tree]
        + (["--register=no"] if row % 3 == 0 else [])
        + ["/bin/sh", "-c", "trap \"echo stopped; exit 0\" TERM; echo up; "
        "sleep 0.0%d & wait $!; reboot -f" % random.randrange(1, 9)],
        stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    end = time.monotonic() + 20
    while "up" not in open("/tmp/loop.log").read():
        if time.monotonic() > end:
            sys.exit("no start: " + open("/tmp/loop.log").read())
        time.sleep(0.01)
    for call in range(200):
        time.sleep(random.random() / 4)
        done = subprocess.run([stop, "--timeout", "10", "loop"],
            stderr=subprocess.PIPE, text=True)
        # The state at this moment; a zombie is reaped now.
        ended = nspawn.poll() is not None
        status, said = done.returncode, done.stderr
        count[status] = count.get(status, 0) + 1
        # A busy computer may never look while PID 1 lives.
        right = (status == 0 and ended and said == "" or status == 1
            and not ended and ("has rebooted instead of stopping" in said
            or "is starting, restarting or ending" in said))
        if not right:
            print("row %d, call %d: status %d, %s, said: %s" % (row, call,
                status, "ended" if ended else "lives", said))
        if ended:
            break
    if nspawn.poll() is None:
        nspawn.kill()
        sys.exit("it still lives")
    if "stopped" not in open("/tmp/loop.log").read():
        print("row %d: not stopped cleanly" % row)
print("counts", count, file=sys.stderr)'

@test "a machine that reboots all the time counts as running, and is stopped" {
	on_host sh -c 'cp -a /usr/lib/nspawn-tools/skeleton \
	    /var/lib/machines/loop; mkdir -p /var/lib/machines/loop/etc
	    echo ID=x >/var/lib/machines/loop/etc/os-release'
	seed=$RANDOM
	echo "seed $seed"
	HOST_SECONDS=600 run -0 --separate-stderr on_host \
	    python3 -c "$REBOOTS" "$BIN/nspawn-stop" "$seed"
	echo "$output"
	# shellcheck disable=SC2154 # run sets it
	echo "$stderr"
	[ "$output" = '' ]
}

@test "the message says that a systemd inside may wait 90 s for a service" {
	host_script <<-'END'
	cd /var/lib/machines
	mkdir -p sd .sd/upper .sd/work
	mount -t overlay -o lowerdir=/tree,upperdir=.sd/upper,workdir=.sd/work \
	    overlay sd
	mkdir -p sd/etc/systemd/system/multi-user.target.wants
	printf '%s\n' '[Service]' Type=notify NotifyAccess=all \
	    'ExecStart=/bin/sh -c '\''trap "echo >/told" TERM
	    systemd-notify --ready; while :; do sleep 600 & wait $!; done'\' |
	    sed ':a;N;$!ba;s/TERM\n */TERM; /' \
	    >sd/etc/systemd/system/deaf.service
	ln -s ../deaf.service sd/etc/systemd/system/multi-user.target.wants/
	setsid systemd-nspawn --quiet --link-journal=no --console=pipe \
	    --private-network -D sd -M sd --boot </dev/null >/tmp/sd.log 2>&1 &
	echo $! >/tmp/sd.supervisor
	END
	until_true deaf_is active
	run -124 stop --timeout 3 sd
	echo "$output"
	[[ "$output" == *'90 s'* ]]
	machine_file_is sd told ''
	run ! has_ended "$(supervisor_of sd)"
	# For another init the message does not say so.
	machine_sh web "trap '' TERM; $WAITS"
	run -124 stop --timeout 0.2 web
	[[ "$output" != *'90 s'* ]]
	on_host sh -c 'kill -KILL $(cat "/proc/$1/task/$1/children")' '' \
	    "$(supervisor_of sd)"
	until_true has_ended "$(supervisor_of sd)"
}

deaf_is()
{
	[ "$(enter sd systemctl show -p ActiveState --value deaf 2>/dev/null)" \
	    = "$1" ]
}
