# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
# shellcheck shell=bash
#
# Runs in a host.  It starts machines, each a row of a table on stdin, whose
# settings files and options tell systemd-nspawn how to stop them.  Columns are
# separated by '|'.  A line that begins with a blank continues the row before.
#
# settings.bash table BIN: the rows are WHAT|BEFORE|OPTIONS|NSPAWN[|STOP].
#   BEFORE   a script that makes the files, see below
#   OPTIONS  of systemd-nspawn, beside those that each machine has
#   NSPAWN   what systemd-nspawn sends to PID 1 when it gets TERM: a signal; '-'
#            for none, since it kills at once; or 'boot' for the RTMIN+3 that
#            --boot implies.  With '?' that is not tested.
#   STOP     what nspawn-stop sends, if that differs; by default the init's own
#            signal where nspawn was told nothing
# Each row is started three times: without a scope, to see what nspawn-stop
# --dry-run would send, and what nspawn sends when it gets TERM; again without a
# scope, for nspawn-stop to stop it; and registered, in a scope, for nspawn-stop
# to stop it.
#
# settings.bash forms BIN: the same without the second time.
#
# settings.bash cases BIN: the rows are KIND|WHAT|BEFORE|OPTIONS|AFTER|STOP.
#   KIND     scope, which is registered, unregistered, which has one too,
#            orphan, which has none, or kept, which is registered without one
#   AFTER    a script that is run between its start and nspawn-stop
#   STOP     'unknown': nspawn-stop says that it cannot tell, and sends nothing
#
# All of them print the rows that are wrong, and in the end how many rows there
# were.

set -uo pipefail

verb=$1
bin=$2
states=/var/lib/machines/.settings
skeleton=$states/skeleton
run=$states/$$
at_once=4

# --- what BEFORE and AFTER may use ------------------------------------------

# They may also use $n, the machine's name; $w, the row's own folder, with its
# tree $w/$n; and $MD, the options that name just this machine and tree.

# put PATH TEXT: writes a file with that text; a single word becomes its only
# KillSignal=.
put()
{
	[ "${1%/*}" = "$1" ] || mkdir -p "${1%/*}"
	rm -f "$1"
	case $2 in
	*\\* | '') printf %b "$2" >"$1" ;;
	*) printf '[Exec]\nKillSignal=%s\n' "$2" >"$1" ;;
	esac
}

# Such a file with that many lines, or with one line that long, before
# KillSignal=QUIT.
lines()
{
	echo '[Exec]'
	yes "# $(printf %097d 0)" | head -n "$1"
	echo KillSignal=QUIT
}

line()
{
	printf '[Exec]\nX-A=%0*d\nKillSignal=QUIT\n' "$1" 0
}

etc()
{
	put "/etc/systemd/nspawn/$n.nspawn" "$1"
}

run()
{
	put "/run/systemd/nspawn/$n.nspawn" "$1"
}

beside()
{
	put "$w/$n.nspawn" "$1"
}

# PID 1 has the name of an init that is stopped by PWR.
as_runit()
{
	payload=(/usr/bin/runit)
	own=PWR
}

# PID 1 is the program that --boot or Boot= looks for.
as_init()
{
	payload=()
}

# The tree as a raw image.
image()
{
	cp /var/lib/machines/image.raw "$1"
}

