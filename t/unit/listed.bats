#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
#
# How the machines of a made-up proc directory are listed: under which name, and
# what is listed with it.

load ../common
load ../library

# unit_names CGROUP NAME: checks that a machine in that cgroup without a
# supervisor is listed under that name.
unit_names()
{
	idle_start
	proc_leader "$idle" 1 "0::$1"
	run -0 library list "$proc"
	unit=${1%/payload*}
	[ "$output" = "$2 $idle 0 ${unit##*/} 0" ]
	rm -r "${proc:?}/$idle"
}

# words_name NAME WORD...: checks that a machine whose supervisor has those
# arguments is listed under that name, whatever its unit is.
words_name()
{
	local expected=$1
	shift

	idle_start; nspawn=$idle
	idle_start; leader=$idle
	proc_supervisor "$nspawn" 0 "$@"
	ln -s /x/here "$proc/$nspawn/cwd"
	proc_leader "$leader" "$nspawn" '0::/own.service/payload'
	run -0 library list "$proc"
	[ "$output" = "$expected $leader $nspawn own.service 0" ]
	rm -r "${proc:?}/$nspawn" "${proc:?}/$leader"
}

@test "without processes nothing is listed" {
	run -0 library list "$proc"
	[ "$output" = '' ]
}

@test "the name of a unit gives that of the machine" {
	unit_names /machine.slice/machine-web.scope/payload web
	unit_names /machine.slice/web.scope/payload/init.scope web
	unit_names /machine-web.scope/payload web
	unit_names /a.slice/a-b.slice/web.scope/payload web
	unit_names '/machine.slice/systemd-nspawn@web.service/payload' web
	unit_names '/machine.slice/systemd-nspawn@my-box.x.service/payload' \
	    my-box.x
	unit_names /machine.slice/my-box.x.scope/payload my-box.x
	unit_names /machine.slice/a.scope.scope/payload a.scope
}

@test "characters that systemd has escaped in a unit's name are read" {
	unit_names '/machine.slice/machine-my\x2dbox.x.scope/payload' my-box.x
	unit_names '/machine.slice/machine-a\x2db\x2dc.scope/payload' a-b-c
	unit_names \
	    '/machine.slice/systemd-nspawn@my\x2dbox.x.service/payload' \
	    my-box.x
	unit_names /machine.slice/_memory.scope/payload memory
	unit_names '/machine.slice/machine-machine\x2dx.scope/payload' \
	    machine-x
}

@test "without a supervisor a unit of any other name gives no machine" {
	for unit in own.service web.service 'machine-a\x5fb.scope' \
	    'machine-a\x2.scope' 'machine-a\.scope' 'a\x2d.scope' \
	    'machine-a_b.scope' machine-.scope -.scope .scope web.slice.x \
	    systemd-nspawn@.service 'systemd-nspawn@a@b.service' \
	    'machine-a b.scope' "machine-$(printf %065d 1).scope" \
	    "machine-$(printf %0200d 1).scope" __memory.scope \
	    $'machine-a\tb.scope' $'machine-\303\244.scope' x; do
		echo "case: $unit"
		idle_start
		proc_leader "$idle" 1 "0::/machine.slice/$unit/payload"
		run -0 library list "$proc"
		[ "$output" = '' ]
		rm -r "${proc:?}/$idle"
	done
}

@test "a name may be as long as machined allows" {
	long=$(printf %064d 1)
	unit_names "/machine.slice/machine-$long.scope/payload" "$long"
	unit_names "/machine.slice/$long.scope/payload" "$long"
	words_name "$long" -M "$long"
	words_name - -M "0$long"
	words_name - -M "$long$long"
}

@test "a leader that is in no unit's payload is listed without a unit" {
	for cgroup in 0::/ 0::/user.slice 0::/machine.slice/machine-web.scope \
	    '' nonsense; do
		echo "case: $cgroup"
		idle_start; nspawn=$idle
		idle_start; leader=$idle
		proc_supervisor "$nspawn" 0 -M web
		proc_leader "$leader" "$nspawn" "$cgroup"
		run -0 library list "$proc"
		[ "$output" = "web $leader $nspawn - 0" ]
		rm -r "${proc:?}/$nspawn" "${proc:?}/$leader"
	done
}

