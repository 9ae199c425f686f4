#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
# bats file_tags=releases
#
# A command in a machine may do what PID 1 there may do, and no more: on each
# release, in machines without (web) and with (webu) a user namespace.

load ../common
load ../machines

setup_file()
{
	host_start_shared
}

# Prints the lines of PID 1's status that show how it is confined, as a command
# has to have them: without the inheritable capabilities that nspawn's PID 1
# has.
confinement_of_leader()
{
	on_host grep -E '^(Cap|NoNewPrivs|Seccomp|Groups)' \
	    "/proc/$(leader "$1")/status" | sed 's/^CapInh.*/CapInh:\t'\
'0000000000000000/'
}

@test "the status of a command has the same values as that of PID 1" {
	for name in web webu; do
		echo "case: $name"
		run -0 enter "$name" grep -E '^(Cap|NoNewPrivs|Seccomp|Groups)' \
		    /proc/self/status
		[ "$output" = "$(confinement_of_leader "$name")" ]
		[[ "$output" == *$'\nSeccomp:\t2'* ]]
	done
}

@test "a command has PID 1's groups, no_new_privs and OOM score" {
	machine scope own --no-new-privileges=yes --oom-score-adjust=123
	confinement_of_leader own | grep -q '^NoNewPrivs:.1$'
	run -0 enter own grep -E '^(Cap|NoNewPrivs|Seccomp|Groups)' \
	    /proc/self/status
	[ "$output" = "$(confinement_of_leader own)" ]
	run -0 enter own cat /proc/self/oom_score_adj
	[ "$output" = 123 ]
	# The group 1000 alone, which PID 1 has set itself.
	machine scope grouped --bind-ro=/usr --bind-ro=/usr/lib64:/lib64 -- \
	    /usr/bin/perl -e '$( = "0 0 1000 7"; $) = "0 1000 7"; sleep 9999'
	until_true groups_are_set
	run -0 enter grouped grep Groups /proc/self/status
	[ "$output" = "$(confinement_of_leader grouped | grep Groups)" ]
	run -0 enter -u joe grouped grep Groups /proc/self/status
	[ "$output" = $'Groups:\t ' ]
}

groups_are_set()
{
	confinement_of_leader grouped | grep -q 'Groups:.7 1000 '
}

@test "another user has no capabilities, and cannot gain more than PID 1" {
	for name in web webu; do
		echo "case: $name"
		run -0 enter -u joe "$name" grep ^Cap /proc/self/status
		[ "$output" = "$(confinement_of_leader "$name" | grep ^Cap |
		    sed '/^CapBnd/!s/:.*/:\t0000000000000000/')" ]
	done
}

@test "a command is in the machine's cgroup, and has its limits" {
	for name in web webu; do
		echo "case: $name"
		job_start "$BIN/nspawn-enter" "$name" /bin/sleep 4711
		until_true runs_in_host '/bin/sleep 4711'
		pid=$(on_host pgrep -x -f '/bin/sleep 4711')
		on_host sh -c "cd /proc && grep ^0:: $pid/cgroup &&
		    cat $pid/limits" >"$BATS_TEST_TMPDIR/command"
		on_host sh -c "cd /proc/$(leader "$name") &&
		    grep ^0:: cgroup && cat limits" >"$BATS_TEST_TMPDIR/leader"
		on_host kill "$job_inner"
		job_end
		diff "$BATS_TEST_TMPDIR/leader" "$BATS_TEST_TMPDIR/command"
		grep -q "machine.slice/.*$name.scope" "$BATS_TEST_TMPDIR/leader"
	done
	machine scope small --rlimit=RLIMIT_NOFILE=77:99
	run -0 enter small sh -c 'ulimit -n; ulimit -H -n'
	[ "$output" = $'77\n99' ]
}

# A perl script that makes system calls and prints the error of each.
CALLS='use POSIX; use Errno; for my $call (@ARGV) {
    my ($number, @words) = split(/,/, $call);
    syscall($number, map { /^\d+$/ ? $_ + 0 : $_ } @words, 0, 0, 0);
    print(($!{EPERM} ? "EPERM" : $! + 0), "\n"); }'

