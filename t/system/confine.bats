#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# bats file_tags=releases
#
# What is entered into a machine may do what PID 1 there may do, and no more: on
# each release, in machines without (web) and with (webu) a user namespace.

load ../common
load ../machines

setup_file()
{
	host_start_shared
}

# The lines of PID 1's status that tell what binds a process; nspawn's PID 1 has
# inheritable capabilities, and nobody else.
bonds_of_leader()
{
	on_host grep -E '^(Cap|NoNewPrivs|Seccomp|Groups)' \
	    "/proc/$(leader "$1")/status" | sed 's/^CapInh.*/CapInh:\t'\
'0000000000000000/'
}

@test "the status of a command is that of PID 1" {
	for name in web webu; do
		run -0 enter "$name" grep -E '^(Cap|NoNewPrivs|Seccomp|Groups)' \
		    /proc/self/status
		[ "$output" = "$(bonds_of_leader "$name")" ]
		[[ "$output" == *$'\nSeccomp:\t2'* ]]
	done
}

@test "PID 1's groups, no_new_privs and score are a command's" {
	machine scope own --no-new-privileges=yes --oom-score-adjust=123
	bonds_of_leader own | grep -q '^NoNewPrivs:.1$'
	run -0 enter own grep -E '^(Cap|NoNewPrivs|Seccomp|Groups)' \
	    /proc/self/status
	[ "$output" = "$(bonds_of_leader own)" ]
	run -0 enter own cat /proc/self/oom_score_adj
	[ "$output" = 123 ]
	# 1000 alone, by PID 1's own call.
	machine scope grouped --bind-ro=/usr --bind-ro=/usr/lib64:/lib64 -- \
	    /usr/bin/perl -e '$( = "0 0 1000 7"; $) = "0 1000 7"; sleep 9999'
	until_true groups_are_set
	run -0 enter grouped grep Groups /proc/self/status
	[ "$output" = "$(bonds_of_leader grouped | grep Groups)" ]
	run -0 enter -u joe grouped grep Groups /proc/self/status
	[ "$output" = $'Groups:\t ' ]
}

groups_are_set()
{
	bonds_of_leader grouped | grep -q 'Groups:.7 1000 '
}

@test "another user has no capabilities, and no more to gain" {
	for name in web webu; do
		run -0 enter -u joe "$name" grep ^Cap /proc/self/status
		[ "$output" = "$(bonds_of_leader "$name" | grep ^Cap |
		    sed '/^CapBnd/!s/:.*/:\t0000000000000000/')" ]
	done
}

@test "a command is in the machine's cgroup, and has its limits" {
	for name in web webu; do
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

# What system calls of a program of the host's perl give: an error's name each.
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
	# And each of them goes further without.
	run -0 enter --quiet --privileged deb perl -e "$CALLS" "${calls[@]}"
	[[ "$output" != *$'EPERM\nEPERM'* ]]
}

