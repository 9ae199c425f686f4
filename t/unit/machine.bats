#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors

load ../common
load ../library

in_machine()
{
	run -0 library cgroup "$1" <<<"$2"
	[ "$output" = "$3" ]
}

@test "a cgroup is the machine's if its unit's payload follows the slices" {
	in_machine web '0::/machine.slice/machine-web.scope/payload' yes
	in_machine web '0::/machine.slice/machine-web.scope/payload/init' yes
	in_machine web '0::/machine.slice/web.scope/payload' yes
	in_machine web '0::/machine-web.scope/payload' yes
	in_machine web '0::/a.slice/a-b.slice/web.scope/payload' yes
	in_machine web \
	    '0::/machine.slice/systemd-nspawn@web.service/payload' yes
	in_machine my-box.x \
	    '0::/machine.slice/machine-my\x2dbox.x.scope/payload' yes
	in_machine my-box.x '0::/machine.slice/my-box.x.scope/payload' yes
	in_machine my-box.x \
	    '0::/machine.slice/systemd-nspawn@my\x2dbox.x.service/payload' yes
	in_machine memory '0::/machine.slice/_memory.scope/payload' yes
}

@test "a hybrid host shows the machine's cgroup in one hierarchy among others" {
	in_machine web \
	    $'9:name=systemd:/machine.slice/web.scope/payload\n0::/' yes
	in_machine web $'4:memory:/machine.slice/web.scope/payload\n0::/' no
}

@test "a cgroup that only looks like the machine's is not" {
	in_machine web '0::/machine.slice/machine-web.scope' no
	in_machine web '0::/machine.slice/machine-web.scope/supervisor' no
	in_machine web '0::/machine.slice/machine-web.scope/.control' no
	in_machine web '0::/machine.slice/machine-web.scope/payloads' no
	in_machine web '0::/machine.slice/machine-webs.scope/payload' no
	in_machine web '0::/machine.slice/xmachine-web.scope/payload' no
	in_machine web \
	    '0::/machine.slice/x.scope/payload/machine.slice/web.scope/payload' \
	    no
	in_machine web \
	    '0::/user.slice/user@1.service/app.slice/web.scope/payload' no
	in_machine web '0::/' no
	in_machine web '' no
	in_machine web 'nonsense' no
	in_machine web '0::machine.slice' no
	in_machine web ':name=systemd:' no
	in_machine '../web' '0::/machine.slice/../web.scope/payload' no
}

# names NAME EXPECTED WORD...
names()
{
	local name=$1 expected=$2
	shift 2

	run -0 library nspawn "$name" < <(printf '%s\0' systemd-nspawn "$@")
	[ "$output" = "$expected" ]
}

@test "a command line names the machine in every form that nspawn takes" {
	names web 'it kill-signal=' -M web
	names web 'it kill-signal=' -Mweb
	names web 'it kill-signal=' -bM web
	names web 'it kill-signal=' -qbMweb -D /x/other
	names web 'it kill-signal=' --machine=web
	names web 'it kill-signal=' --machine web
	names web 'it kill-signal=' --mach=web
	names web 'it kill-signal=' -M x -M web
	names web 'other kill-signal=' -M webs
	names web 'other kill-signal=' -M web -M x
	names web 'it kill-signal=37' --kill-signal=37 -M web
	names web 'it kill-signal=KILL' -u root --kill-signal KILL -M web
}

@test "without a name the directory or the image gives it" {
	names web 'it kill-signal=' -D /var/lib/machines/web
	names web 'it kill-signal=' -D /var/lib/machines/web/ -b
	names web 'it kill-signal=' --directory=web
	names mybox 'it kill-signal=' -D /x/my_box
	names web 'it kill-signal=' -i /x/web.raw
	names web 'it kill-signal=' --image=/x/web
	names web.raw 'it kill-signal=' -D /x/web.raw
	names web-0123456789abcdef 'it kill-signal=' -x -D /x/web
	names web-0123456789abcdef 'it kill-signal=' --ephemeral -D /x/web
	names web 'other kill-signal=' --ephemeral -D /x/web
	names web-0123456789abcdef 'other kill-signal=' -D /x/web
	names we 'other kill-signal=' -D /x/web
	names webs 'other kill-signal=' -D /x/web
	names web 'it kill-signal=' -x -M web -D /x/other
}

@test "a command line without any name gives none" {
	names web 'none kill-signal='
	names web 'none kill-signal=' -b
	names web 'none kill-signal=' -D .
	names web 'none kill-signal=' -D /
	names web 'none kill-signal=' -D ..
	names web 'none kill-signal=' -M ''
	names web 'none kill-signal=' -M
}

