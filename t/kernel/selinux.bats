#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
# bats file_tags=kernel
#
# What SELinux forbids to a machine's PID 1 (systemd-nspawn -Z) it forbids to a
# command, too.

load labels

# Prints the least policy that a kernel takes.  At first everything is in
# kernel_t, which may do everything.  jail_t has no access to files of secret_t;
# stuck_t may not ask for another label; barred_t may ask, but does not get one.
policy()
{
	local files='(read write append open create execute entrypoint)'
	local sid sids='kernel security unlabeled fs file file_labels init
	    any_socket port netif netmsg node igmp_packet icmp_socket
	    tcp_socket sysctl_modprobe sysctl sysctl_fs sysctl_kernel
	    sysctl_net sysctl_net_unix sysctl_vm sysctl_dev kmod policy
	    scmp_packet devnull'

	cat <<-END
	(handleunknown allow)
	(mls true)
	(policycap nnp_nosuid_transition)
	(class process (transition dyntransition setexec))
	(class process2 (nnp_transition nosuid_transition))
	(class file $files)
	(classorder (process process2 file))
	(sensitivity s0)
	(sensitivityorder (s0))
	(category c0)
	(category c1)
	(categoryorder (c0 c1))
	(sensitivitycategory s0 (c0 c1))
	(level low (s0))
	(level high (s0 (c0 c1)))
	(levelrange lowest (low low))
	(levelrange every (low high))
	(user u)
	(role r)
	(userrole u r)
	(userlevel u low)
	(userrange u every)
	(typeattribute any)
	(roletype r any)
	(type kernel_t)
	(type jail_t)
	(type stuck_t)
	(type barred_t)
	(type file_t)
	(type secret_t)
	(typeattributeset any
	    (kernel_t jail_t stuck_t barred_t file_t secret_t))
	(allow any any (process2 (nnp_transition nosuid_transition)))
	(allow kernel_t any (process (transition dyntransition setexec)))
	(allow barred_t any (process (setexec)))
	(allow kernel_t any (file $files))
	(allow stuck_t any (file $files))
	(allow barred_t any (file $files))
	(allow jail_t kernel_t (file $files))
	(allow jail_t jail_t (file $files))
	(allow jail_t file_t (file $files))
	(fsuse xattr ext4 (u r file_t lowest))
	(sidorder ($sids))
	(sidcontext kernel (u r kernel_t lowest))
	END
	for sid in $sids; do
		echo "(sid $sid)"
		[ "$sid" = kernel ] ||
		    echo "(sidcontext $sid (u r file_t lowest))"
	done
}

# The kernel takes a policy only in one write; libselinux looks for the file.
policy_load()
{
	policy >/tmp/policy.cil
	secilc -c 33 -o /tmp/policy -f /dev/null /tmp/policy.cil
	mkdir -p /etc/selinux
	printf 'SELINUX=permissive\nSELINUXTYPE=of-test\n' \
	    >/etc/selinux/config
	dd if=/tmp/policy of=/sys/fs/selinux/load bs=1M status=none
	echo 1 >/sys/fs/selinux/enforce
}

JAIL=u:r:jail_t:s0:c0,c1

# Four machines that all tests share: three have a label, jailu also a user
# namespace and jailn also no_new_privs; free has no label.
setup_file()
{
	module_needed SELinux /sys/fs/selinux \
	    'trixie --append="security=selinux selinux=1"'
	policy_load
	host_start
	jail jail -Z "$JAIL"
	jail jailu -Z "$JAIL" -U
	jail jailn -Z "$JAIL" --no-new-privileges=yes
	jail free
}

jail()
{
	host machine "$HOST" scope "$@"
	on_host sh -euc 'umask 022; cd "/var/lib/machines/$1"
	    echo hidden >secret
	    chcon u:r:secret_t:s0 secret' '' "$1"
}

label_of()
{
	on_host sh -c 'tr -d "\0" <"/proc/$1/attr/current"' '' "$1"
}

# caller TYPE COMMAND...: runs a command of the host with that type.
caller()
{
	on_host runcon "u:r:$1:s0" "${@:2}"
}

