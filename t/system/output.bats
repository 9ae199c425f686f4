#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
#
# Where nspawn-stop prints to cannot hold it up or change what it does.  And the
# signals that end its wait, at a terminal and elsewhere.

load ../common
load ../machines

: "${SUITE:=trixie}"

# The kinds of standard error.
ROWS='full-pipe closed-pipe full-socket stopped-terminal full-terminal
closed full-device no-file full-file only-for-reading all-closed'

setup_file()
{
	host_start
	# rows ROW COMMAND...: runs the command with that kind of standard
	# error.
	on_host sh -c 'cat >/tmp/rows' <<-'END'
	row=$1
	shift
	set -- timeout -k 1 6 "$@"
	case $row in
	full-pipe | closed-pipe)
		rm -f /tmp/pipe
		mkfifo /tmp/pipe
		exec 7<>/tmp/pipe 8>/tmp/pipe ;;&
	full-pipe)
		dd if=/dev/zero of=/tmp/pipe bs=4096 oflag=nonblock 2>&-
		"$@" 2>&8 7<&- 8>&- ;;
	closed-pipe) exec 7<&-; "$@" 2>&8 8>&- ;;
	full-socket | stopped-terminal | full-terminal)
		python3 /tmp/rows.py "$row" "$@" ;;
	closed) "$@" 2>&- ;;
	full-device) "$@" 2>/dev/full ;;
	no-file) ulimit -f 0; "$@" 2>/tmp/no-file ;;
	full-file)
		head -c 1024 /dev/zero >/tmp/full-file
		ulimit -f 1
		"$@" 2>>/tmp/full-file ;;
	only-for-reading) "$@" 2</dev/null ;;
	all-closed) "$@" <&- >&- 2>&- ;;
	*) exit 99 ;;
	esac
	END
	on_host sh -c 'cat >/tmp/rows.py' <<-'END'
	import fcntl, os, socket, subprocess, sys
	row = sys.argv[1]
	if row == "full-socket":
	    end, other = socket.socketpair()
	    fd = other.detach()
	else:
	    end, fd = os.openpty()
	if row == "stopped-terminal":
	    fcntl.ioctl(fd, 0x540a, 0)	# TCXONC, TCOOFF
	else:
	    os.set_blocking(fd, False)
	    try:
	        while True:
	            os.write(fd, b"x" * 100)
	    except BlockingIOError:
	        os.set_blocking(fd, True)
	sys.exit(subprocess.run(sys.argv[2:], stdin=subprocess.DEVNULL,
	    stdout=subprocess.DEVNULL, stderr=fd, start_new_session=True)
	    .returncode)
	END
	on_host sh -c 'cat >/tmp/person.py' <<-'END'
	# SIGNAL KEY COMMAND...: runs it at a terminal; once it counts down,
	# types the key or, without a key, sends the signal.
	import os, select, signal, sys, time
	number, key = int(sys.argv[1]), sys.argv[2].encode()
	pid, fd = os.forkpty()
	if pid == 0:
	    os.environ["TERM"] = "xterm"
	    os.execvp(sys.argv[3], sys.argv[3:])
	end, seen, done = time.monotonic() + 20, b"", False
	while time.monotonic() < end:
	    if not select.select([fd], [], [], 0.1)[0]:
	        continue
	    try:
	        some = os.read(fd, 4096)
	    except OSError:
	        break
	    seen += some
	    if b"waiting for" in seen and not done:
	        done = True
	        os.write(fd, key) if key else os.kill(pid, number)
	else:
	    os.kill(pid, signal.SIGKILL)
	status = os.waitpid(pid, 0)[1]
	print(os.waitstatus_to_exitcode(status), "core" if os.WCOREDUMP(status)
	    else "", repr(seen))
	END
}

# timed COMMAND...: sets took to the ms that it takes.
timed()
{
	local before=$EPOCHREALTIME

	"$@"
	took=$(((${EPOCHREALTIME/./} - ${before/./}) / 1000))
}

# wrong TEXT: adds a line about something that is wrong.
wrong()
{
	echo "$row: $1 ($took ms, status $status: $output)"
	wrong+=1
}

# ms.  Messages that nobody reads are waited for by a second; the rest is for a
# busy host.
TIME_MOST=4000

@test "the machine is stopped in time, whatever standard error is" {
	# shellcheck disable=SC2086 # to be split into words
	pool_start $ROWS
	wrong=
	for row in $ROWS; do
		echo "case: $row"
		timed run on_host bash /tmp/rows "$row" "$BIN/nspawn-stop" \
		    --verbose "$row"
		[ "$status" = 0 ] || wrong 'should be status 0'
		[ "$took" -lt "$TIME_MOST" ] || wrong 'should take 4 s at most'
		pool_ended "$row" || wrong 'should have ended'
		on_host grep -qx stopped "/run/pool/$row.log" ||
		    wrong 'should have stopped cleanly'
	done
	[ "$wrong" = '' ]
}

