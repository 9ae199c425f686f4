#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
#
# nspawn-enter in machines that all tests share.

load ../common
load ../machines

setup_file()
{
	host_start_shared
}

@test "a command's status is nspawn-enter's" {
	for status in 0 1 3 124 125 255; do
		echo "case: $status"
		run "-$status" enter web sh -c "exit $status"
		[ "$output" = '' ]
	done
}

@test "nspawn-enter ends by the signal that ended the command" {
	for name in TERM KILL INT SEGV PIPE; do
		echo "case: $name"
		number=$(kill -l "$name")
		run "-$((128 + number))" enter web sh -c "kill -$name \$\$"
	done
	# nspawn-enter dies by the signal, and does not only exit with a status:
	# its parent can see the signal.
	run -0 on_host sh -c "'$BIN/nspawn-enter' web sh -c 'kill -USR1 \$\$' &
	    wait \$! || kill -l \$?"
	[[ "${lines[*]}" == *USR1* ]]
}

@test "the status is 127 if there is no such command, 126 if it cannot run" {
	run -127 enter web no-such-command
	[ "$output" = 'nspawn-enter: web: cannot execute no-such-command:'\
' No such file or directory' ]
	run -127 enter web /no/such/command
	run -126 enter web /etc/passwd
	[ "$output" = 'nspawn-enter: web: cannot execute /etc/passwd:'\
' Permission denied' ]
	run -126 enter web /etc
}

@test "options are read before and after the machine, never in the command" {
	run -0 enter -- web hostname
	[ "$output" = web ]
	run -0 enter web -q --no-pid -- hostname
	[ "$output" = web ]
	run -0 enter --no-time web -q --no-pid echo --no-uts -p --
	[ "$output" = '--no-uts -p --' ]
	run -0 enter web sh -c 'echo "$1"' sh --help
	[ "$output" = --help ]
	run -127 enter -- web --help
	run -127 enter web -- --no-pid
	[ "$output" = 'nspawn-enter: web: cannot execute --no-pid:'\
' No such file or directory' ]
}

@test "without a command root's login shell is run" {
	for words in web '-- web' 'web --' '-q web --no-pid' 'web --no-ipc --'; do
		echo "case: $words"
		# shellcheck disable=SC2086
		run -7 enter $words <<<'echo "$0 in $(hostname)"; exit 7'
		[ "$output" = '-sh in web' ]
	done
}

@test "the login shell is the machine's own, not the host's" {
	on_host sh -c 'printf "%s\n" "root:x:0:0::/tmp:/bin/myshell" \
	    >/var/lib/machines/web/etc/passwd
	    printf "#!/bin/sh\necho my shell in \$PWD\n" \
	    >/var/lib/machines/web/bin/myshell
	    chmod +x /var/lib/machines/web/bin/myshell'
	run -0 enter web
	[ "$output" = 'my shell in /tmp' ]
	on_host rm /var/lib/machines/web/etc/passwd
	run -0 enter web <<<'echo "$0 in $PWD"'
	[ "$output" = '-sh in /root' ]
	on_host mkfifo /var/lib/machines/web/etc/passwd
	run -0 enter web <<<'echo "$0 in $PWD"'
	[ "$output" = '-sh in /root' ]
	on_host sh -c 'rm /var/lib/machines/web/etc/passwd
	    ln -s /proc/1/environ /var/lib/machines/web/etc/passwd'
	run -0 enter web <<<'echo "$0 in $PWD"'
	[ "$output" = '-sh in /root' ]
	on_host sh -c 'rm /var/lib/machines/web/etc/passwd
	    printf "root:x:0:0::/:/bin/\033[31m\n" \
	    >/var/lib/machines/web/etc/passwd'
	run -127 enter web
	[ "$output" = 'nspawn-enter: web: cannot execute /bin/\x1b[31m:'\
' No such file or directory' ]
	on_host sh -c 'printf "%s\n" root:x:0:0:root:/root:/bin/sh \
	    joe:x:1000:1000::/home/joe:/bin/sh >/var/lib/machines/web/etc/passwd'
}