@test "the payload's own arguments are not read" {
	names web 'none kill-signal=' -b /bin/sh -M web
	names web 'none kill-signal=' -- -M web
	names web 'none kill-signal=' -q --bind -M web
	names web 'none kill-signal=' -Ebq -p -M web
	names web 'it kill-signal=' --private-users -M web
	names web 'it kill-signal=' --user joe -M web
	names web 'it kill-signal=' --user -M web
}

@test "a machine is found by its unit" {
	idle_start; nspawn=$idle
	idle_start; leader=$idle
	proc_supervisor "$nspawn" 0 -M web
	proc_leader "$leader" "$nspawn" \
	    '0::/machine.slice/machine-web.scope/payload'
	run -0 library find "$proc" web
	[ "$output" = "leader $leader supervisor $nspawn owner 0 ours" ]
	run -1 library find "$proc" other
	[ "${lines[0]}" = ESRCH ]
}

@test "of a machine's processes only PID 1 is its leader" {
	idle_start; nspawn=$idle
	idle_start; leader=$idle
	unit='0::/machine.slice/machine-web.scope/payload'
	proc_supervisor "$nspawn" 0 -M web
	proc_leader "$leader" "$nspawn" "$unit"
	idle_start
	proc_leader "$idle" "$leader" "$unit" 7
	idle_start
	proc_leader "$idle" "$leader" "$unit/x" 8 1
	run -0 library find "$proc" web
	[ "$output" = "leader $leader supervisor $nspawn owner 0 ours" ]
}

@test "a machine without a unit of its own is found by its supervisor" {
	idle_start; nspawn=$idle
	idle_start; leader=$idle
	proc_supervisor "$nspawn" 0 -bD /x/web
	proc_leader "$leader" "$nspawn" '0::/own.service/payload'
	run -0 library find "$proc" web
	[ "$output" = "leader $leader supervisor $nspawn owner 0 ours" ]
}

@test "a supervisor whose program was replaced still is one" {
	idle_start; nspawn=$idle
	idle_start; leader=$idle
	proc_supervisor "$nspawn" 0 -M web
	ln -sfn '/usr/bin/systemd-nspawn (deleted)' "$proc/$nspawn/exe"
	proc_leader "$leader" "$nspawn" '0::/own.service/payload'
	run -0 library find "$proc" web
	[ "$output" = "leader $leader supervisor $nspawn owner 0 ours" ]
}

@test "a process that only calls itself systemd-nspawn is no supervisor" {
	idle_start; nspawn=$idle
	idle_start; leader=$idle
	proc_supervisor "$nspawn" 0 -M web
	ln -sfn /usr/bin/python3 "$proc/$nspawn/exe"
	proc_leader "$leader" "$nspawn" '0::/own.service/payload'
	run -1 library find "$proc" web
	[ "${lines[0]}" = ESRCH ]
}

@test "a leader whose supervisor was killed is found by its unit" {
	idle_start; parent=$idle
	idle_start; leader=$idle
	mkdir -p "$proc/$parent/ns"
	status_write "$proc/$parent/status" 0 0 "$parent"
	printf '%s\0' /sbin/init >"$proc/$parent/cmdline"
	proc_leader "$leader" "$parent" \
	    '0::/machine.slice/machine-web.scope/payload'
	run -0 library find "$proc" web
	[ "$output" = "leader $leader supervisor 0 owner 0 ours" ]
}

@test "two leaders of one name are an error that names both" {
	idle_start; nspawn=$idle
	proc_supervisor "$nspawn" 0 -M web
	idle_start; one=$idle
	proc_leader "$one" "$nspawn" '0::/machine.slice/web.scope/payload'
	idle_start; two=$idle
	proc_leader "$two" "$nspawn" \
	    '0::/machine.slice/machine-web.scope/payload'
	run -1 library find "$proc" web
	[ "${lines[0]}" = ENOTUNIQ ]
	[[ "$output" == *"$one"* && "$output" == *"$two"* ]]
}

@test "another user's machine is told from ours, and never hides it" {
	idle_start; theirs=$idle
	proc_supervisor "$theirs" 4711 -M web
	idle_start; leader=$idle
	proc_leader "$leader" "$theirs" '0::/own.service/payload'
	run -0 library find "$proc" web
	[ "$output" = "leader $leader supervisor $theirs owner 4711 foreign" ]

	idle_start; nspawn=$idle
	proc_supervisor "$nspawn" 0 -M web
	idle_start; leader=$idle
	proc_leader "$leader" "$nspawn" '0::/other.service/payload'
	run -0 library find "$proc" web
	[ "$output" = "leader $leader supervisor $nspawn owner 0 ours" ]
}

@test "a unit whose supervisor names another machine belongs to that machine" {
	idle_start; nspawn=$idle
	idle_start; leader=$idle
	proc_supervisor "$nspawn" 0 --register=no -M machine-web
	proc_leader "$leader" "$nspawn" \
	    '0::/machine.slice/machine-web.scope/payload'
	run -1 library find "$proc" web
	[ "${lines[0]}" = ESRCH ]
	run -0 library find "$proc" machine-web
	[ "$output" = "leader $leader supervisor $nspawn owner 0 ours" ]
}