@test "the deadline is kept, whatever standard error is" {
	machine_sh web "trap : TERM; $WAITS"
	pid=$(leader web) wrong=
	for row in $ROWS; do
		echo "case: $row"
		timed run on_host bash /tmp/rows "$row" "$BIN/nspawn-stop" \
		    --verbose --timeout 0.3 web nothing
		[ "$status" = 124 ] || wrong 'should be status 124'
		[ "$took" -gt 250 ] || wrong 'should take 0.3 s'
		[ "$took" -lt "$TIME_MOST" ] || wrong 'should take 4 s at most'
		lives "$pid" || wrong 'should not have ended'
	done
	[ "$wrong" = '' ]
}

@test "O_NONBLOCK is never set on a standard error that others share" {
	machine_sh web "trap : TERM; $WAITS"
	job_start bash -c 'mkfifo /tmp/shared; exec 7<>/tmp/shared 8>/tmp/shared
	    dd if=/dev/zero of=/tmp/shared bs=4096 oflag=nonblock 2>/dev/null
	    echo shares $$; "$0" -v -t 5 web 2>&8 & echo is $!; wait' \
	    "$BIN/nspawn-stop"
	until_true grep -q '^is' "$job_log"
	shares=$(sed -n 's/^shares //p' "$job_log")
	stopper=$(sed -n 's/^is //p' "$job_log")
	until_true on_host grep -q poll "/proc/$stopper/wchan"
	# O_NONBLOCK is 04000.
	for n in 1 2 3 4 5 6 7 8 9 10; do
		echo "case: $n"
		flags=$(on_host sed -n 's/^flags:.//p' "/proc/$shares/fdinfo/8")
		[ $((8#$flags & 8#4000)) = 0 ]
	done
	on_host kill "$stopper"
	job_end
}

@test "output that cannot be written is an error, which is reported" {
	pool_start shown
	wrong=
	for row in --help --version '--dry-run shown'; do
		for file in '>/dev/full' '>/tmp/none'; do
			echo "case: $row $file"
			timed run on_host bash -c "ulimit -f 0
			    \"\$0\" $row $file" "$BIN/nspawn-stop"
			[ "$status" = 125 ] || wrong "should be 125 with $file"
			[[ "$output" == 'nspawn-stop: '*:* ]] ||
			    wrong 'should be said'
			[ "${#lines[@]}" = 1 ] || wrong 'should be one line'
		done
	done
	run ! pool_ended shown
	[ "$wrong" = '' ]
	run -0 stop shown
}

# Prints which of PIPE (13) and XFSZ (25) a process ignores.
ignored_of()
{
	local set

	set=$(sed -n 's/^SigIgn:.//p')
	[ -n "$set" ]
	[ $((16#$set >> 12 & 1)) = 0 ] || echo -n 'PIPE '
	[ $((16#$set >> 24 & 1)) = 0 ] || echo -n 'XFSZ '
}

@test "PIPE and XFSZ are ignored, but not by programs that are executed" {
	machine unit web -- /bin/sh -c "trap : TERM; $WAITS"
	until_true on_host test -e /var/lib/machines/web/ready
	host_script <<-'END'
	mkdir -p /tmp/fakes
	for name in machinectl systemctl; do
		printf '%s\n' '#!/bin/sh' \
		    'cat /proc/$$/status >"/tmp/fakes/${0##*/}.status"' \
		    'exec "/usr/bin/${0##*/}" "$@"' >/tmp/fakes/$name
		chmod +x /tmp/fakes/$name
	done
	echo Restart=always >/tmp/fakes/restart
	mkdir -p /run/systemd/system/own-web-unit.service.d
	printf '%s\n' '[Service]' Restart=always RestartSec=600 \
	    >/run/systemd/system/own-web-unit.service.d/restart.conf
	systemctl daemon-reload
	END
	# machinectl is asked who the leader is, and systemctl about the unit's
	# policy.
	job_start env "PATH=/tmp/fakes:$PATH" "$BIN/nspawn-stop" -t 30 web
	until_true on_host grep -q poll "/proc/$job_inner/wchan"
	ignored=$(on_host cat "/proc/$job_inner/status" | ignored_of)
	[ "$ignored" = 'PIPE XFSZ ' ]
	on_host kill -KILL "$(leader web)"
	job_end
	for name in machinectl systemctl; do
		echo "case: $name"
		on_host test -e "/tmp/fakes/$name.status"
		[ "$(on_host cat "/tmp/fakes/$name.status" | ignored_of)" = '' ]
	done
}

# ---- signals

# At a terminal: the number of a signal, and the key for it.
KEYS='1
2
2 \x03
3
3 \x1c
15'

@test "at a terminal a signal ends the wait and takes the line away" {
	machine_sh web "trap : TERM; $WAITS"
	pid=$(leader web) wrong=
	while read -r signal key; do
		echo "case: $signal $key"
		key=$(printf '%b' "$key") row="$signal $(cat -v <<<"$key")"
		timed run on_host bash -c 'ulimit -c 0; exec "$@"' '' \
		    python3 /tmp/person.py "$signal" "$key" \
		    "$BIN/nspawn-stop" --timeout 15 web
		[[ "$output" == "-$signal  b'"* ]] ||
		    wrong "should end by the signal $signal"
		# The countdown, the sequence that removes it, and the message.
		[[ "$output" =~ 'waiting for web'[^\\^]*(\^..?)?'\r\x1b[K'\
'nspawn-stop: web: is still running' ]] ||
		    wrong 'should take the line away'
		after=${output##*nspawn-stop: web: is still}
		[[ "$after" != *'waiting for'* ]] || wrong 'should be its end'
		[[ "$output" == *'when SIG'*' came'* ]] ||
		    wrong 'should say why'
		lives "$pid" || wrong 'should live'
		[ "$took" -lt 5000 ] || wrong 'should take 5 s at most'
	done <<<"$KEYS"
	[ "$wrong" = '' ]
}

@test "at a terminal a signal that the caller ignores does not end the wait" {
	machine_sh web "trap : TERM; $WAITS"
	wrong=
	while read -r signal key; do
		echo "case: $signal $key"
		key=$(printf '%b' "$key") row="$signal $(cat -v <<<"$key")"
		timed run on_host python3 /tmp/person.py "$signal" "$key" \
		    sh -c 'trap "" "$0"; exec "$@"' "$signal" \
		    "$BIN/nspawn-stop" --timeout 1.5 web
		[[ "$output" == "124  b'"* ]] || wrong 'should be status 124'
		[[ "$output" == *'at the timeout'* ]] ||
		    wrong 'should say why'
		[ "$took" -gt 1400 ] || wrong 'should wait'
	done <<<"$KEYS"
	[ "$wrong" = '' ]
}

@test "a wait of a year is counted down from its whole length" {
	machine_sh web "trap : TERM; $WAITS"
	for row in '1y 31557600' '5weeks 3024000' '24d 2073600'; do
		echo "case: $row"
		read -r time seconds <<<"$row"
		run on_host python3 /tmp/person.py 2 '' "$BIN/nspawn-stop" \
		    --signal none --timeout "$time" web
		echo "$row: $output"
		[[ "$output" =~ 'left, '([0-9]+)' s' ]]
		[ "${BASH_REMATCH[1]}" -le "$seconds" ]
		[ "${BASH_REMATCH[1]}" -gt $((seconds - 10)) ]
	done
}

# Waits until the job has told the machine to stop, and then waits for the
# machine.
await_told()
{
	until_true grep -q 'sent SIG' "$job_log"
	until_true on_host grep -q poll "/proc/$job_inner/wchan"
}

# Without a terminal: each signal, caught and ignored.
@test "without a terminal each signal ends the wait, unless ignored" {
	machine_sh web "trap : TERM; $WAITS"
	wrong=
	for row in HUP INT QUIT TERM; do
		echo "case: $row"
		number=$(kill -l "$row") took=0 status=
		job_start "$BIN/nspawn-stop" -v --timeout 20 web
		await_told
		on_host kill "-$row" "$job_inner"
		job_end
		output=$(cat "$job_log") status=$job_status
		[ "$status" = $((128 + number)) ] ||
		    wrong "should be status $((128 + number))"
		[[ "$output" == *"when SIG$row came"* ]] ||
		    wrong 'should say why'
		job_start env "--ignore-signal=$row" "$BIN/nspawn-stop" -v \
		    --timeout 4 web
		await_told
		on_host kill "-$row" "$job_inner"
		job_end
		output=$(cat "$job_log") status=$job_status
		[ "$status" = 124 ] || wrong 'ignored, should be status 124'
	done
	[ "$wrong" = '' ]
	# nohup(1) does it like this.
	job_start nohup "$BIN/nspawn-stop" -v --timeout 4 web
	await_told
	on_host kill -HUP "$job_inner"
	job_end
	[ "$job_status" = 124 ]
}
