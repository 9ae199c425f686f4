# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
# shellcheck shell=bash
#
# For tests that a command is confined as PID 1 of its machine is.

# The command of a test, which nothing else runs.
SLEEP='/bin/sleep 4713'

# The lines of a status that show how a process is confined.
BINDS='^(Cap(Bnd|Prm|Eff)|NoNewPrivs|Seccomp|Seccomp_filters|Cpus_allowed'
BINDS+='|Mems_allowed|Groups|Uid|Gid):'

# bound PID: prints these lines, and the process's limits, namespaces, groups,
# label and scheduling.  A hierarchy that is not mounted, as that of systemd may
# be, cannot be joined and is left out.  A label that ends in "(unconfined)"
# forbids nothing; the kernel itself gives such ones to some programs.
bound()
{
	on_host sh -euc 'cd "/proc/$1"
	    grep -E "$2" status
	    cat limits personality oom_score_adj
	    grep -v ":name=systemd:" cgroup
	    ! mountpoint -q /sys/fs/cgroup/systemd ||
		grep ":name=systemd:" cgroup
	    for ns in cgroup ipc mnt net pid time user uts; do
		[ ! -e "ns/$ns" ] || readlink "ns/$ns"
	    done
	    tr "\0" "\n" <attr/current |
		sed "s/.*(unconfined)/unconfined/" || :
	    ionice -p "$1"; chrt -p "$1" | sed "s/^pid [0-9]*//"' \
	    '' "$1" "$BINDS"
}

# bound_like LEADER COMMAND...: what these words enter is bound as LEADER is.
bound_like()
{
	local leader=$1 expected is
	shift

	job_start "$@" /bin/sleep 4713
	until_true runs_in_host "$SLEEP"
	is=$(bound "$(on_host pgrep -x -f "$SLEEP")")
	expected=$(bound "$leader")
	on_host kill "$job_inner"
	job_end
	until_true not runs_in_host "$SLEEP"
	[[ "$expected" == *'scheduling priority'* ]]
	diff <(echo "$expected") <(echo "$is")
}
