#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
# bats file_tags=kernel
#
# What nspawn-stop prints and waits for, in real machines.

load ../common
load ../machines

# True if PID 1 of a machine is in that state.
leader_state_is()
{
	on_host grep -q "^State:.$2" "/proc/$(leader "$1")/status"
}

# Starts nspawn-stop on those machines, and returns once the signal has been
# sent.
stop_start()
{
	job_start "$BIN/nspawn-stop" --verbose "$@"
	until_true grep -q 'sent SIG' "$job_log"
}

# machine_perl NAME PROGRAM: a machine whose PID 1 is that program.
machine_perl()
{
	machine scope "$1" --bind-ro=/usr --bind-ro=/usr/lib64:/lib64 -- \
	    /usr/bin/perl -e "use POSIX; $2"
	until_true on_host test -e "/var/lib/machines/$1/ready"
}

BLOCKS='sigprocmask(SIG_BLOCK, POSIX::SigSet->new(SIGTERM, SIGUSR1));
    $SIG{HUP} = sub { exit 0 }; open(F, ">/ready"); close(F);'

# Sets $number to that of rt_sigtimedwait(2), by which PID 1 awaits signals.
sigtimedwait_find()
{
	case $(uname -m) in
	x86_64) number=128 ;;
	aarch64 | riscv64) number=137 ;;
	armv7l) number=177 ;;
	*) skip 'the number of a system call is not known' ;;
	esac
}

# bats test_tags=timing
@test "a signal that PID 1 has blocked and does not read is named" {
	machine_perl web "$BLOCKS sleep 1 while 1"
	pid=$(leader web)
	run -124 stop --timeout 4 web
	[ "${lines[0]}" = "nspawn-stop: web: PID 1 is perl ($pid): it blocks\
 SIGTERM and never reads it" ]
	[[ "${lines[1]}" == *'is still running'* ]]
}

# On a busy host it may not be known in time how to stop a machine.
UNPLANNED='was never told to stop: the timeout was too short to find out how'

# On a busy host a fork may take 0.3 s.
# bats test_tags=timing
@test "a signal that a busy PID 1 blocks for a moment is not sent yet" {
	for row in '0.3 0.1 3' '0.04 0.02 6'; do
		echo "case: $row"
		read -r blocked unblocked timeout <<<"$row"
		machine_perl web "$BLOCKS use Time::HiRes 'time';
		    for (;;) {
			for (my \$end = time + $blocked; time < \$end;) { }
			sigprocmask(SIG_UNBLOCK, POSIX::SigSet->new(SIGTERM));
			for (my \$end = time + $unblocked; time < \$end;) { }
			sigprocmask(SIG_BLOCK, POSIX::SigSet->new(SIGTERM)); }"
		run -124 stop --verbose --timeout "$timeout" web
		# At the timeout it may be finding out again how to stop it.
		[[ "$output" == *' SIGTERM was never sent'* ||
		    "$output" == *'web: was never told to stop'* ]]
		[[ "$output" != *'sent SIG'* ]]
		[[ "$output" != *"$UNPLANNED"* ]]
		machines_end
	done
}

# Sets $watches to what PID 1 does to see by W when nspawn-stop makes a plan,
# which opens its program.
watches_find()
{
	case $(uname -m) in
	x86_64) numbers=(294 254) ;;
	aarch64 | riscv64) numbers=(26 27) ;;
	armv7l) numbers=(360 317) ;;
	*) skip 'the numbers of system calls are not known' ;;
	esac
	watches="open(W, '<&=', syscall(${numbers[0]}, 0)) or die;
	    syscall(${numbers[1]}, fileno(W), readlink('/proc/self/exe'),
		0x20) >= 0 or die;"
}

# machine_watchful NAME SUB: a machine whose PID 1 calls planned(1), and 50 ms
# later planned(0), when a plan is made; SUB defines that function.
machine_watchful()
{
	watches_find
	machine_perl "$1" "\$set = POSIX::SigSet->new(SIGTERM); $2 $watches
	    planned(0);
	    open(R, '>/ready'); close(R);
	    while (sysread(W, \$_, 4096)) {
		planned(1);
		open(R, '>>/seen'); print R \"x\n\"; close(R);
		select(undef, undef, undef, 0.05);
		planned(0); }"
}

