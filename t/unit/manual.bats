#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
#
# Help, manuals and README have to agree: the others are compared with what
# --help of the built programs lists.

load ../common
load ../examples

MANUALS=(nspawn-enter.1 nspawn-stop.8)

# The options of --help, one a line, as in "-u --user =USER".
options_of_help()
{
	"$BUILD/$1" --help |
	    sed -nE 's/^ +((-., )?--[^ ]+) .*/\1/p' |
	    sed 's/,//; s/=/ =/' | sort
}

# Those of a manual, in the same form.
options_of_manual()
{
	sed -n 's/^\.It Fl //p' "$TOP/man/$1" |
	    sed 's/^/-/; s/ , Fl / -/; s/ Ns = Ns Ar / =/' | sort
}

# The unit in README.
unit_of_readme()
{
	awk '/^\t# \/etc/ { on = 1 } /^[^\t]/ { on = 0 } on' "$TOP/README" |
	    sed 's/^\t//; $d'
}

# The options in the indented lines of README's section on the program, by their
# long names, without those of the unit.
options_of_readme()
{
	awk -v program="$1" '$0 == program { on = 1 } $0 == "" { gap++ }
	    $0 != "" { if (gap == 2 && $0 != program) on = 0; gap = 0 }
	    /^\t# \/etc/ { unit = 1 } /^[^\t]/ { unit = 0 }
	    on && !unit && /^\t/ && !/nspawn-stop|nspawn-enter/' \
	    "$TOP/README" | grep -oE -- '--[a-z-]+' | sort -u
}

long_names()
{
	grep -oE -- '--[a-z-]+' | sort
}

# messages SOURCE CALL: the fixed parts of two words or more, one a line, of the
# texts that are arguments of calls whose names match
messages()
{
	CALL=$2 perl -0777 -ne 's{/\*.*?\*/}{}gs;
	while (/\b(?:$ENV{CALL})\(((?:[^;"]|"(?:\\.|[^"\\])*")*);/g) {
		my $arguments = $1;
		while ($arguments =~ /((?:"(?:\\.|[^"\\])*"\s*)+)/g) {
			my $text = $1 =~ s/"\s*"//gr =~ s/^"|"\s*$//gr;
			for (split /%[-.*]*z?[a-z]|\\n/, $text) {
				s/^[\s:;,(\x27\]]+|[\s:;,(\x27]+$//g;
				print "$_\n" if length >= 12 && / /;
			}
		}
	}' "$TOP/$1" | sort -u
}

# section FILE NAME: the text of a manual's section, as mdoc
section()
{
	awk -v name="$2" '/^\.Sh / { on = $0 == ".Sh " name } on' "$TOP/man/$1"
}

@test "--help of the programs lists options, to compare the manuals with" {
	run -0 options_of_help nspawn-enter
	[ "${#lines[@]}" -gt 15 ]
	[[ $'\n'$output$'\n' == *$'\n-u --user =USER\n'* ]]
	[[ $'\n'$output$'\n' == *$'\n--foreign\n'* ]]
	run -0 options_of_help nspawn-stop
	[ "${#lines[@]}" -gt 5 ]
	[[ $'\n'$output$'\n' == *$'\n-t --timeout =TIME\n'* ]]
}

@test "manual and --help list the same options" {
	for manual in "${MANUALS[@]}"; do
		echo "case: $manual"
		diff <(options_of_help "${manual%.*}") \
		    <(options_of_manual "$manual")
	done
}

@test "README and --help list the same options" {
	for program in nspawn-enter nspawn-stop; do
		echo "case: $program"
		diff <(options_of_help "$program" | long_names) \
		    <(options_of_readme "$program")
	done
}

@test "README shows the unit of the manual" {
	run -0 example_unit /etc/systemd/system/nspawn@.service
	[ "${#lines[@]}" -gt 20 ]
	diff <(echo "$output") <(unit_of_readme)
}

@test "manual and --help list the same kinds of namespaces" {
	for kind in $("$BUILD/nspawn-enter" --help |
	    sed -nE "s/.*stay in the caller's (\w+) namespace.*/\1/p"); do
		echo "case: $kind"
		kinds+=("$kind")
		grep -qE "^\\.Cm $kind [,.]\$" "$TOP/man/nspawn-enter.1"
	done
	[ "${#kinds[@]}" = 8 ]
}

@test "manual and --help list the same exit statuses" {
	diff <("$BUILD/nspawn-stop" --help | sed -nE 's/^  ([0-9]+)  .*/\1/p') \
	    <(section nspawn-stop.8 'EXIT STATUS' |
	    sed -nE 's/^\.It ([0-9]+)$/\1/p')
	for status in $(section nspawn-enter.1 'EXIT STATUS' |
	    sed -nE 's/^\.It ([0-9]+)$/\1/p'); do
		echo "case: $status"
		statuses+=("$status")
		"$BUILD/nspawn-enter" --help | grep -qw "$status"
	done
	[ "${#statuses[@]}" = 3 ]
}

# messages_explained SOURCE CALL MANUAL COUNT: so many at least, each is there
messages_explained()
{
	need perl
	mapfile -t lines < <(messages "$1" "$2")
	[ "${#lines[@]}" -ge "$4" ]
	for line in "${lines[@]}"; do
		section "$3" DIAGNOSTICS | grep '^\.It ' |
		    grep -qF -e "$line" ||
		    { echo "$3 does not explain: $line"; return 1; }
	done
}

@test "each manual explains the messages of its program" {
	messages_explained nspawn-enter.c 'say|say_errno|fail|fail_errno' \
	    nspawn-enter.1 40
	messages_explained nspawn-stop.c 'say|say_error|fail' nspawn-stop.8 40
	messages_explained common.c 'text_format|command_fail' \
	    nspawn-enter.1 20
}

# Which other manuals this host has says nothing about ours.
@test "mandoc finds nothing in the manuals" {
	need mandoc
	for manual in "${MANUALS[@]}"; do
		echo "case: $manual"
		run mandoc -T lint "$TOP/man/$manual"
		for line in "${lines[@]}"; do
			echo "case: $manual $line"
			[[ "$line" == *'referenced manual not found'* ||
			    "$line" == *'outdated mandoc.db'* ]]
		done
	done
}

@test "each manual has what a reader looks for" {
	for manual in "${MANUALS[@]}"; do
		for name in NAME SYNOPSIS DESCRIPTION ENVIRONMENT FILES \
		    'EXIT STATUS' EXAMPLES 'HOW IT WORKS' SECURITY \
		    'SEE ALSO'; do
			echo "case: $manual $name"
			[ "$(section "$manual" "$name" | wc -l)" -gt 1 ]
		done
	done
}

@test "lines of the manuals have room in 80 columns" {
	need mandoc col
	for manual in "${MANUALS[@]}"; do
		echo "case: $manual"
		run -0 mandoc -T ascii -O width=79 "$TOP/man/$manual"
		run -0 col -bx <<<"$output"
		for line in "${lines[@]}"; do
			echo "case: $manual $line"
			[ "${#line}" -le 80 ]
		done
	done
}
