#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
# bats file_tags=static
#
# Every busybox that Debian has, as PID 1 of a machine: by each name that a
# distribution gives it, copied and linked.  At USR2 it powers off, and does
# what its inittab says; at TERM it would reboot.  And other programs that look
# like it.

load ../common
load ../machines

KINDS='busybox-bookworm busybox-static-bookworm busybox-trixie
    busybox-static-trixie busybox-forky busybox-static-forky'
NAMES='init linuxrc busybox busybox.static busybox.nosuid busybox-x'

# Makes the tree from which all machines of one kind, $1, are made, out of the
# folder $2.
BASE='tree=/var/lib/machines/.base-$1
    cp -a "$2" "$tree"
    cd "$tree"
    mkdir -p dev etc proc root run sys tmp usr/sbin
    ln -s busybox usr/bin/sh
    echo ID=of-test >etc/os-release
    printf "%s\n" "::sysinit:/start" "::shutdown:/finish" >etc/inittab
    printf "%s\n" "#!/bin/sh" "echo started >>/started" >start
    printf "%s\n" "#!/bin/sh" "echo finished >>/finished" >finish
    chmod 755 start finish'

# Makes the script /tmp/machine.  It runs the script on stdin in the tree of a
# machine called $1, of the kind $2, starts the machine with the other arguments
# as PID 1, and waits until the file $3 is there.
machines_make()
{
	local kind

	for kind in $KINDS; do
		host_script "$kind" "/outer$("$TOP/t/host" build "$kind")" \
		    <<<"$BASE"
	done
	on_host sh -c 'cat >/tmp/machine' <<-'END'
	set -eu
	name=$1 kind=$2 file=$3
	cp -al "/var/lib/machines/.base-$kind" "/var/lib/machines/$name"
	cd "/var/lib/machines/$name"
	. /dev/stdin
	shift 3
	(
		setsid systemd-nspawn --quiet --link-journal=no \
		    --console=pipe --private-network -D "$PWD" -M "$name" \
		    "$@" </dev/null || true
		echo $? >>"/tmp/$name.ended"
	) >"/tmp/$name.log" 2>&1 &
	for n in $(seq 500); do
		[ ! -e "$file" ] || exit 0
		sleep 0.02
	done
	echo "$name: does not start: $(cat "/tmp/$name.log")"
	exit 1
	END
}

# machine_of NAME KIND FILE WORD...: starts one by that script.
machine_of()
{
	on_host sh /tmp/machine "$@"
}

# The rows of the big table, one a line.
rows()
{
	local kind name form

	for kind in $KINDS; do for name in $NAMES; do
		for form in copy link dash; do
			echo "$kind.$name.$form"
		done
	done; done
}

# row ROW, in the host: starts the machine of that row.
ROW='row=$1 kind=${1%%.*} form=${1##*.}
    name=${row#*.} name=${name%.*}
    case $name in
    busybox*) set -- init ;;
    *) set -- ;;
    esac
    how=cp
    [ "$form" != link ] || how=ln
    if [ "$form" = dash ]; then
	set -- /bin/sh -c "exec -a -$name /sbin/$name $*"
    else
	set -- "/sbin/$name" "$@"
    fi
    echo "$how usr/bin/busybox usr/sbin/$name" |
	sh /tmp/machine "$row" "$kind" started "$@"'

setup_file()
{
	host_start
	machines_make
	on_host sh -c 'cat >/tmp/row' <<<"$ROW"
	rows | on_host xargs -P 4 -n 1 sh /tmp/row
}

# Prints what has happened in the machines of those rows, one a line: how often
# each has started, how often its inittab's shutdown action has run, and the
# status of its systemd-nspawn, if that has ended within two seconds.
rows_witness()
{
	on_host sh -s "$@" <<-'END'
	end=$(($(date +%s) + 2))
	for row; do
		cd "/var/lib/machines/$row"
		until [ -e "/tmp/$row.ended" ] ||
		    [ "$(date +%s)" -gt "$end" ]; do
			sleep 0.02
		done
		echo "$row: $(grep -c . started) $(grep -c . finished)" \
		    "$(cat "/tmp/$row.ended")"
	done 2>/dev/null
	END
}