# Finds a machine with the hierarchy $cgroups, and writes down which directories
# are listed.
find_listed()
{
	# The search for leaks does not work under strace.
	ASAN_OPTIONS=detect_leaks=0 strace -o "$BATS_TEST_TMPDIR/listed" -y -e trace=getdents64 \
	    "$BUILD/library" find "$proc" "$1" "$cgroups"
}

# found_by_cgroup NAME UNIT PLACE: it is found without a search of all
# processes.
found_by_cgroup()
{
	need strace
	idle_start; nspawn=$idle
	idle_start; leader=$idle
	proc_supervisor "$nspawn" 0 -M "$1"
	proc_leader "$leader" "$nspawn" "${4-0::}/$2/$3"
	cgroup_put "$2/$3" "$leader"
	run -0 find_listed "$1"
	[ "$output" = "leader $leader supervisor $nspawn owner 0 ours" ]
	grep -qF "<$cgroups>" "$BATS_TEST_TMPDIR/listed"
	run ! grep -F "<$proc>" "$BATS_TEST_TMPDIR/listed"
}

@test "the hierarchy of cgroups leads to the unit without a full search" {
	mkdir -p "$cgroups/system.slice/web.service" "$cgroups/init.scope"
	found_by_cgroup web machine.slice/machine-web.scope payload
	found_by_cgroup late machine.slice/late.scope payload/init.scope
	found_by_cgroup top machine-top.scope payload
	found_by_cgroup deep a.slice/a-b.slice/a-b-c.slice/deep.scope payload
	found_by_cgroup old 'machine.slice/systemd-nspawn@old.service' payload
	found_by_cgroup my-box.x 'machine.slice/machine-my\x2dbox.x.scope' \
	    payload
	found_by_cgroup memory machine.slice/_memory.scope payload
	found_by_cgroup legacy machine.slice/legacy.scope payload \
	    $'4:memory:/\n1:name=systemd:'
}

@test "a unit of any name leads to the machine by its supervisor" {
	machinectl_make <<-'END'
	#!/bin/sh
	echo called >>"$0.calls"
	END
	for unit in machine.slice/own.service system.slice/mine.service; do
		echo "case: $unit"
		idle_start; nspawn=$idle
		idle_start; leader=$idle
		proc_supervisor "$nspawn" 0 -M "${unit##*/}"
		proc_leader "$leader" "$nspawn" "0::/$unit/payload"
		cgroup_put "$unit/payload" "$leader"
		run -0 library find "$proc" "${unit##*/}" "$cgroups"
		[ "$output" = "leader $leader supervisor $nspawn owner 0 ours" ]
	done
	[ ! -e "$BATS_TEST_TMPDIR/bin/machinectl.calls" ]
}

@test "a supervisor without a leader is a machine that is starting" {
	machinectl_make <<<$'#!/bin/sh\nexit 1'
	idle_start
	proc_supervisor "$idle" 0 -M web
	run -1 library find "$proc" web "$cgroups"
	[ "${lines[0]}" = EAGAIN ]
	# A process that prepares a leader does not count as one.
	supervisor=$idle
	idle_start
	proc_supervisor "$idle" 0 -M web
	called=systemd-nspawn status_write "$proc/$idle/status" 1 0 "$supervisor"
	run -1 library find "$proc" web "$cgroups"
	[ "${lines[0]}" = EAGAIN ]
	run -1 library find "$proc" other "$cgroups"
	[ "${lines[0]}" = ESRCH ]
}

@test "a leader is found among the processes of a payload, however many" {
	idle_start; nspawn=$idle
	idle_start; leader=$idle
	unit=machine.slice/web.scope/payload
	proc_supervisor "$nspawn" 0 -M web
	proc_leader "$leader" "$nspawn" "0::/$unit"
	idle_start
	proc_leader "$idle" "$leader" "0::/$unit" 7
	cgroup_put "$unit" 0 "$idle" "$leader"
	run -0 library find "$proc" web "$cgroups"
	[ "$output" = "leader $leader supervisor $nspawn owner 0 ours" ]
	# shellcheck disable=SC2046 # one number each
	cgroup_put "$unit" $(seq 4000000 4002000) "$leader"
	run -0 library find "$proc" web "$cgroups"
	[ "$output" = "leader $leader supervisor $nspawn owner 0 ours" ]
}