@test "a hostile passwd gives no user, and nothing runs" {
	passwd=/var/lib/machines/web/etc/passwd
	on_host mv "$passwd" "$passwd.good"
	for trick in 'mkfifo passwd' 'ln -s /proc/1/environ passwd' \
	    'mkdir passwd' 'mknod passwd c 1 5' \
	    '{ cat passwd.good | tr "\n" "\0"; } >passwd' \
	    'tr "\0" x </dev/zero | head -c 2M >passwd'; do
		echo "case: $trick"
		on_host sh -c "cd ${passwd%/*} && rm -rf passwd && $trick"
		run -125 enter -u joe web touch /run/entered
		[ "$output" = "nspawn-enter: web: its /etc/passwd has no user\
 'joe'" ]
		run ! enter web test -e /run/entered
	done
	# A long file with nonsense before the user is read to its end.
	on_host sh -c "cd ${passwd%/*} && { tr '\\0' x </dev/zero | head -c 2M
	    printf 'a\\0b:\\n'; cat passwd.good; } >passwd"
	run -0 enter -u joe web grep ^Uid /proc/self/status
	[ "$output" = $'Uid:\t1000\t1000\t1000\t1000' ]
	on_host sh -c "rm -rf $passwd && mv $passwd.good $passwd"
	run -0 enter -u joe web id -un
	[ "$output" = joe ]
}