# Compares two texts line by line; prints each line that differs.
compare()
{
	local has should status=0

	while IFS='|' read -r has should; do
		if [ "$has" != "$should" ]; then
			echo "is: $has; should be: $should"
			status=1
		fi
	done < <(paste -d '|' <(echo "$1") <(echo "$2"))
	return "$status"
}

# Prints what was said of each of those machines, one a line, without numbers.
said_of()
{
	local name

	for name; do
		echo "$name: $(sed -n "s/^nspawn-stop: $name: //p" \
		    <<<"$output" | sed 's/[( ]*[0-9]\{2,\})*$//' |
		    paste -s -d ,)"
	done
}

# Stops the machines of one kind.  It checks all rows before it fails.
kind_stop()
{
	local names failed=0

	mapfile -t names < <(rows | grep "^$1[.]")
	[ "${#names[@]}" = 18 ]
	run stop --verbose --timeout 20 "${names[@]}"
	[ "$status" = 0 ] || {
		echo "$1: the status is $status and should be 0"
		failed=1
	}
	compare "$(said_of "${names[@]}")" "$(printf '%s: PID 1 is busybox'\
' init,sent SIGUSR2 to its leader,has stopped\n' "${names[@]}")" || failed=1
	compare "$(rows_witness "${names[@]}")" \
	    "$(printf '%s: 1 1 0\n' "${names[@]}")" || failed=1
	return "$failed"
}

@test "each busybox of Debian powers off, whatever its init is called" {
	failed=0
	for kind in $KINDS; do
		echo "case: $kind"
		kind_stop "$kind" || failed=1
	done
	[ "$failed" = 0 ]
}

# Programs that are PID 1: the name of the row, the signal that it gets, its
# argv[0] and the next argument, and where its file has the text, if it has it.
# nspawn-stop searches 4 MiB.
LOOKS='init|12|init||100000 BusyBox v1
dash|12|-init||100000 BusyBox v1
path|12|/x.y/init||100000 BusyBox v1
linuxrc|12|linuxrc||100000 BusyBox v1
dash-linuxrc|12|-linuxrc||100000 BusyBox v1
argument|12|busybox|init|100000 BusyBox v1
dash-argument|12|-busybox|init|100000 BusyBox v1
static|12|/bin/busybox.static|init|100000 BusyBox v1
suffix|12|busybox-x|linuxrc|100000 BusyBox v1
spans|12|init||65533 BusyBox v1
spans-more|12|init||1048570 BusyBox v1
last|12|init||4194295 BusyBox v
sh|15|sh|init|100000 BusyBox v1
argument-sh|15|busybox|sh|100000 BusyBox v1
no-argument|15|busybox||100000 BusyBox v1
longer|15|init-x||100000 BusyBox v1
longer-argument|15|busybox|initx|100000 BusyBox v1
beyond|15|init||4259840 BusyBox v
far-beyond|15|init||6000000 BusyBox v1
no-version|15|init||100000 BusyBox 1
lower-case|15|init||100000 busybox v1
nothing|15|init||100000 nothing'

# Starts four of them at a time.
looks_start()
{
	on_host sh -c 'cat >/tmp/look' <<-'END'
	row=$1 first=$3 argument=$4 text=$5
	sh /tmp/machine "look-$row" busybox-static-forky ready /bin/sh -c \
	    "exec -a $first /sbin/recorder $argument" <<-SCRIPT
	cp /src/build/static/recorder usr/sbin/recorder
	[ \$(stat -c %s usr/sbin/recorder) -lt 65533 ]
	truncate -s 7000000 usr/sbin/recorder
	printf '%s' '${text#* }' | dd bs=1 conv=notrunc status=none \
	    seek=${text%% *} of=usr/sbin/recorder
	SCRIPT
	END
	tr '|\n' '\0\0' <<<"$LOOKS" |
	    on_host xargs -0 -P 4 -n 5 sh /tmp/look
}

