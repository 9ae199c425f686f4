#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
#
# tar through nspawn-enter copies trees into machines and out of them.  The
# commands are the manual's example.

load ../common
load ../machines
load ../examples

# What identifies a file: kind, mode, owner, number of links, size, time, target
# of a link, name; then the checksums.
LISTING='cd "$1" && find . -mindepth 1 ! -type d -printf "%y %m %U:%G %n %s"\
" %Ts %l %p\0" -o -type d -printf "%y %m %U:%G %Ts %p\0" | sort -z |
tr "\0" "\n" && find . -type f -print0 | sort -z | xargs -0 sha256sum'

setup_file()
{
	local line='Copy a tree into a machine, and out of one:'

	host_start
	machine_debian web --tmpfs=/small:size=64k
	machine_debian webu -U
	host machine "$HOST" scope box
	# The first line copies into the machine, the second out of it.
	COPY_IN=$(example_script nspawn-enter.1 "$line" | head -n 1)
	COPY_OUT=$(example_script nspawn-enter.1 "$line" | tail -n 1)
	export COPY_IN COPY_OUT
	host_script <<-'END'
	mkdir -p /tmp/site/deep/er /tmp/site/empty
	cd /tmp/site
	perl -e 'print map { chr } 0 .. 255' >bytes
	perl -e 'print "\n" x 70000, "\x04\x03\x1a\x1c\xff" x 9999' >keys
	: >none
	echo text >"$(printf 'a name\nof two lines')"
	chmod 600 keys
	echo joe >deep/er/joe
	chown 1000:1000 deep/er deep/er/joe
	chown 12345:54321 none
	cp /bin/true deep/suid
	chmod 4751 deep/suid
	chmod 1777 empty
	ln bytes deep/hard
	ln -s ../keys deep/soft
	ln -s missing deep/dangling
	mkfifo -m 640 deep/fifo
	truncate -s 1M deep/hole
	touch -d '2001-02-03 04:05:06' bytes deep/er deep
	touch -h -d '2002-02-03 04:05:06' deep/soft deep/dangling
	END
}

# Fresh folders to copy to, on the host and in the machines.
setup()
{
	machines=()
	host_script <<-'END'
	rm -rf /tmp/copy
	mkdir /tmp/copy
	for name in web webu box; do
		rm -rf "/var/lib/machines/$name/srv"
		mkdir "/var/lib/machines/$name/srv"
	done
	END
	for name in web webu box; do
		enter "$name" touch /srv/old
	done
}

# on_host_listing FOLDER, machine_listing NAME FOLDER
on_host_listing()
{
	on_host bash -eu -o pipefail -c "$LISTING" sh "$1"
}

machine_listing()
{
	enter "$1" bash -eu -o pipefail -c "$LISTING" sh "$2"
}

@test "the manual's example copies a tree into a machine and out of it" {
	run -0 on_host_listing /tmp/site
	expected=$output
	[ "${#lines[@]}" -gt 20 ]
	for name in web webu; do
		echo "case: $name"
		run -0 as_typed <<<"${COPY_IN/ web / $name }"
		[ "$output" = '' ]
		enter "$name" rm /srv/old
		run -0 machine_listing "$name" /srv
		diff <(echo "$expected") <(echo "$output")
		on_host rm -rf /tmp/copy
		on_host mkdir /tmp/copy
		run -0 as_typed <<<"${COPY_OUT/ web / $name }"
		[ "$output" = '' ]
		run -0 on_host_listing /tmp/copy
		diff <(echo "$expected") <(echo "$output")
	done
}

# The tar of busybox does not set the times of folders and links.
without_times()
{
	sed -E '/^[dl] /s/ [0-9]{9,} / /' <<<"$1"
}

