#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
#
# What a command has from the machine's PID 1, and not from the caller of
# nspawn-enter: its scheduling, its processors and its user.  Capabilities,
# filters and limits are in confine.bats, cgroups of version 1 in hybrid.bats.

load ../common
load ../machines

setup_file()
{
	host_start_shared
}

# The command of a test, which nothing else runs.
SLEEP='/bin/sleep 4713'

# Prints the scheduling of a process of the host, and its personality.
scheduled()
{
	on_host sh -euc 'cat "/proc/$1/personality"
	    sed "s/.*) //" "/proc/$1/stat" | {
		read -r _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ nice _ _ _ _ _ _ _ _ \
		    _ _ _ _ _ _ _ _ _ _ _ _ priority policy _
		echo "nice $nice, policy $policy, priority $priority"
	    }
	    ionice -p "$1"
	    grep -E "^(Cpus_allowed_list|Mems_allowed_list):" "/proc/$1/status"
	    echo "oom $(cat "/proc/$1/oom_score_adj")"
	    grep -E "^Max (open files|nice|realtime|core)" "/proc/$1/limits"' \
	    '' "$1"
}

# Prints the scheduling of a command that these words run.
scheduled_by()
{
	job_start "$@" /bin/sleep 4713
	until_true runs_in_host "$SLEEP"
	scheduled "$(on_host pgrep -x -f "$SLEEP")"
	on_host kill "$job_inner"
	job_end
	until_true not runs_in_host "$SLEEP"
}

# Callers with unusual scheduling, one a line.
CALLERS='nice -n 5
nice -n -5
chrt -b 0
chrt -i 0
chrt -f 1
chrt -r 7
chrt -R -b 0
ionice -c 3
ionice -c 2 -n 7
ionice -c 1 -n 2
taskset -c 0
setarch -R
setarch --addr-compat-layout --read-implies-exec
linux32
choom -n 300 --
prlimit --nofile=33: --core=0:
nice -n 3 ionice -c 3 taskset -c 0 chrt -i 0 setarch -R choom -n 9 --'

# The same command line in the same machine, for every caller.
scheduled_like_leader()
{
	local caller expected name=$1

	expected=$(scheduled "$(leader "$name")")
	while read -r caller; do
		echo "case: $caller"
		# shellcheck disable=SC2086 # words
		run -0 scheduled_by $caller "$BIN/nspawn-enter" "$name"
		if [ "$output" != "$expected" ]; then
			echo "$caller: $output"
			echo "PID 1: $expected"
			return 1
		fi
	done <<<"$CALLERS"
}

@test "a command is scheduled like PID 1, whatever the caller is like" {
	# env changes nothing, so only the scheduling of the caller differs.
	[ "$(scheduled_by nice -n 5)" != "$(scheduled_by env)" ]
	scheduled_like_leader web
	scheduled_like_leader webu
}

@test "a command is scheduled like PID 1, whatever that is like" {
	[ "$(nproc)" -ge 2 ] || cannot 'one processor leaves no choice'
	machine scope own
	pid=$(leader own)
	usual=$(scheduled "$pid")
	for change in 'renice -n 7 -p' 'renice -n -3 -p' 'chrt -b -p 0' \
	    'chrt -i -p 0' 'chrt -f -p 3' 'chrt -r -p 9' 'chrt -o -p 0' \
	    'ionice -c 2 -n 6 -p' 'ionice -c 3 -p' 'ionice -c 1 -n 3 -p' \
	    'taskset -c -p 1' 'choom -n 77 -p' \
	    'prlimit --nofile=55:66 --core=0:1 --pid'; do
		echo "case: $change"
		# shellcheck disable=SC2086 # words
		on_host $change "$pid"
		expected=$(scheduled "$pid")
		[ "$expected" != "$usual" ] || [[ $change == *-o* ]]
		run -0 scheduled_by "$BIN/nspawn-enter" own
		diff <(echo "$expected") <(echo "$output")
		run -0 scheduled_by "$BIN/nspawn-enter" -u joe own
		diff <(echo "$expected") <(echo "$output")
	done
	scheduled_like_leader own
}