@test "busybox is known by a text in its program and by its name" {
	looks_start
	mapfile -t names < <(cut -d '|' -f 1 <<<"$LOOKS" | sed s/^/look-/)
	run -0 stop --timeout 20 "${names[@]}"
	compare "$(on_host sh -s "${names[@]}" <<-'END'
	for row; do
		echo "$row" $(cut -d ' ' -f 1 "/var/lib/machines/$row/signals")
	done
	END
	)" "$(sed -E 's/^([^|]*)\|([^|]*).*/look-\1 \2/' <<<"$LOOKS")"
}

# A script that ends cleanly at TERM and writes down all other signals.
SCRIPT='trap "echo USR2 >/got" USR2
    trap "echo TERM >/got; exit 0" TERM
    echo >/ready; while :; do sleep 600 & wait $!; done'

@test "a script that is called init is not taken for an init, in any shell" {
	for first in /bin/sh '/bin/busybox sh' '/bin/busybox ash'; do
		echo "case: $first"
		name=script${first//[ \/]/-}
		machine_of "$name" busybox-bookworm ready /sbin/init <<-END
		printf '%s\n' '#!$first' '$SCRIPT' >usr/sbin/init
		chmod 755 usr/sbin/init
		END
		run -0 stop --verbose --timeout 10 "$name"
		[[ "$output" == *"$name: sent SIGTERM to "* ]]
		machine_file_is "$name" got TERM
	done
}

@test "another applet of busybox is not taken for its init" {
	machine_of sh busybox-trixie ready /bin/busybox sh /script <<-END
	echo '$SCRIPT' >script
	END
	run -0 stop --verbose --timeout 10 sh
	[[ "$output" == *'sh: sent SIGTERM to '* ]]
	machine_file_is sh got TERM
	for applet in 'httpd -f -p 8080' 'sleep 600' 'tail -f /start'; do
		echo "case: $applet"
		name=applet-${applet%% *}
		# shellcheck disable=SC2086 # to be split into words
		machine_of "$name" busybox-static-trixie start \
		    /bin/busybox $applet </dev/null
		until_true busybox_runs "$name"
		run -124 stop --verbose --timeout 0.5 "$name"
		[[ "$output" == *"$name: PID 1 is busybox ("* ]]
		[[ "$output" == *'SIGTERM '*'was never sent'* ]]
		[[ "$output" != *USR2* ]]
	done
}

# True if PID 1 of a machine is found to be what it calls busybox, and nothing
# more.
busybox_runs()
{
	run stop --dry-run "$1"
	[[ "$output" == "$1: PID 1 is busybox ("* ]]
}

@test "a program that cannot be read does not hold up a stop" {
	machine scope next
	machine scope fuse --bind-ro=/src/build/static/hostile:/hostile \
	    --bind=/dev/fuse '--property=DeviceAllow=/dev/fuse rwm' -- \
	    /hostile fuse self
	until_true on_host test -e /var/lib/machines/fuse/ready
	pid=$(leader fuse)
	[ "$(on_host readlink "/proc/$pid/exe")" = /fuse/init ]
	# A process that reads it hangs.
	job_start sh -c 'exec head -c 1 "$1"' sh "/proc/$pid/exe"
	until_true on_host grep -q request_wait "/proc/$job_inner/wchan"
	began=$SECONDS status=0
	on_host sh -c 'exec timeout -k 1 30 "$@" </dev/null >/tmp/said 2>&1' \
	    sh "$BIN/nspawn-stop" --verbose --timeout 3 fuse next || status=$?
	on_host cat /tmp/said
	[ "$((SECONDS - began))" -le 6 ]
	# Its handler for TERM ends it, if TERM was sent.
	[ "$status" = 0 ] || [ "$status" = 1 ] || [ "$status" = 124 ]
	[ "$status" != 0 ] || run ! lives "$pid"
	on_host grep -qx 'nspawn-stop: next: has stopped' /tmp/said
	machine_file_is next stopped stopped
	machines_end
	job_end
	until_true not on_host pgrep -f '^[^ ]*nspawn-(stop|monitor)'
}