@test "the tar of busybox in a machine does as well" {
	run -0 on_host_listing /tmp/site
	expected=$(without_times "$output")
	run -0 as_typed <<<"${COPY_IN/ web / box }"
	[ "$output" = '' ]
	on_host rm /var/lib/machines/box/srv/old
	run -0 on_host_listing /var/lib/machines/box/srv
	diff <(echo "$expected") <(without_times "$output")
	run -0 as_typed <<<"${COPY_OUT/ web / box }"
	[ "$output" = '' ]
	run -0 on_host_listing /tmp/copy
	diff <(echo "$expected") <(without_times "$output")
}

# Like as_typed, with a terminal as standard input, output and error.
at_terminal()
{
	on_host sh -c 'cat >/tmp/typed'
	on_host env -C /tmp PATH="$BIN:$PATH" script -qec \
	    'bash -o pipefail /tmp/typed' /dev/null </dev/null
}

@test "100 MB are copied, also if the caller has a terminal" {
	on_host sh -c 'head -c 100M /dev/urandom >/tmp/site/big'
	run -0 on_host_listing /tmp/site
	expected=$output
	enter web rm /srv/old
	for caller in as_typed at_terminal; do
		echo "case: $caller"
		run -0 "$caller" <<<"$COPY_IN"
		[ "$output" = '' ]
		run -0 "$caller" <<<"$COPY_OUT"
		[ "$output" = '' ]
		run -0 on_host_listing /tmp/copy
		diff <(echo "$expected") <(echo "$output")
		on_host sh -c 'rm -r /tmp/copy /var/lib/machines/web/srv/*
		    mkdir /tmp/copy'
	done
	on_host rm /tmp/site/big
}

@test "what tar prints in the machine is seen at the caller's terminal" {
	run -0 at_terminal <<<"${COPY_IN}v"
	output=${output//$'\r'}
	[[ $'\n'$output$'\n' == *$'\n./deep/er/joe\n'* ]]
	run -2 at_terminal <<<"${COPY_OUT/srv/missing}"
	[[ "$output" == *'/missing: '*'No such file or directory'* ]]
}

@test "extended attributes are copied, if tar is told to" {
	host_script <<-'END'
	python3 -c 'import os
	os.setxattr("/tmp/site/bytes", "trusted.test", bytes(range(256)))
	os.setxattr("/tmp/site/keys", "security.capability",
	    bytes([1, 0, 0, 2, 0, 32] + 14 * [0]))'
	END
	for command in "$COPY_IN" "$COPY_OUT"; do
		echo "case: $command"
		run -0 as_typed <<<"${command//tar/"tar --xattrs"\
" '--xattrs-include=*'"}"
		[ "$output" = '' ]
	done
	for folder in /tmp/site /var/lib/machines/web/srv /tmp/copy; do
		echo "case: $folder"
		run -0 on_host python3 -c 'import os, sys
os.chdir(sys.argv[1])
for name in "bytes", "keys":
	print({key: os.getxattr(name, key) for key in os.listxattr(name)})
' "$folder"
		[[ "$output" == *trusted.test*security.capability* ]]
	done
}

# statuses COMMAND: prints the exit statuses of both sides of a pipeline.
statuses()
{
	as_typed <<<"$1"$'\necho "${PIPESTATUS[*]}"' 2>/dev/null
}

@test "the status of tar in the machine is that of nspawn-enter" {
	run -0 statuses "${COPY_IN/srv/missing}"
	[[ "$output" = *' 2' ]]
	run -0 statuses "${COPY_IN/srv/small}"
	[[ "$output" = *' 2' ]]
	run -0 statuses "${COPY_IN/'|'/| head -c 99999 |}"
	[[ "$output" = *' 2' ]]
	run -0 statuses "${COPY_OUT/srv/missing}"
	[[ "$output" = '2 '* ]]
	run -0 statuses "${COPY_IN/ web / nothing }"
	[[ "$output" = *' 125' ]]
	run -0 statuses "${COPY_OUT/ web / nothing }"
	[[ "$output" = '125 '* ]]
}

@test "if nobody takes the archive, tar in the machine ends by SIGPIPE" {
	command=${COPY_OUT/srv/usr}
	run -0 statuses "${command%|*}| true"
	[[ "$output" == '141 '* ]]
}