# nspawn runs in a mount namespace where a folder stands for
# /etc/systemd/nspawn.
view()
{
	wrap=(unshare --mount sh -c 'mount --bind "$0" /etc/systemd/nspawn &&
	    exec "$@"' "$1")
}

# nspawn runs in a root folder of its own, with such a folder in it.
in_root()
{
	mkdir -p "$w/root"
	wrap=(unshare --mount sh -c 'root=$0 && mount --rbind / "$root" &&
	    mount --bind "$1" "$root/etc/systemd/nspawn" && shift &&
	    exec chroot "$root" "$@"' "$w/root" "$1")
}

# The tree as the OCI bundle x.
bundle()
{
	mkdir x
	mv "$n" x/rootfs
	cat >x/config.json <<-END
	{ "ociVersion": "1.0.0", "hostname": "$n",
	"process": { "cwd": "/", "args": [ "/usr/bin/catcher" ],
	    "user": { "uid": 0, "gid": 0 } },
	"root": { "path": "rootfs" } }
	END
	payload=()
}

# nspawn runs in a unit that somebody else made, with its own KillSignal=.
in_scope()
{
	wrap=(systemd-run --quiet --scope "--unit=$n.scope" -p Delegate=yes
	    -p KillSignal=SIGUSR1)
}

in_service()
{
	wrap=(systemd-run --quiet --pipe --wait "--unit=$n.service"
	    -p Delegate=yes -p KillSignal=SIGUSR1 -p KillMode=mixed)
}

# The next nspawn-stop finds these scripts as systemctl and, if there is a
# second one, as machinectl.
systemctl_is()
{
	mkdir -p "$w/fake"
	printf '#!/bin/sh\n%s\n' "$1" >"$w/fake/systemctl"
	[ $# = 1 ] || printf '#!/bin/sh\n%s\n' "$2" >"$w/fake/machinectl"
	chmod 0755 "$w/fake/"*
	caller=(env "PATH=$w/fake:/usr/bin:/bin")
}

# $w/fuse is a folder on a FUSE that takes each request and answers none: a
# process that reads in it cannot even be killed.  It ends with the row.
fuse_start()
{
	mkdir "$w/fuse"
	perl -e 'my $folder = shift; $^F = 99; my ($request, $fuse);
	    open($fuse, "+<", "/dev/fuse") or die "/dev/fuse: $!";
	    system("mount", "-i", "-t", "fuse", "-o", "rootmode=40000," .
	    "user_id=0,group_id=0,fd=" . fileno($fuse), "fuse", $folder) and
	    die "mount: $?"; open(my $up, ">", "$folder.up"); close($up);
	    while (sysread($fuse, $request, 1 << 20)) {
	        my ($length, $code, $unique) = unpack("LLQ", $request);
	        syswrite($fuse, pack("LlQ L2 L2 S2 L x40", 80, 0, $unique, 7,
	            31, 0, 0, 9, 8, 65536)) if $code == 26; }' "$w/fuse" 8>&- &
	fuse=$!
	until [ -e "$w/fuse.up" ]; do
		kill -0 "$fuse" 2>/dev/null || return
		read -r -t 0.01 -u 8 _
	done
}

# A process that still waits for the FUSE must not hold nspawn-stop's output
# open: a caller that reads this to its end would wait, too.
fuse_end()
{
	[ -z "$(find /proc/[0-9]*/fd -lname "$w/said" 2>/dev/null)" ] ||
	    say "nspawn-stop's output is still open after its end"
	umount --lazy "$w/fuse"
	kill "$fuse" 2>/dev/null
}

# The machine goes on without its systemd-nspawn, which leaves a mount behind.
nspawn_is_killed()
{
	kill -KILL "$supervisor"
	wait "$supervisor" 2>/dev/null
	umount /run/systemd/nspawn/{"unix-export/$n","$n/unix-export"} \
	    2>/dev/null
}

# The witness: the signal that systemd has for the machine's scope, as a number.
scope_has()
{
	local had unit

	for unit in "machine-$n.scope" "$n.scope"; do
		[ "$(systemctl is-active "$unit")" = active ] || continue
		had=$(systemctl show -p KillSignal --value "$unit")
		[ "$had" = "$1" ] || say "systemctl says $had, not $1"
		return
	done
	say "systemctl knows no scope"
}

service_has()
{
	local had

	had=$(systemctl show -p KillSignal --value "$n.service")
	[ "$had" = "$1" ] || say "systemctl says $had, not $1"
}

# --- machines ---------------------------------------------------------------

say()
{
	printf '%s: %s\n' "$what" "$*"
}

# The number of a signal; any other word stays as it is.
number()
{
	local name=${1#SIG}

	case $name in
	RTMIN+*) echo "$((34 + ${name#RTMIN+}))" ;;
	RTMAX-*) echo "$((64 - ${name#RTMAX-}))" ;;
	RTMIN) echo 34 ;;
	RTMAX) echo 64 ;;
	[A-Z]*) kill -l "$name" 2>/dev/null || echo "$1" ;;
	*) echo "$name" ;;
	esac
}

