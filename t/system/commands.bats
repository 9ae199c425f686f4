#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
#
# Machines that need a command to stop, which cannot be run in some of them at
# that time: the others get theirs all the same, side by side and in time.

load ../common
load ../machines

: "${SUITE:=trixie}"

# A machine whose PID 1 has the name and the signals of Void's runit: only "init
# 0" stops it.
setup_file()
{
	inits=/outer$("$TOP/t/host" build inits-bookworm)
	host_start
	echo "$inits" | on_host sh -c 'cat >/tmp/inits'
	on_host sh -c 'cat >/tmp/void' <<-'END'
	name=$1 tree=/var/lib/machines/$1 over=/var/lib/machines/.$1
	mkdir -p "$tree" "$over/upper" "$over/work"
	mount -t overlay -o "lowerdir=$(cat /tmp/inits),upperdir=$over/upper,\
	workdir=$over/work" overlay "$tree"
	cd "$tree"
	mkdir -p etc
	echo ID=of-test >etc/os-release
	cp bin/dash sbin/runit.new
	mv sbin/runit.new sbin/runit
	cat >stage <<-'STAGE'
	trap 'if [ -x /etc/stopit ]; then echo stopped >/stopped; exit 0; fi' \
	    CONT
	trap : INT
	trap '' TERM
	echo >/ready
	while :; do sleep 600 & wait $!; done
	STAGE
	rm -f sbin/init
	cat >sbin/init <<-'INIT'
	#!/bin/sh
	[ "$*" = 0 ] || exit 1
	while read -r key set; do
		[ "$key" != SigIgn: ] || echo "$set" >/etc/ignored
	done </proc/$$/status
	echo >/etc/stopit
	chmod 0755 /etc/stopit
	kill -CONT 1
	INIT
	chmod 0755 sbin/init
	setsid systemd-nspawn --quiet --link-journal=no --console=pipe \
	    --private-network -D "$tree" -M "$name" /sbin/runit /stage \
	    </dev/null >"/tmp/$name.log" 2>&1 &
	echo $! >"/tmp/$name.supervisor"
	until [ -e ready ]; do
		kill -0 $! || { cat "/tmp/$name.log"; exit 1; }
		sleep 0.02
	done
	END
}

teardown()
{
	console_show
	on_host sh -c 'for name; do
	    systemctl thaw "machine-$name.scope" 2>/dev/null || :
	    echo THAWED >"/run/v1/of-$0-$name/freezer.state" || :
	    kill -KILL $(cat "/proc/$(cat "/tmp/$name.supervisor")/task/"*/\
children) || :; done 2>/dev/null
	    for group in /run/v1/of-"$0"-*; do
		[ ! -d "$group" ] || until rmdir "$group"; do sleep 0.02; done
	    done' "$HOST" "${voids[@]}"
	limited_end
}

# voids NAME...: starts such machines at the same time.
voids_start()
{
	voids=("$@")
	on_host sh -euc 'for name; do timeout 20 sh -eu /tmp/void "$name" & \
	    jobs="${jobs-} $!"; done; for job in $jobs; do wait $job; done' \
	    '' "$@"
}

# True if a process has ended, even if it is a zombie.
has_ended()
{
	on_host sh -c '! grep -q "^State:.[^ZX]" \
	    "/proc/$(cat "/tmp/$1.supervisor")/status"' '' "$1" 2>/dev/null
}

leader_of()
{
	on_host sh -c 'read pid <"/tmp/$1.supervisor"
	    read pid _ <"/proc/$pid/task/$pid/children"; echo $pid' '' "$1"
}

# timed COMMAND...: sets took to the ms that it took.
timed()
{
	local before=$EPOCHREALTIME

	"$@"
	took=$(((${EPOCHREALTIME/./} - ${before/./}) / 1000))
	echo "$took ms, status $status: $output"
}

freeze_by()
{
	case $1 in
	systemctl) on_host systemctl freeze "machine-$2.scope" ;;
	cgroup)
		# Only the machine's part of its scope.
		on_host sh -c 'cd "/sys/fs/cgroup/machine.slice/$1/payload" &&
		    echo 1 >cgroup.freeze && until grep -q "frozen 1" \
		    cgroup.events; do sleep 0.01; done' '' "machine-$2.scope"
		;;
	v1)
		on_host sh -euc 'mkdir "$1" && cd "$1" &&
		    echo "$2" >cgroup.procs && echo FROZEN >freezer.state &&
		    until grep -q FROZEN freezer.state; do sleep 0.01; done' \
		    '' "/run/v1/of-$HOST-$2" "$(leader_of "$2")"
		;;
	esac
}

@test "two frozen machines of three do not delay the third" {
	ways='systemctl cgroup'
	# A hierarchy of version 1, which a host with only version 2 does not
	# know.
	if grep -q freezer /proc/self/cgroup; then
		on_host mkdir /run/v1
		on_host mount -t cgroup -o freezer of-test /run/v1
		ways+=' v1'
	fi
	for way in $ways; do
		echo "case: $way"
		said_of=$BATS_TEST_TMPDIR/said
		one=${way}a two=${way}b three=${way}c
		voids_start "$one" "$two" "$three"
		freeze_by "$way" "$one"
		freeze_by "$way" "$two"
		timed run stop --timeout 1 "$one" "$two" "$three"
		[[ "$status" =~ ^(1|124)$ ]]
		[ "$took" -lt 2900 ]
		said=$output
		for name in "$one" "$two"; do
			echo "case: $way $name"
			grep "^nspawn-stop: $name: " <<<"$said" >"$said_of"
			[ "$way" = v1 ] || grep -q frozen "$said_of"
			run ! has_ended "$name"
		done
		has_ended "$three"
		machine_file_is "$three" stopped stopped
	done
}

