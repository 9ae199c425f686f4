#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
# bats file_tags=releases
#
# A machine that nspawn-stop has stopped can be started again at once under its
# name.

load ../common
load ../machines

# restarts OPTION...: starts a machine and stops it, twenty times, with nothing
# in between.  A start has failed if systemd-nspawn ends before PID 1 has
# reported that it runs.
restarts()
{
	HOST_SECONDS=600 run -0 host_script "$BIN" "$@" <<-'END'
	bin=$1
	shift
	for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
		mkfifo /tmp/up
		systemd-nspawn --quiet --link-journal=no --console=pipe \
		    -M again "$@" /bin/sh -c 'trap "exit 0" TERM; echo up
		    while :; do sleep 600 & wait $!; done' \
		    </dev/null >/tmp/up 2>/tmp/errors &
		read -r word </tmp/up || { cat /tmp/errors; echo "$n"; exit 1; }
		rm /tmp/up
		"$bin/nspawn-stop" --strict again
	done
	END
	[ "$output" = '' ]
}

setup_file()
{
	host_start
	host_script <<-'END'
	tree=/var/lib/machines/again
	cp -a /usr/lib/nspawn-tools/skeleton "$tree"
	mkdir -p "$tree/etc"
	echo ID=again >"$tree/etc/os-release"
	END
	tree=$("$TOP/t/host" build bookworm)/usr/lib/nspawn-tools/skeleton
	truncate -s 16M "$BATS_FILE_TMPDIR/image.raw"
	mkfs.ext4 -q -d "$tree" "$BATS_FILE_TMPDIR/image.raw"
	# If our /tmp is a tmpfs, the host does not see it.
	on_host sh -c 'cat >/var/lib/machines/image.raw' \
	    <"$BATS_FILE_TMPDIR/image.raw"
	udev_stand_in
}

@test "a machine that was started by hand can be started again at once" {
	restarts --directory=/var/lib/machines/again
}

@test "a machine that is not registered can be started again at once" {
	restarts --directory=/var/lib/machines/again --register=no
}

@test "a machine with a user namespace can be started again at once" {
	restarts --directory=/var/lib/machines/again --private-users=pick \
	    --private-users-ownership=map
}

@test "a machine with its own network can be started again at once" {
	restarts --directory=/var/lib/machines/again --network-veth
}

@test "an ephemeral machine can be started again at once" {
	restarts --directory=/var/lib/machines/again --ephemeral
}

@test "a machine of a raw image can be started again at once" {
	restarts --image=/var/lib/machines/image.raw
}