# stop_watchful STATUS NAME TIME: tells it to stop.  The child that makes a plan
# ends late, by a delayed call of its own; on a busy host PID 1 may be later.
stop_watchful()
{
	on_host rm -f "/var/lib/machines/$2/seen"
	run "-$1" strace -f -qq -o /dev/null \
	    -e inject=exit_group:delay_enter=200000 "$TOP/t/host" run "$HOST" \
	    "$BIN/nspawn-stop" --verbose --timeout "$3" "$2"
}

# LeakSanitizer does not run under a tracer.
# bats test_tags=timing,static
@test "a signal is not sent if it was blocked or handled only when planned" {
	machine_watchful web 'sub planned {
	    sigprocmask($_[0] ? SIG_BLOCK : SIG_UNBLOCK, $set) }'
	# Each of three plans has to be seen; then the last one stands, with
	# what happens to the signal by then.
	for ((n = 0, seen = 0; n < 5 && seen < 3; n++)); do
		stop_watchful 124 web 6
		[[ "$output" == *' was never '* ]]
		[[ "$output" != *'sent SIG'* ]]
		seen=$(on_host grep -c x /var/lib/machines/web/seen) || true
	done
	[ "$seen" -ge 3 ]
	machine_watchful handles 'sub planned {
	    $SIG{TERM} = $_[0] ? sub { } : "DEFAULT" }'
	stop_watchful 124 handles 6
	[[ "$output" == *' was never '* ]]
	[[ "$output" != *'sent SIG'* ]]
	# It is sent anyway, and that is no success.
	for name in web handles; do
		echo "case: $name"
		for ((n = 0; n < 5; n++)); do
			! stop_watchful 1 "$name" 0 || break
		done
		[ "$n" -lt 5 ]
		[[ "$output" == *' is sent anyway'* ]]
	done
}

# bats test_tags=timing,static
@test "a signal is sent though it would have been lost when it was planned" {
	machine_watchful handles 'sub planned {
	    $SIG{TERM} = $_[0] && !$n++ ? "DEFAULT" : sub { exit } }'
	stop_watchful 0 handles 30
	[[ "$output" == *'sent SIGTERM'* ]]
	machine_watchful blocks 'sub planned {
	    sigprocmask($_[0] && !$n++ ? SIG_UNBLOCK : SIG_BLOCK, $set) }'
	stop_watchful 124 blocks 6
	[[ "$output" == *'sent SIGTERM'* ]]
	# This one waits for it, and for SIGIO, which W sends.
	sigtimedwait_find
	machine_perl awaits "$watches use Fcntl;
	    sigprocmask(SIG_BLOCK, POSIX::SigSet->new(29));
	    fcntl(W, F_SETOWN, 1) or die; fcntl(W, F_SETFL, O_ASYNC) or die;
	    $BLOCKS \$set = pack('Q', 1 << 14 | 1 << 28);
	    while (syscall($number, \$set, 0, 0, 8) != 15) {
		next if \$n++;
		sigprocmask(SIG_UNBLOCK, POSIX::SigSet->new(SIGTERM));
		select(undef, undef, undef, 0.05);
		sigprocmask(SIG_BLOCK, POSIX::SigSet->new(SIGTERM)); }"
	stop_watchful 0 awaits 30
	[[ "$output" == *'sent SIGTERM'* ]]
}

# bats test_tags=timing
@test "a signal is sent though PID 1 changes all the time what else it blocks" {
	machine_perl web "$BLOCKS
	    for (my \$n = 35;; \$n = \$n == 60 ? 35 : \$n + 1) {
		sigprocmask(SIG_BLOCK, POSIX::SigSet->new(\$n));
		select(undef, undef, undef, 0.002);
		sigprocmask(SIG_UNBLOCK, POSIX::SigSet->new(\$n)); }"
	run -124 stop --verbose --timeout 10 web
	[[ "$output" == *'sent SIGTERM'* ]]
}

