# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
# shellcheck shell=bash
#
# For t/host, t/machine and t/fresh: processes that are known by their number
# and their start time, so that a number which the kernel has given to another
# process is never taken for the first one; and joining cgroups.
#
# Each `t/host run` reads this file, so only what that needs belongs here.

# Where states are kept: outside those of the hosts, inside a host those of its
# machines.
STATES=/run/nspawn-tools

# Sets start: the start time of process PID; status 1 if there is none, or
# if it is a zombie, which runs nothing any more.
process_start()
{
	local stat

	{ read -r -d '' stat <"/proc/$1/stat"; } 2>/dev/null || true
	[[ -n ${stat:-} ]] || return 1
	# The name, in parentheses, may hold blanks and parentheses itself.
	# shellcheck disable=SC2086 # to be split into words
	set -- ${stat##*) }
	[[ $1 != [ZX] ]] || return 1
	start=${20}
}

# True if process PID, which started at START, still runs.
process_lives()
{
	local start

	process_start "$1" && [[ ${start} == "$2" ]]
}

# Sets pid from FILE, which process_save wrote; status 1 if that process no
# longer runs.
process_load()
{
	local since

	[[ -r $1 ]] && read -r pid since <"$1" && process_lives "${pid}" "${since}"
}

# Writes "PID START" to FILE; status 1 if there is no such process.
process_save()
{
	local start

	process_start "$1" || return 1
	printf '%s %s\n' "$1" "${start}" >"$2.new"
	mv "$2.new" "$2"
}

# Sends SIGNAL to the process that FILE names, if it still runs.
process_kill_saved()
{
	local pid

	! process_load "$2" || kill "-$1" "${pid}" 2>/dev/null || true
}

# Closes everything above standard error that the caller left open.
descriptors_close()
{
	local fd

	for fd in /proc/self/fd/*; do
		fd=${fd##*/}
		# 255 is this script, which bash does not hand on.
		((fd <= 2 || fd == 255)) || exec {fd}>&-
	done
}

# Moves process PID into each of the FOLDERs.
cgroup_join()
{
	local folder pid=$1

	shift
	for folder; do
		{ echo "${pid}" >"${folder}/cgroup.procs"; } 2>/dev/null ||
		    fail "joining the cgroup ${folder}: refused by the kernel"
	done
}