# Linux up to 5.17 has such processes; a level without a class cannot be set.
@test "a PID 1 without an I/O class is entered, whatever its level is" {
	run -0 on_host env ASAN_OPTIONS=detect_leaks=0 strace -f -qq \
	    -o /tmp/calls -e trace=ioprio_get,ioprio_set \
	    -e inject=ioprio_get:retval=4 "$BIN/nspawn-enter" web echo entered
	[ "$output" = entered ]
	on_host grep -q 'ioprio_get.*INJECTED' /tmp/calls
	on_host grep -q 'ioprio_set(.*, 0) *= 0' /tmp/calls ||
	    on_host grep -q 'ioprio_set(.*IOPRIO_CLASS_NONE, 0)) *= 0' /tmp/calls
}

@test "options of systemd-nspawn for PID 1 hold for a command, too" {
	[ "$(uname -m)" = x86_64 ] || skip 'the personality is of x86_64'
	[ "$(nproc)" -ge 2 ] || cannot 'one processor leaves no choice'
	machine scope own --personality=x86 --cpu-affinity=1 \
	    --rlimit=RLIMIT_CORE=1:2
	[[ "$(scheduled "$(leader own)")" == 00000008* ]]
	[[ "$(scheduled "$(leader own)")" == *Cpus_allowed_list:?1* ]]
	scheduled_like_leader own
	run -0 enter own uname -m
	[ "$output" = i686 ]
	machine scope fixed -- /bin/linux64 -R /bin/sleep 600
	until_true personality_is fixed 00040000
	scheduled_like_leader fixed
}

personality_is()
{
	[ "$(on_host cat "/proc/$(leader "$1")/personality")" = "$2" ]
}

@test "--privileged keeps the scheduling of the caller" {
	# The second caller keeps all its processors.
	for changes in 'nice -n 5 ionice -c 3 taskset -c 0 setarch -R' \
	    'nice -n 5'; do
		echo "case: $changes"
		# shellcheck disable=SC2086 # words
		expected=$(scheduled_by $changes)
		[ "$expected" != "$(scheduled "$(leader web)")" ]
		for name in web webu; do
			echo "case: $changes $name"
			# shellcheck disable=SC2086 # words
			run -0 scheduled_by $changes \
			    "$BIN/nspawn-enter" -q --privileged "$name"
			[ "$output" = "$expected" ]
		done
	done
}

@test "processes that wait for a command may run where the caller may" {
	job_start "$BIN/nspawn-enter" web /bin/sleep 4713
	until_true runs_in_host "$SLEEP"
	where='^Cpus_allowed_list:'
	expected=$(on_host grep "$where" /proc/self/status)
	for process in "$(on_host pgrep -x nspawn-monitor)" "$job_inner"; do
		echo "case: $process"
		run -0 on_host grep "$where" "/proc/$process/status"
		[ "$output" = "$expected" ]
	done
	on_host kill "$job_inner"
	job_end
}