# bats test_tags=timing
@test "a signal that a busy PID 1 always blocks is sent after a second" {
	machine_perl web "$BLOCKS 1 while 1"
	blocked="nspawn-stop: web: PID 1 is perl ($(leader web)): it blocks\
 SIGTERM, perhaps only for a moment; SIGTERM was never sent"
	for ((n = 0; n < 20; n++)); do
		run -124 stop --verbose --timeout 0.7 web
		[[ "$output" != *'sent SIG'* ]]
		[ "${lines[1]}" != "$blocked" ] || break
		[ "${lines[1]}" = "nspawn-stop: web: $UNPLANNED" ]
	done
	[ "${lines[1]}" = "$blocked" ]
	run -124 stop --verbose --timeout 6 web
	[[ "$output" == *'sent SIGTERM'* ]]
}

# bats test_tags=timing
@test "a signal that PID 1 awaits now and then is never seen as lost" {
	sigtimedwait_find
	machine_perl web "$BLOCKS \$set = pack('Q', 1 << 14);
	    \$time = pack('l!l!', 0, 1000000);
	    for (;;) {
		syscall($number, \$set, 0, \$time, 8);
		for (\$n = 0; \$n < 5000; \$n++) { } }"
	# It gets a processor at once, or it would seem to have unblocked it.
	on_host chrt --rr --pid 1 "$(leader web)"
	fates=$(on_host sh -c 'n=0; while [ $((n += 1)) -le 300 ]; do
		"$1" fate /proc "$2" 15 || exit
	    done' sh "$BIN/library" "$(leader web)" | sort | uniq -c)
	echo "$fates"
	[[ "$fates" == *blocked*unknown* ]]
	[[ "$fates" != *discarded* ]]
}

@test "a signal that PID 1 awaits is not reported as lost" {
	sigtimedwait_find
	machine_perl web "$BLOCKS \$set = pack('Q', 1 << 9);
	    syscall($number, \$set, 0, 0, 8); sleep 1 while 1"
	until_true on_host grep -q "^$number " "/proc/$(leader web)/syscall"
	run -0 stop --dry-run --signal USR1 web
	[[ "$output" == *'its effect on PID 1 is not known' ]]
	run -124 stop --signal WINCH --timeout 0.2 web
	[[ "$output" != *'kernel discards'* ]]
}

# The child that finds out how to stop it is late, by a delayed call of its own.
# LeakSanitizer does not run under a tracer.
# bats test_tags=timing,static
@test "a timeout before it is known how to stop a machine is reported as that" {
	machine_perl web "$BLOCKS sleep 1 while 1"
	for late in '-e inject=inotify_init1:delay_enter=900000' ''; do
		echo "case: $late"
		# shellcheck disable=SC2086 # words
		run -124 strace -f -qq -o /dev/null $late \
		    -e inject=getppid:delay_enter=1500000 "$TOP/t/host" run \
		    "$HOST" "$BIN/nspawn-stop" --timeout 1 web
		[[ "$output" == *"nspawn-stop: web: $UNPLANNED"* ]]
		[[ "$output" != *'discards'* ]]
	done
	run -1 strace -f -qq -o /dev/null \
	    -e inject=getppid:delay_enter=1500000 "$TOP/t/host" run "$HOST" \
	    "$BIN/nspawn-stop" --dry-run --timeout 1 web
	[[ "$output" == *'web: cannot find out how to stop it: '*'timed out'* ]]
}

# bats test_tags=timing
@test "a program without a handler is named, and nothing is sent to it" {
	machine scope web -- /bin/sleep 600
	pid=$(leader web)
	run -124 stop --timeout 0.3 web
	[ "${lines[0]}" = "nspawn-stop: web: is still running at the\
 timeout; its leader is $pid" ]
	deaf="nspawn-stop: web: PID 1 is sleep ($pid): no signal stops it\
 cleanly: it has no handler for SIGTERM or any other signal, so the kernel\
 discards them; systemd-nspawn --as-pid2 gives it an init; SIGTERM"
	[ "${lines[1]}" = "$deaf was never sent" ]
	run -1 stop --timeout 0 web
	[ "$output" = "$deaf is sent anyway" ]
	machines_end
	machine_sh web "trap 'exit 0' USR1; $WAITS"
	pid=$(leader web)
	run -124 stop --timeout 0.3 web
	[ "${lines[1]}" = "nspawn-stop: web: PID 1 is sh ($pid): it has no\
 handler for SIGTERM, so the kernel discards it; SIGTERM was never sent" ]
	run -124 stop --quiet --timeout 2.5 web
	[[ "$output" != *'not sent yet'* ]]
	run -124 stop --timeout 2.5 web
	[[ "${lines[0]}" == *'; SIGTERM is not sent yet' ]]
}

@test "a stopped PID 1 is named, and goes on to stop when it is continued" {
	machine_sh web "trap 'echo stopped >/stopped; exit 0' TERM; $WAITS"
	pid=$(leader web)
	on_host kill -STOP "$pid"
	until_true leader_state_is web T
	stop_start web
	until_true grep -q 'continued' "$job_log"
	on_host kill -CONT "$pid"
	job_end
	[ "$job_status" = 0 ]
	[ "$(sed -n 4p "$job_log")" = "nspawn-stop: web: PID 1 is sh ($pid): it\
 is stopped, and cannot react until it is continued; run kill -CONT $pid" ]
	machine_file_is web stopped stopped
}

# bats test_tags=unified
@test "a frozen machine is named, and goes on to stop when it is thawed" {
	machine_sh web "trap 'echo stopped >/stopped; exit 0' TERM; $WAITS"
	# Releases of systemd differ in the name of the scope.
	scope=$(on_host sed -n 's,^0::.*/\([^/]*\.scope\)/payload.*,\1,p' \
	    "/proc/$(leader web)/cgroup")
	on_host systemctl freeze "$scope"
	stop_start web
	until_true grep -q 'thawed' "$job_log"
	on_host systemctl thaw "$scope"
	job_end
	[ "$job_status" = 0 ]
	grep -qx 'nspawn-stop: web: is frozen, and cannot react until it is'\
' thawed; run systemctl thaw with its unit' "$job_log"
	machine_file_is web stopped stopped
}

@test "processes that still run at the end are listed, ten at most" {
	machine_sh web 'trap "" TERM
	    for n in 1 2 3 4 5 6 7 8 9 10 11; do sleep 600 & done; '"$WAITS"
	pid=$(leader web)
	# Eleven processes, the one that is waited for, and PID 1.
	until_true on_host sh -c "[ \$(pgrep -c -P $pid) = 12 ]"
	run -124 stop --signal none --timeout 0.2 web
	[ "${lines[0]}" = "nspawn-stop: web: is still running at the\
 timeout; its leader is $pid" ]
	[ "${lines[1]}" = "nspawn-stop: web: process $pid (1 inside), sh, is in\
 state S" ]
	for n in 2 3 4 5 6 7 8 9 10; do
		echo "case: $n"
		[[ "${lines[n]}" == *' inside), sleep, is in state S' ]]
	done
	[ "${lines[11]}" = 'nspawn-stop: web: and 3 more' ]
	[ "${#lines[@]}" = 12 ]
}

@test "the names of a machine's processes are made printable in the list" {
	machine_sh web '{ printf "a\033[31mb" >/proc/self/comm
	    sleep 600; :; } & '"$WAITS"
	run -124 stop --timeout 0.2 web
	[[ "$output" == *'inside), a\x1b[31mb, is in state'* ]]
	[[ "$output" != *$'\033'* ]]
}