skeleton_make()
{
	local bin=$skeleton/usr/bin

	mkdir -p "$bin" "$skeleton"/usr/{sbin,lib} \
	    "$skeleton"/{dev,etc,out,proc,root,run,sys,tmp,var}
	ln -s usr/bin usr/sbin usr/lib "$skeleton"
	echo ID=settings >"$skeleton/etc/os-release"
	cp /src/build/static/catcher "$bin/catcher"
	ln "$bin/catcher" "$bin/runit"
	ln "$bin/catcher" "$skeleton/usr/sbin/init"
}

# Each row has a cgroup of its own: an nspawn without a unit removes at its end
# a group that another one may need.
cgroup_join()
{
	local own

	own=$(sed -n 's/^0:://p' "/proc/$BASHPID/cgroup")
	cgroup=/sys/fs/cgroup$own/$n
	mkdir "$cgroup" && echo "$BASHPID" >"$cgroup/cgroup.procs"
}

cgroup_leave()
{
	echo "$BASHPID" >"${cgroup%/*}/cgroup.procs"
	find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null
}

# Sets up the row's folder, and the variables that its scripts may change.
prepare()
{
	cgroup_join
	mkdir -p "$w/out"
	cp -a "$skeleton" "$w/$n"
	mkfifo "$w/out/up"
	exec 8<>"$w/out/up"
	cd "$w" || return
	MD="-M $n -D $w/$n"
	payload=(/usr/bin/catcher) own=TERM wrap=() caller=() timeout=20
	stop_options=()
	eval "$before"
	eval "words=($options)"
}

# Starts the row's machine: sets supervisor, and machine, its name.
start()
{
	local end=$((SECONDS + 20)) kind=() part

	case $1 in
	orphan) kind=(--register=no --keep-unit) ;;
	unregistered) kind=(--register=no) ;;
	kept) kind=(--keep-unit) ;;
	esac
	rm -f "$w/out/got"
	# To make the filters of system calls takes nspawn longer than all else.
	SYSTEMD_SECCOMP=0 setsid "${wrap[@]}" systemd-nspawn "${kind[@]}" \
	    --quiet --link-journal=no --console=pipe "--bind=$w/out:/out" \
	    "${words[@]}" "${payload[@]}" </dev/null >"$w/log" 2>&1 8>&- &
	supervisor=$!
	machine=
	until read -r -t 0.1 -u 8 part; do
		machine+=$part
		part=
		# The time can be up just when read has taken the newline:
		# then it fails, but there is nothing left to read.
		[ -z "$machine" ] || read -t 0 -u 8 || break
		if ! kill -0 "$supervisor" 2>/dev/null; then
			say "$1: nspawn has ended: $(tail -n 2 "$w/log")"
			return 1
		fi
		if [ "$SECONDS" -ge "$end" ]; then
			say "$1: PID 1 does not start: '$machine'" \
			    "$(tail -n 2 "$w/log") $(states)"
			finish 0
			return 1
		fi
	done
	machine+=$part
}

# Prints what nspawn and its children do.
states()
{
	local pid

	for pid in "$supervisor" \
	    $(cat "/proc/$supervisor/task/$supervisor/children"); do
		echo "$pid is $(cat "/proc/$pid/comm"), in $(cat \
		    "/proc/$pid/wchan"), $(cat "/proc/$pid/syscall")"
	done 2>&1
}

# True if nspawn ends within that many seconds.
ends()
{
	local end=$((${EPOCHREALTIME/./} + $1 * 1000000))

	while kill -0 "$supervisor" 2>/dev/null; do
		[ "${EPOCHREALTIME/./}" -lt "$end" ] || return
		read -r -t 0.01 -u 8 _
	done
	return 0
}

