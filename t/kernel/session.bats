#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
# bats file_tags=kernel,unified
#
# A machine that an ordinary user has started, by systemd-nspawn without root:
# systemd-nsresourced gives it a user namespace, and systemd-mountfsd its files.
# Root's programs find it, and touch it only with --foreign; its own user sees
# it in the list, and is told that only root may enter and stop it.

load ../common
load ../machines
load bound

setup_file()
{
	if [[ ! -e /usr/local/sbin/vm-run ]] ||
	    ! grep -qsw bpf /sys/kernel/security/lsm; then
		cannot "needs a kernel with BPF as a security module: t/vm\
 trixie -- bats t/kernel/${BATS_TEST_FILENAME##*/}"
	fi
	host_start
	users_make
	trees_make
	services_start
	for tree in $TREES; do
		user_machine "$tree" "$tree"
	done
	user_machine web "$tree"
	host machine "$HOST" scope web
	host machine "$HOST" scope ours
}

# Where the tests are skipped there is no host.
teardown_file()
{
	[ -z "${HOST-}" ] || users_end
}

users_end()
{
	for name in $TREES web; do
		user_machine_end "$name"
	done
	host_script "$ANN" <<-'END'
	loginctl disable-linger ann
	systemctl stop "user@$1.service"
	userdel --remove ann
	userdel --remove eve
	rm -r /run/machines /run/systemd/system/systemd-mountfsd.service.d
	systemctl daemon-reload
	END
	host_stop
}

# Ann has a systemd of her own; eve is somebody else.
users_make()
{
	host_script <<-'END'
	useradd --create-home ann
	useradd --create-home eve
	loginctl enable-linger ann
	END
	ANN=$(on_host id -u ann)
	export ANN
	until_true on_host systemctl is-active --quiet "user@$ANN.service"
}

# Whether a user can start a machine of a folder; before 258 of an image alone.
folders_can()
{
	[ "$(on_host systemctl --version |
	    sed -n '1s/[^0-9]*\([0-9]*\).*/\1/p')" -ge 258 ]
}

# Sets TREES, the user's: an image in a folder that is root's to put images in;
# a folder of ann's own; and one of the foreign users, which are there for that,
# see systemd-dissect(1).
trees_make()
{
	TREES=image
	! folders_can || TREES='image own foreign'
	export TREES
	host_script <<-'END'
	tree=/home/ann/own
	cp -a /usr/lib/nspawn-tools/skeleton "$tree"
	chmod 1777 "$tree/tmp"
	mkdir -p "$tree/etc" "$tree/home/joe"
	echo ID=tree >"$tree/etc/os-release"
	printf '%s\n' root:x:0:0:root:/root:/bin/sh \
	    joe:x:1000:1000:Joe:/home/joe:/bin/sh >"$tree/etc/passwd"
	printf '%s\n' root:x:0: joe:x:1000: >"$tree/etc/group"
	mkdir -p /run/machines
	image=/run/machines/image.raw
	mke2fs -q -t ext4 -d "$tree" /tmp/root 30M
	truncate -s 32M "$image"
	# The type is that of a root file system of this architecture.
	printf 'label: gpt\nstart=2048, size=61440, type=%s\n' \
	    4f68bce3-e8cd-4db1-96e7-fbcaf984b709 | sfdisk --quiet "$image"
	dd if=/tmp/root of="$image" bs=1M seek=1 conv=notrunc status=none
	rm /tmp/root
	cp "$image" /run/machines/web.raw
	cp -a "$tree" /home/ann/foreign
	chown -hR 2147352576:2147352576 /home/ann/foreign
	chown -hR ann:ann "$tree" /run/machines/*.raw
	END
}

# Debian enables neither.  That images in some folders are to be trusted is for
# the administrator to say.
services_start()
{
	host_script <<-'END'
	folder=/run/systemd/system/systemd-mountfsd.service.d
	mkdir -p "$folder"
	printf '[Service]\nEnvironment=%s=1\n' \
	    SYSTEMD_MOUNTFSD_TRUSTED_DIRECTORIES >"$folder/trusted.conf"
	systemctl daemon-reload
	systemctl start systemd-nsresourced.service systemd-mountfsd.service
	END
	! folders_can || workers_warm
}

# Each of the five workers of nsresourced loads its BPF programs when it is
# first asked, which takes a translated processor half a minute; systemd-nspawn
# waits for 45 seconds, and asks several of them.
workers_warm()
{
	local call=io.systemd.NamespaceResource number jobs=()

	for number in 1 2 3 4 5; do
		as ann unshare --user varlinkctl --quiet --timeout=infinity \
		    --push-fd=/proc/self/ns/user call \
		    "/run/systemd/userdb/$call" "$call.AllocateUserRange" \
		    '{"name":"warm'"$number"'","size":65536,
		    "userNamespaceFileDescriptor":0}' 3>&- &
		jobs+=("$!")
	done
	wait "${jobs[@]}"
}

# as USER COMMAND...: runs a command of the host as a user who is logged in.
as()
{
	local user=$1
	shift

	on_host env -C / HOME="/home/$user" XDG_RUNTIME_DIR="/run/user/$ANN" \
	    setpriv --reuid "$user" --regid "$user" --init-groups "$@"
}

# user_machine NAME TREE: a machine of ann's, in a unit of her own systemd, that
# says in her folder when it is up and when it is stopped.
user_machine()
{
	local name=$1 tree=(--directory="/home/ann/$2") log=/home/ann/$1.log

	[ "$2" != image ] || tree=(--image="/run/machines/$1.raw")
	as ann systemd-run --quiet --user --unit="$name" \
	    --setenv=SYSTEMD_NSPAWN_LOCK=0 -p Delegate=yes -p KillMode=mixed \
	    -p DelegateSubgroup=supervisor -p "StandardOutput=append:$log" \
	    -p "StandardError=append:$log" systemd-nspawn --keep-unit \
	    --register=no --private-network --console=pipe \
	    --machine="$name" "${tree[@]}" /bin/sh -c 'trap "echo stopped
	    exit 0" TERM; echo up; while :; do sleep 600 & wait $!; done'
	until_true user_machine_says "$name" up || {
		on_host cat "$log"
		return 1
	}
}

# Whether it has said that.
user_machine_says()
{
	on_host grep -qsx "$2" "/home/ann/$1.log"
}

user_machine_end()
{
	as ann systemctl --user stop "$1" 2>/dev/null || :
	as ann systemctl --user reset-failed "$1" 2>/dev/null || :
	on_host rm -f "/home/ann/$1.log"
}

# The process of systemd-nspawn, and PID 1.
user_supervisor()
{
	as ann systemctl --user show -p MainPID --value "$1"
}

user_leader()
{
	on_host sh -euc 'for pid in $(pgrep -P "$1"); do
	    ! grep -q "^NSpid:.*	1$" "/proc/$pid/status" || echo "$pid"
	done' '' "$(user_supervisor "$1")"
}

uid_of()
{
	on_host sed -n 's/^Uid:.\([0-9]*\).*/\1/p' "/proc/$1/status"
}