@test "a machine that is not running is a success, unless --strict" {
	run -0 stop nothing
	[ "$output" = 'nspawn-stop: nothing: is not running' ]
	run -1 stop --strict nothing
	[ "$output" = 'nspawn-stop: nothing: is not running' ]
	run -0 stop --quiet nothing
	[ "$output" = '' ]
	run -1 stop --quiet --strict nothing
	[ "$output" = 'nspawn-stop: nothing: is not running' ]
}

# The kernel says so if anything is renamed or mounted meanwhile.
# LeakSanitizer does not run under a tracer.
# bats test_tags=static
@test "a file that cannot be opened just now is opened again" {
	on_host sh -c 'mkdir -p /etc/systemd/nspawn
	    printf "[Exec]\nKillSignal=QUIT\n" >/etc/systemd/nspawn/web.nspawn'
	machine orphan-unit web
	run -0 strace -f -qq -o "$BATS_TEST_TMPDIR/calls" \
	    -e inject=openat2:error=EAGAIN:when=1+2 "$TOP/t/host" run "$HOST" \
	    "$BIN/nspawn-stop" --dry-run web
	on_host rm /etc/systemd/nspawn/web.nspawn
	[[ "$output" == *'SIGQUIT'* ]]
	grep -q 'openat2.*web.nspawn".*EAGAIN.*INJECTED' "$BATS_TEST_TMPDIR/calls"
}

