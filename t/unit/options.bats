#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
#
# What the command lines accept and refuse, before any machine is searched for.

load ../common

# refused PROGRAM TEXT WORD...: checks for one line that has TEXT, and one that
# says where to look.
refused()
{
	local program=$1 text=$2
	shift 2

	run -125 "$BUILD/$program" "$@"
	[[ "${lines[0]}" == *"$program: "*"$text"* ]]
	[ "${lines[1]}" = "Try '$program --help'." ]
	[ "${#lines[@]}" = 2 ]
}

as_nobody()
{
	if [ "$(id -u)" = 0 ]; then
		setpriv --reuid 65534 --regid 65534 --clear-groups \
		    --inh-caps=-all "$@"
	else
		"$@"
	fi
}

@test "--help prints to standard output, with status 0" {
	for program in nspawn-enter nspawn-stop; do
		echo "case: $program"
		run -0 --separate-stderr "$BUILD/$program" --help
		[[ "${lines[0]}" == "Usage: $program "* ]]
		[ "$stderr" = '' ]
		run -0 "$BUILD/$program" web --help
		[[ "${lines[0]}" == "Usage: $program "* ]]
		run -0 --separate-stderr "$BUILD/$program" -h
		[ "$output" = "$("$BUILD/$program" --help)" ]
		[ "$stderr" = '' ]
	done
}

@test "the version is the Makefile's" {
	version=$(sed -n 's/^VERSION = //p' "$TOP/Makefile")
	[ -n "$version" ]
	for program in nspawn-enter nspawn-stop; do
		echo "case: $program"
		run -0 "$BUILD/$program" --version
		[ "$output" = "$program $version" ]
	done
}

@test "a call that names no machine is refused" {
	for program in nspawn-enter nspawn-stop; do
		echo "case: $program"
		refused "$program" 'no machine name given'
		refused "$program" 'no machine name given' --
	done
}

@test "a name that no machine can have is refused" {
	for name in ../x a_b .host '' "$(printf 'a%.0s' {1..65})"; do
		for program in nspawn-enter nspawn-stop; do
			echo "case: $name $program"
			refused "$program" "invalid machine name '$name'" "$name"
			refused "$program" "invalid machine name '$name'" \
			    -- "$name"
		done
	done
	refused nspawn-stop "invalid machine name '-x'" -- -x
	refused nspawn-enter "invalid machine name '-x'" -- -x
	refused nspawn-stop "invalid machine name '\\x1bc'" web $'\ec'
	refused nspawn-stop "invalid machine name 'a_b'" web a_b other
}

