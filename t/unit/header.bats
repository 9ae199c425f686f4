#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
#
# common.h and common.c, as somebody uses them who copies both for a program of
# his own: in C without any flags, and in C++.

load ../common
load ../library

STRICTLY='-Wall -Wextra -Wpedantic -Werror'

setup()
{
	idles=()
	cd "$BATS_TEST_TMPDIR" || return
	cp "$TOP/common.c" "$TOP/common.h" .
}

# Adds the machine web to a proc directory, and sets leader.
machine_make()
{
	proc_make
	machinectl_knows_nothing
	idle_start; nspawn=$idle
	idle_start; leader=$idle
	proc_supervisor "$nspawn" 0 -M web
	proc_leader "$leader" "$nspawn" 0::/machine.slice/web.scope/payload
	cgroup_put machine.slice/web.scope/payload "$leader"
}

# Writes a tool that prints the leader of a machine; it is both C and C++.
tool_write()
{
	cat <<-'END'
	#include "common.h"

	#include <errno.h>
	#include <search.h>
	#include <signal.h>
	#include <stdlib.h>
	#include <string.h>
	#include <unistd.h>
	#include <utmp.h>

	int
	main(int argc, char **argv)
	{
		struct machine machine = MACHINE_NONE, other = MACHINE_NONE;
		struct monitor monitor = MONITOR_NONE;
		struct process process = PROCESS_NONE;
		struct machined machined;
		struct host host;
		char text[160];
		pid_t pids[2];

		monitor_main(argv);
		monitor_close(&monitor);
		process_close(&process);
		if (argc != 4 || !machine_name_valid(argv[3]) ||
		    machine_name_valid(".host") || machine.leader.fd != -1)
			return 2;
		machine = other;
		memset(&machined, 0, sizeof(machined));
		machined.deadline = deadline_in(5000);
		if (deadline_left(machined.deadline) > 5000 ||
		    deadline_left(DEADLINE_NEVER) != -1 ||
		    host_open(argv[1], argv[2], &host) == -1)
			return 2;
		if (machine_find(&host, argv[3], &machined, &machine, pids) ==
		    -1) {
			puts(machine_strerror(errno, pids, text, sizeof(text)));
			return 1;
		}
		printf("leader %d in a %s namespace\n", (int)machine.leader.pid,
		    namespace_name(NAMESPACE_PID));
		machine_close(&machine);
		host_close(&host);
		return 0;
	}
	END
}

tool_works()
{
	run -0 "$1" "$proc" "$cgroups" web
	[ "$output" = "leader $leader in a pid namespace" ]
	run -1 "$1" "$proc" "$cgroups" other
	[ "$output" = 'is not running' ]
}

# The compile lines of README, with another compiler for C or C++.
readme_lines()
{
	sed -n 's/^\t\(cc .*common\.[co]\)$/\1/p' "$TOP/README" |
	    sed "s/^cc/$1/; s/c++ /$2 /"
}

@test "a third program is built by what README says, with each compiler" {
	machine_make
	tool_write | tee tool.c >tool.cc
	run -0 readme_lines cc c++
	[ "${#lines[@]}" = 2 ]
	for compilers in 'gcc g++' 'clang clang++' 'musl-gcc g++'; do
		read -r c cxx <<<"$compilers"
		need "$c" "$cxx"
		mapfile -t commands < <(readme_lines "$c" "$cxx")
		# A program of C++ needs the libc that its library was made for.
		[ "$c" != musl-gcc ] || unset 'commands[1]'
		for command in "${commands[@]}"; do
			echo "case: $command"
			rm -f tool
			run -0 bash -c "$command"
			[ "$output" = '' ]
			tool_works ./tool
		done
	done
}

@test "neither C nor C++ of any standard warns about common.h" {
	tool_write | tee tool.c >tool.cc
	for compiler in gcc clang musl-gcc g++ clang++; do
		need "$compiler"
		standards='c11 gnu11 gnu17' file=tool.c
		[[ "$compiler" != *++ ]] ||
		    standards='c++11 c++14 c++17 c++20 gnu++17' file=tool.cc
		for standard in $standards; do
			echo "case: $compiler $standard"
			# shellcheck disable=SC2086 # several words
			run -0 "$compiler" -std="$standard" $STRICTLY \
			    -fsyntax-only "$file"
			[ "$output" = '' ]
		done
	done
}

