#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
# bats file_tags=kernel
#
# What AppArmor forbids to a machine's PID 1 it forbids to a command, too.

load labels

# Three machines that all tests share: jail and jailu are in a profile, jailu
# with a user namespace; free is in none.
setup_file()
{
	module_needed AppArmor /sys/kernel/security/apparmor trixie
	host_start
	profile bar-jail </dev/null
	jail bar-jail jail
	jail bar-jail jailu -U
	host machine "$HOST" scope free
	for name in jail jailu free; do
		on_host sh -c 'umask 022; echo hidden >"$1"' '' \
		    "/var/lib/machines/$name/secret"
	done
}

# A profile that allows everything except /secret.
ALLOWED='file, capability, network, mount, remount, umount, pivot_root, ptrace,
signal, dbus, unix, userns,
deny /secret* rwklx,'

# profile NAME [FLAGS]: loads a profile that allows that, and the rules on
# stdin.
profile()
{
	{
		printf 'profile "%s" flags=(%s) {\n%s\n' "$1" \
		    "attach_disconnected,mediate_deleted${2:+,$2}" "$ALLOWED"
		cat
		echo '}'
	} | on_host apparmor_parser --replace --skip-cache
}

# jail PROFILE NAME [OPTION]... [-- COMMAND...]: a machine of a unit in that
# profile.
jail()
{
	local profile=$1
	shift

	unit_setting "$1" AppArmorProfile="$profile"
	host machine "$HOST" unit "$@"
}

# The same, for one test only.
jail_own()
{
	machines+=("$2")
	jail "$@"
}

# unit_setting NAME SETTING: adds a setting to the unit that the machine will
# have.
unit_setting()
{
	on_host sh -euc 'folder=/run/systemd/system/own-$1-unit.service.d
	    mkdir -p "$folder"
	    printf "[Service]\n%s\n" "$2" >"$folder/${2%%=*}.conf"' '' "$@"
}

label_of()
{
	on_host cat "/proc/$1/attr/apparmor/current"
}

# caller PROFILE COMMAND...: runs a command of the host in that profile.
caller()
{
	on_host aa-exec -p "$@"
}

# denied COMMAND...: runs a command that reads the secret or writes a file
# beside it, which has to be denied.
denied()
{
	run "$@"
	echo "$output"
	[ "$status" = 1 ]
	[[ "$output" == *"/secret"*'Permission denied'* ]]
	[[ "$output" != *hidden* ]]
}

# Neither the file's mode nor the machine denies access to the file.
@test "only the profile forbids what is forbidden here" {
	[ "$(label_of "$(leader jail)")" = 'bar-jail (enforce)' ]
	[ "$(label_of "$(leader jailu)")" = 'bar-jail (enforce)' ]
	[[ "$(label_of "$(leader free)")" != *enforce* ]]
	for name in jail jailu; do
		echo "case: $name"
		run -0 on_host nsenter -a -t "$(leader "$name")" cat /secret
		[ "$output" = hidden ]
	done
	run -0 enter free cat /secret
	[ "$output" = hidden ]
	run -0 enter free -u joe cat /secret
	[ "$output" = hidden ]
	run -0 enter free sh -c 'echo x >/secret-new'
}

@test "a command has the label of PID 1, whichever way it enters" {
	for name in jail jailu; do
		while read -r way; do
			echo "case: $name $way"
			# shellcheck disable=SC2086 # words
			run -0 label_by "$BIN/nspawn-enter" -q "$name" $way
			echo "$name $way: $output"
			[ "$output" = 'bar-jail (enforce)' ]
		done <<<"$WAYS"
	done
	run -0 label_by "$BIN/nspawn-enter" -q --only=network jail
	[ "$output" = 'bar-jail (enforce)' ]
}

@test "a command is confined by the profile, whichever way it enters" {
	for name in jail jailu; do
		echo "case: $name"
		while read -r way; do
			echo "case: $name $way"
			# shellcheck disable=SC2086 # words
			denied enter -q "$name" $way sh -c \
			    'cat /secret; exec sh -c "echo >/secret-new"'
			[ "${#lines[@]}" = 2 ]
		done <<<"$WAYS"
		run ! on_host test -e "/var/lib/machines/$name/secret-new"
	done
}

