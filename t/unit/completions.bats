#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
#
# What bash, zsh and fish offer; the shells themselves are asked.  machinectl,
# and the program that lists machines, are made up by the tests.

load ../common
load ../library

SHELLS=(bash zsh fish)

setup()
{
	need expect zsh fish
	tree=$BATS_TEST_TMPDIR/tree
	mkdir -p "$tree/usr/bin" "$tree/sbin"
	touch "$tree/usr/bin/mysql" "$tree/usr/bin/mount.x" "$tree/sbin/mdev"
	machinectl_make <<-END
	#!/bin/sh
	case \$* in
	'show -p RootDirectory --value web') echo '$tree' ;;
	*) exit 1 ;;
	esac
	END
	# No process has these numbers.
	leaders_are 99999991 99999992
	idles=()
}

teardown()
{
	idles_end
}

# leaders_are PID PID: lists a nameless machine, and my-box and web with these
# leaders.
leaders_are()
{
	lister_make <<-END
	#!/bin/sh
	[ "\$*" = --list ] || exit 1
	printf '%s\t%d\t%s\t%s\t%d\n' - 99999990 - - 0 \
	    my-box $1 10 my.scope 0 web $2 - web.service 0
	END
}

# Starts an idle process whose root directory is that one, and sets idle.
idle_start_in()
{
	mkdir -p "$1"
	unshare --map-root-user perl -e 'chroot $ARGV[0] and chdir "/" or die;
	    $0 = "inside"; sleep 600' "$1" 3>&- &
	idle=$!
	idles+=("$idle")
	until_true grep -qx inside "/proc/$idle/comm"
}

# Puts the script on stdin as nspawn-enter before the real one.
lister_make()
{
	cat >"$BATS_TEST_TMPDIR/bin/nspawn-enter"
	chmod +x "$BATS_TEST_TMPDIR/bin/nspawn-enter"
}

# Puts the script on stdin as ls before the real one.
ls_make()
{
	cat >"$BATS_TEST_TMPDIR/bin/ls"
	chmod +x "$BATS_TEST_TMPDIR/bin/ls"
}

# offers SHELL LINE [CANDIDATE]...: checks that exactly these are offered at the
# end of the line.
offers()
{
	local shell=$1 line=$2
	shift 2

	run -0 timeout 60 "$TOP/t/candidates" "$shell" "$line" 3>&-
	diff <(printf '%s' "${*/%/$'\n'}" | tr -d ' ') \
	    <(printf '%s' "${output:+$output$'\n'}")
}

# All options of --help, by all their names.
options_of_help()
{
	"$BUILD/$1" --help | sed -nE 's/^ +((-., )?--[a-z-]+).*/\1/p' |
	    tr -d , | tr ' ' '\n' | LC_ALL=C sort
}

@test "each shell offers the options that --help lists" {
	for program in nspawn-enter nspawn-stop; do
		for shell in "${SHELLS[@]}"; do
			echo "case: $program $shell"
			run -0 "$TOP/t/candidates" "$shell" "$program -" 3>&-
			diff <(options_of_help "$program") \
			    <(tr -d = <<<"$output" | LC_ALL=C sort)
			[ "${#lines[@]}" -gt 7 ]
		done
	done
}

@test "each shell knows which options take an argument" {
	for program in nspawn-enter nspawn-stop; do
		echo "case: $program"
		run -0 "$TOP/t/candidates" bash "$program -" 3>&-
		diff <("$BUILD/$program" --help |
		    grep -oE '^ .{5}--[a-z-]+=' | grep -o -- '--.*' |
		    LC_ALL=C sort) <(grep '=$' <<<"$output" | LC_ALL=C sort)
		mapfile -t options < <(grep '=$' <<<"$output")
		for option in "${options[@]}"; do
			for shell in "${SHELLS[@]}"; do
				echo "case: $program $option $shell"
				run -0 "$TOP/t/candidates" "$shell" \
				    "$program ${option%=} x --fo" 3>&-
				[ "$output" = --foreign ]
				run -0 "$TOP/t/candidates" "$shell" \
				    "$program ${option%=} w" 3>&-
				[[ $'\n'$output$'\n' != *$'\nweb\n'* ]]
			done
		done
	done
}

