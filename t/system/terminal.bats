#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
# bats file_tags=releases
#
# nspawn-enter's terminal, in machines that all tests share: of busybox and of
# the host's own Debian, with and without a user namespace.

load ../common
load ../machines

MACHINES='web webu deb debu'

setup_file()
{
	host_start_debian
}

# Runs a command line of the host's shell at a terminal where nothing is typed.
at_terminal()
{
	[ -p "$BATS_TEST_TMPDIR/keys" ] || mkfifo "$BATS_TEST_TMPDIR/keys"
	script -qec "$TOP/t/host run $HOST sh -c '$1'" /dev/null \
	    <>"$BATS_TEST_TMPDIR/keys" 3>&- | tr -d '\r'
	return "${PIPESTATUS[0]}"
}

@test "a person at a terminal notices nothing" {
	for machine in $MACHINES; do
		echo "case: $machine"
		run -0 timeout 120 expect "$TOP/t/terminal.exp" "$TOP/t/host" \
		    run "$HOST" "$BIN/nspawn-enter" "$machine" 3>&-
		[[ "$output" == *'status: 7' ]]
		[[ "$output" == *'ok: a resize'* ]]
	done
}

# Prints one line for each of the 125 mixes of terminal, pipe, file, null and
# closed: what a command in the machine has, and what came out of it.
mixes()
{
	on_host sh -c 'cat >/tmp/mixes' <<-'END'
	enter=$1 machine=$2 tree=/var/lib/machines/$2
	cat >"$tree/probe" <<-'PROBE'
	seen=
	for fd in 0 1 2; do
		at=$(readlink /proc/$$/fd/$fd)
		if [ -t $fd ]; then
			[ -c "$at" ] && seen=$seen$(stat -c t%u "$at")
		else
			case $at in
			pipe:*) seen=${seen}p ;;
			/dev/null) seen=${seen}n ;;
			*) seen=${seen}f ;;
			esac
		fi
	done
	true 2>/dev/null </dev/tty && seen=$seen+ || seen=$seen-
	case $seen in
	[pfn]*) read -r line; seen=$seen$line ;;
	esac
	echo "$seen" >/seen
	echo out
	echo err >&2
	exit 5
	PROBE
	cd /tmp
	echo in >in
	once()
	{
		"$enter" "$machine" sh /probe
		echo $? >status
	}
	output()
	{
		case $2 in
		t) once ;;
		p) once | cat >out ;;
		f) once >out ;;
		n) once >/dev/null ;;
		c) once >&- ;;
		esac
	}
	errors()
	{
		case $3 in
		t) output "$@" ;;
		p) { output "$@" 2>&1 >&3 3>&- | cat >err; } 3>&1 ;;
		f) output "$@" 2>err ;;
		n) output "$@" 2>/dev/null ;;
		c) output "$@" 2>&- ;;
		esac
	}
	for i in t p f n c; do for o in t p f n c; do for e in t p f n c; do
		: >out; : >err
		case $i in
		t) errors $i $o $e ;;
		p) echo in | errors $i $o $e ;;
		f) errors $i $o $e <in ;;
		n) errors $i $o $e </dev/null ;;
		c) errors $i $o $e <&- ;;
		esac
		echo "$i$o$e $(cat "$tree/seen" out err status | tr '\n' ' ')" \
		    >>result
	done; done; done
	END
	at_terminal "rm -f /tmp/result; sh /tmp/mixes $BIN/nspawn-enter $1" \
	    >"$BATS_TEST_TMPDIR/shown"
	on_host cat /tmp/result
}

# Prints what each line has to be: a missing descriptor becomes /dev/null.
mixes_expected()
{
	local i o e has text

	for i in t p f n c; do for o in t p f n c; do for e in t p f n c; do
		has=${i/c/n}${o/c/n}${e/c/n}
		text=${has//t/t0}
		case $has in *t*) text+=+ ;; *) text+=- ;; esac
		case $i in p | f) text+=in ;; esac
		case $o in p | f) text+=' out' ;; esac
		case $e in p | f) text+=' err' ;; esac
		echo "$i$o$e $text 5 "
	done; done; done
}