@test "options of other programs are answered with what to give here" {
	run -125 "$BUILD/nspawn-enter" root@web true
	[[ "${lines[0]}" == *"invalid machine name 'root@web'"* ]]
	[ "${lines[1]}" = \
	    'nspawn-enter: use -u USER to choose a user of the machine' ]
	[ "${lines[2]}" = "Try 'nspawn-enter --help'." ]
	for words in '-it web sh' '-i web' '-ti web sh'; do
		echo "case: $words"
		# shellcheck disable=SC2086 # words
		run -125 "$BUILD/nspawn-enter" $words
		[ "${lines[-2]}" = 'nspawn-enter: -i is not needed: the command'\
" always has the caller's standard input" ]
		[ "${lines[-1]}" = "Try 'nspawn-enter --help'." ]
	done
	for words in '-M web' '-Mweb sh' '--machine=web' '--machine web sh' \
	    '-u joe -M web'; do
		echo "case: $words"
		# shellcheck disable=SC2086 # words
		run -125 "$BUILD/nspawn-enter" $words
		[ "${lines[-2]}" = \
		    "nspawn-enter: give the machine's name alone, without -M" ]
		[ "${lines[-1]}" = "Try 'nspawn-enter --help'." ]
	done
	# Elsewhere they are only invalid.
	refused nspawn-stop "invalid machine name 'root@web'" root@web
	refused nspawn-stop i -i web
	refused nspawn-stop M -M web
	refused nspawn-stop machine --machine=web
	# These have no hint: --help shows the names that they have here.
	for words in --workdir=/ --cwd=/ --env=A=b --uid=joe '-D /' '-E A=b'; do
		echo "case: $words"
		option=${words#-} option=${option#-}
		# shellcheck disable=SC2086 # words
		refused nspawn-enter "${option%%[= ]*}" $words web
	done
}

@test "a long option may be cut where it is unique, -- begins the command" {
	run -125 "$BUILD/nspawn-enter" --sete =x web
	[[ "$output" == *"invalid variable '=x'"* ]]
	refused nspawn-enter no- --no- web
	for words in '-- no-machine --help' 'no-machine -- --help' \
	    '-w / -- no-machine --help' 'no-machine true --help'; do
		echo "case: $words"
		# shellcheck disable=SC2086 # words
		run -125 "$BUILD/nspawn-enter" $words
		[[ "$output" == *"no-machine: is not running" ||
		    "$output" == *"only root can enter a machine; try sudo" ]]
	done
}

@test "an unknown option is refused" {
	refused nspawn-enter 'nonsense' --nonsense web
	refused nspawn-enter 'nonsense' web --nonsense true
	refused nspawn-stop 'nonsense' web --nonsense
	refused nspawn-stop 'x' -x
	refused nspawn-stop 'timeout' web --timeout
}

@test "an option without its argument is refused" {
	for program in nspawn-enter nspawn-stop; do
		mapfile -t options < <("$BUILD/$program" --help |
		    sed -nE 's/^ +(-.)?,? +--([a-z]+)=.*/\1 --\2/p' |
		    tr ' ' '\n' | grep .)
		[ "${#options[@]}" -ge 4 ]
		for option in "${options[@]}"; do
			echo "case: $program $option"
			word=${option#-}
			refused "$program" "${word#-}" "$option"
			refused "$program" "${word#-}" web "$option"
		done
	done
}

@test "an invalid time, signal or list is refused" {
	refused nspawn-stop "invalid time '5x'" web --timeout 5x
	refused nspawn-stop "invalid time ''" web -t ''
	refused nspawn-stop "invalid time '99999999999': too long" web \
	    -t 99999999999
	refused nspawn-stop "invalid signal 'FOO'" web --signal=FOO
	refused nspawn-stop "invalid signal '0'" web -s 0
	for signal in KILL SIGKILL kill 9 STOP; do
		echo "case: $signal"
		refused nspawn-stop "invalid signal '$signal': it stops nothing"\
' cleanly; to kill a machine, use machinectl terminate' -s "$signal" web
	done
	refused nspawn-enter "invalid namespace 'foo'" --only=foo web
	refused nspawn-enter "invalid namespace ''" --only= web
	refused nspawn-enter "invalid namespace ''" --only=uts, web
	refused nspawn-enter 'no namespace is left' --only=pid -p web true
	refused nspawn-enter 'no namespace is left' --no-mount --no-uts \
	    --no-ipc -n -p --no-cgroup --no-time --no-user web true
	for user in '' : joe: :users; do
		echo "case: $user"
		refused nspawn-enter "invalid user '$user'" -u "$user" web
	done
	refused nspawn-enter "invalid variable '=x'" -e =x web
	refused nspawn-enter "invalid directory 'tmp'" -w tmp web
}

@test "a caller who is not root is told so, and nothing is done" {
	[ "$(id -u)" != 0 ] || need setpriv
	# The folder of the programs may be open to root only.
	seen=$(mktemp -d /tmp/nspawn-tools.XXXXXX)
	cp -L "$BUILD"/nspawn-* "$seen"
	chmod -R a+rX "$seen"
	run as_nobody "$seen/nspawn-stop" web
	stopped=$status:$output
	run as_nobody "$seen/nspawn-enter" web true
	entered=$status:$output
	rm -r "$seen"
	[ "$stopped" = '125:nspawn-stop: only root can stop a machine; try'\
' sudo' ]
	[ "$entered" = '125:nspawn-enter: only root can enter a machine; try'\
' sudo' ]
}
