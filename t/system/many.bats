#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
# bats file_tags=static,urgent
#
# Two hundred machines and one nspawn-stop: it finds and tells them all within
# --timeout, and sleeps while it waits for them.

load ../common
load ../machines

: "${SUITE:=trixie}"

# Starts machines of one tree, called $1 and a number from 1 to $2, whose PID 1
# is $3, with the other arguments as options; twenty at a time.  They have no
# filters of system calls, which take nspawn longer than all else.
MANY='name=$1 count=$2 pid1=$3 tree=/var/lib/machines/many
    shift 3
    [ -e "$tree" ] || cp -a /usr/lib/nspawn-tools/skeleton "$tree"
    mkdir -p "$tree/etc" "$tree/told" /told "/tmp/$name"
    echo ID=many >"$tree/etc/os-release"
    for n in $(seq "$count"); do
	SYSTEMD_SECCOMP=0 systemd-nspawn --quiet --link-journal=no \
	    --console=pipe --resolv-conf=off --timezone=off \
	    --read-only --bind=/told -M "$name$n" -D "$tree" "$@" \
	    /bin/sh -c "$pid1" \
	    </dev/null >"/tmp/$name/$n" 2>&1 &
	[ $((n % 20)) != 0 ] || until [ "$(cat "/tmp/$name"/* |
	    grep -c up)" = "$n" ]; do
		sleep 0.05
	done
    done'

# The first signal is written down; the second one ends it.
NOTES='trap "echo >/told/$(hostname); trap \"exit 0\" TERM" TERM; echo up
    while :; do sleep 600 & wait $!; done'

many()
{
	run on_host timeout 100 sh -eu -c "$MANY" sh "$@"
	echo "$output"
	[ "$status" = 0 ]
}

