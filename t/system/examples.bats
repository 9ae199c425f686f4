#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
#
# The units of the manual of nspawn-stop, installed as they stand, with real
# machines: web has runit, app s6-overlay, box busybox and deb systemd.  The
# machine own is in the unit that systemd brings.

# bats file_tags=releases

load ../common
load ../machines
load ../inits
load ../examples

UNITS=(nspawn@{web,app,box,deb} systemd-nspawn@own)

# Replaces the start of the machine in inits.bash: makes its PID 1 the program
# that the unit starts.
START='case $name in
    web) ln -sf ../lib/runit/runit-init sbin/init ;;
    app) printf "%s\n" "#!/bin/sh" "$3" >init
	chmod 0755 init ;;
    box | own) ln -sf ../bin/busybox sbin/init ;;
    esac'

setup_file()
{
	rows_begin
	row_runit web
	row_overlay app
	row_busybox box
	row_systemd deb
	row_busybox own /usr/lib/nspawn-tools/skeleton
	examples_install
	on_host systemctl --quiet enable machines.target "${UNITS[@]}"
}

machines_ready()
{
	for name in web app box deb own; do
		on_host test -e "/var/lib/machines/$name/ready" || return 1
	done
}

@test "systemd finds no mistake in the units" {
	run -0 on_host systemd-analyze verify --man=no \
	    "${UNITS[@]/%/.service}"
	[ "$output" = '' ]
}

@test "machines.target starts the machines that are enabled" {
	on_host systemctl start machines.target
	run -0 on_host systemctl is-active "${UNITS[@]}"
	until_true machines_ready
	run -0 stop --dry-run web app box deb own
	echo "$output"
	for init in 'web: PID 1 is runit' 'app: PID 1 is s6-svscan' \
	    'box: PID 1 is busybox init' 'deb: PID 1 is systemd' \
	    'own: PID 1 is busybox init'; do
		echo "case: $init"
		[[ "$output" == *"$init ("* ]]
	done
}

@test "a machine has only the devices that its unit allows" {
	for unit in "${UNITS[@]}"; do
		echo "case: $unit"
		run -0 enter -t "${unit#*@}" sh -ec 'test -t 0
		    : </dev/urandom
		    : </dev/net/tun
		    ! mknod /disk b 7 0 2>/dev/null ||
			! head -c 1 /disk >/dev/null 2>&1'
		[ "$output" = '' ]
	done
}

@test "a machine that reboots itself is started again" {
	on_host sh -c 'rm /var/lib/machines/*/ready'
	# The machine may end before its command does.
	run enter web init 6
	run enter app busybox reboot -f
	run enter box busybox reboot -f
	run enter own busybox reboot -f
	run enter deb systemctl reboot
	until_true machines_ready
	for unit in "${UNITS[@]}"; do
		echo "case: $unit"
		[ "$(on_host systemctl show -p NRestarts --value "$unit")" = 1 ]
	done
}

@test "with machines.target all machines stop, and cleanly" {
	on_host sh -c 'rm -f /var/lib/machines/*/served /run/told'
	on_host systemctl stop machines.target
	# systemctl waited for the target alone.
	until_true units_ended
	for unit in "${UNITS[@]}"; do
		echo "case: $unit"
		[ "$(on_host systemctl show -p Result "$unit")" = \
		    Result=success ]
		machine_file_is "${unit#*@}" served served
	done
	run -0 on_host sort /run/told
	[ "$output" = '--timeout 100 deb
--timeout 100 own
--timeout 60 app
--timeout 60 box
--timeout 60 web' ]
	run -0 enter --list
	[ "$output" = '' ]
	run -0 on_host machinectl list --no-legend
	[ "$output" = '' ]
}

units_ended()
{
	[ "$(on_host systemctl show -p ActiveState --value "${UNITS[@]}" |
	    sort -u | tr -d '\n')" = inactive ]
}
