#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
#
# t/setup: which packages it wants, and what it leaves alone.

load ../common

# Sets packages: those that t/setup wants, on a system that has none of them and
# no apt-get, either.
packages_wanted()
{
	PATH=$BATS_TEST_TMPDIR run -1 "$TOP/t/setup" "$@"
	[[ "$output" == 't/setup: cannot find apt-get: '* ]]
	read -ra packages <<<"${output##*: }"
}

@test "the demo needs few packages, and no tree" {
	local all name packages

	ln -s "$(command -v grep)" "$BATS_TEST_TMPDIR"
	packages_wanted
	all=" ${packages[*]} "
	packages_wanted --demo
	for name in make gcc libc6-dev systemd-container busybox-static; do
		echo "case: $name"
		[[ " ${packages[*]} " == *" $name "* ]]
	done
	for name in "${packages[@]}"; do
		echo "case: $name"
		[[ "$all" == *" $name "* ]]
		[[ "$name" != *@(cross|gcc-|musl|qemu|clang|bats|mmdebstrap)* ]]
	done

	printf '#!/bin/sh\nprintf installed\n' >"$BATS_TEST_TMPDIR/dpkg-query"
	chmod +x "$BATS_TEST_TMPDIR/dpkg-query"
	PATH=$BATS_TEST_TMPDIR:$PATH NSPAWN_TOOLS_CACHE=$BATS_TEST_TMPDIR/cache \
	    run -0 "$TOP/t/setup" --demo
	[ "$output" = 'setup: nothing to install' ]
	[ ! -e "$BATS_TEST_TMPDIR/cache" ]
}
