#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
# bats file_tags=static,urgent
#
# Fifty machines start, reboot and end at random, while ten nspawn-stop at once
# stop them, each of which has to report the truth.  t/storm.py drives and
# judges them.  STORM_SEED repeats the random choices, but not what the host
# does with them; STORM_SECONDS is how long it takes.

load ../common
load ../machines

: "${SUITE:=trixie}"

: "${STORM_SEED:=$RANDOM}" "${STORM_SECONDS:=60}"

storm()
{
	HOST_SECONDS=600 on_host python3 -B /src/t/storm.py "$@"
}

setup_file()
{
	host_start
	TINI=/outer$("$TOP/t/host" build inits-bookworm)/usr/bin/tini-static
	export TINI
}

# Each line has the state of the machine when nspawn-stop is called, what the
# machine then does, the status of nspawn-stop, what it says, and what the judge
# has to say of that.
@test "the judge recognizes every kind of false report" {
	run storm rows "$TINI" <<-'END'
	running | nothing | 0 | | not one thing is said of it, but []
	running | nothing | 0 | stopped | was there all the time
	running | nothing | 0 | absent | was running all the time
	running | waits | 0 | running | was there all the time
	running | waits | 1 | running | the status should be 124
	running | waits | 124 | running | true
	running | nothing | 124 | running | was given up before the deadline
	running | nothing | 1 | rebooted | had one PID 1 all the time
	running | waits | 1 | starting | had one PID 1 all the time
	running | nothing | 1 | failed | could not be told
	running | stops | 0 | stopped | true
	running | stops | 1 | rebooted | did not reboot
	running | stops | 124 | stopped | the status should be 0
	running | stops | 124 | running | was gone at the deadline
	running | reboots | 1 | rebooted | true
	running | reboots | 0 | stopped | was there all the time
	gone | nothing | 0 | absent | true
	gone | nothing | 0 | stopped | was not there at all
	gone | waits | 124 | running | was gone at the deadline
	gone | nothing | 1 | rebooted | did not reboot
	gone | waits | 1 | starting | was gone at the deadline
	held | scopes | 0 | stopped | was there all the time
	held | scopes | 124 | scope | true
	kept | scopes | 0 | stopped | was there all the time
	kept | scopes | 124 | scope | true
	END
	echo "$output"
	[ "$status" = 0 ]
	[ "$output" = '' ]
}

@test "ten calls at once report the truth about fifty machines, for a minute" {
	echo "STORM_SEED=$STORM_SEED"
	run storm storm "$BIN/nspawn-stop" "$STORM_SEED" "$STORM_SECONDS" \
	    "$TINI"
	echo "$output"
	[ "$status" = 0 ]
}