@test "each descriptor is a terminal of the machine, or the caller's own" {
	for machine in $MACHINES; do
		echo "case: $machine"
		mixes "$machine" >"$BATS_TEST_TMPDIR/has"
		diff <(mixes_expected) "$BATS_TEST_TMPDIR/has"
		# 25 of 125 mixes have a terminal as output, 25 for errors.
		[ "$(grep -c out "$BATS_TEST_TMPDIR/shown")" = 25 ]
		[ "$(grep -c err "$BATS_TEST_TMPDIR/shown")" = 25 ]
	done
}

@test "output is complete to its last byte, short or long, at once or slowly" {
	for machine in $MACHINES; do
		echo "case: $machine"
		run -0 at_terminal "for i in \$(seq 300); do
		    $BIN/nspawn-enter $machine echo line \$i; done"
		[ "$output" = "$(seq 300 | sed 's/^/line /')" ]
		for round in 1 2 3 4 5; do
			echo "case: $machine $round"
			at_terminal "$BIN/nspawn-enter $machine seq 250000" |
			    cmp - <(seq 250000)
		done
	done
	# A shell is a slow reader.  bats does not trace each command of sh.
	at_terminal "$BIN/nspawn-enter web seq 50000" | sh -c \
	    'while read -r line; do echo "$line"; done' | cmp - <(seq 50000)
}

@test "keys that were typed ahead are not lost" {
	mkfifo "$BATS_TEST_TMPDIR/keys"
	for machine in $MACHINES; do
		echo "case: $machine"
		exec 9<>"$BATS_TEST_TMPDIR/keys"
		printf 'one\ntwo\n' >&9
		run -0 at_terminal "read -r line; $BIN/nspawn-enter $machine \
		    sh -c \"read -r line; echo got \\\$line\""
		exec 9>&-
		[ "${lines[-1]}" = 'got two' ]
	done
}

# Prints what a command has typed into the terminal at which it runs.
typed_by()
{
	at_terminal "stty -echo; $1; stty -icanon min 0 time 0; cat"
}

@test "no process in a machine can type into the caller's terminal" {
	on_host sh -c 'cat >/var/lib/machines/deb/type;
	    cp /var/lib/machines/deb/type /var/lib/machines/debu/' <<-'END'
	open(my $tty, "+<", "/dev/tty");
	ioctl($_, 0x5412, my $byte = "X")
	    for STDIN, STDOUT, STDERR, $tty ? $tty : ();
	END
	# The kernel allows a process to type into its own terminal.
	run -0 typed_by 'perl /var/lib/machines/deb/type'
	[[ "$output" == *X* ]]
	for machine in deb debu; do
		for to in '' '</dev/null' '>/dev/null' '2>/dev/null' \
		    '</dev/null >/dev/null' '</dev/null >/dev/null 2>&1'; do
			echo "case: $machine $to"
			run -0 typed_by "$BIN/nspawn-enter $machine \
			    perl /type $to"
			[ "$output" = '' ]
			run -0 typed_by "$BIN/nspawn-enter -T $machine \
			    perl /type $to"
			[ "$output" = '' ]
		done
	done
}

@test "a job in the background that keeps the terminal holds nothing up" {
	run -0 at_terminal "$BIN/nspawn-enter web sh -c \
	    \"trap : HUP; /bin/sleep 4330 & echo started\""
	[ "$output" = started ]
	pid=$(on_host pgrep -x -f '/bin/sleep 4330') || true
	[ -z "$pid" ] || on_host kill "$pid"
}

@test "a terminal is made only where it is asked for" {
	run -0 enter -t web tty </dev/null
	[[ "$output" == */dev/pts/[0-9]*$'\r' ]]
	run -0 enter -t web cat <<<hello
	[ "$output" = $'hello\r\nhello\r' ]
	run -1 at_terminal "$BIN/nspawn-enter -T web sh -c \
	    \"tty; test -t 1 || test -t 2\""
	[ "$output" = 'not a tty' ]
	run ! at_terminal "$BIN/nspawn-enter -T web sh -c \": </dev/tty\""
	run -0 at_terminal "echo in | $BIN/nspawn-enter -T web cat"
	[ "$output" = in ]
}

@test "the terminal belongs to the user of the command" {
	for machine in $MACHINES; do
		echo "case: $machine"
		run -0 at_terminal "$BIN/nspawn-enter -u joe $machine sh -c \
		    \"stat -c %U \\\$(tty); : </dev/tty; : <\\\$(tty)\""
		[ "$output" = joe ]
	done
}

