#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
#
# Unusual leaders of machines: what the kernel says about them is long, or lacks
# something.  All of them are found, and told to stop.

load ../common
load ../machines

# machine_perl NAME PROGRAM [OPTION]...: starts a machine whose PID 1 is that
# program; returns when it has made /ready.
machine_perl()
{
	local name=$1 program=$2
	shift 2

	machine scope "$name" --bind-ro=/usr --bind-ro=/usr/lib64:/lib64 "$@" \
	    -- /usr/bin/perl -e "$program"
	until_true on_host test -e "/var/lib/machines/$name/ready"
}

ENDS_BY_TERM='$SIG{TERM} = sub { open(F, ">/stopped"); print F "stopped\n";
    close(F); exit 0 };'
READY='open(F, ">/ready"); close(F);'

# True if a leader's status has such a line.
status_has()
{
	on_host grep -q "$2" "/proc/$(leader "$1")/status"
}

@test "a leader with very many groups is stopped" {
	for count in 2000 65536; do
		echo "case: $count"
		machine_perl web "$ENDS_BY_TERM
		    \$) = join(' ', 0, 1000000000 .. 1000000000 + $count - 1);
		    $READY sleep 1 while 1"
		[ "$(on_host sed -n 's/^Groups://p' \
		    "/proc/$(leader web)/status" | wc -w)" = "$count" ]
		run -0 stop --strict web
		[ "$output" = '' ]
		machine_file_is web stopped stopped
		machines_end
	done
}

@test "a leader whose first thread has ended is stopped, and not entered" {
	machine scope web --bind-ro=/src/build/static:/t -- /t/leader
	until_true on_host test -e /var/lib/machines/web/ready
	on_host touch /var/lib/machines/web/go
	until_true status_has web '^State:.Z'
	for option in -q --no-seccomp --privileged; do
		echo "case: $option"
		run -125 enter "$option" web touch /entered
		[[ "${lines[-1]}" == "nspawn-enter: web: "* ]]
	done
	run ! on_host test -e /entered
	run ! on_host test -e /var/lib/machines/web/entered
	run -0 stop --strict web
	[ "$output" = '' ]
	machine_file_is web stopped stopped
}

@test "root's machine stays root's when its leader makes a user namespace" {
	# 272 is unshare(2) of x86-64, and 0x10000000 means a user namespace.
	# Its owner is root of the machine, which is another user for the host.
	[ "$(uname -m)" = x86_64 ] || skip 'the number of a system call'
	machine_perl web "\$SIG{TERM} = sub { exit 0 }; $READY
	    open(F, '>/said'); syscall(272, 0x10000000) == 0 or die;
	    print F 'unshared'; close(F); sleep 1 while 1" -U
	until_true machine_file_is web said unshared
	run -0 enter --quiet --no-user web true
	run -0 stop --strict web
	[ "$output" = '' ]
}

# /proc/PID/cgroup holds at most 4,095 bytes; the path of this leader, as the
# host sees it, is longer.
HIDES='mkdir /c && mount -t cgroup2 none /c && cd /c || exit 1
    for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do
        d=$(printf %0254d 0); mkdir $d && cd $d || exit 1; done
    echo 1 >cgroup.procs || exit 1; cd /
    trap "echo stopped >/stopped; exit 0" TERM;'

# True if the kernel cuts such a path; older kernels make the read fail.
is_cut()
{
	on_host cat "/proc/$(leader web)/cgroup" >/dev/null
}

@test "a leader deep in its own cgroup is found, and hides no other" {
	machine_sh web "$HIDES $WAITS"
	run -0 stop nothing
	[ "$output" = 'nspawn-stop: nothing: is not running' ]
	if is_cut; then
		run -0 stop --strict web
		[ "$output" = '' ]
	else
		run -1 stop --strict web
		[ "$output" = 'nspawn-stop: web: cannot wait for its scope,'\
' which cannot be found: File name too long' ]
	fi
	machine_file_is web stopped stopped
}

@test "without a supervisor it is found by its unit, or an error is reported" {
	machine_sh web "$HIDES $WAITS"
	on_host kill -KILL "$(supervisor web)"
	until_true status_has web '^PPid:.*[^0-9]1$'
	if is_cut; then
		run -0 stop --strict web
		[ "$output" = '' ]
		return
	fi
	for name in web nothing; do
		echo "case: $name"
		run -1 stop "$name"
		[ "$output" = "nspawn-stop: $name: cannot find its leader:"\
' File name too long' ]
	done
	on_host kill -KILL "$(leader web)"
}
