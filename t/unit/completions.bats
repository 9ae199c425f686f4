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
	lister_make <<-'END'
	#!/bin/sh
	[ "$*" = --list ] || exit 1
	printf '%s\t%d\t%s\t%s\t%d\n' - 99999990 - - 0 \
	    my-box 99999991 10 my.scope 0 web 99999992 - web.service 0
	END
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

@test "words in quotes are one word" {
	for shell in "${SHELLS[@]}"; do
		echo "case: $shell"
		offers "$shell" 'nspawn-enter -w "/a b" w' web
		offers "$shell" "nspawn-enter -e 'A=\"x y' -w /a\\ b w" web
		offers "$shell" 'nspawn-enter -w "/a b" web my' mysql
	done
}

@test "a link that leads out of the machine offers nothing of the host" {
	outside=$BATS_TEST_TMPDIR/tree-outside
	mkdir -p "$outside/bin" "$tree/usr/local/sbin" "$tree/opt"
	touch "$outside/mine" "$outside/bin/mine" "$tree/opt/made"
	ln -s "$outside" "$tree/usr/local/bin"
	ln -s ../../tree-outside "$tree/usr/sbin"
	ln -s "$tree/usr/local/bin/bin" "$tree/bin"
	for shell in "${SHELLS[@]}"; do
		echo "case: $shell"
		offers "$shell" 'nspawn-enter web m' mdev mount.x mysql
	done
	# One that stays inside is followed, also if machined's is a link.
	rm "$tree/bin"
	ln -s opt "$tree/bin"
	mv "$tree" "$outside/web"
	ln -s "$outside/web" "$tree"
	for shell in "${SHELLS[@]}"; do
		echo "case: inside, $shell"
		offers "$shell" 'nspawn-enter web m' made mdev mount.x mysql
	done
}

@test "of a huge folder 5000 names are offered" {
	(cd "$tree/usr/bin" && seq -f m%g 6000 | xargs touch)
	for shell in "${SHELLS[@]}"; do
		echo "case: $shell"
		run -0 "$TOP/t/candidates" "$shell" 'nspawn-enter web m' 3>&-
		names=$(grep -cE '^(m[0-9]+|mount.x|mysql)$' <<<"$output")
		[ "$names" = 5000 ]
		grep -qx mdev <<<"$output"
	done
}

@test "a list without an end is cut, and ends" {
	# Like the real ls, it prints names while it reads if it need not sort.
	ls_make <<-'END'
	#!/bin/sh
	echo $$ >>"$STARTED"
	[ "$*" = "-Uq /proc/self/fd/3/" ] && exec yes mine
	exec sleep 600
	END
	export STARTED
	for shell in "${SHELLS[@]}"; do
		echo "case: $shell"
		STARTED=$BATS_TEST_TMPDIR/$shell
		SECONDS=0
		offers "$shell" 'nspawn-enter web m' mine
		[ "$SECONDS" -lt 15 ]
		[ "$(wc -l <"$STARTED")" = 2 ]
		while read -r pid; do
			until_true not kill -0 "$pid"
		done <"$STARTED"
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
		offers "$shell" 'nspawn-enter web m' mdev mount.x mysql
	done
}

@test "no program or library of the machine is used, whatever PATH is" {
	for program in timeout ls head; do
		echo "case: $program"
		printf '#!/bin/sh\n: >"%s/ran"\n' "$BATS_TEST_TMPDIR" |
		    tee "$tree/usr/bin/$program" >"$tree/sbin/$program"
		chmod +x "$tree/usr/bin/$program" "$tree/sbin/$program"
	done
	# A library that is none: a program that finds it does not start.
	echo none | tee "$tree/usr/bin/libc.so.6" >"$tree/sbin/libc.so.6"
	for variable in "PATH=.:$PATH" "PATH=:$PATH" "PATH=../bin:$PATH" \
	    "PATH=/none::$PATH" LD_LIBRARY_PATH=/none:; do
		for shell in "${SHELLS[@]}"; do
			echo "case: $variable $shell"
			(export "${variable?}"
			offers "$shell" 'nspawn-enter web m' mdev mount.x mysql)
			[ ! -e "$BATS_TEST_TMPDIR/ran" ]
		done
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
