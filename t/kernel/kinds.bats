#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
# bats file_tags=kernel
#
# What may differ between kernels, releases of systemd and kinds of cgroups, in
# the usual kinds of machine, with and without a user namespace: finding it,
# entering it in all usual ways, confinement as PID 1 has it, and stopping it.
# This is short enough for an emulated processor; other files test the same in
# detail.

load ../common
load ../machines
load bound

KINDS='scope unit unregistered orphan-unit template'

# Sets up each kind of machine twice, the second time with a user namespace.
setup_file()
{
	local kind

	host_start
	for kind in $KINDS; do
		host machine "$HOST" "$kind" "$kind"
		host machine "$HOST" "$kind" "$kind-u" -U
	done
}

# for_each COMMAND...: runs the command for each machine, with its name as the
# last word.
for_each()
{
	local kind name

	for kind in $KINDS; do
		for name in "$kind" "$kind-u"; do
			echo "$* $name"
			"$@" "$name"
		done
	done
}

bound_like_leader()
{
	bound_like "$(leader "$1")" "$BIN/nspawn-enter" "$1"
}

@test "a command is confined as PID 1 is, in every kind of machine" {
	for_each bound_like_leader
}

entered()
{
	local name=$1

	run -0 enter "$name" hostname
	[ "$output" = "$name" ]
	run -0 enter -u joe "$name" id -un
	[ "$output" = joe ]
	run -0 enter -q --no-seccomp "$name" echo hi
	[ "$output" = hi ]
	run -0 enter -q --privileged "$name" echo hi
	[ "$output" = hi ]
	run -0 enter -q --no-pid "$name" echo hi
	[ "$output" = hi ]
	run -7 enter "$name" sh -c 'exit 7'
}

@test "every kind of machine is entered in every usual way" {
	for_each entered
}

piped()
{
	[ "$(enter "$1" seq 1000 | enter "$1" tail -n 1)" = 1000 ]
}

@test "two entries in one pipeline do not hold each other up" {
	for_each piped
}

terminal_inside()
{
	run -0 on_host script -qec "$BIN/nspawn-enter $1 sh -c \
	    'test -t 0 && test -t 1 && test -t 2 && stty size && tty'" \
	    /dev/null </dev/null
	[[ "$output" == *'/dev/pts/'* ]]
}

@test "a terminal is a terminal inside, too" {
	for_each terminal_inside
}

@test "200 entries, four at once, all arrive" {
	for name in scope scope-u; do
		echo "case: $name"
		run -0 on_host sh -euc 'for n in 1 2 3 4; do
		    (for i in $(seq 25); do
			[ "$("$1" "$2" echo "$n.$i" 2>&1)" = "$n.$i" ] ||
			    echo "$n.$i failed"
		    done) &
		done
		wait' '' "$BIN/nspawn-enter" "$name"
		[ "$output" = '' ]
	done
}

listed()
{
	enter --list | grep -q "^$1	$(leader "$1")	$(supervisor "$1")	"
}

@test "the list has every kind of machine" {
	for_each listed
}

# The command, if it runs at all, prints its pid namespace.
@test "a filter that lies lets no command out" {
	ours=$(on_host readlink /proc/self/ns/pid)
	for call in clone capset setsid exit_group execve; do
		echo "case: $call"
		machine scope liar "--bind-ro=$BIN/hostile:/hostile" \
		    -- /hostile filter 0 "$call"
		until_true on_host test -e /var/lib/machines/liar/ready
		output=$(enter liar /bin/readlink /proc/self/ns/pid 2>&1) || :
		echo "$call: $output"
		[[ "$output" == pid:* || "$output" == nspawn-enter:* ||
		    "$output" == '' ]]
		[[ "$output" != *"$ours"* ]]
		on_host kill -KILL "$(leader liar)"
		machines_end
	done
}

stopped()
{
	local pid

	pid=$(leader "$1")
	run -0 stop --strict --timeout 60 "$1"
	machine_file_is "$1" stopped stopped
	run ! lives "$pid"
	run -1 stop --strict --quiet --dry-run "$1"
}

# This test is the last one: it leaves no machine.
@test "every kind of machine stops cleanly" {
	for_each stopped
}
