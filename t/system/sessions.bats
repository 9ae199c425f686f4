#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
#
# nspawn-enter at terminals that are not a person's own: in tmux, and at many
# terminals at the same time.

load ../common
load ../machines

# The name of the tmux server, and how many servers the test has started.
server=none
servers=0

setup_file()
{
	host_start_debian
	for name in deb debu; do
		on_host sh -c "seq 1000 >/var/lib/machines/$name/rows"
	done
}

teardown()
{
	console_show
	tmux kill-server 2>/dev/null || true
	machines_end
}

tmux()
{
	on_host tmux -L "$server" -f /dev/null "$@"
}

# Starts a shell of the host in a window of 24 lines and 80 columns, with a
# server of its own: one that is told to end still takes a new client, and
# ends with it.
tmux_start()
{
	server=nspawn-tools-$BATS_TEST_NUMBER-$((++servers))
	tmux new-session -d -x 80 -y 24 \
	    "PATH=$BIN:\$PATH PS1='ready> ' bash --norc --noprofile"
	pane_shows '^ready>$'
}

# Waits until a row matches an extended regular expression.
pane_shows()
{
	until_true pane_has "$1" || {
		tmux capture-pane -p | cat -A >&2
		return 1
	}
}

pane_has()
{
	tmux capture-pane -p | grep -Eq "$1"
}

# The same for the row with this number.
pane_row_shows()
{
	until_true pane_row_has "$1" "$2" || {
		tmux capture-pane -p | cat -A >&2
		return 1
	}
}

pane_row_has()
{
	tmux capture-pane -p | sed -n "$1p" | grep -Eq "$2"
}

# Types a line.
keys()
{
	tmux send-keys "$@" Enter
}

@test "in tmux a shell inside is edited, and has the window's size" {
	for call in 'web sh' 'webu sh' 'deb bash --norc' 'debu bash --norc'; do
		echo "case: $call"
		tmux_start
		keys "nspawn-enter -e PS1='in> ' $call"
		pane_shows '^in>$'
		keys 'stty size'
		pane_shows '^24 80$'
		# An erased key, and an escape sequence.
		keys 'echo onx' BSpace 'e t3' Left t
		pane_shows '^one tt3$'
		keys 'until stty size | grep "40 100"; do sleep 0.1; done'
		tmux resize-window -x 100 -y 40
		pane_shows '^40 100$'
		keys 'exit 7'
		keys 'echo st""atus $?'
		pane_shows '^status 7$'
		tmux kill-server
	done
}

@test "in tmux less inside is resized, and left" {
	for name in deb debu; do
		for call in "nspawn-enter $name less /rows" \
		    "nspawn-enter $name cat /rows | less" \
		    "nspawn-enter $name cat /rows | nspawn-enter $name less"; do
			echo "case: $name $call"
			tmux_start
			keys "$call"
			pane_row_shows 23 '^23$'
			pane_row_shows 24 '^(:|/rows)'
			tmux resize-window -x 100 -y 40
			pane_row_shows 39 '^39$'
			pane_row_shows 40 '^(:|/rows)'
			tmux send-keys Space
			pane_row_shows 39 '^78$'
			tmux resize-window -x 60 -y 20
			# less loses a key that comes together with WINCH.
			pane_row_shows 20 '^(:|/rows)'
			tmux send-keys g
			pane_row_shows 19 '^19$'
			tmux send-keys q
			keys 'echo st""atus $?'
			pane_shows '^status 0$'
			tmux kill-server
		done
	done
}

@test "eight terminals of one machine are typed into and resized at once" {
	for name in web webu; do
		echo "case: $name"
		timeout -k 5 120 expect "$TOP/t/sessions.exp" "$TOP/t/host" \
		    run "$HOST" "$BIN/nspawn-enter" "$name" 3>&-
	done
}
