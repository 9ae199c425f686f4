#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
#
# No password appears on a screen, and a pager gets its keys, wherever the
# descriptors of a command lead, in machines with and without a user namespace.
# These have the programs of this system.  t/person types; a row is named after
# the program, standard input and output, and the moment of typing.

load ../common
load ../machines

# What is typed, and what a program prints that has got it.
SECRET=swordfish
SAID='got\x20fjbeqsvfu'

# machine_here NAME [OPTION]...: a machine with the programs of this system,
# which has more than the host.
machine_here()
{
	host machine "$HOST" scope "$@" --bind-ro=/outer/usr:/usr \
	    --bind-ro=/outer/usr/lib64:/lib64 -- /usr/bin/sleep infinity
}

# Prints the script that asks for a password in one of many ways, at its
# standard input if that is a terminal, otherwise at /dev/tty.
program()
{
	echo '[ -t 0 ] || exec </dev/tty'
	echo 'said() { echo "got $(echo "$1" | tr a-z n-za-m)"; }'
	case $1 in
	getpass)
		cat <<-'END'
		exec python3 -c 'import codecs, getpass
		secret = getpass.getpass("Password: ")
		print("got", codecs.encode(secret, "rot13"))'
		END
		;;
	read)
		cat <<-'END'
		IFS= read -r -s -p "Password: " secret
		said "$secret"
		END
		;;
	stty)
		cat <<-'END'
		stty -echo
		printf "Password: " >&2
		IFS= read -r secret
		stty echo
		said "$secret"
		END
		;;
	tty | bytes)
		echo 'exec perl - <<"PERL"'
		[ "$1" = tty ] || echo 'use constant ALSO => 2;	# ICANON'
		[ "$1" = bytes ] || echo 'use constant ALSO => 0;'
		cat <<-'END'
		use POSIX;
		open(my $tty, "+<", "/dev/tty") or die "/dev/tty: $!\n";
		my $modes = POSIX::Termios->new;
		$modes->getattr(fileno $tty);
		my $first = $modes->getlflag;
		$modes->setlflag($first & ~(ECHO | ALSO));
		$modes->setattr(fileno $tty, TCSANOW);
		syswrite $tty, "Password: ";
		my $secret = "";
		1 while $secret !~ /\n/ &&
		    sysread $tty, $secret, 64, length $secret;
		$modes->setlflag($first);
		$modes->setattr(fileno $tty, TCSANOW);
		chomp $secret;
		print "got ", $secret =~ tr/a-z/n-za-m/r, "\n";
		PERL
		END
		;;
	esac
}

PROGRAMS='getpass read stty tty bytes'

setup_file()
{
	host_start
	machine_here here
	machine_here hereu -U
	# Where t/person sends words to scripts inside.
	TREES=/proc/$(host leader "$HOST")/root/var/lib/machines
	export TREES
	for machine in here hereu; do
		on_host mkdir -m 777 "/var/lib/machines/$machine/signs"
		for name in $PROGRAMS; do
			program "$name" | on_host sh -c \
			    "cat >/var/lib/machines/$machine/$name"
		done
		seq -f 'line %g' 300 | on_host sh -c \
		    "cat >/var/lib/machines/$machine/lines"
	done
}

# Prints the beginning of a call: $1 is its name; $2 and $3 are standard input
# and output; errors go to the terminal; $4 is the machine; then the command
# follows.  If tells is set, the command can read from a FIFO.
call()
{
	cat <<-END
	call $1
	stdin $2
	stdout $3
	${tells:+tells go $TREES/$4$tells}
	run env TERM=xterm $TOP/t/host run $HOST /src/t/sit \
	    $BIN/nspawn-enter ${*:4}
	END
}

# Has t/person make the calls of the plan on stdin.
calls()
{
	timeout -k 5 600 "$TOP/t/person" -j 4 >"$BATS_TEST_TMPDIR/has" 3>&- || {
		cat "$BATS_TEST_TMPDIR/has"
		return 1
	}
}

# field NAME: sets value to that field of the row in $line.
field()
{
	value="none"
	[[ " $line " != *" $1="* ]] || {
		value=${line#* "$1="}
		value=${value%% *}
	}
}

# field_is NAME PATTERN: adds to $wrong if the field does not match.
field_is()
{
	local pattern value

	field "$1"
	# Backslashes in the pattern are literal, as t/person prints them.
	pattern=${2//\\/\\\\}
	# shellcheck disable=SC2053
	[[ $value = $pattern ]] || wrong+="$1 should be $2, is $value"$'\n'
}

# each_row FUNCTION: calls it for each line that t/person has printed; fails
# with everything that it has found wrong.
each_row()
{
	local line wrong status=0

	while read -r line; do
		wrong=
		if [[ $line = *' late='* ]]; then
			wrong="came not to its end: ${line#* }"$'\n'
		else
			"$@"
		fi
		[ -n "$wrong" ] || continue
		printf '%s: %s' "${line%% *}" "$wrong"
		status=1
	done <"$BATS_TEST_TMPDIR/has"
	return "$status"
}

# Checks a row that asks for a password.
secret_kept()
{
	field_is status 0
	field_is after first
	field_is left1 ''
	case $line in
	*-into-terminal*) field_is shown1 "*$SAID*" ;;
	*) field_is stdout "*$SAID*" ;;
	esac
	[[ $line != *"$SECRET"* ]] || wrong+="the password shows: $line"$'\n'
}

