#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
#
# nspawn-enter as a job of a shell: interrupted, stopped, continued, in the
# background, left behind, in loops, and among pasted lines.

load ../common
load ../machines

setup_file()
{
	host_start_shared
	export BIN
}

# play SCENE typed|script SHELL MACHINE
play()
{
	echo "# $*"
	timeout -k 5 150 expect "$TOP/t/jobs.exp" "$@" 3>&-
}

# Plays a scene in each shell, with and without a user namespace.
play_typed()
{
	play "$1" typed bash web
	play "$1" typed dash webu
	play "$1" typed zsh webu
}

play_scripts()
{
	play "$1" script bash webu
	play "$1" script dash web
	play "$1" script zsh web
}

@test "an interrupt ends a loop, and not only one of its turns" {
	play_typed loop
	play_scripts loop
}

@test "an interrupt ends a command substitution and the command around it" {
	play_typed substitution
	play_scripts substitution
}

@test "an interrupt that the command handles does not end a loop" {
	play_typed handled
	# A script of dash ends by an interrupt that it has got itself.
	play handled script bash webu
}

@test "a stopped job is stopped inside, and is continued" {
	play_typed stop
}

@test "a job that is stopped as it begins stops once, and goes on" {
	play_typed stop_early
}

@test "a job that began in the background reads once it is in the foreground" {
	play_typed background
}

@test "a job of nohup survives the hang-up, and ignores nothing inside" {
	play_typed nohup
	play_typed nohup_foreground
}

@test "a job that the shell disowned survives the shell" {
	play disown typed bash web
	play disown typed zsh webu
}

@test "a hang-up ends a job of the foreground, and the command" {
	play_typed hang_up
	play_typed hang_up_pipe
}

@test "a job of a script survives an interrupt of the script" {
	play_scripts script_job
}

@test "loops and substitutions work as with any command" {
	play_typed read
	play_scripts read
}

@test "a command without input takes none of the pasted lines" {
	play_typed paste
}