@test "the hierarchy is believed only if proc says the same" {
	idle_start; nspawn=$idle
	proc_supervisor "$nspawn" 0 -M other
	idle_start; other=$idle
	proc_leader "$other" "$nspawn" '0::/machine.slice/other.scope/payload'
	idle_start; inner=$idle
	proc_leader "$inner" "$nspawn" '0::/machine.slice/web.scope/payload' 2
	idle_start; deep=$idle
	proc_leader "$deep" "$nspawn" \
	    '0::/machine.slice/web.scope/payload/x' 2 1
	idle_start; ours=$idle
	proc_leader "$ours" 1 '0::/machine.slice/web.scope/payload'
	status_write "$proc/$ours/status" 1 0 "$ours"
	namespace_share "$ours" pid self
	for pid in "$other" "$inner" "$deep" "$ours" "$nspawn" 0 1 \
	    4194304 99999999999 -1 x ''; do
		echo "case: $pid"
		cgroup_put machine.slice/web.scope/payload "$pid"
		run -1 library find "$proc" web "$cgroups"
		[ "${lines[0]}" = ESRCH ]
	done
}

@test "the hierarchy shows two leaders of one name as proc would" {
	idle_start; nspawn=$idle
	proc_supervisor "$nspawn" 0 -M web
	idle_start; one=$idle
	proc_leader "$one" "$nspawn" '0::/machine.slice/web.scope/payload'
	cgroup_put machine.slice/web.scope/payload "$one"
	for unit in machine.slice/machine-web.scope a.slice/a-b.slice/web.scope \
	    web.scope 'system.slice/systemd-nspawn@web.service'; do
		echo "case: $unit"
		idle_start; two=$idle
		proc_leader "$two" "$nspawn" "0::/$unit/payload"
		# The other leader may be anywhere in its payload.
		for place in payload payload/init.scope payload/elsewhere; do
			echo "case: $unit $place"
			cgroup_put "$unit/payload"
			cgroup_put "$unit/$place" "$two"
			run -1 library find "$proc" web "$cgroups"
			[ "${lines[0]}" = ENOTUNIQ ]
			[[ "$output" == *"$one"* && "$output" == *"$two"* ]]
			rm -r "${cgroups:?}/$unit"
		done
		rm -r "${proc:?}/$two"
	done
	run -0 library find "$proc" web "$cgroups"
	[ "$output" = "leader $one supervisor $nspawn owner 0 ours" ]
}

@test "the hierarchy shows two supervisors of one name as proc would" {
	idle_start; nspawn=$idle
	proc_supervisor "$nspawn" 0 -M web
	for unit in one.service two.service; do
		echo "case: $unit"
		idle_start
		proc_leader "$idle" "$nspawn" "0::/system.slice/$unit/payload"
		cgroup_put "system.slice/$unit/payload" "$idle"
	done
	run -1 library find "$proc" web "$cgroups"
	[ "${lines[0]}" = ENOTUNIQ ]
	mv "$cgroups/system.slice/two.service/payload/cgroup.procs" \
	    "$cgroups/system.slice/two.service/payload/was"
	run -1 library find "$proc" web "$cgroups"
	[ "${lines[0]}" = ENOTUNIQ ]
}

@test "a machine in the payload of another is not looked at" {
	idle_start; nspawn=$idle
	proc_supervisor "$nspawn" 0 -M outer
	outer=machine.slice/outer.scope/payload
	inner=$outer/machine.slice/web.scope/payload
	idle_start; one=$idle
	proc_leader "$one" "$nspawn" "0::/$outer"
	cgroup_put "$outer" "$one"
	idle_start; two=$idle
	proc_leader "$two" "$one" "0::/$inner" 8 1
	cgroup_put "$inner" "$two"
	run -1 library find "$proc" web "$cgroups"
	[ "${lines[0]}" = ESRCH ]
}

@test "a unit of a user's own manager is not taken for one of the host" {
	unit=user.slice/user-1.slice/user@1.service/a.slice/web.scope/payload
	idle_start; theirs=$idle
	proc_supervisor "$theirs" 4711 -M x
	idle_start
	proc_leader "$idle" "$theirs" "0::/$unit"
	cgroup_put "$unit" "$idle"
	run -1 library find "$proc" web "$cgroups"
	[ "${lines[0]}" = ESRCH ]
}

@test "a hierarchy of another root, or none, hides no machine" {
	idle_start; nspawn=$idle
	proc_supervisor "$nspawn" 0 -M web
	idle_start; leader=$idle
	proc_leader "$leader" "$nspawn" '0::/machine.slice/web.scope/payload'
	run -0 library find "$proc" web "$cgroups"
	[ "$output" = "leader $leader supervisor $nspawn owner 0 ours" ]
	cgroup_put host/machine.slice/web.scope/payload "$leader"
	run -0 library find "$proc" web "$cgroups"
	[ "$output" = "leader $leader supervisor $nspawn owner 0 ours" ]
	run -0 library find "$proc" web /nonexistent
	[ "$output" = "leader $leader supervisor $nspawn owner 0 ours" ]
	# And that of which its supervisor can no longer tell the name.
	ln -sfn /usr/bin/python3 "$proc/$nspawn/exe"
	run -0 library find "$proc" web "$cgroups"
	[ "$output" = "leader $leader supervisor 0 owner 0 ours" ]
}

