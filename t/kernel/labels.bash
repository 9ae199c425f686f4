# SPDX-License-Identifier: GPL-3.0-only
# shellcheck shell=bash
#
# For the tests of security modules.  What these hold processes to is the
# kernel's, and not a host's: so the tests are for a whole machine of its own
# alone, and in a folder that "make check" leaves out.  A file says by label_of
# what the label of a process is.

load ../common
load ../machines

# module_needed NAME FOLDER OPTIONS: the kernel has that security module, and
# this is a machine of t/vm, else BATS_TEST_FILENAME wants one with OPTIONS.
module_needed()
{
	[[ -e /usr/local/sbin/vm-run && -d $2 ]] ||
	    cannot "needs a kernel with $1: t/vm $3 -- bats\
 t/kernel/${BATS_TEST_FILENAME##*/}"
}

# Where the tests are skipped there is no host.
teardown_file()
{
	[ -z "${HOST-}" ] || host_stop
}

SLEEP='/bin/sleep 4713'

# Prints the label of a command, as the host sees it, that these words run.
label_by()
{
	job_start "$@" /bin/sleep 4713
	until_true runs_in_host "$SLEEP"
	label_of "$(on_host pgrep -x -f "$SLEEP")"
	on_host kill "$job_inner"
	job_end
	until_true not runs_in_host "$SLEEP"
}

# Options of each way to enter that is not privileged, a line each.
WAYS='
-u joe
-u 1000:1000
--no-pid
--no-user
--no-seccomp
--only=mount
-t'
