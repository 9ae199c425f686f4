# SPDX-License-Identifier: GPL-3.0-only
# shellcheck shell=bash
#
# What all tests share.  BUILD is the folder of the programs under test.

bats_require_minimum_version 1.5.0

TOP=$(cd "${BASH_SOURCE[0]%/*}/.." && pwd)
: "${BUILD:=$TOP/build/static}"

# No folder of the caller's own, which others may not look into.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# Skips a test, or with STRICT=1 fails it.  What is about another architecture
# is skipped all the same: nothing that is missing here would change that.
cannot()
{
	if [ "${STRICT:-0}" = 1 ]; then
		echo "cannot run here: $1" >&2
		return 1
	fi
	skip "$1"
}

# Waits until a command succeeds, for 20 seconds at most.
until_true()
{
	local end=$((SECONDS + 20))

	until "$@"; do
		if [ "$SECONDS" -ge "$end" ]; then
			echo "this did not come true: $*" >&2
			return 1
		fi
		sleep 0.02
	done
}

not()
{
	! "$@"
}

# emulate ARCHITECTURE: the programs of BUILD are for that, and qemu-user runs
# them from now on.  Each is beside what runs it, so that a test may copy both.
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

[ -z "${EMULATED-}" ] || emulate "$EMULATED"
