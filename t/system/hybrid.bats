#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
# bats file_tags=alone
#
# Cgroups of version 1.  The machine is started on this system itself, where
# they are mounted beside version 2.  Its supervisor is in a group of its own in
# each hierarchy, like that of a unit, and so is PID 1.

load ../common

# Makes a group in each hierarchy, for the machine or for its callers.
groups_make()
{
	local folder

	for folder in "${hierarchies[@]/%//$1}"; do
		mkdir "$folder"
		[ ! -e "$folder/cpuset.cpus" ] ||
		    for file in cpus mems; do
			cat "${folder%/*}/cpuset.$file" >"$folder/cpuset.$file"
		    done
	done
}

# Moves a process into its group in each hierarchy.
groups_join()
{
	local folder pid=$1

	for folder in "${hierarchies[@]/%//$2}"; do
		echo "$pid" >"$folder/cgroup.procs"
	done
}

# Ends all processes of the groups, and removes the groups.
groups_end()
{
	local pid

	for folder in "${hierarchies[@]/%//$1}"; do
		[ -d "$folder" ] || continue
		find "$folder" -name cgroup.procs -exec cat {} + |
		    while read -r pid; do
			kill -KILL "$pid" 2>/dev/null || true
		    done
		until_true groups_removed "$folder"
	done
}

groups_removed()
{
	find "$1" -depth -type d -exec rmdir {} + 2>/dev/null
	[ ! -d "$1" ]
}