@test "the library compiles without flags, and without warnings" {
	for flags in '' -std=c11 -std=gnu17 -D_GNU_SOURCE; do
		for compiler in gcc clang musl-gcc; do
			echo "case: $compiler $flags"
			need "$compiler"
			# shellcheck disable=SC2086 # several words, or none
			run -0 "$compiler" $flags $STRICTLY -fsyntax-only \
			    common.c
			[ "$output" = '' ]
		done
	done
}

@test "the examples in t compile without flags, too" {
	for example in describe run; do
		echo "case: $example"
		mkdir -p t
		cp "$TOP/t/$example.c" t
		# shellcheck disable=SC2086 # several words
		run -0 cc -std=c11 $STRICTLY -fsyntax-only "t/$example.c"
	done
}

# The functions that common.h declares.
functions()
{
	sed -nE 's/^[a-z][a-z0-9_ *]*[ *]([a-z0-9_]+)\(.*/\1/p' common.h
}

# All that common.h defines: functions, tags, macros and constants.
names()
{
	functions
	sed -nE 's/^(struct|enum) ([a-z0-9_]+) \{.*/\2/p
	    s/^#define ([A-Za-z0-9_]+).*/\1/p
	    s/^\t([A-Z][A-Z0-9_]+)([^A-Za-z0-9_].*)?$/\1/p' common.h |
	    grep -vxE 'COMMON_H|PATH_MAX'
}

# exported FILE...: the symbols that an object file or library exports.
exported()
{
	nm "$@" --defined-only | awk '{ sub("@.*", "", $NF); print $NF }' |
	    LC_ALL=C sort -u
}

@test "the library exports the functions of common.h, and nothing else" {
	cc -c common.c
	diff <(functions | LC_ALL=C sort) <(exported -g common.o)
	# T: code; there is no object that all programs would share.
	[ "$(nm -g --defined-only common.o | awk '{ print $2 }' |
	    sort -u)" = T ]
}

@test "no function of the library has a name of a libc, or a reserved one" {
	for library in libc.so.6 libm.so.6 libstdc++.so.6; do
		path=$(cc -print-file-name="$library")
		echo "case: $path"
		[[ "$path" == /* ]] || cannot "there is no $library"
		run -0 exported -D "$path"
		[[ "$output" == *malloc* || $library != libc.so.6 ]]
		[ "$(LC_ALL=C comm -12 <(functions | LC_ALL=C sort) \
		    - <<<"$output")" = '' ]
	done
	# C keeps these for later versions of <string.h> and <ctype.h>.
	run ! grep -E '^(str|mem|wcs|is|to)[a-z]' <(functions)
}

@test "each name of common.h begins with a noun that its head lists" {
	mapfile -t nouns < <(sed -n '/^ \* Each name begins/,/\.$/p' common.h |
	    sed 's/.*: //; s/^ \* //; s/[.]$//' | tr -d ' ' | tr , '\n' |
	    grep .)
	[ "${#nouns[@]}" -gt 20 ]
	for name in $(names); do
		echo "case: $name"
		noun=${name%%_*}
		noun=${noun,,}
		[[ " ${nouns[*]} " == *" $noun "* ||
		    " ${nouns[*]} " == *" ${noun%s} "* ||
		    " ${nouns[*]} " == *" ${noun%ies}y "* ]]
	done
	for noun in "${nouns[@]}"; do
		echo "case: $noun"
		run -0 grep -ciE "^$noun(_|s?_|$)" <(names)
	done
}

# users_line FUNCTION: the line "users" of its contract, if there is one.
users_line()
{
	awk -v name="$1" '
		/^\/\*/ { users = "" }
		/^ \* users / { users = $0 }
		$0 ~ "[ *]" name "[(]" && /^[a-z]/ { print users; exit }
	' common.h
}

@test "a program calls each function, or its contract names its users" {
	cat "$TOP"/nspawn-*.c >programs
	cat "$TOP"/t/*.c "$TOP"/t/fuzz/*.c >tests
	for function in $(functions); do
		echo "case: $function"
		line=$(users_line "$function")
		if grep -qw "$function" programs; then
			[ "$line" = '' ]
		else
			[[ "$line" == *users*tests* ]]
			grep -qw "$function" tests
		fi
	done
}
