# SPDX-License-Identifier: GPL-3.0-only
# shellcheck shell=bash
#
# For the tests of common.h: its command line, and proc directories of the
# tests' own making.  Their processes are real, since the library opens them by
# pidfd: idle ones, each of which ends with the test.

library()
{
	"$BUILD/library" "$@"
}

# Starts an idle process; its number is then in $idle.
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

# namespace_make PROCESS KIND: a namespace of its own, to which the link in that
# folder of $proc leads, as the kernel's do, by its number
namespace_make()
{
	local folder=$proc/$1/ns file number

	mkdir -p "$folder"
	file=$(mktemp "$folder/XXXXXX")
	number=$(stat -c %i "$file")
	mv "$file" "$folder/$2:[$number]"
	ln -sfn "$2:[$number]" "$folder/$2"
}

# namespace_share PROCESS KIND OTHER: the same namespace as another's
namespace_share()
{
	local name

	name=$(readlink "$proc/$3/ns/$2")
	mkdir -p "$proc/$1/ns"
	ln -f "$proc/$3/ns/$name" "$proc/$1/ns/$name"
	ln -sfn "$name" "$proc/$1/ns/$2"
}

# Makes a proc directory with PID 1 alone, in which the caller has one pid
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

# status_write FILE PPID UID NSPID... of a process called $called; $caught and
# $blocked are sets of signals
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

# proc_leader PID PPID CGROUP [NSPID...]: a leader, in pid namespace "inner"
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

# proc_supervisor PID UID WORD...: a systemd-nspawn of the caller's namespace
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

# cgroup_put PATH PID...: those processes in a folder of the hierarchy $cgroups
cgroup_put()
{
	local folder=$cgroups/$1
	shift

	mkdir -p "$folder"
	printf '%s\n' "$@" >"$folder/cgroup.procs"
}

# Puts a machinectl of that text before the real one; without text, none.
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
