# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
# shellcheck shell=bash
#
# For the tests of common.h: t/library.c gives it a command line, and the tests
# make proc directories of their own.  The library opens processes by pidfd, so
# the processes in these are real: idle ones, which end with the test.

library()
{
	"$BUILD/library" "$@"
}

# Starts an idle process and sets idle to its PID.
idle_start()
{
	sleep 600 3>&- &
	idle=$!
	idles+=("$idle")
}

idles_end()
{
	local pid

	for pid in "${idles[@]}"; do
		kill "$pid"
		wait "$pid" || true
	done 2>/dev/null
	idles=()
}

# namespace_make PROCESS KIND: gives it a namespace of its own.  The link in its
# folder of $proc leads to a file and has its number, like those of the kernel.
namespace_make()
{
	local folder=$proc/$1/ns file number

	mkdir -p "$folder"
	file=$(mktemp "$folder/XXXXXX")
	number=$(stat -c %i "$file")
	mv "$file" "$folder/$2:[$number]"
	ln -sfn "$2:[$number]" "$folder/$2"
}

# namespace_share PROCESS KIND OTHER: gives it the same namespace as another.
namespace_share()
{
	local name

	name=$(readlink "$proc/$3/ns/$2")
	mkdir -p "$proc/$1/ns"
	ln -f "$proc/$3/ns/$name" "$proc/$1/ns/$name"
	ln -sfn "$name" "$proc/$1/ns/$2"
}

# Makes a proc directory that has only PID 1, where the caller is in one pid
# namespace.
proc_make()
{
	proc=$BATS_TEST_TMPDIR/proc
	namespace_make self pid
	namespace_make self user
	namespace_share 1 pid self
	status_write "$proc/1/status" 0 0 1
	printf '%s\0' /sbin/init >"$proc/1/cmdline"
	status_write "$proc/self/status" 1 0 "$$"
	cgroups=$BATS_TEST_TMPDIR/cgroups
	mkdir "$cgroups"
}

# status_write FILE PPID UID NSPID...: writes the status of a process; $called
# is its name, and $caught and $blocked are sets of signals.
status_write()
{
	local file=$1 ppid=$2 uid=$3
	shift 3

	printf 'Name:\t%s\nState:\tS (sleeping)\nPPid:\t%s\nTracerPid:\t0\n'\
'Uid:\t%s\t0\t0\t0\nNSpid:' "${called:-x}" "$ppid" "$uid" >"$file"
	printf '\t%s' "$@" >>"$file"
	printf '\nShdPnd:\t%016x\nSigBlk:\t%016x\nSigCgt:\t%016x\n'\
'CapBnd:\t%016x\nNoNewPrivs:\t0\nSeccomp:\t0\n' \
	    0 "${blocked:-0}" "${caught:-0}" 0 >>"$file"
}

# proc_leader PID PPID CGROUP [NSPID...]: adds a leader, with a pid namespace of
# its own.
proc_leader()
{
	local pid=$1 ppid=$2 cgroup=$3
	shift 3

	mkdir -p "$proc/$pid/ns"
	status_write "$proc/$pid/status" "$ppid" 0 "$pid" "${@:-1}"
	printf '%s\n' "$cgroup" >"$proc/$pid/cgroup"
	namespace_make "$pid" pid
	namespace_share "$pid" user self
}

# proc_supervisor PID UID WORD...: adds a systemd-nspawn with these arguments,
# in the caller's namespace.
proc_supervisor()
{
	local pid=$1 uid=$2
	shift 2

	mkdir -p "$proc/$pid/ns"
	called=systemd-nspawn status_write "$proc/$pid/status" 1 "$uid" "$pid"
	echo '0::/user.slice' >"$proc/$pid/cgroup"
	printf '%s\0' systemd-nspawn "$@" >"$proc/$pid/cmdline"
	ln -s /usr/bin/systemd-nspawn "$proc/$pid/exe"
	namespace_share "$pid" pid self
}

# cgroup_put PATH PID...: puts processes into a folder of the hierarchy
# $cgroups.
cgroup_put()
{
	local folder=$cgroups/$1
	shift

	mkdir -p "$folder"
	printf '%s\n' "$@" >"$folder/cgroup.procs"
}

# Puts the script on stdin before the real machinectl.
machinectl_make()
{
	mkdir -p "$BATS_TEST_TMPDIR/bin"
	cat >"$BATS_TEST_TMPDIR/bin/machinectl"
	chmod +x "$BATS_TEST_TMPDIR/bin/machinectl"
	PATH=$BATS_TEST_TMPDIR/bin:$PATH
}

machinectl_knows_nothing()
{
	machinectl_make <<-'END'
	#!/bin/sh
	exit 1
	END
}

# What bats calls around each test.
setup()
{
	idles=()
	proc_make
	machinectl_knows_nothing
}

teardown()
{
	idles_end
}
