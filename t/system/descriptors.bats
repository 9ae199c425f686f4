#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
#
# What a command's standard descriptors are.  Each row is one mix of the
# caller's descriptors; it tests what the command sees of them, and what arrives
# at the caller's two terminals, in its pipes and its files.  t/person makes the
# calls; this file computes from a few rules what they have to show.
#
# A row is named after standard input, output and errors: t is the terminal at
# which the call is made, o another one, p a pipe, f a file, n the null device,
# c closed.  A row's fields:
#
#	during	the modes of both terminals while the command runs: first (as
#		at the start), raw, or the flags that are others; after: at last
#	left1	what was typed at the first terminal and is there for whoever
#		reads it next; left2 at the second
#	shown1	the lines at the first terminal, sorted; shown2 at the second;
#		stdout and stderr: those in the caller's pipe or file
#	said	what the command has: the kind of each descriptor, + if there is
#		a /dev/tty; and the line that it got
#	late	what did not come true in time; not there where all did

load ../common
load ../machines

# The script that each row runs.  It reports what its descriptors are, waits
# until a line has been typed at each terminal, reads one line, and writes two.
probe()
{
	cat <<-'END'
	has=
	for fd in 0 1 2; do
		case $(readlink /proc/$$/fd/$fd) in
		pipe:*) kind=p ;;
		/dev/null) kind=n ;;
		*) kind=f ;;
		esac
		[ ! -t $fd ] || kind=t
		has=$has$kind
	done
	true 2>/dev/null </dev/tty && has=$has+ || has=$has-
	echo "has:$has" >"/signs/$1.said"
	read -r go <"/signs/$1.go"
	read -r -t 5 line
	echo out
	echo err >&2
	echo "got:$line" >"/signs/$1.said"
	exit 5
	END
}

setup_file()
{
	host_start
	host machine "$HOST" scope web
	host machine "$HOST" scope webu -U
	for machine in web webu; do
		probe | on_host sh -c "cat >/var/lib/machines/$machine/probe"
		on_host mkdir -m 777 "/var/lib/machines/$machine/signs"
	done
	# Where t/person reads what the script reports.
	TREES=/proc/$(host leader "$HOST")/root/var/lib/machines
	export TREES
}

is_terminal()
{
	[[ $1 = [to] ]]
}

# interactive ROW OPTION: true if the terminal of standard input is raw, so that
# the command's own terminal does all the work.
interactive()
{
	local row=$1

	[ "$2" != -T ] && is_terminal "${row:0:1}" &&
	    { is_terminal "${row:1:1}" || [ "$2" = -t ]; }
}

# rows FUNCTION [ARGUMENT]...: calls the function for each row.  It runs in a
# shell of its own, where bats does not trace each command: tracing takes long.
rows()
(
	set +T
	for i in t o p f n c; do
		for o in t o p f n c; do
			for e in t o p f n c; do
				"$1" "$i$o$e" "${@:2}"
			done
		done
	done
)

# plan ROW OPTION MACHINE: prints the row for t/person.
plan()
{
	local row=$1 signs=$TREES/$3/signs/$1
	# Programs that start the command in the host may open a closed
	# descriptor, so it is closed last.
	declare -A what=([t]='terminal 1' [o]='terminal 2' [p]=pipe
		[f]=file [n]=null [c]=null)
	local close='' input=''

	[[ $row != f?? ]] || input="'fed\\n'"
	[[ $row != c?? ]] || close+=' <&-'
	[[ $row != ?c? ]] || close+=' >&-'
	[[ $row != ??c ]] || close+=' 2>&-'
	cat <<-END
	call $row
	terminals 2
	lines
	stdin ${what[${row:0:1}]} $input
	stdout ${what[${row:1:1}]}
	stderr ${what[${row:2:1}]}
	hears said $signs.said
	tells go $signs.go
	run $TOP/t/host run $HOST /src/t/sit sh -c 'exec "\$@"$close' sh \
	    $BIN/nspawn-enter $2 $3 sh /probe $row
	await said has:.*'\\n'
	END
	! interactive "$row" "$2" || case $row in
	t*) echo modes 1 raw ;;
	o*) echo modes 2 raw ;;
	esac
	printf '%s\n' 'note during' "type 1 'one\\r'" "type 2 'two\\r'"
	[[ $row != p* ]] || printf '%s\n' "feed 'fed\\n'" close
	printf '%s\n' "tell go '\\n'" end
}

# inside ROW OPTION FD: sets kind, which is what that descriptor is in the
# machine.
inside()
{
	local output=${1:1:1}

	kind=${1:$3:1}
	case $2 in
	-t) kind=t ;;
	-T) kind=${kind/[to]/p} ;;
	*)
		# There is only one terminal inside; another one for errors
		# becomes a pipe.
		if [ "$3" = 2 ] && is_terminal "$kind" &&
		    is_terminal "$output" && [ "$kind" != "$output" ]; then
			kind=p
		fi
		kind=${kind/o/t}
		;;
	esac
	kind=${kind/c/n}
}