@test "machinectl is asked first only where processes are very many" {
	idle_start; nspawn=$idle
	idle_start; leader=$idle
	proc_supervisor "$nspawn" 0 -M web
	proc_leader "$leader" "$nspawn" '0::/a/b/c'
	machinectl_make <<-END
	#!/bin/sh
	echo called >>"$BATS_TEST_TMPDIR/calls"
	echo $leader
	END
	run -0 library find "$proc" web "$cgroups"
	[ "$output" = "leader $leader supervisor $nspawn owner 0 ours" ]
	[ ! -e "$BATS_TEST_TMPDIR/calls" ]
	# The kernel's own /proc has one link for each process.
	mkdir "$proc"/x{1..1000}
	[ "$(stat -c %h "$proc")" -gt 1000 ] ||
	    cannot 'the file system does not count the links of a directory'
	run -0 library find "$proc" web "$cgroups"
	[ "$output" = "leader $leader supervisor $nspawn owner 0 ours" ]
	[ -e "$BATS_TEST_TMPDIR/calls" ]
}

@test "other users' machines hide none of ours, however many they are" {
	for uid in 4711 4712; do
		echo "case: $uid"
		idle_start; theirs=$idle
		proc_supervisor "$theirs" "$uid" -M web
		idle_start
		proc_leader "$idle" "$theirs" '0::/user.slice/x.scope/payload'
	done
	run -1 library find "$proc" web
	[ "${lines[0]}" = ENOTUNIQ ]

	idle_start; nspawn=$idle
	proc_supervisor "$nspawn" 0 -b
	idle_start; leader=$idle
	proc_leader "$leader" "$nspawn" '0::/own.service/payload'
	machinectl_make <<-END
	#!/bin/sh
	echo $leader
	END
	run -0 library find "$proc" web
	[ "$output" = "leader $leader supervisor $nspawn owner 0 ours" ]
}

@test "machinectl is asked for a machine that no unit shows" {
	idle_start; nspawn=$idle
	idle_start; leader=$idle
	proc_supervisor "$nspawn" 0
	proc_leader "$leader" "$nspawn" '0::/own.service/payload'
	machinectl_make <<-END
	#!/bin/sh
	[ "\$*" = 'show -p Leader --value web' ] && echo $leader
	END
	run -0 library find "$proc" web
	[ "$output" = "leader $leader supervisor $nspawn owner 0 ours" ]
	run -1 library find "$proc" other
	[ "${lines[0]}" = ESRCH ]
}

@test "an invalid answer of machinectl is not believed" {
	for answer in '' 0 1 -1 x '12 34' 99999999999999999999; do
		echo "case: $answer"
		machinectl_make <<-END
		#!/bin/sh
		echo '$answer'
		END
		run -1 library find "$proc" web
		[ "${lines[0]}" = ESRCH ]
	done
}

@test "a machinectl that hangs leaves the question open" {
	machinectl_make <<-'END'
	#!/bin/sh
	exec sleep 600
	END
	run -1 library find "$proc" web
	[ "${lines[0]}" = ETIMEDOUT ]

	idle_start; nspawn=$idle
	idle_start; leader=$idle
	proc_supervisor "$nspawn" 0 -M web
	proc_leader "$leader" "$nspawn" '0::/own.service/payload'
	run -0 library find "$proc" web
	[ "$output" = "leader $leader supervisor $nspawn owner 0 ours" ]
}

@test "a machine in our own pid namespace is no container" {
	idle_start
	proc_leader "$idle" 1 '0::/machine.slice/machine-qemu.scope'
	status_write "$proc/$idle/status" 1 0 "$idle"
	namespace_share "$idle" pid self
	machinectl_make <<-END
	#!/bin/sh
	echo $idle
	END
	run -1 library find "$proc" web
	[ "${lines[0]}" = ENOTSUP ]
	[[ "${lines[1]}" == *"$idle"* ]]
}

# Makes a machine web; sets leader and nspawn.
web_make()
{
	idle_start; nspawn=$idle
	idle_start; leader=$idle
	proc_supervisor "$nspawn" 0 -M web
	proc_leader "$leader" "$nspawn" "0::/machine.slice/${1:-web.scope}/payload"
	cgroup_put "machine.slice/${1:-web.scope}/payload" "$leader"
}