# Sets hierarchies: where those are mounted that a machine can be in.
hierarchies_find()
{
	mapfile -t hierarchies < <(awk '($3 == "cgroup" || $3 == "cgroup2") &&
	    !seen[$2]++ { print $2 }' /proc/self/mounts)
}

tree_make()
{
	mkdir -p "$tree"/{bin,usr,etc,root,tmp,proc,sys,dev,run,var}
	cp "$(command -v busybox)" "$tree/bin/busybox"
	for applet in $(busybox --list); do
		[ "$applet" = busybox ] || ln -s busybox "$tree/bin/$applet"
	done
	echo ID=hybrid >"$tree/etc/os-release"
	echo root:x:0:0:root:/root:/bin/sh >"$tree/etc/passwd"
	# A zero device that nspawn has not made.
	mknod "$tree/zero" c 1 5
}

# Prints why these tests cannot run here, if they cannot.
obstacle()
{
	if [ "$(id -u)" != 0 ]; then
		echo 'only root can start a machine'
	elif ! grep -q ' cgroup rw.*,pids' /proc/self/mounts ||
	    ! grep -q ' cgroup rw.*,devices' /proc/self/mounts; then
		echo 'no cgroups of version 1 are mounted here'
	fi
}

setup_file()
{
	# Not all versions of bats can skip the tests here.
	[ -z "$(obstacle)" ] || return 0
	hierarchies_find
	export NAME=hybrid-$$ CALLER=hybrid-caller-$$
	export tree=$BATS_FILE_TMPDIR/tree
	tree_make
	groups_make "$NAME"
	groups_make "$CALLER"
	(
		groups_join "$BASHPID" "$NAME"
		exec systemd-nspawn --quiet --register=no --keep-unit \
		    --link-journal=no --private-network --console=pipe \
		    -M "$NAME" -D "$tree" /bin/sh -c \
		    'echo >/ready; while :; do sleep 600 & wait $!; done'
	) </dev/null >"$BATS_FILE_TMPDIR/log" 2>&1 3>&- &
	export SUPERVISOR=$!
	until_true test -e "$tree/ready" || {
		cat "$BATS_FILE_TMPDIR/log"
		return 1
	}
	LEADER=$(cut -d " " -f 1 "/proc/$SUPERVISOR/task/$SUPERVISOR/children")
	export LEADER
}

teardown_file()
{
	hierarchies_find
	[ -n "${NAME-}" ] || return 0
	thaw
	groups_end "$CALLER"
	groups_end "$NAME"
}

# Bats runs each test in a process of its own.
setup()
{
	local obstacle

	obstacle=$(obstacle)
	[ -z "$obstacle" ] || cannot "$obstacle"
	hierarchies_find
	pids=$(group_of pids)
	devices=$(group_of devices)
	SLEEP="/bin/sleep 9$$"
}

# Ends a command that a test has left, and removes each limit.
teardown()
{
	[ -n "${SUPERVISOR-}" ] || return 0
	console_show "$BATS_FILE_TMPDIR/log"
	thaw
	echo max >"$pids/pids.max"
	echo a >"$devices/devices.allow"
	[ -z "${job-}" ] || kill "$job" 2>/dev/null || true
	groups_end_commands
}

groups_end_commands()
{
	local pid

	pgrep -x -f "$SLEEP" | while read -r pid; do
		kill -KILL "$pid" || true
	done
}

# The folder of the machine's group in that controller's hierarchy.
group_of()
{
	awk -v want="$1" -v name="$NAME" '$3 == "cgroup" &&
	    index("," $4 ",", "," want ",") { print $2 "/" name; exit }' \
	    /proc/self/mounts
}

thaw()
{
	local state

	state=$(group_of freezer)/freezer.state
	[ ! -e "$state" ] || echo THAWED >"$state"
}

enter()
{
	timeout --foreground 60 "$BUILD/nspawn-enter" "$@" 3>&-
}

# Runs a command in the callers' groups.
as_caller()
{
	(
		groups_join "$BASHPID" "$CALLER"
		exec "$@"
	)
}

# Prints the groups of a command that these words run.
groups_by()
{
	# shellcheck disable=SC2086 # words
	as_caller "$@" $SLEEP </dev/null >"$BATS_TEST_TMPDIR/said" 2>&1 3>&- &
	job=$!
	until_true pgrep -x -f "$SLEEP" >/dev/null
	cat "/proc/$(pgrep -x -f "$SLEEP")/cgroup"
	cat "$BATS_TEST_TMPDIR/said"
	groups_end_commands
	wait "$job" || true
}

@test "a command is in PID 1's group of each hierarchy, without a warning" {
	leader=$(cat "/proc/$LEADER/cgroup")
	[ "$(grep -c "/$NAME" <<<"$leader")" = "${#hierarchies[@]}" ]
	for words in '' --no-cgroup '-u 0:0' --no-pid; do
		echo "case: $words"
		# shellcheck disable=SC2086 # words
		run -0 groups_by "$BUILD/nspawn-enter" $words "$NAME"
		[ "$(grep -v warning <<<"$output")" = "$leader" ]
	done
	run -0 groups_by "$BUILD/nspawn-enter" "$NAME"
	[ "$output" = "$leader" ]
	run -0 enter "$NAME" true
	[ "$output" = '' ]
}

@test "--privileged leaves a command in the caller's groups" {
	run -0 groups_by "$BUILD/nspawn-enter" -q --privileged "$NAME"
	[ "$output" = "$(as_caller cat /proc/self/cgroup)" ]
	[ "$(grep -c "/$CALLER" <<<"$output")" = "${#hierarchies[@]}" ]
}

# A command that opens a device.
ZERO=(sh -c 'exec head -c 1 /zero >/dev/null')

@test "a device that is denied to the group is denied to a command" {
	run -0 enter "$NAME" "${ZERO[@]}"
	run -0 enter "$NAME" sh -c 'mknod /made c 1 5 &&
	    head -c 1 /made >/dev/null && rm /made'
	echo 'c 1:5 rwm' >"$devices/devices.deny"
	for words in '' --no-seccomp --no-cgroup; do
		echo "case: $words"
		# shellcheck disable=SC2086 # words
		run -1 enter -q $words "$NAME" "${ZERO[@]}"
		[[ "$output" == *'Operation not permitted'* ]]
		# shellcheck disable=SC2086 # words
		run -1 enter -q $words "$NAME" mknod /made c 1 5
		[[ "$output" == *'Operation not permitted'* ]]
	done
	run -0 enter -q --privileged "$NAME" "${ZERO[@]}"
}

# Prints how many processes the machine's group has.
counted()
{
	[ "$(cat "$pids/pids.current")" = "$1" ]
}

@test "a limit on the group's processes counts a command, too" {
	count=$(cat "$pids/pids.current")
	# shellcheck disable=SC2086 # words
	enter "$NAME" $SLEEP </dev/null >/dev/null 2>&1 &
	job=$!
	until_true pgrep -x -f "$SLEEP" >/dev/null
	until_true counted $((count + 1))
	groups_end_commands
	wait "$job" || true
	until_true counted "$count"
	# Two processes fork; the one that makes the command has ended by then.
	echo $((count + 4)) >"$pids/pids.max"
	run -0 enter "$NAME" true
	run enter "$NAME" sh -c 'for n in 1 2 3 4 5 6 7 8 9; do
	    sleep 0.5 & done; wait; echo all'
	[[ "$output" == *'fork'* ]]
	[[ "$output" != *all* ]]
	until_true counted "$count"
	echo "$count" >"$pids/pids.max"
	run -125 enter "$NAME" true
	[[ "$output" == "nspawn-enter: $NAME: "* ]]
}

@test "a limit that the machine's processes have reached is named" {
	group=$(awk -F : '$2 == "pids" { print $3 }' "/proc/$LEADER/cgroup")
	[[ "$group" == *"/$NAME" ]]
	cat "$pids/pids.current" >"$pids/pids.max"
	run -125 enter "$NAME" touch /entered
	[ "$output" = "nspawn-enter: $NAME: cannot create a process in it: a\
 limit on processes is reached; raise TasksMax= (pids.max) of $group" ]
	[ ! -e "$tree/entered" ]
}

@test "a limit of the group's memory holds for a command" {
	limit=$(group_of memory)/memory.limit_in_bytes
	[ -e "$limit" ] || cannot 'no memory controller of version 1'
	before=$(cat "$limit")
	echo 32M >"$limit"
	# 64 MB that stay in memory.
	run enter "$NAME" sh -c 'x=$(head -c 67108864 /dev/zero | tr "\0" x)
	    echo all'
	echo "$before" >"$limit"
	[ "$status" != 0 ]
	[[ "$output" != *all* ]]
	# The machine is still alive.
	run -0 enter "$NAME" echo in
	[ "$output" = in ]
}

# Runs nspawn-enter after a change of mounts that only it sees.
enter_mounted()
{
	local change=$1

	shift
	# shellcheck disable=SC2016 # of the inner shell
	as_caller unshare --mount sh -euc 'eval "$1"; shift; exec "$@"' '' \
	    "$change" "$BUILD/nspawn-enter" "$@" 3>&-
}

@test "a hierarchy that cannot be joined is named, and nothing is run" {
	for group in "$pids" "$devices"; do
		echo "case: $group"
		where=${group%/*}
		for change in "mount -o bind,remount,ro '$where'" \
		    "mount -t tmpfs none '$where'"; do
			echo "case: $group $change"
			run -125 enter_mounted "$change" "$NAME" touch /entered
			[[ "$output" == "nspawn-enter: $NAME: "* ]]
			[[ "$output" == *cgroup* ]]
			run -0 enter_mounted "$change" -q --privileged "$NAME" \
			    echo in
			[ "$output" = in ]
		done
	done
	[ ! -e "$tree/entered" ]
}

@test "a hierarchy that is not mounted is never left out without a warning" {
	run enter_mounted "umount -l '${devices%/*}'" "$NAME" "${ZERO[@]}"
	[ "$status" = 125 ] || [[ "$output" == *warning:* ]]
}

@test "a cgroup namespace of the caller does not get around the groups" {
	echo 'c 1:5 rwm' >"$devices/devices.deny"
	for words in '' --mount; do
		echo "case: $words"
		# shellcheck disable=SC2086 # words
		run as_caller unshare --cgroup $words \
		    "$BUILD/nspawn-enter" "$NAME" "${ZERO[@]}"
		[ "$status" = 125 ] || {
			[ "$status" = 1 ]
			[[ "$output" == *'Operation not permitted'* ]]
		}
	done
}

@test "a machine that version 1 has frozen is refused, and nobody waits in it" {
	state=$(group_of freezer)/freezer.state
	[ -e "$state" ] || cannot 'no freezer of version 1'
	count=$(wc -l <"${state%/*}/cgroup.procs")
	echo FROZEN >"$state"
	until_true grep -qx FROZEN "$state"
	SECONDS=0
	# A frozen process would hold a pipe for the output open.
	status=0
	enter "$NAME" touch /entered >"$BATS_TEST_TMPDIR/said" 2>&1 ||
	    status=$?
	output=$(cat "$BATS_TEST_TMPDIR/said")
	[ "$status" = 125 ]
	[ "$SECONDS" -le 15 ]
	[[ "$output" == "nspawn-enter: $NAME: "*frozen* ]]
	# No process waits in the group to be thawed.
	[ "$(wc -l <"${state%/*}/cgroup.procs")" = "$count" ]
	thaw
	until_true grep -qx THAWED "$state"
	[ ! -e "$tree/entered" ]
	run -0 enter "$NAME" echo in
	[ "$output" = in ]
}

@test "the demo prints its own lines alone, and those that README shows" {
	. "$TOP/t/demo.bash"
	BUILD=$BUILD run -0 timeout 60 "$TOP/t/demo"
	[[ "$output" == *'there is nothing to do'* ]]
	[[ "$output" != *warning* ]]
	echo "$output" >"$BATS_TEST_TMPDIR/shown"
	demo_check "$BATS_TEST_TMPDIR/shown" "$TOP/README"
}

@test "a demo that cannot start its machine says why" {
	local programs=$BATS_TEST_TMPDIR/programs

	mkdir "$programs"
	printf '#!/bin/sh\necho "Failed to open bus" >&2; exit 1\n' \
	    >"$programs/systemd-nspawn"
	chmod +x "$programs/systemd-nspawn"
	BUILD=$programs run -1 timeout 60 "$TOP/t/demo"
	[[ "$output" == *'cannot start the machine'*'Failed to open bus' ]]
}