@test "a command does not have the caller's securebits, or it is refused" {
	machine scope deb --bind-ro=/usr --bind-ro=/usr/lib64:/lib64 -- \
	    /usr/bin/sleep 600
	until_true on_host grep -q ^sleep "/proc/$(leader deb)/comm"
	capabilities=$(enter deb grep ^Cap /proc/self/status)
	joes=$(enter -u joe deb grep ^Cap /proc/self/status)
	# With these bits an exec gives no capabilities, so all of them are
	# inherited.
	all=$(on_host setpriv --dump 2>/dev/null |
	    sed -n 's/^Capability bounding set: //p')
	all=+${all//,/,+}
	all=(setpriv --inh-caps "$all" --ambient-caps "$all" --securebits)
	for bits in noroot no_setuid_fixup noroot,+no_setuid_fixup; do
		echo "case: $bits"
		run -0 on_host "${all[@]}" "+$bits" setpriv --dump
		[[ "$output" == *"Securebits: ${bits%%,*}"* ]]
		run -0 on_host "${all[@]}" "+$bits" "$BIN/nspawn-enter" \
		    deb setpriv --dump
		[[ "$output" == *'Securebits: [none]'* ]]
		run -0 on_host "${all[@]}" "+$bits" "$BIN/nspawn-enter" \
		    deb grep ^Cap /proc/self/status
		[ "$output" = "$capabilities" ]
		run -0 on_host "${all[@]}" "+$bits" "$BIN/nspawn-enter" \
		    -u joe deb grep ^Cap /proc/self/status
		[ "$output" = "$joes" ]
	done
	for bits in noroot,+noroot_locked \
	    no_setuid_fixup,+no_setuid_fixup_locked; do
		echo "case: $bits"
		run -125 on_host "${all[@]}" "+$bits" "$BIN/nspawn-enter" \
		    deb touch /entered
		[[ "$output" == 'nspawn-enter: deb: '*ecurebits* ]]
		run ! enter deb test -e /entered
	done
}

@test "a caller with filters of its own is refused, with the reason" {
	for property in RestrictNamespaces=yes SystemCallFilter=~swapon; do
		echo "case: $property"
		run -125 on_host systemd-run --quiet --pipe --wait \
		    -p "$property" "$BIN/nspawn-enter" web touch /run/entered
		[[ "$output" == 'nspawn-enter: web: '*'has filters itself'* ]]
		[ "${#lines[@]}" = 1 ]
	done
	run ! enter web test -e /run/entered
}

@test "a user is entered in a machine that has no capabilities" {
	for private in '' -U; do
		echo "case: $private"
		machine scope bare ${private:+"$private"} \
		    --drop-capability=all -- /bin/sleep 600
		run -0 enter bare grep ^CapEff /proc/self/status
		[ "$output" = $'CapEff:\t0000000000000000' ]
		for who in joe 1000 joe:joe 77:88; do
			echo "case: $private $who"
			run -0 enter -u "$who" bare id -u
			[ "$output" = 1000 ] || [ "$who:$output" = 77:88:77 ]
		done
		run -0 enter -u joe bare id -G
		[ "$output" = 1000 ]
		run -0 enter -u joe bare grep ^Cap /proc/self/status
		[ "$(grep -c ':.0000000000000000$' <<<"$output")" = 5 ]
		machines_end
	done
}

@test "a machine stays root's when its PID 1 makes a user namespace" {
	own="trap 'exit 0' TERM; while :; do sleep 600 & wait \$!; done"
	for maker in root joe; do
		echo "case: $maker"
		if [ "$maker" = root ]; then
			machine scope own -U -- /bin/unshare -U -r /bin/sh -c \
			    "$own"
		else
			machine scope own -- /bin/su joe -c \
			    'exec unshare -U -r /bin/sh -c "$0"' -- "$own"
		fi
		until_true on_host grep -qa ^/bin/sh \
		    "/proc/$(leader own)/cmdline"
		run enter own hostname
		echo "$maker: $output"
		[ "$output" = own ]
		job_start "$BIN/nspawn-enter" own /bin/sleep 4713
		until_true runs_in_host "$SLEEP"
		run -0 on_host readlink \
		    "/proc/$(on_host pgrep -x -f "$SLEEP")/ns/user" \
		    "/proc/$(leader own)/ns/user"
		on_host kill "$job_inner"
		job_end
		[ "${lines[0]}" = "${lines[1]}" ]
		run -0 stop --timeout 10 own
		[ "$output" = '' ]
		machines_end
	done
}

@test "an option that opens the host to root of the machine prints a warning" {
	strong='nspawn-enter: *: warning: *root of the machine can *'
	for words in '--no-user webu' '--no-mount web' '--no-mount webu' \
	    '--only=pid web' '--privileged web'; do
		echo "case: $words"
		# shellcheck disable=SC2086 # words
		run -0 enter $words /bin/true
		echo "$words: $output"
		# shellcheck disable=SC2053 # a pattern
		[[ "$output" == $strong ]]
		# shellcheck disable=SC2086 # words
		run -0 enter -q $words /bin/true
		[ "$output" = '' ]
	done
	# For such a machine the option gives nothing, or prints something else.
	run -0 enter --no-user web true
	[ "$output" = '' ]
	run -0 enter --no-mount --no-pid web true
	[[ "$output" != *'root of the machine can '* ]]
}