# A process of the host that traces PID 1 of a machine, as a debugger does,
# blocks each entry.
trace()
{
	on_host sh -c 'rm -f /tmp/traced; "$1" hold "$2" >/tmp/traced 2>&1 &
	    tracer=$!; until grep -qs holding /tmp/traced; do
	    kill -0 $tracer || exit 1; sleep 0.02; done; echo $tracer' '' \
	    /src/build/static/attacker "$(leader_of "$1")"
}

@test "four of eight machines that cannot be entered do not delay the others" {
	names=(t1 t2 t3 t4 v5 v6 v7 v8)
	voids_start "${names[@]}"
	tracers=()
	for name in "${names[@]:0:4}"; do
		echo "case: $name"
		tracers+=("$(trace "$name")")
	done
	began=$(on_host date +%s%3N)
	# A traced machine would delay another by the 5 s of an entry.
	timed run stop --timeout 8 "${names[@]}"
	[[ "$status" =~ ^(1|124)$ ]]
	[ "$took" -lt 9500 ]
	said=$output
	for name in "${names[@]:4}"; do
		echo "case: $name"
		has_ended "$name"
		ended=$(on_host date +%s%3N -r \
		    "/var/lib/machines/$name/stopped")
		echo "$name stopped after $((ended - began)) ms"
		[ $((ended - began)) -lt 3000 ]
		[[ "$said" != *"$name: "* ]]
	done
	for name in "${names[@]:0:4}"; do
		echo "case: $name"
		run ! has_ended "$name"
		run ! on_host test -e "/var/lib/machines/$name/etc/stopit"
		grep -q "^nspawn-stop: $name: " <<<"$said"
	done
	on_host kill "${tracers[@]}"
	timed run stop --timeout 20 "${names[@]}"
	[ "$status" = 0 ]
	[ "$took" -lt 4000 ]
	for name in "${names[@]}"; do
		echo "case: $name"
		has_ended "$name"
		machine_file_is "$name" stopped stopped
	done
}

@test "eight machines that are told by a command are stopped by one call" {
	names=(a1 a2 a3 a4 a5 a6 a7 a8)
	voids_start "${names[@]}"
	timed run stop --verbose --timeout 10 "${names[@]}"
	[ "$status" = 0 ]
	[ "$took" -lt 3000 ]
	[ "$(grep -c 'ran init 0' <<<"$output")" = 8 ]
	for name in "${names[@]}"; do
		echo "case: $name"
		has_ended "$name"
		machine_file_is "$name" stopped stopped
	done
	# nspawn-stop ignores PIPE and XFSZ; the command does not.
	run -0 on_host cat /var/lib/machines/a1/etc/ignored
	[ $((16#$output & 0x1001000)) = 0 ]
}

@test "a command that is one process too many is reported" {
	failed=0
	for tasks in 1 2 3 4 5 6 8; do
		echo "case: $tasks"
		name=tasks$tasks
		voids_start "$name"
		timed run limited pids "$tasks" "$BIN/nspawn-stop" --timeout 3 \
		    "$name"
		# LeakSanitizer, which has no process left, ends late.
		[ "$took" -lt 8000 ]
		if [ "$status" = 0 ]; then
			has_ended "$name"
			machine_file_is "$name" stopped stopped
			continue
		fi
		failed=$((failed + 1))
		# It may wait for processes until the timeout.
		[ "$status" = 1 ] || [ "$status" = 124 ]
		[[ "$output" == *"nspawn-stop: $name: cannot "* ]]
		run ! has_ended "$name"
		run -0 stop "$name"
	done
	# The largest limit is enough, and the smallest is not.
	[ "$name $failed" != "tasks8 0" ]
	has_ended "$name"
}

@test "with few descriptors a command is run, or the failure is reported" {
	wrong='' failed=0 name=
	for n in $(seq 4 32); do
		echo "case: $n"
		if [ "$name" = '' ]; then
			name=nofile$n
			voids_start "$name"
		fi
		timed run on_host prlimit "--nofile=$n:$n" \
		    "$BIN/nspawn-stop" --timeout 3 "$name"
		[ "$took" -lt 5000 ] || wrong+="$n: took $took ms; "
		if [ "$status" = 0 ]; then
			has_ended "$name" || wrong+="$n: 0, and it runs; "
			machine_file_is "$name" stopped stopped ||
			    wrong+="$n: not stopped cleanly; "
			name=
			continue
		fi
		failed=$((failed + 1))
		[[ "$status" =~ ^(1|125)$ ]] || wrong+="$n: status $status; "
		[[ "$output" == 'nspawn-stop: '* ]] || wrong+="$n: not said; "
		# If the command was run, the machine ends, and there is no
		# failure.
		if has_ended "$name"; then
			wrong+="$n: status $status, and it has ended; "
			name=
		fi
	done
	echo "$wrong"
	[ "$wrong" = '' ]
	# The largest limit is enough, and the smallest is not.
	[ "$name" = '' ]
	[ "$failed" -gt 0 ]
}