@test "the machine is ann's, and its users are nobody else's" {
	for tree in $TREES; do
		[ "$(uid_of "$(user_supervisor "$tree")")" = "$ANN" ]
		run -0 on_host cat "/proc/$(user_leader "$tree")/uid_map"
		echo "$output"
		read -r inside outside count <<<"$output"
		[ "$inside $count" = '0 65536' ]
		[ "$outside" -gt 65536 ]
	done
}

# What she herself may do is the kernel's to say: this is without the programs.
@test "the kernel lets ann into her machine, and not eve" {
	for tree in $TREES; do
		pid=$(user_leader "$tree")
		run -0 as ann nsenter -t "$pid" -U -m -p -i -u -n -C \
		    cat /etc/os-release
		[ "$output" = ID=tree ]
		run ! as eve nsenter -t "$pid" -U -m -p -i -u -n -C true
	done
}

# user_row NAME, row NAME: the line in the list of a user's machine, of root's.
user_row()
{
	printf '%s\t%s\t%s\t-\t%s\n' "$1" "$(user_leader "$1")" \
	    "$(user_supervisor "$1")" "$ANN"
}

row()
{
	printf '%s\t%s\t%s\t%s\t0\n' "$1" "$(leader "$1")" \
	    "$(supervisor "$1")" "\(machine-\)\?$1.scope"
}

@test "the list has it with its user, whoever asks" {
	for user in root ann eve; do
		run -0 as "$user" "$BIN/nspawn-enter" --list
		echo "$output"
		for name in $TREES web; do
			grep -qx "$(user_row "$name")" <<<"$output"
		done
		for name in ours web; do
			grep -qx "$(row "$name")" <<<"$output"
		done
		[ "${#lines[@]}" = "$(wc -w <<<"$TREES web web ours")" ]
	done
}

