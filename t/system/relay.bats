#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
#
# What nspawn-enter does between a person's terminal and that of the command,
# while programs inside, programs outside and the person all act at once.
# t/person makes the calls.
#
# After each row of a plan there is what it has to show: the lines "is FIELD
# PATTERN" and "isnt FIELD PATTERN" are not for t/person, but are compared with
# its output.  Scripts inside get the name of the row as their argument, and
# communicate by its FIFOs, said and go.

load ../common
load ../machines

# script NAME: makes the script on stdin the file /NAME of each machine.
script()
{
	local machine text

	text=$(cat)
	for machine in web webu deb debu; do
		on_host sh -c "cat >/var/lib/machines/$machine/$1" <<<"$text"
	done
}

setup_file()
{
	host_start_debian
	# Where t/person exchanges words with scripts inside.
	TREES=/proc/$(host leader "$HOST")/root/var/lib/machines
	RUN="$TOP/t/host run $HOST"
	export TREES RUN
	for machine in web webu deb debu; do
		on_host mkdir -m 777 "/var/lib/machines/$machine/signs"
	done
	# A program that reports its PID.
	on_host sh -c 'cat >/tmp/noted' <<-'END'
	echo $$ >"/run/$1.pid"
	shift
	exec "$@"
	END
	# The time of a processor, in 1/100 s, that it uses in about a second.
	on_host sh -c 'cat >/tmp/time' <<-'END'
	read -r pid <"/run/$1.pid"
	before=$(cut -d ' ' -f 14,15 "/proc/$pid/stat")
	sleep 1
	set -- $before $(cut -d ' ' -f 14,15 "/proc/$pid/stat")
	echo $(($3 + $4 - $1 - $2))
	END
	# A script that goes on after its command, and a process beside it; both
	# are in the terminal's foreground process group.
	on_host sh -c 'cat >/tmp/goes-on' <<-'END'
	ulimit -c 0
	env --default-signal=INT,QUIT sleep 50 &
	beside=$!
	nspawn-enter "$@"
	echo "went on $?"
	kill -0 $beside && echo beside
	kill $beside
	END
	scripts_make
}

scripts_make()
{
	# It reports and then waits, in a program that ignores no signal: shells
	# ignore some signals until they execute another program.
	script first <<<first
	script second <<<second
	# Two jobs in the foreground.
	script jobs <<-'END'
	set -m
	trap : INT	# some shells end by that of a job
	echo here >/dev/tty
	job='exec cat "/$2" /signs/$1.go >/signs/$1.said'
	sh -c "$job" sh "$1" first
	echo "int $?" >/signs/$1.said
	sh -c "$job" sh "$1" second
	echo "quit $?" >/signs/$1.said
	exit 3
	END
	# Waits for a word.
	script waits <<-'END'
	echo up >/signs/$1.said
	read -r go </signs/$1.go
	END
	# Reads lines, and writes and ends when it is told to.
	script reads <<-'END'
	exec 3<&0
	cat <&3 &
	echo up >/signs/$1.said
	read -r go </signs/$1.go
	echo round >&2
	read -r go </signs/$1.go
	kill $!
	END
	# Reads two lines.
	script lines <<-'END'
	echo up >/signs/$1.said
	read -r line
	echo "got $line" >/signs/$1.said
	read -r line
	echo "got $line" >/signs/$1.said
	END
	# Reads until the end of its input, and goes on.
	script rest <<-'END'
	echo up >/signs/$1.said
	cat >/dev/null
	echo "cat $?" >/signs/$1.said
	read -r go </signs/$1.go
	echo more
	echo more >&2
	echo "done" >/signs/$1.said
	exit 4
	END
	# Closes its input, and reports.
	script deaf <<-'END'
	exec <&-
	echo up >/signs/$1.said
	read -r go </signs/$1.go
	echo round
	read -r go </signs/$1.go
	exit 5
	END
	# Reports the modes of its terminal, and reads.
	script sets <<-'END'
	stty $2
	echo up >/signs/$1.said
	read -r line
	END
	script modes <<-'END'
	stty -a
	echo up >/signs/$1.said
	exec sleep 50
	END
	# Hangs its terminal up by TIOCVHANGUP, as login(1) does, and opens it
	# again.
	script hangs.pl <<-'END'
	use IO::Handle;
	my ($name) = @ARGV;
	open(my $said, ">", "/signs/$name.said") or die;
	$said->autoflush;
	my $tty = readlink "/proc/self/fd/0";
	my $both = -t STDOUT;
	$SIG{HUP} = "IGNORE";
	ioctl(STDIN, 0x5437, 0) or die "TIOCVHANGUP: $!";
	open(STDIN, "+<", $tty) or die "$tty: $!";
	open(STDOUT, ">&STDIN") or die "$!" if $both;
	print $said "again\n";
	for (1, 2) {
		my $line = <STDIN>;
		$line =~ s/\s*$//;
		print $said "got $line\n";
	}
	exit 6;
	END
	# Sets the current modes again and again, until it is told to end.
	script equal.pl <<-'END'
	use POSIX;
	my ($name) = @ARGV;
	my $modes = POSIX::Termios->new;
	$modes->getattr(0);
	open(my $said, ">", "/signs/$name.said") or die;
	syswrite $said, "up\n";
	until (-e "/signs/$name.stop") {
		$modes->setattr(0, TCSANOW) for 1 .. 100;
	}
	END
}

