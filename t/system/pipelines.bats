#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
#
# nspawn-enter in pipelines at a terminal, which are typed at usual shells or
# run by their scripts, with programs that take the terminal for themselves.

load ../common
load ../machines

setup_file()
{
	host_start_debian
	for name in web webu deb debu; do
		on_host sh -c "seq 1000 >/var/lib/machines/$name/rows"
	done
	export BIN
}

# play SCENE SHELL typed|script MACHINE...
play()
{
	echo "# $*"
	timeout -k 5 150 expect "$TOP/t/pipelines.exp" "$@" 3>&-
}

# Plays a scene in each shell, typed and as a script.  Machines with and without
# a user namespace each come first and second in the pipeline.
play_everywhere()
{
	play "$1" typed bash web webu deb debu
	play "$1" typed dash webu web debu deb
	play "$1" typed zsh web web deb deb
	play "$1" script bash webu webu debu debu
	play "$1" script dash web webu deb debu
	play "$1" script zsh webu web debu deb
}

@test "in a pipeline every line of output ends once, and the modes stay" {
	play_everywhere rows
}

@test "a program that writes for ever ends with the head of its pipeline" {
	play_everywhere head
}

@test "two entries in a pipeline leave the terminal as it was, 20 times" {
	play_everywhere two
}

@test "less at the end of a pipeline gets all keys, and keeps its modes" {
	play_everywhere less
}

@test "100 keys typed fast into less all arrive" {
	play_everywhere keys
}

@test "an interrupt in less ends the program that writes, and less goes on" {
	# A script gets the interrupt itself, too, and may end by it.
	play less_interrupt typed bash web webu
	play less_interrupt typed dash webu web
	play less_interrupt typed zsh web web
}

@test "q ends a pager inside, alone or after a pipe" {
	play_everywhere pager_inside
}