@test "root enters and stops none of a user's unless asked to" {
	for tree in $TREES; do
		pid=$(user_leader "$tree")
		run -125 enter "$tree" touch /tmp/entered
		echo "$output"
		[[ "$output" == "nspawn-enter: $tree: "*"$ANN"*--foreign* ]]
		run -1 stop --timeout 5 "$tree"
		echo "$output"
		[[ "$output" == "nspawn-stop: $tree: "*"$ANN"*--foreign* ]]
		run -1 stop --timeout 5 --signal HUP "$tree"
		lives "$pid"
		run -1 enter -q --foreign "$tree" test -e /tmp/entered
		run ! user_machine_says "$tree" stopped
	done
}

# Another user may not touch root's either.
@test "ann and eve are told that only root may enter and stop machines" {
	for user in ann eve; do
		for name in $TREES ours; do
			for option in --quiet --foreign; do
				run -125 as "$user" "$BIN/nspawn-enter" \
				    "$option" "$name" touch /tmp/entered
				echo "$output"
				[[ "$output" == 'nspawn-enter: '*root* ]]
				[ "${#lines[@]}" = 1 ]
				run -125 as "$user" "$BIN/nspawn-stop" \
				    "$option" --timeout 5 "$name"
				echo "$output"
				[[ "$output" == 'nspawn-stop: '*root* ]]
				[ "${#lines[@]}" = 1 ]
			done
			run -1 enter -q --foreign "$name" test -e /tmp/entered
		done
	done
	for tree in $TREES; do
		run ! user_machine_says "$tree" stopped
	done
}

@test "root is warned, and enters it in all usual ways, as root of it" {
	for tree in $TREES; do
		run -0 enter --foreign "$tree" cat /etc/os-release
		echo "$output"
		[[ "${lines[0]}" == "nspawn-enter: $tree: warning: "*"$ANN"* ]]
		[ "${lines[1]}" = ID=tree ]
		[ "${#lines[@]}" = 2 ]
		for way in '' --no-seccomp --privileged --no-pid --only=mount
		do
			# shellcheck disable=SC2086 # none or one
			run -0 enter -q --foreign $way "$tree" sh -c \
			    'id -u; cat /etc/os-release /proc/self/uid_map
			    exit 0'
			echo "$way: $output"
			[ "${lines[0]} ${lines[1]}" = '0 ID=tree' ]
		done
		run -7 enter -q --foreign "$tree" sh -c 'exit 7'
		run -0 enter -q --foreign -t "$tree" tty
		[[ "$output" == /dev/pts/* ]]
	done
}

@test "a command of root's is confined in the machine's user namespace" {
	for tree in $TREES; do
		pid=$(user_leader "$tree")
		bound_like "$pid" "$BIN/nspawn-enter" -q --foreign "$tree"
		run -0 enter -q --foreign "$tree" cat /proc/self/uid_map
		[ "$output" = "$(on_host cat "/proc/$pid/uid_map")" ]
		run -0 enter -q --foreign -u joe "$tree" id -u
		[ "$output" = 1000 ]
		job_start "$BIN/nspawn-enter" -q --foreign -u joe "$tree" \
		    /bin/sleep 4713
		until_true runs_in_host "$SLEEP"
		run -0 uid_of "$(on_host pgrep -x -f "$SLEEP")"
		on_host kill "$job_inner"
		job_end
		[ "$output" = $(($(uid_of "$pid") + 1000)) ]
	done
}

@test "what root's command writes is root's of the machine" {
	for tree in $TREES; do
		run -0 enter -q --foreign "$tree" sh -c \
		    'echo x >/tmp/new && stat -c %u /tmp/new && rm /tmp/new'
		echo "$output"
		[ "$output" = 0 ]
	done
}

# Anybody can give a machine any name.
@test "root's machine comes before a user's of the same name" {
	for option in --quiet --foreign; do
		run -0 enter "$option" web cat /etc/os-release
		[[ "$output" == ID=nspawn-tools$'\n'* ]]
	done
	run -0 stop --foreign web
	machine_file_is web stopped stopped
	run ! user_machine_says web stopped
	run -125 enter web true
	run -1 stop web
	run -0 enter -q --foreign web cat /etc/os-release
	[ "$output" = ID=tree ]
	run -0 stop --foreign web
	user_machine_says web stopped
}

user_unit_is()
{
	[ "$(as ann systemctl --user show -p ActiveState --value "$1")" = "$2" ]
}

@test "root stops it cleanly, and its user's systemd sees that" {
	for tree in $TREES; do
		pid=$(user_leader "$tree")
		run -0 stop --foreign --timeout 60 "$tree"
		echo "$output"
		user_machine_says "$tree" stopped
		run ! lives "$pid"
		until_true user_unit_is "$tree" inactive
		run -1 stop --foreign --strict "$tree"
	done
}