# call ROW [SETTING]...: prints the beginning of a call, with these lines before
# its command.
call()
{
	printf '%s\n' "call $1" "${@:2}"
}

# inside MACHINE ROW COMMAND...: prints where the row's FIFOs are, and the
# command, which runs in the host at a terminal of its own.
inside()
{
	cat <<-END
	hears said $TREES/$1/signs/$2.said
	tells go $TREES/$1/signs/$2.go
	run $RUN env TERM=xterm PATH=$BIN:/usr/sbin:/usr/bin:/sbin:/bin \
	    /src/t/sit ${*:3}
	END
}

# Makes the calls of the plan on stdin, and compares them with it.
calls()
{
	local line plan=$BATS_TEST_TMPDIR/plan has=$BATS_TEST_TMPDIR/has
	declare -A rows

	cat >"$plan"
	grep -v -E '^isn?t? ' "$plan" |
	    timeout -k 5 120 "$TOP/t/person" -j 4 >"$has" 3>&- || {
		cat "$has"
		return 1
	}
	while read -r line; do
		rows[${line%% *}]=$line
	done <"$has"
	rows_compare <"$plan"
}

# Compares with the lines of a plan that begin with is and isnt; prints each row
# that is wrong.
rows_compare()
{
	local word field pattern row='' status=0

	while read -r word field pattern; do
		case $word in
		call)
			row=$field
			[[ ${rows[$row]} != *' late='* ]] ||
			    wrong 'came not to its end'
			;;
		is)
			matches "$field" "$pattern" ||
			    wrong "$field should be $pattern"
			;;
		isnt)
			! matches "$field" "$pattern" ||
			    wrong "$field should not be $pattern"
			;;
		esac
	done
	[ -n "$row" ] && return "$status"
}

wrong()
{
	echo "$1: ${rows[$row]}"
	status=1
}