@test "a privileged command has the caller's label" {
	run -0 enter -q --privileged jail cat /secret
	[ "$output" = hidden ]
	run -0 label_by "$BIN/nspawn-enter" -q --privileged jail
	[ "$output" = "$(label_by "$BIN/nspawn-enter" -q free)" ]
}

@test "a command in the profile can use the caller's descriptors" {
	on_host sh -c 'echo given >/run/given'
	run -0 on_host sh -c '"$@" </run/given >/run/taken 2>&1' sh \
	    "$BIN/nspawn-enter" jail sh -c 'cat && cat /proc/self/attr/current'
	run -0 on_host cat /run/taken
	[ "$output" = $'given\nbar-jail (enforce)' ]
}

@test "a signal for nspawn-enter reaches the command in the profile" {
	job_start "$BIN/nspawn-enter" jail sh -c \
	    'trap "echo told; exit 3" USR1; echo up; sleep 600 & wait $!'
	until_true grep -q up "$job_log"
	on_host kill -USR1 "$job_inner"
	job_end
	cat "$job_log"
	[ "$job_status" = 3 ]
	grep -q told "$job_log"
}

# Each line has a profile's name and flags, and the label of PID 1 in it.
LABELS='two (words)||two (words) (enforce)
a (b) (enforce)|complain|a (b) (enforce) (complain)
lax|unconfined|lax (unconfined)'

@test "unusual labels are taken over as they are" {
	n=0
	while IFS='|' read -r name flags label; do
		echo "case: $name $flags $label"
		n=$((n + 1))
		profile "$name" "$flags" </dev/null
		jail_own "$name" "label$n"
		run -0 label_of "$(leader "label$n")"
		echo "PID 1: $output"
		[ "$output" = "$label" ]
		run -0 label_by "$BIN/nspawn-enter" "label$n"
		echo "command: $output"
		[ "$output" = "$label" ]
	done <<<"$LABELS"
}

@test "a command has PID 1's label where its unit has another one" {
	profile outer <<-'END'
	/usr/sbin/init cx -> inner,
	profile inner flags=(attach_disconnected) {
		file, capability, network, signal, unix, ptrace,
		deny /secret* rwklx,
	}
	END
	jail_own outer child
	[ "$(label_of "$(supervisor child)")" = 'outer (enforce)' ]
	[ "$(label_of "$(leader child)")" = 'outer//inner (enforce)' ]
	run -0 label_by "$BIN/nspawn-enter" child
	[ "$output" = 'outer//inner (enforce)' ]
}

@test "a command has PID 1's label where that names two profiles" {
	profile second </dev/null
	jail_own 'bar-jail//&second' both
	[ "$(label_of "$(leader both)")" = 'bar-jail//&second (enforce)' ]
	run -0 label_by "$BIN/nspawn-enter" both
	[ "$output" = 'bar-jail//&second (enforce)' ]
}

@test "a command does not get a profile that PID 1 has lost" {
	profile lost </dev/null
	jail_own lost loser
	run -0 label_by "$BIN/nspawn-enter" loser
	[ "$output" = 'lost (enforce)' ]
	echo 'profile lost { }' | on_host apparmor_parser --remove
	run -0 label_of "$(leader loser)"
	[ "$output" = unconfined ]
	run -0 enter loser true
	run -0 stop -t 10 loser
	machine_file_is loser stopped stopped
}

@test "a caller's own profile does not confine the command" {
	profile caller <<<'change_profile,'
	run -0 caller caller "$BIN/nspawn-enter" -q free cat /secret
	[ "$output" = hidden ]
	run -0 label_by aa-exec -p caller "$BIN/nspawn-enter" free
	[ "$output" = unconfined ]
	denied caller caller "$BIN/nspawn-enter" jail cat /secret
	run -0 label_by aa-exec -p caller "$BIN/nspawn-enter" jail
	[ "$output" = 'bar-jail (enforce)' ]
}