@test "a machine without a devpts of its own gets a terminal of the host's" {
	machine scope bare
	for trick in 'umount /dev/ptmx /dev/pts 2>/dev/null; umount /dev/pts' \
	    'mount -t tmpfs none /dev/pts; mkfifo /dev/pts/ptmx' \
	    'umount /dev/pts; rmdir /dev/pts; ln -s /proc/1/root /dev/pts'; do
		echo "case: $trick"
		enter -q bare sh -c "$trick" 2>/dev/null || true
		[ "$(enter -q bare stat -f -c %T /dev/pts)" != devpts ]
		run -0 at_terminal "$BIN/nspawn-enter bare sh -c \
		    \"test -t 0 && test -t 1 && echo in\""
		[ "${lines[0]}" = "nspawn-enter: bare: warning: its /dev/pts\
 has no terminals, so the command gets a terminal of the host" ]
		[ "${lines[1]}" = in ]
	done
	run -0 at_terminal "$BIN/nspawn-enter -q bare echo in"
	[ "$output" = in ]
}

@test "a machine stops while nspawn-enter is stopped at its terminal" {
	for name in stopped stoppedu; do
		echo "case: $name"
		machine scope "$name" "--private-users=$(
		    [ "$name" = stopped ] && echo no || echo pick)"
		on_host sh -c 'cat >/tmp/job' <<-END
		$BIN/nspawn-enter $name /bin/sleep 4333
		END
		script -qec "$TOP/t/host run $HOST sh /tmp/job" /dev/null \
		    </dev/null >/dev/null 2>&1 3>&- &
		job=$!
		until_true runs_in_host '/bin/sleep 4333'
		pid=$(on_host pgrep -x -f \
		    "$BIN/nspawn-enter $name /bin/sleep 4333" | head -n 1)
		on_host kill -STOP "$pid"
		run -0 stop -t 20 "$name"
		run ! runs_in_host '/bin/sleep 4333'
		on_host kill -CONT "$pid"
		wait "$job" || true
		run ! lives "$pid"
		machines_end
	done
}

# kill_at SIGNAL MACHINE: sends that signal to nspawn-enter; checks that the
# command is gone and the terminal as it was; prints the status.
kill_at()
{
	local pid

	on_host sh -c 'cat >/tmp/killed && rm -f /tmp/back' <<-END
	before=\$(stty -g)
	sh -c 'echo \$\$ >/tmp/pid; exec "\$@"' sh $BIN/nspawn-enter $2 \
	    /bin/sleep 4331
	status=\$?
	until [ "\$(stty -g)" = "\$before" ]; do :; done
	echo \$status >/tmp/back
	END
	script -qec "$TOP/t/host run $HOST sh /tmp/killed" /dev/null </dev/null \
	    >/dev/null 2>&1 3>&- &
	job=$!
	until_true runs_in_host '/bin/sleep 4331'
	# Its child that restores the terminal has the same command line.
	pid=$(on_host cat /tmp/pid)
	on_host kill "-$1" "$pid"
	until_true on_host test -s /tmp/back || {
		on_host kill -KILL "$pid"
		return 1
	}
	wait "$job" || true
	until_true not runs_in_host '/bin/sleep 4331'
	on_host cat /tmp/back
}

@test "any signal that ends it leaves the terminal as it was, and no process" {
	for machine in $MACHINES; do
		for name in HUP INT QUIT TERM KILL ALRM; do
			echo "case: $machine $name"
			run -0 kill_at "$name" "$machine"
			[ "$output" = $((128 + $(kill -l "$name"))) ]
		done
	done
}

@test "any signal that ends it leaves no process, without a terminal" {
	for machine in $MACHINES; do
		for name in HUP INT QUIT TERM KILL; do
			echo "case: $machine $name"
			job_start "$BIN/nspawn-enter" "$machine" /bin/sleep 4332
			until_true runs_in_host '/bin/sleep 4332'
			on_host kill "-$name" "$job_inner"
			job_end
			[ "$job_status" = $((128 + $(kill -l "$name"))) ]
			until_true not runs_in_host '/bin/sleep 4332'
		done
	done
}