@test "what is forbidden to PID 1's children is forbidden to a command" {
	[ "$(uname -m)" = x86_64 ] || skip 'the numbers of system calls'
	# open_by_handle_at, kexec_load, init_module, swapon, clock_settime
	# shellcheck disable=SC2054 # each is one word
	calls=(304,0,0,0 246,0,0,0,0 175,0,0,0 167,/etc/passwd,0 227,0,0)
	machine scope deb --bind-ro=/usr --bind-ro=/usr/lib64:/lib64 -- \
	    /usr/bin/sh -c 'mkfifo /go; while :; do sh /go; done'
	until_true on_host test -p /var/lib/machines/deb/go
	{
		printf 'perl -e '\''%s'\''' "$CALLS"
		printf ' %s' "${calls[@]}"
		echo ' >/said.new 2>&1; mv /said.new /said'
	} | on_host sh -c 'cat >/var/lib/machines/deb/go'
	until_true on_host test -e /var/lib/machines/deb/said
	run -0 enter deb perl -e "$CALLS" "${calls[@]}"
	[ "$output" = "$(on_host cat /var/lib/machines/deb/said)" ]
	[ "$(sort -u <<<"$output")" = EPERM ]
	# Without filters each call fails later, with another error.
	run -0 enter --quiet --privileged deb perl -e "$CALLS" "${calls[@]}"
	[[ "$output" != *$'EPERM\nEPERM'* ]]
}

@test "--privileged gives what the caller has, with a warning" {
	run -0 enter --privileged web grep -E '^(CapEff|Seccomp|NoNew)' \
	    /proc/self/status
	[ "${lines[0]}" = 'nspawn-enter: web: warning: the command has the'\
" caller's capabilities, and root of the machine can take it over" ]
	[ "${lines[1]}" = "$(on_host grep ^CapEff /proc/self/status)" ]
	[ "${lines[3]}" = $'Seccomp:\t0' ]
	job_start "$BIN/nspawn-enter" -q --privileged web /bin/sleep 4712
	until_true runs_in_host '/bin/sleep 4712'
	run -0 on_host sh -c 'grep ^0:: \
	    "/proc/$(pgrep -x -f "/bin/sleep 4712")/cgroup"'
	on_host kill "$job_inner"
	job_end
	[[ "$output" != *web.scope* ]]
}

@test "--no-seccomp leaves out only the filters, with a warning" {
	run -0 enter --no-seccomp web grep -E '^(Cap|NoNewPrivs|Seccomp:|Gr)' \
	    /proc/self/status
	[ "${lines[0]}" = 'nspawn-enter: web: warning: the command may make'\
" system calls that the machine's filters forbid" ]
	[ "$(tail -n +2 <<<"$output")" = "$(confinement_of_leader web |
	    sed 's/^Seccomp:.*/Seccomp:\t0/; /^Seccomp_filters/d')" ]
}

@test "filters that cannot be copied are an error that names the way out" {
	# A process with filters of its own cannot read those of others.
	run -125 on_host systemd-run --quiet --pipe --wait \
	    -p 'SystemCallFilter=~swapon' "$BIN/nspawn-enter" web true
	[[ "$output" == 'nspawn-enter: web: cannot copy its system call'\
' filters: the caller has filters itself '*'; use --no-seccomp to enter'\
' without them' ]]
	run -0 on_host systemd-run --quiet --pipe --wait \
	    -p 'SystemCallFilter=~swapon' "$BIN/nspawn-enter" --no-seccomp \
	    -q web echo in
	[ "$output" = in ]
}

@test "a leader that a process outside traces is not entered" {
	pid=$(leader web)
	strace -qq -o /dev/null -p "$(nspid_outside web)" 3>&- &
	tracer=$!
	until_true on_host grep -q "^TracerPid:.[1-9]\|^TracerPid:.0" \
	    "/proc/$pid/status"
	until_true traced "$pid"
	run -125 enter web true
	kill "$tracer"
	wait "$tracer" || true
	[ "$output" = 'nspawn-enter: web: cannot copy its system call'\
' filters: Operation not permitted; a process of another PID namespace may'\
' trace its leader' ]
	run -0 enter web echo in
	[ "$output" = in ]
}

# The PID of a machine's leader outside of the test host.  PIDs in the host
# differ, and processes of other hosts may have the same ones.
nspid_outside()
{
	local children inner pid

	inner=$(supervisor "$1")
	for pid in $(pgrep --nslist pid --ns "$("$TOP/t/host" leader "$HOST")")
	do
		grep -qE "^NSpid:.*[[:space:]]$inner\$" "/proc/$pid/status" ||
		    continue
		children=$(cat "/proc/$pid/task/$pid/children")
		echo "${children%% *}"
		return
	done
	return 1
}

traced()
{
	grep -q '^TracerPid:.[1-9]' "/proc/$(nspid_outside web)/status"
}

