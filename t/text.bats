#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only

load common
load library

expect()
{
	run -"${3:-0}" library "${call[@]}" "$1"
	[ "$output" = "$2" ]
}

@test "a machine's name is made of labels" {
	call=(name)
	for name in web my-box.x memory 1 A a.b.c "$(printf 'a%.0s' {1..64})"; do
		expect "$name" yes
	done
}

@test "what is no machine's name is refused" {
	call=(name)
	for name in '' .host -x x- a..b .a a. a_b ../x a/b a@b 'a b' a.-b a-.b \
	    $'a\n' ä "$(printf 'a%.0s' {1..65})"; do
		expect "$name" no
	done
}

@test "a unit's name escapes what units do not have" {
	call=(escape)
	expect web web
	expect my-box.x 'my\x2dbox.x'
	expect 'a:b_c@' 'a:b_c\x40'
	expect 'ÿ' '\xc3\xbf'
	expect '' ''
	expect aaaaaaaaaaaaaaaa ENAMETOOLONG 1
}

@test "a number is digits up to its maximum and nothing else" {
	number()
	{
		run -"${4:-0}" library number "$1" "$2"
		[ "$output" = "$3" ]
	}
	number 0 0 0
	number 18446744073709551615 18446744073709551615 18446744073709551615
	number 64 64 64
	number 65 64 ERANGE 1
	number 18446744073709551616 18446744073709551615 ERANGE 1
	number 5 3 ERANGE 1
	for text in '' -1 +1 ' 1' '1 ' 0x1 1a; do
		number "$text" 100 EINVAL 1
	done
}

@test "a time is seconds, or has a unit, or is infinity" {
	call=(time)
	expect 0 0
	expect 10 10000
	expect 1.5 1500
	expect 1.25s 1250
	expect 2min 120000
	expect 0.5min 30000
	expect 1h 3600000
	expect 1.5h 5400000
	expect 0.0001 1
	expect infinity 9223372036854775807
}

@test "what is no time is refused" {
	call=(time)
	for text in '' -1 1e3 5m .5 5. 1.s ' 1' '1 s' s inf 1.5.5 1S; do
		expect "$text" EINVAL 1
	done
	expect 99999999999 ERANGE 1
	expect 99999999999999999999999999 ERANGE 1
	expect 1000000000h ERANGE 1
}

@test "a signal has a name, a number, or is relative to the real-time ones" {
	call=(signal)
	for text in TERM SIGTERM term sigTerm 15; do
		expect "$text" '15 SIGTERM'
	done
	expect RTMIN '34 SIGRTMIN'
	expect RTMIN+3 '37 SIGRTMIN+3'
	expect sigrtmin+30 '64 SIGRTMIN+30'
	expect RTMAX '64 SIGRTMIN+30'
	expect RTMAX-1 '63 SIGRTMIN+29'
	expect PWR '30 SIGPWR'
	expect 32 '32 32'
}

@test "what is no signal is refused" {
	call=(signal)
	for text in '' 0 65 -1 SIG FOO RTMIN+31 RTMAX-31 RTMIN-1 RTMAX+1 RTMIN+ \
	    RTMIN3 'TERM ' SIGSIGTERM; do
		expect "$text" '-1 '
	done
}

@test "a signal of its own number is not another one's name" {
	for n in $(seq 1 31); do
		run -0 library signal "$n"
		[ "$output" = "$n SIG$(kill -l "$n" | sed 's/^SIG//;s/^POLL$/IO/')" ]
	done
}

@test "what a container says is printable before it is shown" {
	run -0 library printable $'a\e[31m\x7f\\é' 64
	[ "$output" = 'a\x1b[31m\x7f\x5c\xc3\xa9' ]
}

@test "a printable text is cut between two characters" {
	run -0 library printable abcdef 4
	[ "$output" = abc ]
	run -0 library printable $'ab\e' 6
	[ "$output" = ab ]
	run -0 library printable abc 1
	[ "$output" = '' ]
}