@test "an entry is refused if the label cannot be taken over" {
	profile stuck </dev/null
	for name in jail jailu free; do
		echo "case: $name"
		run -125 caller stuck "$BIN/nspawn-enter" -q "$name" \
		    touch /entered
		echo "$output"
		[[ "$output" == "nspawn-enter: $name: "*'security label'* ]]
		run -125 caller stuck "$BIN/nspawn-enter" -q "$name" \
		    --no-pid -u joe touch /entered
		run ! on_host test -e "/var/lib/machines/$name/entered"
	done
	run -0 caller stuck "$BIN/nspawn-enter" -q --privileged free \
	    cat /proc/self/attr/current
	[ "$output" = 'stuck (enforce)' ]
}

# A machine in the profile that only "init 0" stops: it has the name and the
# signals of runit.  Its init writes down its label, and what it can read.
runit_jail()
{
	on_host sh -c 'cat >/tmp/init && chmod +x /tmp/init' <<-'END'
	#!/bin/sh
	cat /proc/self/attr/current >/label
	cat /secret >/read 2>/dev/null
	kill -USR1 1
	END
	jail_own bar-jail "$1" --bind-ro=/usr/bin/dash:/dash/runit \
	    --bind-ro=/usr/lib --bind-ro=/usr/lib64:/lib64 \
	    --bind-ro=/tmp/init:/usr/sbin/init -- /dash/runit -c \
	    'trap : CONT; trap "echo stopped >/stopped; exit 0" USR1; '"$WAITS"
	until_true on_host test -e "/var/lib/machines/$1/ready"
	on_host sh -c 'echo hidden >"$1"' '' "/var/lib/machines/$1/secret"
}

@test "init 0 of nspawn-stop has the label of PID 1 and is confined by it" {
	runit_jail runit
	run -0 stop --verbose -t 10 runit
	[[ "$output" == *'ran init 0'* ]]
	machine_file_is runit stopped stopped
	machine_file_is runit label 'bar-jail (enforce)'
	machine_file_is runit read ''
}

@test "init 0 is not run in a machine whose label cannot be taken over" {
	profile stuck </dev/null
	runit_jail kept
	run -1 caller stuck "$BIN/nspawn-stop" -t 10 kept
	echo "$output"
	[[ "$output" == *'kept: cannot run init 0 in it: '*'security label'* ]]
	run ! on_host test -e /var/lib/machines/kept/label
	lives "$(leader kept)"
}

@test "a machine in a profile is stopped by a signal" {
	jail_own bar-jail told
	run -0 stop -t 10 told
	machine_file_is told stopped stopped
}

# ExecStop= is in the unit's profile, as the machine is.
@test "nspawn-stop stops the machine of the unit and profile that it is in" {
	unit_setting execstop "ExecStop=$BIN/nspawn-stop -v -t 10 execstop"
	jail_own bar-jail execstop
	run -0 on_host systemctl stop own-execstop-unit.service
	machine_file_is execstop stopped stopped
	unit_setting execstop2 "ExecStop=$BIN/nspawn-stop -v -t 10 execstop2"
	runit_jail execstop2
	run -0 on_host systemctl stop own-execstop2-unit.service
	on_host cat /run/nspawn-tools/execstop2/log
	machine_file_is execstop2 stopped stopped
	machine_file_is execstop2 label 'bar-jail (enforce)'
}

# AppArmor checks both sides: a profile may forbid that its process gets a
# signal.
@test "a signal that a profile keeps from PID 1 is reported as not sent" {
	profile deaf <<<'deny signal receive peer=unconfined,'
	jail_own deaf deaf
	run stop -v -t 5 deaf
	echo "$status $output"
	[ "$status" = 1 ]
	[[ "$output" == *'deaf: '*'Permission denied'* ]]
	run ! on_host test -e /var/lib/machines/deaf/stopped
	profile deaf </dev/null
	run -0 stop -t 10 deaf
	machine_file_is deaf stopped stopped
}