# Neither the file's mode nor the machine denies access to the file.
@test "only the policy forbids what is forbidden here" {
	[ "$(label_of "$(leader free)")" = u:r:kernel_t:s0 ]
	for name in jail jailu jailn; do
		echo "case: $name"
		[ "$(label_of "$(leader "$name")")" = "$JAIL" ]
		run -0 on_host nsenter -a -t "$(leader "$name")" cat /secret
		[ "$output" = hidden ]
	done
	run -0 enter free -u joe cat /secret
	[ "$output" = hidden ]
}

@test "a command has the label of PID 1, whichever way it enters" {
	while read -r way; do
		echo "case: $way"
		# shellcheck disable=SC2086 # words
		run -0 label_by "$BIN/nspawn-enter" -q jail $way
		echo "$way: $output"
		[ "$output" = "$JAIL" ]
	done <<<"$WAYS"
	for name in jailu jailn; do
		echo "case: $name"
		run -0 label_by "$BIN/nspawn-enter" "$name"
		[ "$output" = "$JAIL" ]
	done
	run -0 label_by "$BIN/nspawn-enter" free
	[ "$output" = u:r:kernel_t:s0 ]
}

@test "a command is confined by the policy, whichever way it enters" {
	for name in jail jailu jailn; do
		while read -r way; do
			echo "case: $name $way"
			# shellcheck disable=SC2086 # words
			run -1 enter -q "$name" $way cat /secret
			echo "$name $way: $output"
			[[ "$output" == *'Permission denied'* ]]
			[[ "$output" != *hidden* ]]
		done <<<"$WAYS"
	done
}

@test "a privileged command has the caller's label" {
	run -0 enter -q --privileged jail cat /secret
	[ "$output" = hidden ]
	run -0 label_by "$BIN/nspawn-enter" -q --privileged jail
	[ "$output" = u:r:kernel_t:s0 ]
}

@test "an entry is refused if the label cannot be taken over" {
	run -125 caller stuck_t "$BIN/nspawn-enter" jail touch /entered
	echo "$output"
	[[ "$output" == 'nspawn-enter: jail: '*'security label: Permission'* ]]
	# The kernel refuses this only when the command is executed.
	run -126 caller barred_t "$BIN/nspawn-enter" jail touch /entered
	echo "$output"
	[ "$output" = \
	    'nspawn-enter: jail: cannot execute touch: Permission denied' ]
	run ! on_host test -e /var/lib/machines/jail/entered
	run -0 caller stuck_t "$BIN/nspawn-enter" -q --privileged jail \
	    cat /secret
	[ "$output" = hidden ]
}

# A machine that only "init 0" stops: it has the name and the signals of runit.
# Its init writes down its label.
runit_jail()
{
	on_host sh -c 'cat >/tmp/init && chmod +x /tmp/init' <<-'END'
	#!/bin/sh
	cat /proc/self/attr/current >/label
	kill -USR1 1
	END
	machine scope "$1" -Z "$JAIL" --bind-ro=/usr/bin/dash:/dash/runit \
	    --bind-ro=/usr/lib --bind-ro=/usr/lib64:/lib64 \
	    --bind-ro=/tmp/init:/usr/sbin/init -- /dash/runit -c \
	    'trap : CONT; trap "echo stopped >/stopped; exit 0" USR1; '"$WAITS"
	until_true on_host test -e "/var/lib/machines/$1/ready"
}

@test "init 0 of nspawn-stop has the label of PID 1, or is not run" {
	runit_jail runit
	for type in stuck_t barred_t; do
		echo "case: $type"
		run -1 caller "$type" "$BIN/nspawn-stop" -t 10 runit
		echo "$output"
		[[ "$output" == *'runit: cannot run init 0 in it: '* ]]
		run ! on_host test -e /var/lib/machines/runit/label
		lives "$(leader runit)"
	done
	run -0 stop --verbose -t 10 runit
	[[ "$output" == *'ran init 0'* ]]
	machine_file_is runit stopped stopped
	run -0 on_host sh -c 'tr -d "\0" </var/lib/machines/runit/label'
	[ "$output" = "$JAIL" ]
}

@test "a machine with a label is stopped by a signal" {
	machine scope told -Z "$JAIL"
	run -0 stop -t 10 told
	machine_file_is told stopped stopped
}