@test "a frozen machine is refused at once" {
	on_host systemctl freeze machine-web.scope 2>/dev/null ||
	    on_host systemctl freeze web.scope
	run -125 enter web true
	on_host systemctl thaw machine-web.scope 2>/dev/null ||
	    on_host systemctl thaw web.scope
	[ "$output" = 'nspawn-enter: web: is frozen, and runs nothing until'\
' it is thawed; run systemctl thaw with its unit' ]
	run -0 enter web echo in
	[ "$output" = in ]
}

@test "a leader does not lose a signal because it is entered" {
	machine scope busy -- /bin/sh -c 'trap "n=\$((n + 1))" USR1
	    trap "echo \$n >/count; exit 0" TERM; echo >/ready
	    while :; do sleep 600 & wait $!; done'
	until_true on_host test -e /var/lib/machines/busy/ready
	host_script "$BIN" "$(leader busy)" <<-'END'
	for n in 1 2 3 4 5 6 7 8 9 10; do
		"$1/nspawn-enter" busy true &
		kill -USR1 "$2"
		wait $!
	done
	END
	run -0 stop busy
	count=$(on_host cat /var/lib/machines/busy/count)
	# Two signals that come at the same time may count as one.
	[ "$count" -ge 5 ]
	[ "$count" -le 10 ]
}

# attacked MACHINE COMMAND...: root of the machine looks for anything of the
# host while the command runs in the host, ROUNDS times; $output is what was
# seen.  If SECRETS is set, a file in the machine, the attacker also traces and
# searches each process that comes in.  If EARLY is set, the command runs more
# often, until EARLY processes were traced before they had executed it, which is
# a matter of chance.
attacked()
{
	local HOST_SECONDS=600 bounding log=/tmp/attack-$1 name=$1 # in the host

	shift
	# The attacker never sleeps.  With a high priority, which it has from
	# PID 1, it is done sooner, and disturbs other tests for less time.
	on_host renice -n -5 -p "$(leader "$name")" >/dev/null
	bounding=$(confinement_of_leader "$name" | sed -n 's/^CapBnd:.//p')
	on_host cp /src/build/static/attacker \
	    "/var/lib/machines/$name/attacker"
	on_host sh -c "rm -f $log /tmp/end-$name; mkfifo /tmp/end-$name"
	on_host sh -c "exec '$BIN/nspawn-enter' $name /attacker $bounding \
	    ${SECRETS-} </tmp/end-$name >$log 2>&1" 3>&- &
	job=$!
	host_script "$log" "/tmp/end-$name" "$ROUNDS" "${EARLY:-0}" "$@" \
	    >/dev/null <<-'END'
	log=$1 rounds=$3 early=$4 n=0
	exec 9>"$2"
	shift 4
	renice -n -5 -p $$
	until [ -s "$log" ]; do :; done
	while [ $n -lt "$rounds" ] || { [ $n -lt $((5 * rounds)) ] &&
	    [ "$(grep -c ' its exec$' "$log")" -lt "$early" ]; }; do
		n=$((n + 1))
		# 126: the attacker has the program of nsenter open for writing.
		"$@" </dev/null || [ "$? $1" = '126 nsenter' ]
	done
	END
	job_end
	on_host renice -n 0 -p "$(leader "$name")" >/dev/null
	[ "$job_status" = 0 ]
	output=$(on_host sed 's/ of [0-9]*:/:/' "$log" | sort | uniq -c |
	    sort -rn)
	echo "$output" | head -n 20
	on_host grep -q '^saw [1-9]' "$log"
}

# Prints what five commands, one after the other, may do in a machine that is
# just starting.
entered_at_start()
{
	on_host timeout 60 sh -s <<-END
	systemd-nspawn -q -x -D /var/lib/machines/web -M late --register=no \
	    --keep-unit '--system-call-filter=~keyctl' $1 /bin/sleep 4370 \
	    </dev/null >/dev/null 2>&1 &
	for n in 1 2 3 4 5; do
		until $BIN/nspawn-enter -q late /bin/grep -E \
		    '^(CapBnd|Seccomp):' /proc/self/status 2>/dev/null; do
			:
		done
	done
	kill \$!
	wait
	END
}

@test "a machine that is just starting is entered when it has started" {
	# Before that its leader is systemd-nspawn with all of root's rights.
	for kind in '' -U -a; do
		echo "case: $kind"
		run -0 entered_at_start "$kind"
		[ "${#lines[@]}" = 10 ]
		[ "$(sort -u <<<"$output" | wc -l)" = 2 ]
		[[ "$output" == *'Seccomp:'*2 ]]
	done
}

@test "an attacker inside sees nothing of the host, 1,000 times" {
	# The program is static: the libraries of a sanitized one are files that
	# the machine can reach.
	ROUNDS=1000 attacked web /src/build/static/nspawn-enter web true
	[ "$(wc -l <<<"$output")" = 2 ]
}