# Waits for the machine's end for that many seconds, and then makes sure of it;
# sets got, the signal that PID 1 got.
finish()
{
	local leader

	if ! ends "$1"; then
		read -r leader _ <"/proc/$supervisor/task/$supervisor/children"
		kill -KILL "${leader:-$supervisor}"
		ends 5 || kill -KILL "$supervisor"
	fi
	wait "$supervisor" 2>/dev/null
	got=-
	[ ! -s "$w/out/got" ] || read -r got <"$w/out/got"
}

# expect WHO SIGNAL: checks that PID 1 got that signal, or is said to get it.
expect()
{
	[ "$got" = "$(number "$2")" ] ||
	    say "$1: $got${said:+ ($said)}, not $2 ($(number "$2"))"
}

# Checks what nspawn-stop says, and what nspawn itself does.
compare()
{
	local form='; ([A-Z0-9+-]+) would be sent' said

	start orphan || return
	said=$("$bin/nspawn-stop" --dry-run "$machine" 2>&1)
	got=-
	[[ ! $said =~ $form ]] || got=$(number "${BASH_REMATCH[1]}")
	expect 'nspawn-stop --dry-run' "$stop"
	said=
	[ "$nspawn" != '?' ] || {
		finish 0
		return
	}
	kill -TERM "$supervisor"
	finish 10
	case $nspawn in
	boot) expect 'nspawn itself' 37 ;;
	*) expect 'nspawn itself' "$nspawn" ;;
	esac
}

# stopped KIND: checks what nspawn-stop does to such a machine.
stopped()
{
	local before after said status=0

	start "$1" || return
	[ "$verb" != cases ] || eval "$change"
	before=${EPOCHREALTIME/./}
	"${caller[@]}" "$bin/nspawn-stop" --timeout "$timeout" \
	    "${stop_options[@]}" "$machine" >"$w/said" 2>&1 8>&- || status=$?
	after=${EPOCHREALTIME/./}
	said=$(cat "$w/said")
	if [ "$stop" = unknown ]; then
		[[ $status = 1 && $said = *'cannot find out how to stop '* ]] ||
		    say "$1: status $status, not 1: $said"
		stop=-
	elif [ "$status" != 0 ]; then
		say "$1: status $status: $said"
	fi
	# One second more, since a busy host starts programs slowly.
	[ $((after - before)) -lt $((timeout * 1000000 + 1000000)) ] ||
	    say "$1: it took $(((after - before) / 1000)) ms of $timeout s"
	finish "$((status ? 0 : 10))"
	expect "nspawn-stop, $1" "$stop"
	[ -z "${fuse-}" ] || fuse_end
}

# --- tables -----------------------------------------------------------------

row_of_table()
{
	local what before options nspawn stop

	IFS='|' read -r what before options nspawn stop <<<"$1"
	prepare
	case ${stop:=$nspawn} in
	- | boot) stop=$own ;;
	esac
	compare
	[ "$verb" = forms ] || stopped orphan
	stopped scope
}

row_of_forms()
{
	row_of_table "$1"
}

row_of_cases()
{
	local kind what before options change stop

	IFS='|' read -r kind what before options change stop <<<"$1"
	what="$what, $kind"
	prepare
	stopped "$kind"
}

main()
{
	local line rows=0

	mkdir -p "$run" /etc/systemd/nspawn /run/systemd/nspawn
	[ -e "$skeleton" ] || skeleton_make
	while IFS= read -r line; do
		rows=$((rows + 1))
		(
			n=s$$x$rows w=$run/$rows
			"row_of_$verb" "$line"
			cgroup_leave
		) >"$run/said-$rows" 2>&1 </dev/null &
		[ $((rows - at_once)) -lt 0 ] || wait -n
	done < <(sed -e ':a' -e '$!N;s/[ \t]*\n[ \t][ \t]*|/|/;ta' \
	    -e 's/\n[ \t][ \t]*/ /;ta' -e 'P;D')
	wait
	for ((line = 1; line <= rows; line++)); do
		cat "$run/said-$line"
	done
	echo "$rows rows"
	rm -rf --one-file-system "$run"
	rm -rf --one-file-system /var/lib/machines/s$$x* \
	    {/etc,/run}/systemd/nspawn/*s$$x*.nspawn*
}

main