@test "a supervisor's arguments name the machine before its unit does" {
	words_name web -M web
	words_name web -Mweb
	words_name web -qbMweb -D /x/other
	words_name web --machine=web
	words_name web -M x -M web
	words_name web -x -M web -D /x/other
	idle_start; nspawn=$idle
	idle_start; leader=$idle
	proc_supervisor "$nspawn" 0 --register=no -M machine-web
	proc_leader "$leader" "$nspawn" \
	    '0::/machine.slice/machine-web.scope/payload'
	run -0 library list "$proc"
	[ "$output" = "machine-web $leader $nspawn machine-web.scope 0" ]
}

@test "without a name in the arguments the folder or the image gives it" {
	words_name web -D /var/lib/machines/web
	words_name web -D /var/lib/machines/web/ -b
	words_name web --directory=web
	words_name web -D ./web/.
	words_name mybox -D /x/my_box
	words_name web -i /x/web.raw
	words_name web --image=/x/web
	words_name web.raw -D /x/web.raw
	words_name here -D .
	words_name here -b
	words_name here
}

@test "arguments without a name give none" {
	words_name - -D /
	words_name - -M a_b
	words_name - -M ../web
	words_name - -M -web
	words_name - -M $'a\nb'
	words_name - -x -D /x/web
	words_name - --ephemeral -D /x/web
	words_name - -D /x/___
}

@test "the random name of an ephemeral copy is the one of its unit" {
	idle_start; nspawn=$idle
	idle_start; leader=$idle
	proc_supervisor "$nspawn" 0 -x -D /x/web
	proc_leader "$leader" "$nspawn" \
	    '0::/machine.slice/machine-web\x2d0123456789abcdef.scope/payload'
	run -0 library list "$proc"
	[ "$output" = "web-0123456789abcdef $leader $nspawn\
 machine-web\\x2d0123456789abcdef.scope 0" ]
}

@test "several machines of one name are several lines" {
	expected=
	for uid in 0 0 4711; do
		echo "case: $uid"
		idle_start; nspawn=$idle
		proc_supervisor "$nspawn" "$uid" -M web
		idle_start
		proc_leader "$idle" "$nspawn" '0::/own.service/payload'
		expected+="web $idle $nspawn own.service $uid"$'\n'
	done
	run -0 library list "$proc"
	[ "$(sort <<<"$output")" = "$(printf %s "$expected" | sort)" ]
}

@test "processes and leaders further inside are not listed" {
	idle_start; nspawn=$idle
	idle_start; leader=$idle
	unit='0::/machine.slice/machine-web.scope/payload'
	proc_supervisor "$nspawn" 0 -M web
	proc_leader "$leader" "$nspawn" "$unit"
	idle_start
	proc_leader "$idle" "$leader" "$unit" 7
	idle_start
	proc_leader "$idle" "$leader" "$unit/x" 8 1
	idle_start
	proc_supervisor "$idle" 0 -M starting
	run -0 library list "$proc"
	[ "$output" = "web $leader $nspawn machine-web.scope 0" ]
}

@test "another user's supervisor may name a machine, which is listed as his" {
	idle_start; nspawn=$idle
	idle_start; leader=$idle
	proc_supervisor "$nspawn" 4711 -M web
	proc_leader "$leader" "$nspawn" \
	    '0::/user.slice/user-4711.slice/user@4711.service/payload'
	run -0 library list "$proc"
	[ "$output" = "web $leader $nspawn user@4711.service 4711" ]
}

@test "a pid namespace without a unit and without a supervisor is no machine" {
	idle_start
	proc_leader "$idle" 1 '0::/user.slice/sandbox.scope'
	run -0 library list "$proc"
	[ "$output" = '' ]
}