# matches FIELD PATTERN: compares with a pattern in which backslashes are
# literal, as t/person prints them.
matches()
{
	local value=none pattern=${2//\\/\\\\}

	[[ " ${rows[$row]} " != *" $1="* ]] || {
		value=${rows[$row]#* "$1="}
		value=${value%% *}
	}
	# shellcheck disable=SC2053
	[[ $value = $pattern ]]
}

jobs_interrupted()
{
	local machine shell row mix

	for machine in web webu deb debu; do
	for mix in terminal-pipe pipe-terminal; do
		[[ $machine = web* ]] && shell='sh -i' || shell='bash -i'
		row=$machine-$mix
		call "$row" "stdin ${mix%-*}" "stdout ${mix#*-}"
		inside "$machine" "$row" nspawn-enter "$machine" \
		    "$shell" /jobs "$row"
		cat <<-'END'
		await 1 here
		await said first
		type 1 '\x03'
		await said 'int 130'
		await said second
		type 1 '\x1c'
		await said 'quit 131'
		end
		is status 3
		is after first
		END
	done; done
}

@test "an interrupt reaches only the job in the foreground inside" {
	calls < <(jobs_interrupted)
}

# Text that has been shown came through the relay, which has set the modes by
# then; a key that is typed earlier becomes a signal of the caller's own
# terminal.
WAITS_HERE='echo here; exec cat /first /signs/$1.go >/signs/$1.said'

ended_by_itself()
{
	local machine signal row

	for machine in deb debu; do for signal in INT:130 QUIT:131; do
		row=$machine-${signal%:*}
		call "$row"
		inside "$machine" "$row" sh /tmp/goes-on "$machine" \
		    perl -e "'kill ${signal%:*} => \$\$; sleep 50'"
		printf '%s\n' end 'is status 0' 'is after first' \
		    "is shown1 *went\x20on\x20${signal#*:}\r\nbeside\r\n"
	done; done
	for machine in web webu; do
		row=$machine-other-key
		call "$row"
		inside "$machine" "$row" sh /tmp/goes-on "$machine" \
		    sh -c "'stty intr a; $WAITS_HERE'" sh "$row"
		printf '%s\n' 'await 1 here' 'await said first' 'type 1 a' \
		    end 'is status 0' \
		    'is shown1 *went\x20on\x20130\r\nbeside\r\n' 'is after first'
	done
}

@test "an interrupt that does not come from a key ends only the command" {
	calls < <(ended_by_itself)
}

ended_by_key()
{
	local machine signal row

	for machine in web webu; do for signal in 2:03 3:1c; do
		row=$machine-${signal%:*}
		call "$row"
		inside "$machine" "$row" sh /tmp/goes-on "$machine" \
		    sh -c "'$WAITS_HERE'" sh "$row"
		printf '%s\n' 'await 1 here' 'await said first' \
		    "type 1 '\x${signal#*:}'" end \
		    "is status -${signal%:*}" 'isnt shown1 *went*' \
		    'is after first'
	done; done
}

@test "an interrupt that is typed ends the caller's script, too" {
	calls < <(ended_by_key)
}

# If the relay has passed on text that was written after a key was typed, it has
# had the time to handle that key.
keys_of_others()
{
	local machine option row

	for machine in web webu; do for option in '' -T; do
		row=$machine$option
		call "$row" 'stdout file'
		inside "$machine" "$row" nspawn-enter $option "$machine" \
		    sh /reads "$row"
		cat <<-'END'
		await said up
		set 1 -ICANON,-ECHO
		type 1 q
		pending 1 1
		tell go '\n'
		await 1 round
		pending 1 1
		tell go '\n'
		end
		is status 0
		is stdout
		is left1 q
		is after -ICANON+-ECHO
		END
	done; done
}

@test "a key that comes in another program's modes is left to that program" {
	calls < <(keys_of_others)
}

modes_of_others()
{
	local machine signal row

	# At TSTP nspawn-enter gives the modes back; at STOP it cannot.
	for machine in web webu; do for signal in TSTP STOP; do
		row=$machine-$signal
		call "$row"
		inside "$machine" "$row" bash --norc --noprofile --noediting -i
		cat <<-END
		type 1 'sh /tmp/noted $row nspawn-enter $machine sh /waits $row\r'
		await said up
		modes 1 raw
		until $RUN sh -c 'kill -$signal \$(cat /run/$row.pid)'
		await 1 Stopped
		modes 1 first
		type 1 'bg\r'
		await 1 '\[1\]\+ [^\r]*&\r'
		type 1 'nspawn-enter $machine sh /lines $row\r'
		await said 'up\nup'
		modes 1 raw
		tell go '\n'
		until $RUN sh -c '! kill -0 \$(cat /run/$row.pid) 2>/dev/null'
		note then
		type 1 'one\r'
		await said 'got one'
		type 1 'two\r'
		await said 'got two'
		modes 1 first
		type 1 'exit\r'
		end
		is then raw
		is after first
		is status 0
		END
	done; done
}

@test "a call in the background leaves the modes of another alone" {
	calls < <(modes_of_others)
}

# killed ROW MACHINE MODES STTY [SETTING]...
killed()
{
	call "$1" "${@:5}"
	inside "$2" "$1" sh -c "'sh /tmp/noted \"\$@\"; echo over \$? >&2'" sh \
	    "$1" nspawn-enter "$2" sh /sets "$1" "$4"
	cat <<-END
	await said up
	modes 1 $3
	until $RUN sh -c 'kill -KILL \$(cat /run/$1.pid)'
	await 1 'over 137'
	modes 1 first
	end
	is after first
	END
}

calls_killed()
{
	local machine

	for machine in web webu; do
		killed "$machine-raw" "$machine" raw echo
		killed "$machine-echo" "$machine" ICANON,-ECHO -echo \
		    'stdout pipe'
		killed "$machine-keys" "$machine" -ICANON,-ECHO '"-icanon -echo"' \
		    'stdout pipe'
	done
}

@test "modes that a killed nspawn-enter had set are given back" {
	calls < <(calls_killed)
}

terminals_gone()
{
	local machine mix row option

	for machine in web webu; do
	for mix in terminal- pipe- terminal-T pipe-T; do
		option=${mix#*-}
		row=$machine-${mix}
		call "$row" "stdout ${mix%-*}"
		inside "$machine" "$row" sh -c "'trap \"\" HUP; exec \"\$@\"'" \
		    sh nspawn-enter "${option:+-T}" "$machine" sh /rest "$row"
		cat <<-'END'
		await said up
		hang 1
		await said 'cat 0'
		tell go '\n'
		await said done
		end
		is status 4
		END
	done; done
}

@test "a command that ignores hang-ups goes on to its end without a terminal" {
	calls < <(terminals_gone)
}

inputs_closed()
{
	local machine

	for machine in web webu; do
		call "$machine"
		inside "$machine" "$machine" nspawn-enter -T "$machine" \
		    sh /deaf "$machine"
		cat <<-'END'
		await said up
		type 1 'one\r'
		await 1 'one\r\n'
		taken 1
		tell go '\n'
		await 1 round
		tell go '\n'
		end
		is status 5
		END
	done
}

@test "a line for a command that has closed its input does not end it" {
	calls < <(inputs_closed)
}

terminals_hung_up()
{
	local mix row

	# Only root of the host may hang a terminal up.
	for mix in terminal pipe; do
		row=deb-$mix
		call "$row" "stdout $mix"
		inside deb "$row" nspawn-enter deb perl /hangs.pl "$row"
		cat <<-'END'
		await said again
		type 1 'one\r'
		await said 'got one\n'
		type 1 'two\r'
		await said 'got two\n'
		end
		is status 6
		is shown1 *one\r\n*two\r\n
		is after first
		END
	done
}

@test "lines arrive at a terminal that the machine has hung up" {
	calls < <(terminals_hung_up)
}

terminals_processed_outside()
{
	local machine

	for machine in web webu; do
		call "$machine" 'starts 1 EXTPROC'
		inside "$machine" "$machine" nspawn-enter "$machine" \
		    sh /modes "$machine"
		cat <<-'END'
		await said up
		type 1 '\x03'
		end
		is status -2
		is shown1 *-extproc*
		END
	done
}

@test "if the caller's terminal has EXTPROC, the one inside does not" {
	calls < <(terminals_processed_outside)
}

modes_set_from_outside()
{
	local machine modes row

	for machine in web webu; do
	for modes in ICANON,ECHO,ICRNL -ICANON,ECHO ICANON,-ECHO,ICRNL; do
		row=$machine-${modes//,/+}
		call "$row"
		inside "$machine" "$row" nspawn-enter "$machine" \
		    sh /lines "$row"
		cat <<-END
		await said up
		modes 1 raw
		type 1 'one\r'
		await said 'got one'
		set 1 $modes
		type 1 'two\r'
		await said 'got two'
		end
		is status 0
		END
	done; done
}

@test "keys arrive, whatever modes other programs set" {
	calls < <(modes_set_from_outside)
}

modes_set_equally()
{
	local machine

	for machine in deb debu; do
		call "$machine" 'stdout pipe'
		inside "$machine" "$machine" sh /tmp/noted "$machine" \
		    nspawn-enter "$machine" perl /equal.pl "$machine"
		cat <<-END
		await said up
		print time $RUN sh /tmp/time $machine
		until touch $TREES/$machine/signs/$machine.stop
		end
		is status 0
		is time ?([01])[0-9]
		END
	done
}

@test "a program that sets modes all the time does not keep us busy" {
	calls < <(modes_set_equally)
}

# lines_shown ROW TEXT SHOWN [SETTING]...
lines_shown()
{
	call "$1" "${@:4}"
	inside web "$1" nspawn-enter web printf "'$2'"
	printf '%s\n' end 'is status 0' "is shown1 $3"
}

line_ends()
{
	local in

	for in in terminal null; do
		lines_shown "nl-$in" 'a\nb' 'a\r\nb' "stdin $in"
		lines_shown "cr-$in" 'a\rb\n' 'a\rb\r\n' "stdin $in"
	done
	lines_shown crnl-null 'a\r\n' 'a\r\n' 'stdin null'
	# If our terminal is raw, line ends come from the command's, as at any
	# other.
	lines_shown crnl-terminal 'a\r\n' 'a\r\r\n'
	# Output to a pipe has no line ends of a terminal.
	call crnl-pipe
	inside web crnl-pipe nspawn-enter -T web printf "'a\r\n'"
	printf '%s\n' end 'is status 0' 'is shown1 a\r\r\n'
	for in in terminal null; do
		lines_shown "as-it-is-nl-$in" 'a\nb' 'a\nb' "stdin $in" \
		    'starts 1 -OPOST'
		lines_shown "as-it-is-crnl-$in" 'a\r\nb' 'a\r\nb' \
		    "stdin $in" 'starts 1 -OPOST'
		call "less-$in" "stdin $in"
		inside deb "less-$in" nspawn-enter deb less -Pasking /modes
		printf '%s\n' 'await 1 asking' 'type 1 q' end 'is status 0' \
		    'is shown1 *stty\x20-a\r\n*' 'isnt shown1 *\r\r\n*'
	done
}

@test "a line has one line end, whichever terminal adds it" {
	calls < <(line_ends)
}

# Prints each byte once, as t/person does, except for line ends.
each_byte()
{
	local byte text=''

	for byte in {0..255}; do
		case $byte in
		9) text+='\t' ;;
		10) text+='\n' ;;
		13) text+='\r' ;;
		92) text+=\\\\ ;;
		*)
			printf -v byte '\\x%02x' "$byte"
			[[ $byte < '\x21' || $byte > '\x7e' ]] ||
			    printf -v byte '%b' "$byte"
			text+=$byte
			;;
		esac
	done
	echo "$text"
}

bytes_shown()
{
	local in text
	text=$(each_byte)

	for in in terminal null; do
		call "as-it-is-$in" "stdin $in" 'starts 1 -OPOST'
		inside web "as-it-is-$in" nspawn-enter web cat /bytes
		printf '%s\n' end 'is status 0' 'is after first' \
		    "is shown1 ${text//[*?[]/?}"
		call "processed-$in" "stdin $in"
		inside web "processed-$in" nspawn-enter web cat /bytes
		text=${text//\\n/\\r\\n}
		printf '%s\n' end 'is status 0' 'is after first' \
		    "is shown1 ${text//[*?[]/?}"
		text=$(each_byte)
	done
}

@test "no other byte of an output is changed" {
	printf '%b' "$(printf '\\x%02x' {0..255})" |
	    on_host sh -c 'cat >/var/lib/machines/web/bytes'
	calls < <(bytes_shown)
}