@test "a file that cannot be read leaves the question open" {
	# A directory stands for a file that can be opened and not read.
	web_make
	for file in "$proc/$leader/status" "$proc/$leader/cgroup" \
	    "$proc/$nspawn/cmdline" \
	    "$proc/$nspawn/status" \
	    "$cgroups/machine.slice/web.scope/payload/cgroup.procs"; do
		echo "case: $file"
		mv "$file" "$BATS_TEST_TMPDIR/kept"
		mkdir "$file"
		run -1 library find "$proc" web "$cgroups"
		[ "${lines[0]}" = EISDIR ]
		[[ "${lines[1]}" == 'cannot find its leader: '* ]]
		rmdir "$file"
		mv "$BATS_TEST_TMPDIR/kept" "$file"
	done
	run -0 library find "$proc" web "$cgroups"
	[ "$output" = "leader $leader supervisor $nspawn owner 0 ours" ]
}

# True if qemu-user runs the library: it needs more descriptors, and a PATH of
# its own.
is_emulated()
{
	[ -n "${EMULATED-}" ] || return
	echo "# qemu-user for $EMULATED takes part itself" >&3
}

@test "too few descriptors leave the question open, on every way of finding" {
	! is_emulated || return 0
	for unit in web.scope own.service elsewhere; do
		echo "case: $unit"
		web_make "$unit"
		[ "$unit" != elsewhere ] || rm -r "${cgroups:?}/machine.slice"
		for limit in {3..18}; do
			echo "case: $unit $limit"
			run env ASAN_OPTIONS=detect_leaks=0 bash -c \
			    'ulimit -n "$0"; "$@" || exit 1' "$limit" \
			    timeout 10 "$BUILD/library" find "$proc" web \
			    "$cgroups"
			# A dynamic program needs some of them before it starts.
			[ "$status" = 0 ] || [ "${lines[0]}" = EMFILE ] ||
			    [[ "$output" == *'rror while loading'* ]]
		done
		[ "$output" = "leader $leader supervisor $nspawn owner 0 ours" ]
		rm -rf "${proc:?}/$leader" "${proc:?}/$nspawn" \
		    "${cgroups:?}/machine.slice"
	done
}

@test "a machinectl that cannot be run leaves it open, a missing one does not" {
	for text in '' nonsense; do
		echo "case: $text"
		machinectl_make <<<"$text"
		run -1 library find "$proc" web
		# glibc has a shell run it, which then gives no answer; and a
		# child in an emulator, whose vfork(2) differs, cannot report
		# why it failed.
		if [ -n "${EMULATED-}" ] ||
		    grep -qa 'glibc\|GLIBC_' "$BUILD/library"; then
			[[ "${lines[0]}" =~ ^(ENOEXEC|ESRCH)$ ]]
		else
			[ "${lines[0]}" = ENOEXEC ]
		fi
	done
	! is_emulated || return 0
	chmod -x "$BATS_TEST_TMPDIR/bin/machinectl"
	PATH=$BATS_TEST_TMPDIR/bin run -1 "$BUILD/library" find "$proc" web
	[ "${lines[0]}" = EACCES ]
	PATH=/nowhere run -1 "$BUILD/library" find "$proc" web
	[ "${lines[0]}" = ESRCH ]
	# Nor is one that is killed an answer.
	machinectl_make <<-'END'
	#!/bin/sh
	kill -KILL $$
	END
	run -1 library find "$proc" web
	[ "${lines[0]}" = ETIMEDOUT ]
}

@test "a machine belongs to its supervisor's user, whoever made its namespace" {
	web_make
	# The owner of this made-up namespace cannot be asked for.
	namespace_make "$leader" user
	run -0 library find "$proc" web "$cgroups"
	[ "$output" = "leader $leader supervisor $nspawn owner 0 ours" ]
	called=systemd-nspawn status_write "$proc/$nspawn/status" 1 4711 "$nspawn"
	run -0 library find "$proc" web "$cgroups"
	[ "$output" = "leader $leader supervisor $nspawn owner 4711 foreign" ]
	# Without a supervisor nothing else tells the owner.
	ln -sfn /usr/bin/python3 "$proc/$nspawn/exe"
	run -1 library find "$proc" web "$cgroups"
	[ "${lines[0]}" != ESRCH ]
}

@test "a namespace that only the leader lacks is known to the kernel" {
	web_make
	run -0 library namespaces "$proc" "$leader"
	[ "$output" = 'pid ' ]
	namespace_make self mnt
	run -1 library namespaces "$proc" "$leader"
	[ "$output" = EOWNERDEAD ]
	namespace_share "$leader" mnt self
	run -0 library namespaces "$proc" "$leader"
	[ "$output" = 'pid ' ]
	kill -KILL "$leader"
	rm "$proc/$leader/ns/mnt"
	until_true not grep -qs . "/proc/$leader/cmdline"
	run -1 library namespaces "$proc" "$leader"
	[ "$output" = ESRCH ]
}