@test "machines are offered, except those that have no name" {
	for shell in "${SHELLS[@]}"; do
		echo "case: $shell"
		offers "$shell" 'nspawn-stop ' my-box web
		offers "$shell" 'nspawn-stop -t 5 w' web
		offers "$shell" 'nspawn-stop web --verbose m' my-box
		offers "$shell" 'nspawn-enter ' my-box web
		offers "$shell" 'nspawn-enter -u joe:users w' web
		offers "$shell" 'nspawn-enter --user=joe w' web
	done
}

@test "signals and namespaces are offered" {
	for shell in "${SHELLS[@]}"; do
		echo "case: $shell"
		offers "$shell" 'nspawn-stop web -s RT' RTMIN+3 RTMIN+4
		offers "$shell" 'nspawn-stop --signal T' TERM
	done
	offers bash 'nspawn-enter --only=uts,n' uts,network
	offers zsh 'nspawn-enter --only=uts,n' network
	offers fish 'nspawn-enter --only=uts,n' --only=uts,network
}

@test "after the machine its own programs are offered" {
	for shell in "${SHELLS[@]}"; do
		echo "case: $shell"
		offers "$shell" 'nspawn-enter web m' mdev mount.x mysql
		offers "$shell" 'nspawn-enter -q web my' mysql
		offers "$shell" 'nspawn-enter my-box m'
		offers "$shell" 'nspawn-enter web mysql -'
		offers "$shell" 'nspawn-enter web mysql m'
	done
}

@test "root is also offered the programs below a leader's root directory" {
	unshare --map-root-user true || cannot 'no user namespaces'
	inside=$BATS_TEST_TMPDIR/inside
	mkdir -p "$inside/usr/sbin"
	touch "$inside/usr/sbin/mkfs" "$inside/usr/sbin/mkfs;ls"
	idle_start_in "$inside"
	leaders_are "$idle" 99999992
	for shell in "${SHELLS[@]}"; do
		echo "case: $shell"
		# machined does not know this one.
		offers "$shell" 'nspawn-enter my-box m' mkfs
		offers "$shell" 'nspawn-enter web m' mdev mount.x mysql
		# The name is no pattern, and not a part of one.
		offers "$shell" 'nspawn-enter my.box m'
		offers "$shell" 'nspawn-enter box m'
	done
}

@test "a directory that hangs is not waited for, even if nothing ends ls" {
	ls_make <<-'END'
	#!/bin/sh
	[ ! -e "$HANGING.over" ] || exit 0
	trap '' TERM
	touch "$HANGING"
	read -r _ <>"$HANGING.fifo"
	END
	for shell in "${SHELLS[@]}"; do
		echo "case: $shell"
		export HANGING=$BATS_TEST_TMPDIR/$shell
		mkfifo "$HANGING.fifo"
		SECONDS=0
		offers "$shell" 'nspawn-enter web m'
		[ "$SECONDS" -lt 15 ]
		[ -e "$HANGING" ]
		touch "$HANGING.over"
		echo 1<>"$HANGING.fifo"
	done
}

@test "a program's name with special characters gets on no command line" {
	touch "$tree/sbin/m;ls" "$tree/sbin/m x" "$tree/sbin/m"$'\e[2J' \
	    "$tree/sbin/m\$(ls)" "$tree/sbin/--mx" "$tree/sbin/m"$'\n'etc
	for shell in "${SHELLS[@]}"; do
		echo "case: $shell"
		# A name with a line break looks like plain names, one for each
		# line.
		offers "$shell" 'nspawn-enter web m' m mdev mount.x mysql
	done
}

@test "a list of machines that fails offers nothing and prints nothing" {
	machinectl_make <<-'END'
	#!/bin/sh
	echo 'Failed to connect to bus' >&2
	exit 1
	END
	lister_make <"$BATS_TEST_TMPDIR/bin/machinectl"
	for shell in "${SHELLS[@]}"; do
		echo "case: $shell"
		export SCREEN=$BATS_TEST_TMPDIR/screen
		offers "$shell" 'nspawn-stop w'
		offers "$shell" 'nspawn-enter web m'
		run ! grep -q 'connect to bus' "$SCREEN"
	done
}

@test "a list of machines that hangs is not waited for" {
	lister_make <<-'END'
	#!/bin/sh
	exec sleep 60
	END
	for shell in "${SHELLS[@]}"; do
		echo "case: $shell"
		SECONDS=0
		offers "$shell" 'nspawn-stop w'
		[ "$SECONDS" -lt 15 ]
	done
}