many_end()
{
	on_host sh -c 'for s in $(pgrep -x systemd-nspawn); do
		for p in $(pgrep -P "$s"); do
			kill -CONT "$p"
			kill -KILL "$p"
		done
	    done 2>/dev/null
	    for f in /sys/fs/cgroup/machine.slice/*.scope/cgroup.freeze; do
		[ ! -e "$f" ] || echo 0 >"$f"
	    done
	    rm -rf /told /tmp/all'
	until_true not on_host pgrep -x systemd-nspawn >/dev/null
}

teardown()
{
	console_show
	many_end
}

# Sets the names of 200 machines, of those that can get signals, and of every
# tenth, which cannot.
ALL=$(seq -f 'all%.0f' 200)
DEAF=$(seq -f 'all%.0f' 10 10 200)
HEARS=$(sort <(printf '%s\n' "$ALL") <(printf '%s\n' "$DEAF") | uniq -u)

told()
{
	on_host ls /told
}

told_are()
{
	[ "$(told)" = "$(sort <<<"$1")" ]
}

# Stops them with that --timeout; sets took to the ms that it took, and output.
stop_all()
{
	local since=${EPOCHREALTIME/./} names

	mapfile -t names <<<"$ALL"
	run stop --verbose --timeout "$1" "${names[@]}"
	took=$(((${EPOCHREALTIME/./} - since) / 1000))
	echo "--timeout $1: status $status, $took ms, told: $(told | wc -l)," \
	    "stopped: $(grep -c ': has stopped$' <<<"$output")"
}

# Checks that machines are told in time although others cannot be told; the
# command $1 lets these get signals again.
told_in_time()
{
	stop_all 3
	[ "$status" = 124 ]
	told_are "$HEARS"
	[ "$took" -ge 3000 ]
	# One second for the output about 200 machines, and one for a busy host.
	[ "$took" -le 5000 ]
	# None of them has been told twice.
	grep ': has stopped$' <<<"$output" | cut -d : -f 2 | while read -r name
	do
		grep "^nspawn-stop: $name:" <<<"$output"
	done
	run ! grep ': has stopped$' <<<"$output"
	"$1"
	until_true told_are "$ALL"
	stop_all 60
	[ "$status" = 0 ]
	[ "$(grep -c ': has stopped$' <<<"$output")" = 200 ]
	run ! on_host pgrep -x systemd-nspawn
}

deaf_signal()
{
	# shellcheck disable=SC2086 # to be split into words
	on_host sh -euc 'signal=$1
	    shift
	    for name; do
		kill "-$signal" "$(pgrep -P "$(pgrep -f -- "-M $name ")")"
	    done' sh "$1" $DEAF
}

deaf_continue()
{
	deaf_signal CONT
}

@test "200 machines in one cgroup are told in time, though 20 are stopped" {
	many all 200 "$NOTES" --register=no --keep-unit
	deaf_signal STOP
	told_in_time deaf_continue
}

deaf_freeze()
{
	# shellcheck disable=SC2086 # to be split into words
	on_host sh -euc 'for name; do
		cd /sys/fs/cgroup/machine.slice
		cd "machine-$name.scope" 2>/dev/null || cd "$name.scope"
		echo '"$1"' >cgroup.freeze
	    done' sh $DEAF
}

deaf_thaw()
{
	deaf_freeze 0
}

@test "200 machines in scopes are told in time, though 20 are frozen" {
	many all 200 "$NOTES"
	deaf_freeze 1
	told_in_time deaf_thaw
}

# The time of processors, in us, that it and its children have used.
used()
{
	on_host sed -n 's/^usage_usec //p' "/sys/fs/cgroup/waits/cpu.stat"
}

# Starts nspawn-stop in a cgroup of its own, either with a terminal as standard
# error and a socket for systemd, or with neither.
wait_start()
{
	local names words=("$BIN/nspawn-stop" --timeout infinity)

	mapfile -t names < <(seq -f 'told%.0f' 100; seq -f 'deaf%.0f' 100)
	on_host mkdir -p /sys/fs/cgroup/waits
	words+=("${names[@]}")
	[ "$1" = plain ] || words=(env NOTIFY_SOCKET=/run/of-many TERM=xterm
		script -qefc "${words[*]}" /dev/null)
	job_start sh -c 'echo $$ >/sys/fs/cgroup/waits/cgroup.procs
	    exec "$@" </dev/null' sh "${words[@]}"
}

held_back()
{
	[ "$(grep -c 'is not sent yet' "$job_log")" = 100 ]
}

# It may use three percent of a processor, while 100 have been told and 100
# cannot be told; it checks these often while they are young.
@test "nspawn-stop sleeps while it waits for 200 machines" {
	many told 100 'trap "" HUP; trap : TERM; echo up
	    while :; do sleep 600 & wait $!; done' --register=no --keep-unit
	many deaf 100 'echo up; exec sleep 600' --register=no --keep-unit
	on_host systemd-run --quiet --property=StandardOutput=file:/run/heard \
	    perl -e 'use Socket; $| = 1; socket(S, AF_UNIX, SOCK_DGRAM, 0);
	    bind(S, pack_sockaddr_un("/run/of-many"));
	    print "$m\n" while defined(recv(S, $m, 9999, 0))'
	until_true on_host test -S /run/of-many
	much=
	for kind in plain terminal; do
		echo "case: $kind"
		wait_start "$kind"
		until_true held_back
		before=$(used)
		sleep 10
		used=$((($(used) - before) / 1000))
		echo "$kind: $used ms in 10 s"
		on_host sh -c 'cd /sys/fs/cgroup/waits
		    kill -INT $(cat cgroup.procs)'
		job_end
		[ "$used" -le 300 ] || much+=" $kind"
	done
	# In the second case it reports every second.
	grep -q 'waiting for' "$job_log"
	on_host grep -q ': 200 machines left' /run/heard
	[ "$(on_host grep -c STATUS /run/heard)" -ge 10 ]
	[ "$much" = '' ]
}