@test "each file of each process is read only once" {
	need strace
	for unit in web.scope own.service; do
		echo "case: $unit"
		web_make "$unit"
		ASAN_OPTIONS=detect_leaks=0 strace -o "$BATS_TEST_TMPDIR/opened" \
		    -e trace=open,openat "$BUILD/library" find "$proc" web \
		    "$cgroups"
		run -0 sed -nE "s,.*\"($leader|$nspawn)/([a-z]*)\".*,\2,p" \
		    "$BATS_TEST_TMPDIR/opened"
		# The parent of a leader is read again once the parent is held.
		expected=$'status\ncgroup\ncmdline\nstatus\nstatus'
		[ "$(sort <<<"$output")" = "$(sort <<<"$expected")" ]
		rm -rf "${proc:?}/$leader" "${proc:?}/$nspawn" \
		    "${cgroups:?}/machine.slice"
	done
}

# is_init EXPECTED PROGRAM WORD [CAUGHT]
is_init()
{
	mkdir -p "$proc/$idle"
	caught=${4:-0} status_write "$proc/$idle/status" 1 0 "$idle" 1
	# shellcheck disable=SC2086 # to be split into words
	printf '%s\0' $3 >"$proc/$idle/cmdline"
	ln -sfn "$2" "$proc/$idle/exe"
	run -0 library init "$proc" "$idle"
	[ "$output" = "$1" ]
}

@test "an init is known by its program and by what it catches" {
	idle_start
	pwr=$((1 << 29)) rtmin4=$((1 << 37))
	cont=$((1 << 17)) term=$((1 << 14))
	is_init 'systemd signal 38' /usr/lib/systemd/systemd systemd
	is_init 'systemd signal 38' '/lib/systemd/systemd (deleted)' systemd
	is_init "systemd-nspawn's stub signal 38" /usr/bin/systemd-nspawn \
	    '(sd-stubinit)'
	is_init unknown /usr/bin/systemd-nspawn '(sd-payload)'
	is_init 'runit signal 30' /usr/sbin/runit runit "$((pwr | cont))"
	is_init 'runit command 15' /usr/sbin/runit runit "$cont"
	is_init unknown /usr/sbin/runit runit "$term"
	is_init 'runsvdir none 15' /usr/bin/runsvdir runsvdir "$term"
	is_init 'busybox init signal 12' /usr/bin/busybox init
	is_init 'busybox init signal 12' /usr/bin/busybox /sbin/init
	is_init 'busybox init signal 12' /usr/bin/busybox '/bin/busybox init'
	is_init 'busybox runsvdir none 15' /usr/bin/busybox '/bin/runsvdir /s'
	is_init unknown /usr/bin/busybox sh
	is_init unknown /usr/bin/busybox busybox
	is_init unknown /usr/bin/busybox /bin/sh
	is_init 'sysvinit signal 38' /none/init init "$((rtmin4 | pwr))"
	is_init 'sysvinit command 15' /none/init init "$pwr"
	is_init unknown /none/init init "$((rtmin4 | pwr | term))"
	is_init unknown /none/init init
	is_init 'openrc-init signal 15' /usr/sbin/openrc-init openrc-init
	is_init 's6-svscan signal 15' /usr/bin/s6-svscan 's6-svscan /run/s'
	is_init 's6-svscan signal 15' /usr/bin/s6-svscan s6-svscan
	is_init 's6-svscan signal 15' /command/s6-svscan \
	    's6-svscan -d4 -- /run/service'
	is_init 's6-linux-init signal 10' /usr/bin/s6-svscan \
	    's6-svscan -X3 -- /run/service'
	is_init 'finit signal 12' /sbin/finit init
	is_init 'procd signal 12' /sbin/procd procd
	is_init 'dinit signal 15' /usr/sbin/dinit dinit
	is_init unknown /usr/bin/tini tini
	is_init unknown /x/systemd/sleep systemd
}

# fate_is EXPECTED SIGNAL [CAUGHT [BLOCKED]]
fate_is()
{
	caught=${3:-0} blocked=${4:-0} \
	    status_write "$proc/$idle/status" 1 0 "$idle" 1
	run -0 library fate "$proc" "$idle" "$2"
	[ "$output" = "$1" ]
}