# secrets_asked WHEN STEP [MIX]...: asks for a password by each program, in each
# machine, in all mixes of standard input and output except those given; the
# password is typed as soon as the step is done.
secrets_asked()
{
	local program machine in out

	for machine in here hereu; do for program in $PROGRAMS; do
	for in in terminal pipe null; do for out in terminal pipe file; do
		[[ " ${*:3} " != *" $in-$out "* ]] || continue
		call "$program-from-$in-into-$out-$machine-$1" "$in" "$out" \
		    "$machine" bash "/$program"
		[ "$in" != pipe ] || echo close
		printf '%s\n' "$2" "type 1 '$SECRET\\r'" end
	done; done; done; done
}

@test "a password that is typed at the prompt does not show" {
	calls < <(secrets_asked prompt 'await 1 "Password: "')
	[ "$(wc -l <"$BATS_TEST_TMPDIR/has")" = 90 ]
	each_row secret_kept
}

@test "a password that is typed as soon as there is no echo does not show" {
	# If both are a terminal, the machine's terminal does the echo from the
	# start, and only the prompt shows that the echo is off.
	calls < <(secrets_asked modes 'modes 1 -ECHO' terminal-terminal)
	[ "$(wc -l <"$BATS_TEST_TMPDIR/has")" = 80 ]
	each_row secret_kept
}

# The lines that a pager gets.
LINES_FED=$(printf 'line %d\\n' {1..300})

# pagers WHEN STEP MODES TEXT: less, with each kind of input, gets these keys as
# soon as the step is done and the terminal has these modes.
pagers()
{
	local machine in less=(less -Pasking)

	for machine in here hereu; do
		for in in null pipe "file '$LINES_FED'"; do
			call "less-${in%% *}-$machine-$1" "$in" terminal \
			    "$machine" "${less[@]}"
			[ "$in" != pipe ] ||
			    printf '%s\n' "feed '$LINES_FED'" close
			keys "${@:2}"
		done
		call "less-named-$machine-$1" null terminal "$machine" \
		    "${less[@]}" /lines
		keys "${@:2}"
		call "less-terminal-$machine-$1" terminal terminal "$machine" \
		    "${less[@]}" /lines
		keys "$2" "${3/OPOST/-OPOST}" "$4"
	done
}

keys()
{
	printf '%s\n' "$1" "modes 1 $2" 'note during' "type 1 '$3'" end
}

# Checks a call of less; $1 has to be shown if there are lines.
paged()
{
	field_is status 0
	field_is after first
	field_is left1 ''
	[[ $line = less-null-* ]] || field_is shown1 "*line\x20$1\r\n*"
}

# If less has filled the screen, it shows its prompt last.
PROMPT='await 1 asking'
# Keys arrive one by one and without echo; the output modes are unchanged.
MODES=-ICANON,-ECHO,OPOST

@test "a key ends a pager, wherever its input comes from" {
	calls < <(pagers prompt "$PROMPT" "$MODES" q)
	[ "$(wc -l <"$BATS_TEST_TMPDIR/has")" = 10 ]
	each_row paged 1
}

@test "a pager takes a hundred keys that come at once" {
	calls < <(pagers many "$PROMPT" "$MODES" \
	    "$(printf 'j%.0s' {1..100})q")
	[ "$(wc -l <"$BATS_TEST_TMPDIR/has")" = 10 ]
	each_row paged 120
}

@test "a pager takes keys that come before its prompt does" {
	calls < <(pagers early 'modes 1 -ICANON' "$MODES" \
	    "$(printf 'j%.0s' {1..100})q")
	[ "$(wc -l <"$BATS_TEST_TMPDIR/has")" = 10 ]
	each_row paged 120
}

# Checks a script that cannot get the keys.
keys_left()
{
	field_is status -2
	field_is during first
	field_is after first
	field_is left1 ''
	field_is shown1 'reading\r\nkeys\r\nstill\r\n^C'
}

# If standard input is no terminal and the modes inside are the first ones, the
# command gets no keys, even if it reads its terminal.
@test "a script that only reads its terminal gets no keys, and ends by ^C" {
	local in machine tells

	for machine in here hereu; do for in in pipe null file; do
		tells=/signs/tty-from-$in
		call "tty-from-$in-$machine" "$in" terminal "$machine" bash -c \
		    "'{ read go; until read -r _ _ state _ </proc/\$\$/stat;" \
		    "[ \$state = S ]; do :; done; echo still; } <$tells &" \
		    "echo reading; read x </dev/tty; echo got'"
		[ "$in" != pipe ] || echo close
		# Text that is printed after the keys, when the script waits for
		# them, has passed the process that relays both.
		printf '%s\n' 'await 1 reading' "type 1 'keys\\r'" \
		    'pending 1 5' "tell go '\\n'" 'await 1 still' \
		    'pending 1 5' 'note during' "type 1 '\\x03'" end
	done; done >"$BATS_TEST_TMPDIR/plan"
	calls <"$BATS_TEST_TMPDIR/plan"
	[ "$(wc -l <"$BATS_TEST_TMPDIR/has")" = 6 ]
	each_row keys_left
}

# Checks a script that gets them.
keys_got()
{
	field_is status 0
	field_is after first
	field_is left1 ''
	case $line in
	*-into-terminal*) field_is shown1 '*got\x20keys\r\n' ;;
	*) field_is stdout 'got\x20keys\n' ;;
	esac
}

@test "a script reads its terminal if standard input is that terminal" {
	local out machine

	for machine in here hereu; do for out in terminal pipe file; do
		call "tty-into-$out-$machine" terminal "$out" "$machine" bash \
		    -c "'echo reading >&2; read x </dev/tty; echo got \$x'"
		printf '%s\n' 'await 1 reading' "type 1 'keys\\r'" end
	done; done >"$BATS_TEST_TMPDIR/plan"
	calls <"$BATS_TEST_TMPDIR/plan"
	[ "$(wc -l <"$BATS_TEST_TMPDIR/has")" = 6 ]
	each_row keys_got
}
