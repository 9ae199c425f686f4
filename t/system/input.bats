#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
#
# nspawn-enter -t where standard input is no terminal: the command has a
# terminal all the same, which tells it that its input has ended.  And -T where
# standard output is one.

load ../common
load ../machines

setup_file()
{
	host_start_debian
}

# Runs a script in the host, whose standard output is a pipe; sets output and
# status.  137 means that it did not end by itself.
try_piped()
{
	run on_host timeout -s KILL 15 env "PATH=$BIN:/usr/bin:/bin" sh -c "$1"
	try_show 'into a pipe' "$1"
}

# The same at a terminal where nothing is typed.
try_shown()
{
	[ -p "$BATS_TEST_TMPDIR/keys" ] || mkfifo "$BATS_TEST_TMPDIR/keys"
	printf '%s\n' "$1" | on_host sh -c 'cat >/tmp/try'
	run timeout --foreground -k 2 15 script -qec "$TOP/t/host run $HOST \
	    env PATH=$BIN:/usr/bin:/bin sh /tmp/try" /dev/null \
	    <>"$BATS_TEST_TMPDIR/keys" 3>&-
	try_show 'to a terminal' "$1"
}

try_show()
{
	# Bash itself takes a minute for this where there is much output.
	output=$(printf %s. "$output" | tr -d '\r')
	output=${output%.}
	printf '%s: %s\nstatus %s, %s bytes: %.500s\n' "$1" "$2" "$status" \
	    "${#output}" "$output" | cat -v
}

# ends STATUS ROW SCRIPT: runs the script in both ways; it ends by itself with
# that status, and its output has that row, which is nowhere in the input.
ends()
{
	local try

	for try in try_piped try_shown; do
		"$try" "$3"
		[ "$status" = "$1" ]
		grep -q -x -e "$2" <<<"$output"
	done
}

# The shells: those of busybox without line editing, and others with it.
SHELLS='web sh
webu sh
deb dash
debu dash
deb bash --norc
debu bash --norc'

@test "a shell with -t does what is piped into it, and ends" {
	while read -r shell; do
		echo "case: $shell"
		ends 7 '.*out2' "echo 'echo out\$((1+1)); exit 7' |
		    nspawn-enter -t $shell"
		ends 0 '.*out2' "echo 'echo out\$((1+1))' |
		    nspawn-enter -t $shell"
		ends 1 '.*out2' "printf 'echo out\$((1+1))\nfalse\n' |
		    nspawn-enter -t $shell"
	done <<<"$SHELLS"
}

@test "a last line without its end counts as one" {
	while read -r shell; do
		echo "case: $shell"
		ends 7 '.*out2' "printf 'echo out\$((1+1)); exit 7' |
		    nspawn-enter -t $shell"
		ends 0 '.*out2' "printf 'true\necho out\$((1+1))' |
		    nspawn-enter -t $shell"
	done <<<"$SHELLS"
	for machine in web webu deb; do
		echo "case: $machine"
		ends 0 '.*OUT' \
		    "printf out | nspawn-enter -t $machine tr a-z A-Z"
		ends 0 n=3 "printf out | nspawn-enter -t $machine sh -c \
		    'n=\$(wc -c); echo; echo n=\$((n))'"
	done
}

@test "input from a file, and no input at all, ends as well" {
	while read -r shell; do
		echo "case: $shell"
		ends 0 '.*out2' "echo 'echo out\$((1+1))' >/tmp/input
		    nspawn-enter -t $shell </tmp/input"
		try_piped "nspawn-enter -t $shell </dev/null"
		[ "$status" = 0 ]
		try_shown "nspawn-enter -t $shell </dev/null"
		[ "$status" = 0 ]
		try_piped ": | nspawn-enter -t $shell"
		[ "$status" = 0 ]
	done <<<"$SHELLS"
	for machine in web webu deb; do
		echo "case: $machine"
		ends 0 n=0 "nspawn-enter -t $machine sh -c \
		    'n=\$(wc -c); echo; echo n=\$((n))' </dev/null"
		ends 0 '.*IN' "echo in >/tmp/input
		    nspawn-enter -t $machine tr a-z A-Z </tmp/input"
	done
}

