#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors

load ../common
load ../library

expect()
{
	run -"${3:-0}" library "${call[@]}" "$1"
	[ "$output" = "$2" ]
}

@test "a machine's name is made of labels" {
	call=(name)
	for name in web my-box.x memory 1 A a.b.c "$(printf 'a%.0s' {1..64})"; do
		echo "case: $name"
		expect "$name" yes
	done
}

@test "an invalid name of a machine is refused" {
	call=(name)
	for name in '' .host -x x- a..b .a a. a_b ../x a/b a@b 'a b' a.-b a-.b \
	    $'a\n' ä "$(printf 'a%.0s' {1..65})"; do
		echo "case: $name"
		expect "$name" no
	done
}

@test "the name of a unit has escapes for characters that units cannot have" {
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
		echo "case: $text"
		number "$text" 100 EINVAL 1
	done
}

# Times as systemd.time(7) has them, and invalid ones.
TIMES=(0 5 00005 1.5 .5 0.0001 1.23456789 0.9999ms 2.0001ms 0.0000001 1.1us
    5s 5sec 5second 5seconds 5m 5min 5minute 5minutes 5M 5month 5months 1y
    1year 1years 1w 1week 2weeks 1d 1day 3days 1h 1hr 2hour 2hours 500ms
    500msec 500us 500usec 500µs 500μs 1.5h 0.5min 1m30s '1min 30s'
    '1 min 30 s' 30s1min 1s1s '1 2' '1s 2' 1s2 1M30s '1h 1.5m'
    1d1h1m1s1ms1us '1y 2months 3weeks 4d' ' 5' '5 ' '5  s' ' 1 week '
    infinity ' infinity ' -1 '- 5' 5S 5Sec 5MIN 1H 1D 500ns 1µ 1u 5. 1.s .s
    1..5 1.5.5 0.1.1s '1min, 30s' '5,5' '5;' 5+5 1s-1s 1e3 0x10 1_000 inf
    INFINITY 'infinity 1s' '1s infinity' infinity1s 18446744073709 584542y
    99999999999999999999 week s ms 5ss '' ' ' $'5\ts' $'5\n')

# span TEXT: prints what systemd makes of a time, in microseconds, or nothing.
span()
{
	LC_ALL=C.UTF-8 systemd-analyze timespan -- "$1" 2>/dev/null |
	    sed -n 's/^ *[^ ]*s: //p'
}

@test "a time is a time span, as systemd has it, in ms rounded up" {
	local wrong=''

	command -v systemd-analyze >/dev/null ||
	    cannot 'what systemd makes of a time is not known'
	for text in "${TIMES[@]}"; do
		echo "case: $text"
		right=$(span "$text")
		case $right in
		18446744073709551615) right=9223372036854775807 ;;
		'') right='EINVAL or ERANGE' ;;
		*) right=$(((right + 999) / 1000)) ;;
		esac
		is=$(library time "$text" 2>&1) || true
		[ "$is" = "$right" ] ||
		    [[ "$right" == *"${is:-none}"* && "$is" == E* ]] ||
		    wrong+="'$text': should be $right, is $is"$'\n'
	done
	echo "$wrong"
	[ "$wrong" = '' ]
}

@test "a time too long for a person's life is refused, but infinity is not" {
	call=(time)
	expect infinity 9223372036854775807
	expect 1000000000 1000000000000
	for text in 99999999999 99999999999999999999999999 1000000000h \
	    584541y; do
		echo "case: $text"
		expect "$text" ERANGE 1
	done
	for text in '' -1 s 5. inf; do
		echo "case: $text"
		expect "$text" EINVAL 1
	done
}

@test "a signal has a name, a number, or is relative to the real-time ones" {
	call=(signal)
	for text in TERM SIGTERM term sigTerm 15; do
		echo "case: $text"
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

@test "an invalid signal is refused" {
	call=(signal)
	for text in '' 0 65 -1 SIG FOO RTMIN+31 RTMAX-31 RTMIN-1 RTMAX+1 RTMIN+ \
	    RTMIN3 'TERM ' SIGSIGTERM; do
		echo "case: $text"
		expect "$text" '-1 '
	done
}

@test "the number of each signal gives its own name" {
	for n in $(seq 1 31); do
		echo "case: $n"
		run -0 library signal "$n"
		[ "$output" = "$n SIG$(kill -l "$n" | sed 's/^SIG//;s/^POLL$/IO/')" ]
	done
}

@test "text from a container is made printable before it is shown" {
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