# entered_namespaces MACHINE [OPTION]...: prints which namespaces a command
# shares with the machine's leader if nspawn-enter starts it with these options.
entered_namespaces()
{
	local machine=$1
	shift

	job_start "$BIN/nspawn-enter" "$@" "$machine" /bin/sleep 4321
	until_true runs_in_host '/bin/sleep 4321'
	on_host sh -c "cd /proc/$(on_host pgrep -x -f '/bin/sleep 4321')/ns
	    for n in mnt uts ipc net pid cgroup user time; do
		[ \"\$(readlink \$n)\" = \
		    \"\$(readlink /proc/$(leader "$machine")/ns/\$n)\" ] &&
		printf '%s ' \$n
	    done; true"
	kill_job
}

kill_job()
{
	on_host kill -TERM "$job_inner"
	job_end
	[ "$job_status" = 143 ]
	run ! runs_in_host '/bin/sleep 4321'
}

@test "each namespace can be left out" {
	# The machine's own user and time namespaces are the host's.
	run -0 entered_namespaces web
	[ "$output" = 'mnt uts ipc net pid cgroup user time ' ]
	run -0 entered_namespaces web --no-mount
	[ "$output" = 'uts ipc net pid cgroup user time ' ]
	run -0 entered_namespaces web --no-uts
	[ "$output" = 'mnt ipc net pid cgroup user time ' ]
	run -0 entered_namespaces web --no-ipc
	[ "$output" = 'mnt uts net pid cgroup user time ' ]
	for option in -n --no-network; do
		echo "case: $option"
		run -0 entered_namespaces web "$option"
		[ "$output" = 'mnt uts ipc pid cgroup user time ' ]
	done
	for option in -p --no-pid; do
		echo "case: $option"
		run -0 entered_namespaces web "$option"
		[ "$output" = 'mnt uts ipc net cgroup user time ' ]
	done
	run -0 entered_namespaces web --no-cgroup
	[ "$output" = 'mnt uts ipc net pid user time ' ]
	run -0 entered_namespaces webu
	[ "$output" = 'mnt uts ipc net pid cgroup user time ' ]
	run -0 entered_namespaces webu --no-user --no-time
	[ "$output" = 'mnt uts ipc net pid cgroup time ' ]
}

@test "--only= lists the namespaces to join" {
	run -0 entered_namespaces web --only=uts
	[ "$output" = 'uts user time ' ]
	run -0 entered_namespaces web --only=mnt,net
	[ "$output" = 'mnt net user time ' ]
	run -0 entered_namespaces web --only=mount,network,pid --no-pid
	[ "$output" = 'mnt net user time ' ]
}

@test "without the mount namespace the shell and PATH are the host's" {
	run -0 enter -q --no-mount web <<<'echo "$0 $PATH $PWD"; cat /etc/os-release'
	[[ "${lines[0]}" == *sh" /usr/local/sbin:"*" /root" ]]
	[[ "$output" == *ID=debian* ]]
}

@test "the environment is the machine's" {
	run -0 host run "$HOST" env SECRET=1 LANG=C.UTF-8 TERM=vt100 PATH=/x \
	    "$BIN/nspawn-enter" web env
	[ "$(sort <<<"$output")" = "$(sort <<-'END'
	PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
	HOME=/root
	USER=root
	LOGNAME=root
	SHELL=/bin/sh
	TERM=vt100
	LANG=C.UTF-8
	container=systemd-nspawn
	END
	)" ]
}

@test "--setenv sets variables, and --preserve-env keeps the caller's" {
	run -0 host run "$HOST" env A=1 B=2 "$BIN/nspawn-enter" -e A -e C= \
	    --setenv=D=x=y -e NONE web -e PATH=/bin env
	for line in A=1 C= D=x=y PATH=/bin HOME=/root; do
		echo "case: $line"
		grep -qx -e "$line" <<<"$output"
	done
	run ! grep -E '^(B|NONE)=' <<<"$output"
	run -0 host run "$HOST" env A=1 HOME=/x USER=me "$BIN/nspawn-enter" \
	    --preserve-env web env
	for line in A=1 HOME=/root USER=root container=systemd-nspawn; do
		echo "case: $line"
		grep -qx -e "$line" <<<"$output"
	done
}

@test "--user takes a user of the machine, with the groups it has there" {
	on_host sh -c 'cp /var/lib/machines/web/etc/group /tmp/group
	    printf "%s\n" disk:x:6:joe,x other:x:7:x tape:x:8:x,joe \
	    >>/var/lib/machines/web/etc/group'
	for who in joe 1000; do
		echo "case: $who"
		run -0 enter -u "$who" web sh -c 'id -u; id -g; id -G; pwd
		    echo $HOME $USER $LOGNAME $SHELL'
		[ "$output" = $'1000\n1000\n1000 6 8\n/home/joe
/home/joe joe joe /bin/sh' ]
	done
	run -0 enter --user=joe:other web id -G
	[ "$output" = '7 6 8' ]
	run -0 enter -u 77:88 web sh -c 'id -u; id -G; pwd'
	[ "$output" = $'77\n88\n/' ]
	run -0 enter -u joe web <<<'echo "$0 $(id -u)"'
	[ "$output" = '-sh 1000' ]
	run -0 enter -u joe web grep -E '^(Uid|Gid|Cap(Eff|Prm|Inh|Amb))' \
	    /proc/self/status
	[ "$(tr -d ' \n\t' <<<"$output")" = \
	    "Uid:$(printf '1000%.0s' 1 2 3 4)Gid:$(printf '1000%.0s' 1 2 3 4)\
CapInh:${zeros:=0000000000000000}CapPrm:${zeros}CapEff:${zeros}CapAmb:$zeros" ]
	on_host cp /tmp/group /var/lib/machines/web/etc/group
	run -0 enter -u joe webu sh -c 'id -u; pwd; : >mine'
	[ "$output" = $'1000\n/home/joe' ]
}

@test "a user is found at the end of a passwd and a group of any size" {
	on_host sh -c 'cd /var/lib/machines/web/etc && cp passwd group /tmp
	    seq -f "u%.0f:x:2000:2000:a user:/home:/bin/sh" 100000 >>passwd
	    echo last:x:2001:2001::/:/bin/sh >>passwd
	    seq 2010 3009 | sed "s/.*/g&:x:&:last/" >>group
	    seq -f "h%.0f:x:3010:others,of,it" 100000 >>group
	    echo end:x:3011:last >>group
	    [ $(stat -c %s passwd) -gt 3000000 ]'
	run -0 enter -u last web sh -c 'id -u; id -G | tr " " "\n" | sort -n'
	[ "$output" = "$(printf '%s\n' 2001 2001; seq 2010 3009; echo 3011)" ]
	run -0 enter -u last:end web id -g
	[ "$output" = 3011 ]
	on_host sh -c 'cp /tmp/passwd /tmp/group /var/lib/machines/web/etc'
}

@test "a user that the machine does not have is an error, and nothing runs" {
	run -125 enter -u nobody9 web touch /has-run
	[ "$output" = "nspawn-enter: web: its /etc/passwd has no user\
 'nobody9'" ]
	run -125 enter -u 77 web touch /has-run
	[ "$output" = "nspawn-enter: web: its /etc/passwd has no user 77; to\
 use a number that is not there, give 77:GROUP" ]
	run -125 enter -u joe:nogroup9 web touch /has-run
	[ "$output" = "nspawn-enter: web: its /etc/group has no group\
 'nogroup9'" ]
	# A user that only the host has, and the number that means "no change".
	run -125 enter -u messagebus web touch /has-run
	run -125 enter -u 4294967295:0 web touch /has-run
	run -125 enter -u $'\e[31m' web touch /has-run
	[[ "$output" == *"'\\x1b[31m'"* ]]
	run ! on_host test -e /var/lib/machines/web/has-run
}

@test "a user that the user namespace does not have is named in the error" {
	for who in 70000:0 root:70000; do
		for option in '' -t -T; do
			echo "case: $who $option"
			# shellcheck disable=SC2086 # none, where it is empty
			run -125 enter $option -u "$who" webu touch /has-run
			[[ "$output" == 'nspawn-enter: webu: its user'\
' namespace has no such user'* ]]
			[ "${#lines[@]}" = 1 ]
			# shellcheck disable=SC2086 # as above
			run -0 enter $option -u "$who" web true
		done
	done
	run ! on_host test -e /var/lib/machines/webu/has-run
}

@test "a caller in a unit with filters is told that it has them" {
	for property in PrivateDevices=yes RestrictNamespaces=yes \
	    LockPersonality=yes; do
		echo "case: $property"
		run -125 on_host systemd-run --quiet --pipe --wait \
		    --property="$property" "$BIN/nspawn-enter" web \
		    touch /has-run
		[[ "$output" == 'nspawn-enter: web: cannot copy its'\
' system call filters: the caller has filters itself'* ]]
		[[ "$output" == *'enter from outside that unit'* ]]
	done
	run ! on_host test -e /var/lib/machines/web/has-run
}

@test "a limit on the processes of a machine's user is named in the error" {
	machine scope few -U
	on_host prlimit --pid "$(leader few)" --nproc=1:
	run -125 enter few touch /has-run
	[[ "$output" == 'nspawn-enter: few: cannot create a process in it: a'\
' limit on processes is reached; raise RLIMIT_NPROC of its leader'* ]]
	run ! on_host test -e /var/lib/machines/few/has-run
}

@test "a command starts in the directory that --chdir names" {
	run -0 enter -w /tmp web pwd
	[ "$output" = /tmp ]
	run -125 enter --chdir=/nowhere web touch /has-run
	[ "$output" = 'nspawn-enter: web: cannot change directory to /nowhere:'\
' No such file or directory' ]
	on_host install -d -m 700 /var/lib/machines/web/shut
	run -125 enter -u joe -w /shut web touch /has-run
	[ "$output" = 'nspawn-enter: web: cannot change directory to /shut:'\
' Permission denied' ]
	run ! on_host test -e /var/lib/machines/web/has-run
}

@test "options with surprising effects print a warning, unless --quiet" {
	run -0 enter --no-network web true
	[ "$output" = "nspawn-enter: web: warning: in the host's network\
 namespace the command can reach the host's sockets" ]
	outside="nspawn-enter: web: warning: outside the machine's PID namespace"
	outside+=' the command has no /proc/self, and does not end with'
	outside+=' the machine'
	run -0 enter --no-pid web true
	[ "$output" = "$outside
nspawn-enter: web: warning: the command has the host's processes, and root\
 of the machine can reach them through it" ]
	run -0 enter --no-pid webu true
	[ "$output" = "${outside/web:/webu:}" ]
	for quiet in -q --quiet; do
		echo "case: $quiet"
		run -0 enter "$quiet" --no-pid --no-network web true
		[ "$output" = '' ]
	done
	run -0 enter --only=network web true
	[ "$output" = '' ]
}

@test "a file that is a standard descriptor keeps its mode and owner" {
	host_script "$BIN" <<-'END'
	: >/run/kept
	chmod 640 /run/kept
	chown 3:4 /run/kept
	"$1/nspawn-enter" -u joe web sh -c 'echo x; echo y >&2' \
	    </run/kept >>/run/kept 2>>/run/kept
	END
	run -0 on_host stat -c '%a %u %g %s' /run/kept
	[ "$output" = '640 3 4 4' ]
}

@test "a command starts with no signal blocked or ignored, and as root" {
	run -0 on_host sh -c "trap '' HUP INT TERM PIPE USR1
	    exec '$BIN/nspawn-enter' web cat /proc/self/status"
	[[ "$output" == *$'SigBlk:\t0000000000000000'* ]]
	[[ "$output" == *$'SigIgn:\t0000000000000000'* ]]
	[[ "$output" == *$'Uid:\t0\t0\t0\t0'* ]]
	[[ "$output" == *$'Gid:\t0\t0\t0\t0'* ]]
	run -0 enter web sh -c umask
	[ "$output" = 0022 ]
}

@test "a command is root in a user namespace, with none of our groups" {
	run -0 on_host setpriv --groups 4,5 "$BIN/nspawn-enter" webu id
	[ "$output" = 'uid=0(root) gid=0(root)' ] ||
		[ "$output" = 'uid=0(root) gid=0(root) groups=0(root)' ]
}

@test "exactly the three standard descriptors reach the command" {
	run -0 on_host sh -c "'$BIN/nspawn-enter' web ls /proc/self/fd \
	    7</etc/passwd 9>/dev/null"
	# 3 is the descriptor of the directory that ls reads.
	[ "$output" = $'0\n1\n2\n3' ]
	run -0 on_host sh -c "'$BIN/nspawn-enter' web sh -c 'readlink \
	    /proc/self/fd/0' <&-"
	[ "$output" = /dev/null ]
}

@test "input, output and errors are the caller's own" {
	run -0 --separate-stderr enter web sh -c 'cat; echo err >&2' <<<in
	[ "$output" = in ]
	[ "$stderr" = err ]
	head -c 3000000 /dev/urandom >"$BATS_TEST_TMPDIR/data"
	enter web cat <"$BATS_TEST_TMPDIR/data" >"$BATS_TEST_TMPDIR/copy"
	cmp "$BATS_TEST_TMPDIR/data" "$BATS_TEST_TMPDIR/copy"
}

@test "signals to nspawn-enter reach the command" {
	for name in TERM INT HUP QUIT USR1 USR2; do
		echo "case: $name"
		job_start "$BIN/nspawn-enter" web sh -c \
		    "trap 'echo got; exit 9' $name; echo ready
		    while :; do sleep 1; done"
		until_true grep -q ready "$job_log"
		on_host kill "-$name" "$job_inner"
		job_end
		grep -q got "$job_log"
		[ "$job_status" = 9 ]
	done
}

@test "a signal that the command does not catch ends both" {
	for name in TERM INT HUP; do
		echo "case: $name"
		job_start "$BIN/nspawn-enter" web /bin/sleep 4322
		until_true runs_in_host '/bin/sleep 4322'
		on_host kill "-$name" "$job_inner"
		job_end
		[ "$job_status" = $((128 + $(kill -l "$name"))) ]
		run ! runs_in_host '/bin/sleep 4322'
	done
}

@test "a signal ends a stopped command, too" {
	for name in TERM INT HUP; do
		echo "case: $name"
		job_start "$BIN/nspawn-enter" web sh -c 'kill -STOP $$; sleep 9'
		until_true command_stopped
		on_host kill "-$name" "$job_inner"
		job_end
		[ "$job_status" = $((128 + $(kill -l "$name"))) ]
	done
}

# True if the monitor of the job has a command that is stopped.
command_stopped()
{
	local monitor

	monitor=$(on_host pgrep -P "$job_inner")
	[[ "$(on_host ps -o state= --ppid "$monitor")" == T* ]]
}

@test "a command gets a hang-up when nspawn-enter is killed" {
	job_start "$BIN/nspawn-enter" web /bin/sleep 4323
	until_true runs_in_host '/bin/sleep 4323'
	on_host kill -KILL "$job_inner"
	job_end
	until_true not runs_in_host '/bin/sleep 4323'
}

@test "the monitor is in a session of its own, and the machine cannot see it" {
	job_start "$BIN/nspawn-enter" web /bin/sleep 4324
	until_true runs_in_host '/bin/sleep 4324'
	command=$(on_host pgrep -x -f '/bin/sleep 4324')
	monitor=$(on_host ps -o ppid= -p "$command" | tr -d ' ')
	[ "$(on_host ps -o ppid= -p "$monitor" | tr -d ' ')" = "$job_inner" ]
	[ "$(on_host ps -o sid= -p "$monitor" | tr -d ' ')" = "$monitor" ]
	[ "$(on_host ps -o sid= -p "$command" | tr -d ' ')" = "$command" ]
	run -0 enter web ps -o args
	[[ "$output" == *'/bin/sleep 4324'* ]]
	[[ "$output" != *nspawn-enter* ]]
	# Only KILL ends it before the command.
	on_host kill -TERM "$monitor"
	lives "$command"
	on_host kill -KILL "$monitor"
	job_end
	[ "$job_status" = 125 ]
	grep -q 'nspawn-enter: web: the monitor of the command has ended' \
	    "$job_log"
	until_true not lives "$command"
}

@test "a stopped nspawn-enter does not hold up the machine's end" {
	machine scope short
	# It runs as a unit: nsenter, by which t/host enters the host, would
	# stop with its child.
	on_host systemd-run --quiet --unit=stopped --property=Type=exec \
	    "$BIN/nspawn-enter" short /bin/sleep 4325
	pid=$(on_host systemctl show -p MainPID --value stopped)
	until_true runs_in_host '/bin/sleep 4325'
	on_host kill -STOP "$pid"
	run -0 stop --timeout 20 short
	[ "$output" = '' ]
	on_host grep -q 'State:.*T (stopped)' "/proc/$pid/status"
	on_host kill -CONT "$pid"
	until_true not lives "$pid"
	[ "$(on_host systemctl show -p ExecMainStatus --value stopped)" = 9 ]
}

@test "a command is in the chroot of PID 1" {
	machine scope rooted -- /bin/sh -c \
	    'mkdir /jail && cp -a /usr /bin /lib /jail/ && exec chroot /jail \
	    /bin/sh -c "echo here >/mark; exec sleep 600"'
	until_true machine_file_is rooted jail/mark here
	run -0 enter rooted cat /mark
	[ "$output" = here ]
}

@test "an unknown machine is not entered, and nothing is run" {
	run -125 enter nothing touch /tmp/run
	[ "$output" = 'nspawn-enter: nothing: is not running' ]
	run ! on_host test -e /tmp/run
}

@test "static programs need nothing of a host but /proc and /sys" {
	machine scope small
	# A tree of busybox and musl alone, as Alpine's are.
	run -0 host_script <<-'END'
	tree=/tmp/alpine
	cp -a /usr/lib/nspawn-tools/skeleton "$tree"
	cp /src/build/static/nspawn-enter /src/build/static/nspawn-stop "$tree"
	mount --rbind /proc "$tree/proc"
	mount --rbind /sys "$tree/sys"
	mount --rbind /dev "$tree/dev"
	chroot "$tree" /nspawn-enter small hostname
	chroot "$tree" /nspawn-stop -v small
	END
	[ "${lines[0]}" = small ]
	[ "${lines[-1]}" = 'nspawn-stop: small: has stopped' ]
	machine_file_is small signal 15
}