@test "a dry run says what would be done, and does nothing" {
	machine_sh web "trap 'exit 0' TERM; $WAITS"
	machine scope deaf -- /bin/sleep 600
	web="nspawn-stop: web" pid=$(leader web) deaf=$(leader deaf)
	run -0 stop --dry-run web deaf nothing
	[ "${lines[0]}" = 'nspawn-stop: nothing: is not running' ]
	[ "${lines[1]}" = "web: PID 1 is sh ($pid), its systemd-nspawn\
 is $(supervisor web); SIGTERM would be sent: PID 1 has a handler for it" ]
	[ "${lines[2]}" = "deaf: PID 1 is sleep ($deaf), its systemd-nspawn\
 is $(supervisor deaf); SIGTERM would be sent later: the kernel would discard\
 it now" ]
	[ "${#lines[@]}" = 3 ]
	run -0 stop --dry-run --signal none web
	[[ "$output" == *'; no signal would be sent' ]]
	run -0 stop --dry-run --signal HUP web
	[[ "$output" == *'; SIGHUP would be sent later: the kernel would'* ]]
	run -1 stop --dry-run --strict nothing
	lives "$pid"
}

@test "a machine that has just been started gets the signal" {
	# A signal before the exec of PID 1, or before its trap, would be lost.
	on_host sh -c 'cat >/tmp/early' <<-'END'
	cp -a /usr/lib/nspawn-tools/skeleton /var/lib/machines/early
	mkdir -p /var/lib/machines/early/etc
	echo ID=x >/var/lib/machines/early/etc/os-release
	for n in 1 2 3 4 5 6 7 8 9 10; do
		rm -f /var/lib/machines/early/stopped
		systemd-nspawn --quiet --link-journal=no --console=pipe \
		    --register=no --keep-unit \
		    -D /var/lib/machines/early -M early /bin/sh -c 'sleep 0.2
		    trap "echo >/stopped; exit 0" TERM
		    while :; do sleep 600 & wait $!; done' </dev/null &
		until "$1" --strict --quiet --timeout 10 early 2>/dev/null; do
			kill -0 $! || exit 1
		done
		[ -e /var/lib/machines/early/stopped ] || exit 2
		wait $!
	done
	END
	run -0 on_host systemd-run --quiet --pipe --wait -p Delegate=yes \
	    sh /tmp/early "$BIN/nspawn-stop"
}

@test "a machine that reboots instead is an error, reported at once" {
	machine_sh web "trap 'reboot -f' TERM; $WAITS"
	pid=$(leader web)
	run -1 stop web
	[[ "$output" =~ ^'nspawn-stop: web: has rebooted instead of stopping: '\
'its leader is '([0-9]+)' now'$ ]]
	[ "${BASH_REMATCH[1]}" != "$pid" ]
	lives "${BASH_REMATCH[1]}"
	on_host kill -KILL "$(supervisor web)"
}

# Starts a unit whose machine reboots when it is told to stop.
reboot_unit()
{
	host_script "$BIN" <<-'END'
	rm -rf /var/lib/machines/again
	cp -a /usr/lib/nspawn-tools/skeleton /var/lib/machines/again
	mkdir -p /var/lib/machines/again/etc
	echo ID=x >/var/lib/machines/again/etc/os-release
	cat >/run/systemd/system/again.service <<-UNIT
	[Service]
	ExecStart=systemd-nspawn --quiet --keep-unit --link-journal=no \
	    --console=pipe -M again -D /var/lib/machines/again /bin/sh -c \
	    'trap "reboot -f" TERM; echo >/ready; while :; do sleep 600 & \
	    wait \$\$!; done'
	ExecStop=$1/nspawn-stop again
	KillMode=mixed
	Delegate=yes
	Slice=machine.slice
	RestartForceExitStatus=133
	SuccessExitStatus=133 143
	UNIT
	systemctl daemon-reload
	systemctl start again.service
	END
	until_true on_host test -e /var/lib/machines/again/ready
}

