#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
# bats file_tags=static
#
# A leader ends before any one of the system calls of both programs, and another
# process, which is no leader, gets its PID at once.  Neither program ever
# enters or signals that process.

load ../common
load ../machines
load ../sweep

PAYLOAD=/sys/fs/cgroup/machine.slice/systemd-nspawn@race.service/payload

setup_file()
{
	host_start
	sweep_prepare
	on_host mkdir -p "$PAYLOAD"
}

# The command has the machine's namespace, or there is no command.
@test "nspawn-enter never enters a process that got the leader's number" {
	# shellcheck disable=SC2016 # for a shell in the host
	sweep "swap $PAYLOAD" '! grep -qxF "other $(cat /tmp/out)" /tmp/found &&
	    case $status in
	    0) [ -s /tmp/out ] ;;
	    125) said . ;;
	    137) ;;
	    *) false ;;
	    esac' "$PROGRAMS/nspawn-enter" -q race readlink /proc/self/ns/pid
}

@test "nspawn-stop never signals a process that got the leader's number" {
	# shellcheck disable=SC2016 # for a shell in the host
	sweep "swap $PAYLOAD" 'case $status in
	    0) ;;
	    124) said "is still running" ;;
	    1 | 125) said . ;;
	    *) false ;;
	    esac' "$PROGRAMS/nspawn-stop" --timeout 0.05 race
}