@test "--privileged gives what the caller has, and says so" {
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

@test "--no-seccomp leaves out the filters alone, and says so" {
	run -0 enter --no-seccomp web grep -E '^(Cap|NoNewPrivs|Seccomp:|Gr)' \
	    /proc/self/status
	[ "${lines[0]}" = 'nspawn-enter: web: warning: the command may make'\
" system calls that the machine's filters forbid" ]
	[ "$(tail -n +2 <<<"$output")" = "$(bonds_of_leader web |
	    sed 's/^Seccomp:.*/Seccomp:\t0/; /^Seccomp_filters/d')" ]
}

@test "filters that cannot be had are an error that names the way out" {
	# Who has filters is not given those of others.
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

@test "a leader that somebody outside traces is not entered" {
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

# The number of a machine's leader outside of the test host, whose processes
# have other numbers there; those of other hosts may have the same ones.
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

@test "a leader in the middle of a signal gets it, though it is entered" {
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
	# Two that come at once may be one.
	[ "$count" -ge 5 ]
	[ "$count" -le 10 ]
}

# Lets root of the machine $1 look out while the command that follows is run in
# the host, ROUNDS times; what it saw is in $output.  With SECRETS, a file in
# the machine, it seizes and searches what comes in.
attacked()
{
	local bounding log=/tmp/attack-$1 name=$1	# in the host

	shift
	bounding=$(bonds_of_leader "$name" | sed -n 's/^CapBnd:.//p')
	on_host cp /src/build/static/attacker \
	    "/var/lib/machines/$name/attacker"
	on_host sh -c "rm -f $log /tmp/end-$name; mkfifo /tmp/end-$name"
	on_host sh -c "exec '$BIN/nspawn-enter' $name /attacker $bounding \
	    ${SECRETS-} </tmp/end-$name >$log 2>&1" 3>&- &
	job=$!
	on_host sh -c "exec 9>/tmp/end-$name; shift
	    until [ -s $log ]; do :; done
	    # 126: the attacker has the program of nsenter open for writing.
	    n=0; while [ \$n -lt $ROUNDS ]; do n=\$((n + 1)); \"\$@\" ||
	    [ \"\$? \$1\" = \"126 nsenter\" ] || exit; done" sh "" "$@" \
	    </dev/null >/dev/null
	job_end
	[ "$job_status" = 0 ]
	output=$(on_host sed 's/ of [0-9]*:/:/' "$log" | sort | uniq -c |
	    sort -rn)
	echo "$output" | head -n 20
	on_host grep -q '^saw [1-9]' "$log"
}

# What the first of five commands may do in a machine that is just starting, and
# what the others may.
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
	# Before that its leader is systemd-nspawn, with all that root has.
	for kind in '' -U -a; do
		run -0 entered_at_start "$kind"
		[ "${#lines[@]}" = 10 ]
		[ "$(sort -u <<<"$output" | wc -l)" = 2 ]
		[[ "$output" == *'Seccomp:'*2 ]]
	done
}

@test "an attacker inside sees nothing of the host, 1,000 times" {
	# A sanitized program has libraries, which are within reach.
	ROUNDS=1000 attacked web /src/build/static/nspawn-enter web true
	[ "$(wc -l <<<"$output")" = 2 ]
}

@test "the same attacker does see nsenter" {
	ROUNDS=200 attacked web nsenter -t "$(leader web)" -a /bin/true
	[[ "$output" == *"a host's program: "* ]]
	[[ "$output" == *'capabilities: '* ]]
}

# Makes a secret for each of the NAMEs that follow the machine's, in variables
# called so, and tells the attacker in the machine which they are.
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

# A machine whose root seizes and searches what comes in, and another one: only
# the command lines of all supervisors tell which is which, so they are read.
# CALLER is in the environment of who enters, WORD and OPTION are among its
# arguments, OTHER is on the command line of the other machine.
prey_start()
{
	machine orphan-unit prey
	secrets_make prey CALLER WORD OPTION OTHER
	# Long, so that what is read after it does not cover all of it.
	machine orphan-unit other \
	    --setenv=A="$(printf "$OTHER%.0s" {1..300})"
	SECRETS=/secrets
}

# How often a process was seized that had not executed the command yet.
seized_early()
{
	sed -n 's/.*seized \([0-9]*\) before their exec.*/\1/p' <<<"$output"
}

@test "who seizes what comes in finds nothing of the caller, 1,000 times" {
	prey_start
	# The option names a variable that the caller does not have.
	ROUNDS=1000 attacked prey env A="$CALLER" bash -c \
	    'exec -a "$1" "$0" -e "$2" prey true' \
	    /src/build/static/nspawn-enter "$WORD" "$OPTION"
	[ "$(seized_early)" -ge 300 ]
	[[ "$output" != *secret* ]]
	[ "$(wc -l <<<"$output")" = 3 ]
}

@test "nor a capability that is there for a moment, as whatever is entered" {
	machine scope prey --drop-capability=CAP_SYS_ADMIN,CAP_SYS_CHROOT
	secrets_make prey CALLER
	SECRETS=/secrets
	for words in '-u joe prey' '-t -e A=x prey' '--no-network -q prey' \
	    '--no-cgroup --chdir=/tmp prey'; do
		# shellcheck disable=SC2086 # words
		ROUNDS=100 attacked prey env A="$CALLER" \
		    /src/build/static/nspawn-enter $words true
		[ "$(seized_early)" -ge 30 ]
		[ "$(wc -l <<<"$output")" = 3 ]
	done
}

@test "the same attacker finds all in what others send in" {
	prey_start
	ROUNDS=50 attacked prey env A="$CALLER" bash -c 'exec -a "$1" nsenter \
	    -t "$0" -a env -u "$2" true' "$(leader prey)" "$WORD" "$OPTION"
	[ "$(seized_early)" -ge 15 ]
	[[ "$output" == *'the secret of CALLER: environ'* ]]
	[[ "$output" == *'the secret of WORD: cmdline'* ]]
	[[ "$output" == *'the secret of OPTION: [stack]'* ]]
	# A shell of the host whose children are the machine's.
	ROUNDS=5 attacked prey nsenter -t "$(leader prey)" -p --no-fork \
	    bash -c 'mapfile -d "" -t words <"/proc/$0/cmdline"
	    for n in 1 2 3 4 5 6 7 8 9; do ( : ); done' "$(supervisor other)"
	[[ "$output" == *'the secret of OTHER: '* ]]
}

# What README sets beside nspawn-enter.
@test "nsenter binds nothing, and machinectl needs a systemd inside" {
	bonds='^(CapEff|CapBnd|Seccomp):'
	run -0 on_host nsenter -t "$(leader web)" -a grep -E "$bonds" \
	    /proc/self/status
	[ "$output" = "$(on_host grep -E "$bonds" /proc/self/status)" ]
	[ "$output" != "$(bonds_of_leader web | grep -E "$bonds")" ]
	run -0 on_host nsenter -t "$(leader web)" -a cat /proc/self/cgroup
	[[ "$output" == *'0::/../'* ]]
	run ! on_host machinectl -q shell web /bin/true
}
