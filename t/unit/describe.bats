#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
#
# A short program that is built only on common.h.

load ../common
load ../library

describe()
{
	"$BUILD/describe" --proc="$proc" --cgroup="$cgroups" "$@"
}

# machine NAME EXE [OPTION]...: makes a machine; sets leader and nspawn.
machine()
{
	local name=$1 exe=$2
	shift 2

	idle_start; nspawn=$idle
	idle_start; leader=$idle
	proc_supervisor "$nspawn" 0 -M "$name" "$@"
	proc_leader "$leader" "$nspawn" "0::/machine.slice/$name.scope/payload"
	ln -s "$exe" "$proc/$leader/exe"
	printf '%s\0' init >"$proc/$leader/cmdline"
	cgroup_put "machine.slice/$name.scope/payload" "$leader"
}

@test "a third program describes machines by common.h alone" {
	machine web /usr/lib/systemd/systemd
	run -0 describe web
	expected="web: leader $leader init systemd stop SIGRTMIN+4"
	expected+=" supervisor $nspawn namespaces pid"
	[ "$output" = "$expected" ]
	machine db /bin/busybox --kill-signal=PWR
	run -0 describe web -- db
	[ "${lines[0]}" = "$expected" ]
	[[ "${lines[1]}" == "db: leader $leader init busybox init stop SIGPWR"* ]]
}

@test "a machine that cannot be described is reported, the others are shown" {
	machine web /usr/bin/server
	run -1 --separate-stderr describe other web
	[[ "$output" == "web: leader $leader init unknown stop SIGTERM"* ]]
	[ "$stderr" = 'describe: other: is not running' ]
	run -1 describe a_b
	[ "$output" = "describe: invalid machine name 'a_b': give a host name\
 of at most 64 letters, digits, '-' and '.'" ]
	run -1 describe --nonsense
	[ "$output" != '' ]
}

@test "without options the host's own directories are used" {
	run -1 "$BUILD/describe" no-such-machine
	[ "$output" = 'describe: no-such-machine: is not running' ]
}

@test "the help of the program lists its options" {
	run -0 describe --help
	[[ "$output" == *'--proc=DIR'*'--cgroup=DIR'*'--help'* ]]
}