# put TEXT ROW FD: adds the line to what arrives where the descriptor leads.
put()
{
	case ${2:$3:1} in
	t) shown1+=,$1\\r ;;
	o) shown2+=,$1\\r ;;
	[pf])
		if [ "$3" = 1 ]; then
			stdout+=,$1$end
		else
			stderr+=,$1$end
		fi
		;;
	esac
}

# keys TEXT ROW OPTION TERMINAL: adds the echo of what is typed.  The terminal
# itself echoes it, unless that is raw; then the command's terminal does.
keys()
{
	if [[ $2 = $4* ]] && interactive "$2" "$3"; then
		put "$1" "$2" 1
	else
		put "$1" "$4" 0
	fi
}

# expected ROW OPTION: prints the row as t/person has to print it.
expected()
{
	local row=$1 option=$2 kind fd has='' got='' end='' text
	local during=first,first left1='one\n' left2='two\n'
	local shown1='' shown2='' stdout='' stderr=''

	for fd in 0 1 2; do
		inside "$row" "$option" "$fd"
		has+=$kind
	done
	[[ $has = *t* ]] && has+=+ || has+=-
	case $row in
	t*) got=one left1='' ;;
	o*) got=two left2='' ;;
	[pf]*) got=fed ;;
	esac
	if interactive "$row" "$option"; then
		[[ $row = t* ]] && during=raw,first || during=first,raw
	fi
	# Output through a terminal inside has the line ends of a terminal.
	[ "$option" != -t ] || end='\r'
	# In alphabetical order, as t/person prints it.
	if [ "$option" = -t ]; then
		put err "$row" 1
	else
		put err "$row" 2
	fi
	keys one "$row" "$option" t
	put out "$row" 1
	keys two "$row" "$option" o
	text="$row during=$during status=5 after=first,first"
	text+=" left1=$left1 shown1=${shown1#,}"
	text+=" left2=$left2 shown2=${shown2#,}"
	[[ $row != ?[pf]? ]] || text+=" stdout=${stdout#,}"
	[[ $row != ??[pf] ]] || text+=" stderr=${stderr#,}"
	echo "$text said=got:$got,has:$has"
}

# open_questions OPTION: removes from the rows what no rule decides.
open_questions()
{
	local script

	if [ "$1" = -t ]; then
		# Whether input that nobody types is echoed, and whether output
		# in a pipe or file then has the line ends of a terminal.
		script='/^[pfnc]/ {
			s/=fed(\\r)?,/=/; s/(=|,)fed(\\r)? / /
			s/,fed(\\r)?,/,/
			:a; s/( std...=[^ ]*)\\r/\1/; ta
		}'
	else
		# Whether the one terminal inside is that of errors, too, if
		# output is none and input is another.
		script='/^(t[pfnc]o|o[pfnc]t)/ s/(has:..)[tp]/\1?/'
	fi
	sed -E "$script"
}

# differences EXPECTED HAS: prints each field that is wrong; status 1 if there
# is one.
differences()
{
	awk '
	function key(field)
	{
		return substr(field, 1, index(field, "=") - 1)
	}
	function wrong(text)
	{
		print row ": " text
		status = 1
	}
	{
		row = $1
		delete has
		for (i = 2; i <= NF; i++)
			has[key($i)] = $i
		getline <other
		if ($1 != row)
			wrong("is not there, but " $1)
		for (i = 2; i <= NF; i++) {
			if (has[key($i)] != $i)
				wrong("should be " has[key($i)] ", is " $i)
			delete has[key($i)]
		}
		for (i in has)
			wrong("should be " has[i])
	}
	END { exit status }' other="$2" "$1"
}

# rows_are OPTION MACHINE: makes all rows and compares them.
rows_are()
{
	rows plan "$1" "$2" >"$BATS_TEST_TMPDIR/plan"
	timeout -k 5 300 "$TOP/t/person" -j 4 <"$BATS_TEST_TMPDIR/plan" \
	    >"$BATS_TEST_TMPDIR/has" 3>&-
	[ "$(wc -l <"$BATS_TEST_TMPDIR/has")" = 216 ]
	differences <(rows expected "$1" | open_questions "$1") \
	    <(open_questions "$1" <"$BATS_TEST_TMPDIR/has")
}

@test "each descriptor is a terminal of the machine, or the caller's own" {
	rows_are '' web
}

@test "each descriptor is the same in a machine with a user namespace" {
	rows_are '' webu
}

@test "with --tty all descriptors are a terminal, shown on standard output" {
	rows_are -t web
}

@test "with --no-tty none is a terminal, and the caller's keep their modes" {
	rows_are -T web
}
