# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
# shellcheck shell=bash
#
# For t/host, t/machine and t/fresh: what they share about containers.  These
# are the options of a container that is itself a host, waiting for a container
# with a deadline, finding its leader, its control groups, and what is left of
# it.

# In a host: the trees of its machines.
TREES=/var/lib/machines

BOOT_MS=60000		# a host, until machined answers
END_MS=10000		# what has been killed, until it is gone

# What a nested container that is itself a host needs beyond the default.
NESTED_OPTIONS=(--quiet --capability=all --link-journal=no --boot --console=pipe
	'--system-call-filter=add_key keyctl bpf' --bind=/dev/fuse)
HOST_OPTIONS=("${NESTED_OPTIONS[@]}" --private-network --resolv-conf=off
	--timezone=off --read-only --volatile=overlay)
# A process that has system call filters cannot copy those of others, see
# ptrace(2).
HOST_ENV=(SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
	SYSTEMD_NSPAWN_API_VFS_WRITABLE=1 SYSTEMD_SECCOMP=0)

# --- time -------------------------------------------------------------------

# Sets now: milliseconds since this computer started.
clock()
{
	# A signal during another read can leave the rest of that line to bash.
	now=
	until [[ ${now} =~ ^[0-9]+[.][0-9]{2}$ ]]; do
		read -r now _ </proc/uptime
	done
	now=$((10#${now/./} * 10))
}

# Runs a command until it succeeds; status 1 once MS milliseconds are over.
await()
{
	local end

	clock
	end=$((now + $1))
	shift
	until "$@"; do
		clock
		((now < end)) || return 1
		sleep 0.02
	done
}

not()
{
	! "$@"
}

# --- signals and failures ---------------------------------------------------

# From now on, when this process ends, also by a signal, it first runs the given
# command.  That command is best a process of its own: local variables may be
# gone by then, and a function could change the buffer of an unfinished read.
signals_exit()
{
	local command

	printf -v command '%q ' "$@"
	# Bash would report its own children that the command has killed.
	# shellcheck disable=SC2064 # the command as it is now
	trap "trap '' HUP INT TERM
		{ ${command} 2>&3 3>&-; jobs; } 3>&2 2>/dev/null >&2" EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM
}

# --- leaders ----------------------------------------------------------------

# Sets depth and inner: in how many pid namespaces PID is, as we see it, and
# its number in the innermost.
process_depth()
{
	local key value

	depth=0 inner=0
	while read -r key value; do
		[[ ${key} == NSpid: ]] || continue
		# shellcheck disable=SC2086 # to be split into words
		set -- ${value}
		depth=$# inner=${!#}
		return 0
	done 2>/dev/null <"/proc/$1/status"
	return 1
}

# Sets leader: the child of supervisor PID that is PID 1 one level below us
# and no longer runs nspawn's own program; status 1 while there is none.
leader_find()
{
	local child children depth inner ours exe

	leader=
	process_depth self && ours=${depth}
	{ read -r children <"/proc/$1/task/$1/children"; } 2>/dev/null || true
	for child in ${children:-}; do
		process_depth "${child}" || continue
		((depth == ours + 1 && inner == 1)) || continue
		exe=$(readlink "/proc/${child}/exe") || return 1
		if [[ ${exe} == */systemd-nspawn ]]; then
			stub_ready "${child}" || return 1
		fi
		leader=${child}
		return 0
	done
	return 1
}

# With --as-pid2, PID 1 stays nspawn's stub.  True if PID is such a stub and its
# child runs the command.
stub_ready()
{
	local comm children exe

	read -r comm 2>/dev/null <"/proc/$1/comm" || return 1
	[[ ${comm} == "(sd-stubinit)" ]] || return 1
	read -r children 2>/dev/null <"/proc/$1/task/$1/children" || true
	[[ -n ${children:-} ]] || return 1
	exe=$(readlink "/proc/${children%% *}/exe") || return 1
	[[ ${exe} != */systemd-nspawn ]]
}

# True if process PID catches SIGTERM.
process_catches_term()
{
	local key value

	while read -r key value; do
		[[ ${key} == SigCgt: ]] || continue
		((16#${value} & 1 << 14))
		return
	done 2>/dev/null <"/proc/$1/status"
	return 1
}

# --- control groups ---------------------------------------------------------

# Sets roots: where the hierarchies that systemd uses are mounted: cgroup2 and,
# in a hybrid set-up, the one called systemd.  Hosts need cgroup2, so it is
# mounted here where it is missing (in a container whose tree has no systemd).
cgroup_roots()
{
	local where rest unified=''

	roots=()
	while read -r _ _ _ _ where rest; do
		case ${rest##* - } in
		'cgroup2 '*) unified=yes ;;
		'cgroup '*name=systemd*) ;;
		*) continue ;;
		esac
		# Where one is mounted over another, the upper one counts.
		[[ " ${roots[*]} " == *" ${where} "* ]] || roots+=("${where}")
	done </proc/self/mountinfo
	[[ -z ${unified} ]] || return 0
	where=${STATES}/.cgroup2
	mkdir -p "${where}"
	mount -t cgroup2 cgroup2 "${where}" ||
	    fail "mounting cgroup2 on ${where}: see above"
	roots+=("${where}")
}

# Prints the PIDs in the FOLDERs and below.
cgroup_pids()
{
	local folder

	for folder; do
		[[ ! -d ${folder} ]] ||
		    find "${folder}" -name cgroup.procs -exec cat {} + 2>/dev/null
	done | sort -un || true
}

cgroup_kill()
{
	local pid

	for pid in $(cgroup_pids "$@"); do
		# 0 is a process that our pid namespace does not see.
		((pid == 0)) || kill -KILL "${pid}" 2>/dev/null || true
	done
}

# Removes the FOLDERs and all below them; status 1 if one is still in use.
cgroup_remove()
{
	local folder status=0

	for folder; do
		[[ -d ${folder} ]] || continue
		find "${folder}" -depth -type d -exec rmdir {} + 2>/dev/null ||
		    true
		[[ ! -d ${folder} ]] || status=1
	done
	return "${status}"
}

# --- what is left -----------------------------------------------------------

# Removes the folders of container NAME that systemd-nspawn itself removes only
# where /run is a tmpfs.
container_remove_folders()
{
	rmdir /run/systemd/nspawn/{propagate,unix-export}/"$1" 2>/dev/null ||
	    true
}