@test "a command that reads again after the end finds the end again" {
	for machine in web webu deb; do
		echo "case: $machine"
		ends 0 n=2,0,0 "echo 1 | nspawn-enter -t $machine sh -c \
		    'a=\$(wc -c); b=\$(wc -c); c=\$(wc -c)
		    echo; echo n=\$((a)),\$((b)),\$((c))'"
	done
}

# The kernel's terminal does not keep more of a line.
@test "a line of 5,000 bytes ends, cut to what a terminal takes" {
	local x='head -c 5000 /dev/zero | tr "\0" x'

	for machine in web webu deb; do
		echo "case: $machine"
		ends 0 n=4095 "$x | nspawn-enter -t $machine sh -c \
		    'n=\$(wc -c); echo; echo n=\$((n))'"
		ends 0 n=4096 "{ $x; echo; } | nspawn-enter -t $machine sh -c \
		    'n=\$(wc -c); echo; echo n=\$((n))'"
		ends 0 n=8192 "for i in 1 2; do $x; echo; done |
		    nspawn-enter -t $machine sh -c \
		    'n=\$(wc -c); echo; echo n=\$((n))'"
	done
	while read -r shell; do
		echo "case: $shell"
		ends 0 '.*out2' "{ echo 'echo out\$((1+1))'; printf '#'; $x; } |
		    nspawn-enter -t $shell"
	done <<<"$SHELLS"
}

@test "much input arrives, line by line, however slowly it is read" {
	for machine in web webu deb; do
		echo "case: $machine"
		ends 0 '.*n=288894' "seq 50000 | nspawn-enter -t $machine sh -c \
		    'n=\$(wc -c); echo; echo n=\$((n))'"
		ends 0 '.*n=300' "seq 300 | nspawn-enter -t $machine sh -c \
		    'n=0; while read -r x; do n=\$((n+1))
		    [ \$n = \$x ] || echo \$n is \$x; done; echo; echo n=\$n'"
	done
}

@test "no command gets a hang-up because its input ended" {
	for machine in web webu; do
		echo "case: $machine"
		for input in 'echo in |' ': |' 'printf in |'; do
			echo "case: $machine $input"
			ends 3 late2 "$input nspawn-enter -t $machine sh -c \
			    'cat >/dev/null; sleep 2; echo; echo late\$((1+1))
			    exit 3'"
		done
		# The program has not read anything.
		ends 3 late2 "nspawn-enter -t $machine sh -c \
		    'sleep 2; echo; echo late\$((1+1)); exit 3' </dev/null"
	done
}

@test "a pipe of 1 MiB that a command with -T filled arrives in full" {
	local machine script

	for machine in deb debu; do
		echo "case: $machine"
		on_host sh -c "cat >/var/lib/machines/$machine/fill" <<-'END'
		fcntl(STDOUT, 1031, 1 << 20) == 1 << 20 or die "no pipe: $!";
		$text = join "", map { sprintf "%07d.%s\n", $_, "x" x 51 }
		    1 .. 15000;
		for ($at = 0; $at < length $text; $at += $n) {
			$n = syswrite STDOUT, $text, length($text) - $at, $at;
			defined $n or die "write: $!";
		}
		open F, ">", "/filled" or die "/filled: $!";
		END
		mkfifo "$BATS_TEST_TMPDIR/$machine"
		{
			timeout --foreground -k 2 60 script -qec "$TOP/t/host \
			    run $HOST $BIN/nspawn-enter -T $machine \
			    perl /fill" /dev/null </dev/null \
			    >"$BATS_TEST_TMPDIR/$machine"
			echo $? >"$BATS_TEST_TMPDIR/status"
		} 3>&- &
		script=$!
		# Here the terminal is not read before the command has ended.
		exec 9<"$BATS_TEST_TMPDIR/$machine"
		until_true on_host test -e "/var/lib/machines/$machine/filled"
		until_true not runs_in_host 'perl /fill'
		tr -d '\r' <&9 >"$BATS_TEST_TMPDIR/text"
		exec 9<&-
		wait "$script" || true
		[ "$(cat "$BATS_TEST_TMPDIR/status")" = 0 ]
		cmp "$BATS_TEST_TMPDIR/text" <(
		    seq -f "%07.0f.$(printf 'x%.0s' {1..51})" 15000)
	done
}