@test "the same attacker does see the host when nsenter is used" {
	ROUNDS=200 attacked web nsenter -t "$(leader web)" -a /bin/true
	[[ "$output" == *"a host's program: "* ]]
	[[ "$output" == *'capabilities: '* ]]
}

# secrets_make MACHINE NAME...: sets each variable NAME to a secret, and writes
# them to a file for the attacker in the machine.
secrets_make()
{
	local file=/var/lib/machines/$1/secrets name

	shift
	for name; do
		printf -v "$name" 'secret%04x%04x%04x%04x' "$RANDOM" \
		    "$RANDOM" "$RANDOM" "$RANDOM"
	done
	for name; do
		printf '%s %s\n' "$name" "$(printf %s "${!name}" |
		    od -An -v -tx1 | tr -d ' \n')"
	done | on_host sh -c "cat >'$file'"
}

# Starts a machine whose root traces and searches each process that comes in,
# and another machine.  nspawn-enter can tell them apart only by the command
# lines of all supervisors, so it reads these.  The secret CALLER is in the
# caller's environment, WORD and OPTION are among its arguments, and OTHER is on
# the command line of the other machine.
prey_start()
{
	machine orphan-unit prey
	secrets_make prey CALLER WORD OPTION OTHER
	# It is long, so that data read later cannot overwrite all of it.
	machine orphan-unit other \
	    --setenv=A="$(printf "$OTHER%.0s" {1..300})"
	SECRETS=/secrets
}

# Prints how many processes were traced before they had executed the command.
seized_early()
{
	sed -n 's/^ *\([0-9]*\) seized one before its exec$/\1/p' <<<"$output"
}

@test "an attacker who traces what enters finds no secret, 1,000 times" {
	prey_start
	# The option names a variable that the caller does not have, so it is
	# not passed on.
	ROUNDS=1000 EARLY=300 attacked prey env A="$CALLER" bash -c \
	    'exec -a "$1" "$0" -e "$2" prey true' \
	    /src/build/static/nspawn-enter "$WORD" "$OPTION"
	[ "$(seized_early)" -ge 300 ]
	[[ "$output" != *secret* ]]
	[ "$(wc -l <<<"$output")" = 4 ]
}

@test "an attacker who traces what enters gets no capability, in any way" {
	machine scope prey --drop-capability=CAP_SYS_ADMIN,CAP_SYS_CHROOT
	secrets_make prey CALLER
	SECRETS=/secrets
	for words in '-u joe prey' '-t -e A=x prey' '--no-network -q prey' \
	    '--no-cgroup --chdir=/tmp prey'; do
		echo "case: $words"
		# shellcheck disable=SC2086 # words
		ROUNDS=100 EARLY=30 attacked prey env A="$CALLER" \
		    /src/build/static/nspawn-enter $words true
		[ "$(seized_early)" -ge 30 ]
		[ "$(wc -l <<<"$output")" = 4 ]
	done
}

@test "the same attacker finds all secrets when other programs enter" {
	prey_start
	ROUNDS=50 EARLY=15 attacked prey env A="$CALLER" bash -c \
	    'exec -a "$1" nsenter -t "$0" -a env -u "$2" true' \
	    "$(leader prey)" "$WORD" "$OPTION"
	[ "$(seized_early)" -ge 15 ]
	[[ "$output" == *'the secret of CALLER: environ'* ]]
	[[ "$output" == *'the secret of WORD: cmdline'* ]]
	[[ "$output" == *'the secret of OPTION: [stack]'* ]]
	# A shell of the host that has children in the machine.
	ROUNDS=50 EARLY=15 attacked prey nsenter -t "$(leader prey)" -p \
	    --no-fork bash -c 'mapfile -d "" -t words <"/proc/$0/cmdline"
	    for n in 1 2 3 4 5 6 7 8 9; do ( : ); done' "$(supervisor other)"
	[[ "$output" == *'the secret of OTHER: '* ]]
}

# README compares these with nspawn-enter.
@test "nsenter confines nothing, and machinectl needs a systemd inside" {
	fields='^(CapEff|CapBnd|Seccomp):'
	run -0 on_host nsenter -t "$(leader web)" -a grep -E "$fields" \
	    /proc/self/status
	[ "$output" = "$(on_host grep -E "$fields" /proc/self/status)" ]
	[ "$output" != "$(confinement_of_leader web | grep -E "$fields")" ]
	run -0 on_host nsenter -t "$(leader web)" -a cat /proc/self/cgroup
	[[ "$output" == *'0::/../'* ]]
	run ! on_host machinectl -q shell web /bin/true
}
