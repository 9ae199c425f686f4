# SPDX-License-Identifier: GPL-3.0-only
# shellcheck shell=bash
#
# For the tests of security modules.  The kernel's policy holds for all hosts,
# so these tests need a whole machine of their own, and are in a folder that
# "make check" leaves out.  Each file defines label_of, which prints the label
# of a process.

load ../common
load ../machines

# module_needed NAME FOLDER OPTIONS: goes on only if the kernel has that
# security module and this is a machine of t/vm, which has to be started with
# OPTIONS.
module_needed()
{
	[[ -e /usr/local/sbin/vm-run && -d $2 ]] ||
	    cannot "needs a kernel with $1: t/vm $3 -- bats\
 t/kernel/${BATS_TEST_FILENAME##*/}"
}

# If the tests are skipped, there is no host.
teardown_file()
{
	[ -z "${HOST-}" ] || host_stop
}

SLEEP='/bin/sleep 4713'

# Prints the label, as the host sees it, of a command that these words run.
label_by()
{
	job_start "$@" /bin/sleep 4713
	until_true runs_in_host "$SLEEP"
	label_of "$(on_host pgrep -x -f "$SLEEP")"
	on_host kill "$job_inner"
	job_end
	until_true not runs_in_host "$SLEEP"
}

# The options for each way to enter without --privileged, one way a line.
WAYS='
-u joe
-u 1000:1000
--no-pid
--no-user
--no-seccomp
--only=mount
-t'
