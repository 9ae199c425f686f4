# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
# shellcheck shell=bash
#
# For the tests of security modules.  All test hosts share the policy of the
# kernel, so these tests need their own virtual machine.  They are in a folder
# that "make check" does not use.  Each file defines label_of, which prints the
# label of a process.

load ../common
load ../machines

# module_needed NAME FOLDER OPTIONS: for setup_file, which fails if the kernel
# does not have the security module NAME, or if this is not a machine of t/vm.
# The machine has to be started with OPTIONS.
module_needed()
{
	[[ -e /usr/local/sbin/vm-run && -d $2 ]] ||
	    cannot "needs a kernel with $1: t/vm $3 -- bats\
 t/kernel/${BATS_TEST_FILENAME##*/}"
}

# If setup_file fails, there may be no host.
teardown_file()
{
	[ -z "${HOST-}" ] || host_stop
}

SLEEP='/bin/sleep 4713'

# Runs a command with these words.  Prints its label, as the host sees it.
label_by()
{
	job_start "$@" /bin/sleep 4713
	until_true runs_in_host "$SLEEP"
	label_of "$(on_host pgrep -x -f "$SLEEP")"
	on_host kill "$job_inner"
	job_end
	until_true not runs_in_host "$SLEEP"
}

# The options of each way to enter without --privileged, one way per line.
WAYS='
-u joe
-u 1000:1000
--no-pid
--no-user
--no-seccomp
--only=mount
-t'
