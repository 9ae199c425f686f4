# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
# shellcheck shell=bash
#
# What all tests share.  BUILD is the folder of the programs under test.

bats_require_minimum_version 1.5.0

TOP=$(cd "${BASH_SOURCE[0]%/*}/.." && pwd)
: "${BUILD:=$TOP/build/static}"

# No folder of the caller's own is in PATH: other users may not have access to
# it.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# Skips a test, or fails it if STRICT=1.  In setup_file it always fails, since
# not all versions of bats can skip there.  A test for another architecture
# calls skip even with STRICT=1: nothing could be installed here to make it run.
cannot()
{
	if [ "${STRICT:-0}" = 1 ] || [ -z "${BATS_TEST_NUMBER-}" ]; then
		echo "cannot run here: $1" >&2
		return 1
	fi
	skip "$1"
}

# need TOOL...: a test cannot run without these.
need()
{
	local tool

	for tool; do
		command -v "$tool" >/dev/null || cannot "there is no $tool" ||
		    return 1
	done
}

# sources_copy FOLDER: copies the sources there, without what has been built.
# Where they are under git, it tells what belongs to them: so a new file at the
# top that the Makefile's CONTENTS lacks is missed by the test of dist.
sources_copy()
{
	local names

	names=$(git -C "$TOP" ls-files 2>/dev/null | cut -d / -f 1 | sort -u)
	[ -n "$names" ] || names=$(env -u MAKEFLAGS -u MFLAGS make -s \
	    --no-print-directory -C "$TOP" \
	    --eval='contents: ; @echo $(CONTENTS)' contents)
	mkdir -p "$1"
	# shellcheck disable=SC2086 # to be split into words
	(cd "$TOP" && cp -a $names "$1")
}

# Waits until a command succeeds, for 20 seconds at most.  It looks less often
# the longer it waits.
until_true()
{
	local end=$((SECONDS + 20)) pause=1

	until "$@"; do
		if [ "$SECONDS" -ge "$end" ]; then
			echo "this did not come true: $*" >&2
			return 1
		fi
		sleep "0.0$pause"
		((pause == 9)) || pause=$((pause + 1))
	done
}

not()
{
	! "$@"
}

# console_show [FILE]...: if the test has failed, prints the last lines of those
# consoles, or of those of its hosts.  systemd writes little to the console of a
# host, so the end of the host's journal follows.
console_show()
{
	local console

	[ -z "${BATS_TEST_COMPLETED-}${BATS_TEST_SKIPPED-}" ] || return 0
	[ $# -gt 0 ] || set -- "/run/nspawn-tools/${HOST:-none}"*/console
	for console; do
		# On a machine of t/vm a host has no console of its own.
		[ ! -e "$console" ] || tail -n 20 "$console" |
		    last_words console
	done
	[ -z "${HOST-}" ] || timeout --foreground 10 "$TOP/t/host" run "$HOST" \
	    journalctl --quiet --no-pager -o short-precise -n 20 3>&- |
	    last_words journal || true
}

# last_words NAME: prints its input, made printable, with that before each line.
last_words()
{
	tr -d '\r' | cat -v | sed "s/^/$1: /"
}

# emulate ARCHITECTURE: the programs of BUILD are for that one; from now on
# qemu-user runs them.  Each program is beside the script that runs it, so that
# a test may copy both.
emulate()
{
	local folder=$BATS_RUN_TMPDIR/emulated path program

	[ "$BUILD" != "$folder" ] || return 0
	mkdir -p "$folder"
	for path in "$BUILD"/*; do
		program=${path##*/}
		ln -sf "$path" "$folder/$program.elf"
		printf '#!/bin/sh\nexec %s -0 %s "${0%%/*}/%s.elf" "$@"\n' \
		    "qemu-${1/armv7/arm}-static" "$program" "$program" \
		    >"$folder/$program"
		chmod +x "$folder/$program"
	done
	BUILD=$folder
}

# offers SHELL LINE [CANDIDATE]...: checks that exactly these are offered at the
# end of the line.  If there is a HOST, its shell is asked.
offers()
{
	local shell=$1 line=$2

	shift 2
	run -0 env BIN="${BIN-}" timeout 60 "$TOP/t/candidates" "$shell" \
	    "$line" 3>&-
	diff <(printf '%s\n' "$@") - <<<"$output"
}

[ -z "${EMULATED-}" ] || emulate "$EMULATED"
