# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
# shellcheck shell=bash
#
# For the tests on real machines.  Each file of tests has a host of its own,
# with the systemd of SUITE, a release of Debian; each test has machines in that
# host.  All that they start ends with the host, at the latest.

# Where a host sees the programs under test.
BIN=/src/${BUILD#"$TOP"/}

host_start()
{
	[ "$(id -u)" = 0 ] || cannot 'only root can boot a test host'
	: "${SUITE:=bookworm}"
	HOST=nt$$-$SUITE
	export HOST
	host boot "$HOST" "$SUITE"
}

# A host with the two machines that all tests of a file share: web has no user
# namespace, webu has one.
host_start_shared()
{
	host_start
	host machine "$HOST" scope web
	host machine "$HOST" scope webu -U
}

# machine_debian NAME [OPTION]...: a machine with the programs of the host,
# which all tests of a file share.
machine_debian()
{
	host machine "$HOST" scope "$@" --bind-ro=/usr \
	    --bind-ro=/usr/lib64:/lib64 -- /usr/bin/sleep infinity
}

# A host with the two shared machines, and two more with Debian's programs.
host_start_debian()
{
	host_start_shared
	machine_debian deb
	machine_debian debu -U
}

# Ends the host, if it was started.
host_stop()
{
	[ -z "${HOST-}" ] || host off "$HOST"
}

# No command of t/host takes HOST_SECONDS, unless it hangs.
host()
{
	timeout --foreground "${HOST_SECONDS:-120}" "$TOP/t/host" "$@" 3>&-
}

on_host()
{
	host run "$HOST" "$@"
}

# Runs the script on stdin in the host.
# shellcheck disable=SC2120 # other files give it some
host_script()
{
	on_host sh -eu -s "$@"
}

enter()
{
	on_host "$BIN/nspawn-enter" "$@"
}

stop()
{
	on_host "$BIN/nspawn-stop" "$@"
}

# machine KIND NAME [OPTION]... [-- COMMAND...]: starts a machine, which ends
# with the test.
machine()
{
	machines+=("$2")
	host machine "$HOST" "$@"
}

# machine_sh NAME SCRIPT [OPTION]...: starts a machine whose PID 1 is that
# script; returns when the script has made /ready.
machine_sh()
{
	local name=$1 script=$2
	shift 2

	machine scope "$name" "$@" -- /bin/sh -c "$script"
	until_true on_host test -e "/var/lib/machines/$name/ready"
}

# The end of such a script, which goes on for ever.
WAITS='echo >/ready; while :; do sleep 600 & wait $!; done'

# Ends the machines of a test.  One that cannot be ended would be in the way of
# the next test, so it fails this one.
machines_end()
{
	local name status=0

	for name in "${machines[@]}"; do
		host machine-off "$HOST" "$name" || status=1
	done
	machines=()
	return "$status"
}

# The leader of a machine, as t/machine has found it, without the programs under
# test.
leader()
{
	on_host cut -d ' ' -f 1 "/run/nspawn-tools/$1/leader"
}

supervisor()
{
	on_host cut -d ' ' -f 1 "/run/nspawn-tools/$1/supervisor"
}

# True if a process of the host runs.
lives()
{
	on_host kill -0 "$1" 2>/dev/null
}

# True if a process of the host with exactly this command line runs.
runs_in_host()
{
	on_host pgrep -x -f "$1" >/dev/null
}

# Starts a program of the host in the background.  The first line of $job_log is
# its PID in the host, which is also in $job_inner; its output follows.  job_end
# waits for its end, and sets $job_status.
job_start()
{
	job_log=$BATS_TEST_TMPDIR/job
	rm -f "$job_log"
	on_host sh -c 'echo $$; exec "$@"' job "$@" >"$job_log" 2>&1 3>&- &
	job=$!
	until_true test -s "$job_log"
	job_inner=$(head -n 1 "$job_log")
}

# Sets job_status once the job has ended.
job_end()
{
	job_status=0
	wait "$job" || job_status=$?
}

# True if a file of the machine's tree has that text.
machine_file_is()
{
	[ "$(on_host cat "/var/lib/machines/$1/$2" 2>/dev/null)" = "$3" ]
}

# Writes the file of the host from stdin.
host_write()
{
	on_host sh -euc 'mkdir -p "${1%/*}"; cat >"$1"' '' "$1"
}

# Runs the script on stdin in the host, in the folder /tmp, as a user would: in
# bash, with both programs in PATH.
as_typed()
{
	on_host env -C /tmp PATH="$BIN:$PATH" bash -o pipefail -s
}

# Starts a machine of the user daemon, called strict, in the unit foreign.  In
# Debian 13 ordinary users cannot run systemd-nspawn, so this is a perl with
# that name, which also has an option -M.  Its leader is the `sleep 602`.
foreign_start()
{
	# shellcheck disable=SC2119 # the script has no arguments
	host_script <<-'END'
	install /usr/bin/perl /run/systemd-nspawn
	systemd-run --quiet --unit=foreign --uid=daemon -p KillMode=mixed \
	    unshare --user --map-root-user --pid -- /run/systemd-nspawn \
	    -Mstrict -e 'fork or exec "sleep", 602; sleep 602'
	END
	until_true runs_in_host 'sleep 602'
}

foreign_end()
{
	on_host systemctl stop foreign
}

# What bats calls around the tests of a file, and around each.
setup_file()
{
	host_start
}

teardown_file()
{
	host_stop
}

setup()
{
	machines=()
}

# A file with a teardown() of its own begins that with console_show, and ends it
# with what could be in the way of the next test: only its status counts.
teardown()
{
	console_show
	machines_end
}

# pool_start NAME...: starts machines of one small tree, eight at a time; TERM
# stops each.  /run/pool/NAME in the host has the PID of its supervisor.  They
# have no filters of system calls, which take nspawn longer than all else.
pool_start()
{
	on_host bash -eu -s "$@" <<-'END'
	tree=/var/lib/machines/pool
	if [ ! -e "$tree" ]; then
		cp -a /usr/lib/nspawn-tools/skeleton "$tree"
		mkdir -p "$tree/etc" /run/pool
		echo ID=pool >"$tree/etc/os-release"
	fi
	up()
	{
		for name; do
			until grep -qs up "/run/pool/$name.log"; do
				kill -0 "$(cat "/run/pool/$name")" ||
				    { cat "/run/pool/$name.log"; exit 1; }
				sleep 0.02
			done
		done
	}
	started=()
	for name; do
		rm -f "/run/pool/$name.log"
		SYSTEMD_SECCOMP=0 setsid systemd-nspawn --quiet \
		    --link-journal=no --console=pipe --read-only -M "$name" \
		    -D "$tree" /bin/sh -c 'trap "echo stopped; exit 0" TERM; echo up
		    while :; do sleep 600 & wait $!; done' \
		    </dev/null >"/run/pool/$name.log" 2>&1 &
		echo $! >"/run/pool/$name"
		started+=("$name")
		if ((${#started[@]} == 8)); then
			up "${started[@]}"
			started=()
		fi
	done
	up "${started[@]}"
	END
}

# pool_ended NAME: true if its supervisor has ended, even if it is a zombie.
pool_ended()
{
	on_host sh -c '! grep -q "^State:.[^ZX]" \
	    "/proc/$(cat "/run/pool/$1")/status" 2>/dev/null' '' "$1"
}

# limited KIND LIMIT COMMAND...: runs a command of the host in a control group
# of its own with that limit: "memory" in bytes, or "pids".  systemd does not
# manage these in cgroups of version 1: there the group belongs to the whole
# system, and limited_end removes it.
limited()
{
	on_host sh -eu -c "$LIMITED" "of-$HOST" "$@"
}

LIMITED='kind=$1 limit=$2
shift 2
if grep -qw "$kind" /sys/fs/cgroup/cgroup.controllers; then
	case $kind in
	memory) set -- -p "MemoryMax=$limit" -p MemorySwapMax=0 "$@" ;;
	pids) set -- -p "TasksMax=$limit" "$@" ;;
	esac
	exec systemd-run --quiet --pipe --wait "$@"
fi
mkdir -p "/run/v1-$kind"
mountpoint -q "/run/v1-$kind" ||
    mount -t cgroup -o "$kind" of-test "/run/v1-$kind"
mkdir -p "/run/v1-$kind/$0"
cd "/run/v1-$kind/$0"
case $kind in
memory) echo "$limit" >memory.limit_in_bytes ;;
pids) echo "$limit" >pids.max ;;
esac
exec busybox sh -c "echo \$\$ >cgroup.procs && exec \"\$@\"" "" "$@"'

limited_end()
{
	on_host sh -c 'for group in /run/v1-*/"$0"; do
	    [ ! -d "$group" ] || until rmdir "$group"; do sleep 0.02; done
	    done' "of-$HOST"
}

# systemd-nspawn uses a loop device only if udev is there and has seen the
# device; this stands in for udev.
udev_stand_in()
{
	on_host sh -eu -s <<-'END'
	mkdir -p /run/udev/data
	[ -e /dev/loop-control ] || mknod -m 660 /dev/loop-control c 10 237
	for n in $(seq 0 31); do
		echo I:1 >"/run/udev/data/b7:$n"
		[ -e "/dev/loop$n" ] || mknod -m 660 "/dev/loop$n" b 7 "$n"
	done
	systemd-run --quiet perl -e 'use Socket; socket(S, AF_UNIX,
	    SOCK_SEQPACKET, 0); bind(S, pack_sockaddr_un("/run/udev/control"));
	    listen(S, 99); sleep(9999)'
	END
	until_true on_host test -S /run/udev/control
}