@test "a unit whose machine reboots is stopped only by its own ExecStop=" {
	reboot_unit
	if [ "$(on_host uname -r | cut -d . -f 1)" -ge 7 ] ||
	    on_host sh -c 'uname -r | grep -qE "^6\.(1[5-9]|[2-9][0-9])"'; then
		on_host rm /var/lib/machines/again/ready
		run -1 stop again
		[ "$output" = 'nspawn-stop: again: has rebooted instead of'\
' stopping: its systemd-nspawn ended with status 133, so its unit starts it'\
' again' ]
		until_true on_host test -e /var/lib/machines/again/ready
	fi
	on_host systemctl stop again.service
	run on_host systemctl is-active again.service
	[ "$output" = inactive ]
}

@test "a signal ends the wait, with a line on what still runs" {
	machine_perl web "$BLOCKS sleep 1 while 1"
	pid=$(leader web)
	for signal in 1 2 3 15; do
		echo "case: $signal"
		stop_start web
		on_host kill "-$signal" "$job_inner"
		job_end
		[ "$job_status" = $((128 + signal)) ]
		grep -q "^nspawn-stop: web: is still running when SIG[A-Z]*\
 came; its leader is $pid\$" "$job_log"
		lives "$pid"
	done
}

# bats test_tags=timing
@test "a signal that the caller ignores does not end the wait" {
	machine_perl web "$BLOCKS sleep 1 while 1"
	job_start sh -c 'trap "" HUP; exec "$@"' sh "$BIN/nspawn-stop" \
	    --verbose --timeout 6 web
	until_true grep -q 'sent SIG' "$job_log"
	on_host kill -HUP "$job_inner"
	job_end
	[ "$job_status" = 124 ]
}

# bats test_tags=timing
@test "on a terminal a line counts down, and is gone at the end" {
	machine_sh web "trap 'exit 0' USR1; $WAITS"
	until_true on_host pgrep -P "$(leader web)" sleep
	on_host env TERM=xterm script -qec \
	    "$BIN/nspawn-stop --signal none --timeout 3.5 web" /dev/null \
	    </dev/null >"$BATS_TEST_TMPDIR/typed" && return 1
	typed=$(cat -v "$BATS_TEST_TMPDIR/typed")
	echo "$typed"
	# A busy host may miss a second.
	[[ "$typed" == 'waiting for web: 2 processes left, '[234]' s^M^[[K'* ]]
	[[ "$typed" == *'waiting for web: 2 processes left, '[12]' s^M^[[Knspawn-stop:'* ]]
	seconds=$(grep -o '[0-9]* s^M' <<<"$typed")
	[ "$seconds" = "$(sort -rnu <<<"$seconds")" ]
	on_host env TERM=xterm script -qec \
	    "$BIN/nspawn-stop -q --signal none --timeout 0.1 web" /dev/null \
	    </dev/null >"$BATS_TEST_TMPDIR/typed" && return 1
	run ! grep -q waiting "$BATS_TEST_TMPDIR/typed"
}

# Prints the datagrams that a socket receives, once it has printed that it is
# up.
LISTENS='use Socket; $| = 1; socket(S, AF_UNIX, SOCK_DGRAM, 0) or die;
    bind(S, pack_sockaddr_un($ARGV[0] =~ s/^\@/\0/r)) or die; print "up\n";
    while (defined(recv(S, $m, 9999, 0))) { print "$m" }'

# bats test_tags=timing
@test "systemd is told about the wait, by a socket with a path or without" {
	machine_sh web "trap '' TERM; $WAITS"
	for name in /run/of-test @of-test; do
		echo "case: $name"
		job_start perl -e "$LISTENS" "$name"
		until_true grep -q up "$job_log"
		run -124 on_host env NOTIFY_SOCKET="$name" "$BIN/nspawn-stop" \
		    --signal none --timeout 1.9 web
		on_host kill "$job_inner"
		job_end
		[ "$(grep -E '^(STATUS|EXTEND)' "$job_log")" = 'STATUS=waiting for web: 2'\
' processes left, 2 s
EXTEND_TIMEOUT_USEC=5000000
STATUS=waiting for web: 2 processes left, 1 s
EXTEND_TIMEOUT_USEC=5000000' ]
	done
}

@test "a socket for systemd on which nobody listens changes nothing" {
	machine_sh web "trap 'exit 0' TERM; $WAITS"
	run -0 on_host env NOTIFY_SOCKET=/run/nothing "$BIN/nspawn-stop" web
	[ "$output" = '' ]
}