@test "the fate of a signal follows from what PID 1 does with it" {
	idle_start
	mkdir -p "$proc/$idle/fdinfo"
	fate_is handled 15 "$((1 << 14))"
	fate_is handled 15 "$((1 << 14))" "$((1 << 14))"
	fate_is blocked 15 "$((1 << 13))" "$((1 << 14))"
	fate_is discarded 15 "$((1 << 13))" "$((1 << 15))"
	fate_is unknown 9
	printf 'pos:\t0\nsigmask:\t0000002000004000\n' >"$proc/$idle/fdinfo/5"
	fate_is 'blocked awaited' 15 0 "$((1 << 14))"
	fate_is 'blocked awaited' 38 0 "$((1 << 37))"
	fate_is blocked 16 0 "$((1 << 15))"
	# The names on x86-64 and riscv64, and one that gcc has lengthened.
	for place in do_sigtimedwait __riscv_sys_rt_sigtimedwait \
	    do_sigtimedwait.isra.0; do
		printf %s "$place" >"$proc/$idle/wchan"
		fate_is 'unknown awaited' 15
	done
	for place in 0 do_sigtimedwaits; do
		printf %s "$place" >"$proc/$idle/wchan"
		fate_is 'discarded awaited' 15
	done
	# The call of 32-bit systems with 64-bit times; no system has 4096.
	echo '421 0x0 0x0' >"$proc/$idle/syscall"
	fate_is 'unknown awaited' 15
	echo '4096 0x0 0x0' >"$proc/$idle/syscall"
	fate_is 'discarded awaited' 15
	rm "$proc/$idle/syscall"
	kill -KILL "$idle"
	wait "$idle" || true
	run -1 library fate "$proc" "$idle" 15
	[ "$output" = ESRCH ]
}

@test "a namespace has our name and the kernel's" {
	for pair in mount:mount uts:uts ipc:ipc network:network pid:pid \
	    cgroup:cgroup user:user time:time mnt:mount net:network; do
		echo "case: $pair"
		run -0 library namespace "${pair%:*}"
		[ "$output" = "${pair#*:}" ]
	done
	for name in '' moun mounts netw all; do
		echo "case: $name"
		run -0 library namespace "$name"
		[ "$output" = none ]
	done
}

@test "a user is found in a passwd by name, else by number" {
	passwd=$'daemon:x:1:2::/:/bin/false\nroot:x:0:0:root:/root:/bin/zsh\n'
	passwd+='7:x:5:6::/seven:'
	run -0 library user 0 <<<"$passwd"
	[ "$output" = '0:0 root /root /bin/zsh' ]
	run -0 library user daemon <<<"$passwd"
	[ "$output" = '1:2 daemon / /bin/false' ]
	run -0 library user 7 <<<"$passwd"
	[ "$output" = '5:6 7 /seven ' ]
	run -0 library user 0 < <(printf r:x:0:0::/h:)
	[ "$output" = '0:0 r /h ' ]
	for who in 9 root: rootx roo ''; do
		echo "case: $who"
		run -1 library user "$who" <<<"$passwd"
		[ "$output" = ENOENT ]
	done
}

@test "a passwd that is nonsense names nobody" {
	for text in '' root root:x:0 root:x:0:0 :::::: 'root:x::0::/:/bin/sh' \
	    'root:x:-0:0::/:/bin/sh' "root:x:0:0::/$(printf 'a%.0s' {1..999}):" \
	    'root:x:4294967296:0::/:/bin/sh' 'root:x:0:4294967295::/:/bin/sh' \
	    'root:x:0:0::home:/bin/sh' 'root:x:0:0::/:sh'; do
		echo "case: $text"
		run -1 library user 0 <<<"$text"
		[ "$output" = ENOENT ]
	done
	# For setresuid(2) this number means "leave it unchanged".
	run -1 library user 4294967295 <<<'x:x:4294967295:0::/:/bin/sh'
	[ "$output" = ENOENT ]
}

@test "groups and their members are found in a group(5)" {
	group=$'root:x:0:\na:x:5:joe,ann\nb:x:6:ann\n7:x:8:joe\nc:x:9:xjoe,jo'
	run -0 library group a joe <<<"$group"
	[ "$output" = '5: 5 8' ]
	run -0 library group 7 ann <<<"$group"
	[ "$output" = '8: 5 6' ]
	run -0 library group 44 nobody <<<"$group"
	[ "$output" = '44:' ]
	for name in x '' 4294967295 4294967296; do
		echo "case: $name"
		run -1 library group "$name" joe <<<"$group"
		[ "$output" = ENOENT ]
	done
	# As many members as Linux takes, and lines of any length.
	run -0 library group last u < <(seq -f 'g:x:%.0f:u' 2 65536
	    printf 'last:x:1:%s,u\n' "$(printf 'm%.0s,' {1..9999})")
	[ "$(wc -w <<<"$output")" = 65537 ]
	run -1 library group a u < <(seq -f 'a:x:%.0f:u' 65537)
	[ "$output" = E2BIG ]
}

@test "an id of a user namespace is mapped to one outside, or to none" {
	map=$'         0     100000      65536\n     70000          5         1'
	for pair in 0:100000 65535:165535 70000:5; do
		echo "case: $pair"
		run -0 library outside "${pair%:*}" <<<"$map"
		[ "$output" = "${pair#*:}" ]
	done
	for id in 65536 70001; do
		echo "case: $id"
		run -1 library outside "$id" <<<"$map"
		[ "$output" = ENOENT ]
	done
	run -1 library outside 0 <<<'0 x 1'
	[ "$output" = ENOENT ]
}
